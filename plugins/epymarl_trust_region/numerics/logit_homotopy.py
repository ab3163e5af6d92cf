"""The logit homotopy: from the uniform profile to a Nash equilibrium along quantal response equilibria.

McKelvey and Palfrey, "Quantal response equilibria for normal form games" (1995); Turocy, "A dynamic homotopy
interpretation of the logistic quantal response equilibrium correspondence" (2005). For players with two actions, with
x_i = log(rho_i / (1 - rho_i)), the path is the zero set of

    H(x, t) = x - offset - t F(rho(x)) / scale,

which starts at x = offset for t = 0 and leads to an equilibrium as t grows; it may turn back in t on its way, so it is
followed by its arc length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from epymarl_trust_region.numerics.meta_game import Game, deviation_gains

_LARGEST_STEP, _SMALLEST_STEP, _MOST_STEPS = 1e3, 1e-5, 600


def logit_homotopy(game: Game, offset: np.ndarray, scale: float, tolerances: Sequence[float]) -> Iterator[np.ndarray]:
    """Profiles of the path, [N]: the first without a deviation that gains more than each of `tolerances` in turn.

    The last one is where the path was given up, if it was.

    Args:
        offset: log odds at the start, [N]; zeros: the uniform profile.
        scale: a typical size of the derivatives, so that t has no unit.
        tolerances: falling, in payoffs.
    """
    n = game.n_players
    point, tangent, step = np.append(offset, 0.0), np.append(np.zeros(n), 1.0), 0.1
    wanted = list(tolerances)
    for _ in range(_MOST_STEPS):
        rho = _profile(point)
        gain = deviation_gains(rho, game.derivatives(rho)).max()
        while wanted and gain <= wanted[0]:
            del wanted[0]
            yield rho
        if not wanted:
            return
        tangent = _tangent(game, point, tangent, scale)
        ahead = _correct(game, point + step * tangent, tangent, offset, scale)
        if ahead is None or ahead @ tangent <= point @ tangent or np.linalg.norm(ahead - point) > 2 * step:
            step /= 2
            if step < _SMALLEST_STEP:
                break
            continue
        point, step = ahead, min(1.5 * step, _LARGEST_STEP)
    yield _profile(point)


def _profile(point: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(point[:-1] / 2))


def _derivative(game: Game, point: np.ndarray, scale: float) -> np.ndarray:
    """dH / d(x, t), [N, N + 1]."""
    rho = _profile(point)
    of_x = np.eye(len(rho)) - point[-1] * game.jacobian(rho) * (rho * (1 - rho)) / scale
    return np.hstack([of_x, -game.derivatives(rho)[:, None] / scale])


def _tangent(game: Game, point: np.ndarray, before: np.ndarray, scale: float) -> np.ndarray:
    """The unit vector along the path that goes on in the direction of `before`."""
    null = np.linalg.svd(_derivative(game, point, scale))[2][-1]
    return null if null @ before >= 0 else -null


def _correct(game: Game, point: np.ndarray, tangent: np.ndarray, offset: np.ndarray, scale: float) -> np.ndarray | None:
    """Newton's method back to the path, across `tangent`; None if it does not get there in a few steps."""
    for _ in range(8):
        error = point[:-1] - offset - point[-1] * game.derivatives(_profile(point)) / scale
        if np.abs(error).max() < 1e-8 * (1 + np.abs(point).max()):
            return point
        matrix = np.vstack([_derivative(game, point, scale), tangent])
        try:
            point = point - np.linalg.solve(matrix, np.append(error, 0.0))
        except np.linalg.LinAlgError:
            return None
    return None
