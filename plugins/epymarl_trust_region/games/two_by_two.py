"""Games of two players with two actions each: values, gradients, and all equilibria in closed form.

Shapes: a payoff is [..., 2, 2, 2] (player, row action, column action); a profile is [..., 2], the probabilities (p, q)
with which the row and the column player take action 0. Leading dimensions are games, or whatever else broadcasts.

Equilibria and gradients depend on payoffs through the **gains** [..., 2, 2] alone: `gains[i, k]` is what player i gets
more by action 0 than by action 1 while the other player takes action k.
"""

from __future__ import annotations

import numpy as np

SELECTIONS = ("first", "last", "random")


def gains_of(payoff: np.ndarray) -> np.ndarray:
    """Gains [..., 2, 2] of payoffs [..., 2, 2, 2]."""
    row, column = payoff[..., 0, :, :], payoff[..., 1, :, :]
    return np.stack([row[..., 0, :] - row[..., 1, :], column[..., :, 0] - column[..., :, 1]], axis=-2)


def values(payoff: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Expected payoffs (V1, V2) of profiles: [..., 2]."""
    p, q = (np.stack([x, 1 - x], axis=-1) for x in np.moveaxis(profile, -1, 0))
    return np.einsum("...iab,...a,...b->...i", payoff, p, q)


def gradient(gains: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """(dV1/dp, dV2/dq), [..., 2]: each depends on the other player's probability alone."""
    other = profile[..., ::-1]
    return other * gains[..., 0] + (1 - other) * gains[..., 1]


def deviation_gain(gains: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """What each player gains by its best action against the other's policy, [..., 2]; 0 in equilibrium."""
    slope = gradient(gains, profile)
    return np.maximum(slope * (1 - profile), -slope * profile)


def equilibria(gains: np.ndarray) -> np.ndarray:
    """All isolated equilibria, and of every line or square of equilibria (in games with ties) the end points.

    Candidates are the pure profiles and those in which a player mixes so that the other is indifferent. Conditions are
    comparisons of signs, so nothing depends on a tolerance; every game has an equilibrium among the candidates.

    Returns:
        Profiles [..., 9, 2], NaN where the candidate is no equilibrium: pure ones in the order of support enumeration
        ((1, 1), (1, 0), (0, 1), (0, 0)), then the edges' end points, last the interior point.
    """
    own, sign = _indifference(gains), np.sign(gains)
    # Player i's probability is 1, 0 or own[i]; the sign of the other player's gradient is then that of its gains, or 0.
    probability = np.stack([np.ones_like(own), np.zeros_like(own), own], axis=-1)
    push = np.concatenate([sign, np.zeros_like(own)[..., None]], axis=-1)[..., ::-1, :]
    p, q = probability[..., 0, :, None], probability[..., 1, None, :]
    stable_p, stable_q = _stable(p, push[..., 1, None, :]), _stable(q, push[..., 0, :, None])
    profile = np.stack(np.broadcast_arrays(p, q), axis=-1)
    found = np.where((stable_p & stable_q)[..., None], profile, np.nan)
    order = [0, 1, 3, 4, 2, 5, 6, 7, 8]
    return found.reshape(*found.shape[:-3], 9, 2)[..., order, :]


def _indifference(gains: np.ndarray) -> np.ndarray:
    """Each player's probability, strictly between 0 and 1, at which the *other* is indifferent: [..., 2], or NaN."""
    against_0, against_1 = gains[..., ::-1, 0], gains[..., ::-1, 1]
    opposite = np.sign(against_0) * np.sign(against_1) < 0
    return np.where(opposite, against_1, np.nan) / np.where(opposite, against_1 - against_0, 1.0)


def _stable(probability: np.ndarray, push: np.ndarray) -> np.ndarray:
    """Whether a player whose gradient has the sign `push` stays where it is."""
    return np.where(push > 0, probability == 1, np.where(push < 0, probability == 0, ~np.isnan(probability)))


def select(found: np.ndarray, rule: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """One of each game's `equilibria`, [..., 2]: the first or last in their order, or a random one (from `rng`).

    Raises:
        ValueError: an unknown rule, or "random" without a generator.
    """
    there = ~np.isnan(found[..., 0])
    if rule == "first":
        index = there.argmax(-1)
    elif rule == "last":
        index = there.shape[-1] - 1 - there[..., ::-1].argmax(-1)
    elif rule == "random" and rng is not None:
        index = np.where(there, rng.random(there.shape), -1).argmax(-1)
    else:
        raise ValueError(f"selection must be one of {SELECTIONS}, random with a generator, but is {rule!r}")
    return np.take_along_axis(found, index[..., None, None], axis=-2)[..., 0, :]
