"""Nash equilibria of games in which every player has two actions, each answer verified by its best deviation.

rho is a Nash equilibrium iff F_i (x_i - rho_i) <= 0 for all x in [0, 1]^N, with F_i = dG_i / drho_i: a variational
inequality on a box. No method solves it always and fast (it is PPAD-hard), so a portfolio goes from the cheap to the
sure: best responses over pure profiles, projected extragradient (Korpelevich, 1976), Levenberg-Marquardt on the natural
residual rho - clip(rho + F, 0, 1), and the logit homotopy (McKelvey and Palfrey, 1995), once more from an offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from epymarl_trust_region.numerics.logit_homotopy import logit_homotopy
from epymarl_trust_region.numerics.meta_game import Game, deviation_gains

SOLVERS = ("closed form", "best response", "extragradient", "levenberg-marquardt", "homotopy", "none")
SELECTIONS = ("random", "welfare")

_STARTS = 4  # pure profiles from which best responses go on
_ROUNDS = 6  # of searches for a mixed equilibrium
_TOLERANCE = 1e-4  # largest deviation that is accepted, in units of the largest derivative at a pure profile


@dataclass(frozen=True)
class Equilibrium:
    """An answer.

    Args:
        rho: [N], in [0, 1].
        gain: the largest gain of a player that deviates alone, in payoffs.
        solver: one of SOLVERS; "none" if no method came within the tolerance, and rho is the best profile seen.
    """

    rho: np.ndarray
    gain: float
    solver: str


def solve(game: Game, rng: np.random.Generator, selection: str = "random") -> Equilibrium:
    """A Nash equilibrium of `game`.

    Args:
        rng: decides between several equilibria, and where searches start.
        selection: "random": any of those that were found (the paper's choice); "welfare": the one with the largest sum
            of payoffs. For two players all equilibria are found, for more those pure ones that best responses reach.

    Raises:
        ValueError: a derivative is no number.
    """
    if game.n_players == 2:
        return _select(game, two_player_equilibria(game), rng, selection, "closed form")
    starts = _starts(game.n_players, rng, selection)
    derivatives = game.derivatives(np.array(starts))
    if not np.isfinite(derivatives).all():
        raise ValueError("the game's derivatives are not finite")
    tolerance = _TOLERANCE * np.abs(derivatives).max()
    pure = [rho for start in starts if (rho := best_responses(game, start)) is not None]
    if pure:
        return _select(game, pure, rng, selection, "best response")
    best = Equilibrium(starts[0], np.inf, "none")
    for solver, rho in _mixed(game, rng, tolerance):
        gain = float(deviation_gains(rho, game.derivatives(rho)).max())
        if gain <= tolerance:
            return Equilibrium(rho, gain, solver)
        best = min(best, Equilibrium(rho, gain, "none"), key=lambda answer: answer.gain)
    return best


def _mixed(game: Game, rng: np.random.Generator, tolerance: float) -> Iterator[tuple[str, np.ndarray]]:
    """Candidates, each method's when it is asked for; after the first round all start elsewhere."""
    n, scale = game.n_players, tolerance / _TOLERANCE
    yield "extragradient", extragradient(game, np.full(n, 0.5), scale, tolerance)
    for turn in range(_ROUNDS):
        for _ in range(3):
            yield "levenberg-marquardt", levenberg_marquardt(game, rng.random(n), scale, tolerance)
        offset = rng.normal(0, 0.5, n) if turn else np.zeros(n)
        # The path comes near an equilibrium soon and the last decimals slowly: another method is better at these.
        for near in logit_homotopy(game, offset, scale, (50 * tolerance, tolerance)):
            yield "homotopy", levenberg_marquardt(game, near, scale, tolerance)
            yield "homotopy", near


def _starts(n: int, rng: np.random.Generator, selection: str) -> list[np.ndarray]:
    """Corners of the box: random ones; for the best welfare the two that are common are among them."""
    corners = list(rng.integers(0, 2, (_STARTS, n)).astype(float))
    return corners if selection == "random" else [np.zeros(n), np.ones(n), *corners[2:]]


def _select(game: Game, found: list[np.ndarray], rng: np.random.Generator, selection: str, solver: str) -> Equilibrium:
    if selection == "random":
        rho = found[rng.integers(len(found))]
    else:
        rho = max(found, key=lambda one: game.payoffs(one).sum())
    return Equilibrium(rho, float(deviation_gains(rho, game.derivatives(rho)).max()), solver)


def two_player_equilibria(game: Game) -> list[np.ndarray]:
    """All equilibria of a 2 x 2 game: pure ones and the interior one (of a degenerate game, its pure ones at least).

    F_1 is affine in rho_2 and the other way round, so the interior one is where both are 0.

    Raises:
        ValueError: a derivative is no number.
    """
    first, second = game.derivatives(np.array([[0.0, 0.0], [1.0, 1.0]])).T
    if not np.isfinite([first, second]).all():
        raise ValueError("the game's derivatives are not finite")

    def stable(choice: int, slope: float) -> bool:
        return slope >= 0 if choice else slope <= 0

    found = [
        np.array([a, b], dtype=float)
        for a in (0, 1)
        for b in (0, 1)
        if stable(a, first[b]) and stable(b, second[a])
    ]  # fmt: skip
    if first[0] * first[1] < 0 and second[0] * second[1] < 0:
        found.append(np.array([second[0] / (second[0] - second[1]), first[0] / (first[0] - first[1])]))
    return found


def best_responses(game: Game, start: np.ndarray) -> np.ndarray | None:
    """From a pure profile, the player that gains most changes its mind, until none does: a pure equilibrium.

    Returns:
        None if it went around in a circle or for longer than 20 N changes. In a game with a potential it never does.
    """
    rho, seen = start.copy(), set()
    for _ in range(20 * game.n_players):
        gains = deviation_gains(rho, game.derivatives(rho))
        player = int(gains.argmax())
        if gains[player] <= 0:
            return rho
        rho[player] = 1 - rho[player]
        key = rho.tobytes()
        if key in seen:
            return None
        seen.add(key)
    return None


def extragradient(game: Game, rho: np.ndarray, scale: float, tolerance: float, iterations: int = 100) -> np.ndarray:
    """rho' = clip(rho + s F(rho)), rho <- clip(rho + s F(rho')), the step s halved where F changes too fast for it."""
    step = 1.0 / scale
    for _ in range(iterations):
        here = game.derivatives(rho)
        if deviation_gains(rho, here).max() <= tolerance:
            break
        while True:
            ahead = np.clip(rho + step * here, 0, 1)
            there = game.derivatives(ahead)
            if step * np.linalg.norm(there - here) <= 0.9 * np.linalg.norm(ahead - rho) or step * scale < 1e-3:
                break
            step /= 2
        rho = np.clip(rho + step * there, 0, 1)
    return rho


def levenberg_marquardt(
    game: Game, rho: np.ndarray, scale: float, tolerance: float, iterations: int = 30
) -> np.ndarray:
    """Damped Gauss-Newton steps on rho - clip(rho + F / scale, 0, 1), which is 0 exactly at equilibria."""

    def residual(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slopes = game.derivatives(rho)
        return rho - np.clip(rho + slopes / scale, 0, 1), rho + slopes / scale, slopes

    damping, (error, target, slopes) = 1e-2, residual(rho)
    for _ in range(iterations):
        if deviation_gains(rho, slopes).max() <= tolerance:
            break
        inside = (target > 0) & (target < 1)  # there the residual is -F / scale, elsewhere it is rho less a constant
        matrix = np.where(inside[:, None], -game.jacobian(rho) / scale, np.eye(len(rho)))
        gradient, curvature = matrix.T @ error, matrix.T @ matrix
        while damping < 1e6:
            trial = np.clip(rho - np.linalg.solve(curvature + damping * np.eye(len(rho)), gradient), 0, 1)
            after = residual(trial)
            if after[0] @ after[0] < error @ error:
                break
            damping *= 4
        else:
            break  # no way down: a local minimum
        rho, (error, target, slopes), damping = trial, after, damping / 10
    return rho
