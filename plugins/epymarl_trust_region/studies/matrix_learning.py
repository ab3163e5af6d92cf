"""Gradient learners on 2x2 games: IGA, IGA-PP, WoLF-IGA and MATRL, for many games at once.

Profiles [..., 2] and gains [..., 2, 2] are those of `two_by_two`. Both players move at once; projection to [0, 1] is
clipping. MATRL is that of "Multi-agent trust region learning" (under review), section 3, on matrices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from epymarl_trust_region.games.two_by_two import SELECTIONS, equilibria, gradient, select

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]

# What MATRL may do with its meta-game: solve it and take one of the equilibria, or not ask it.
META_RULES = (*SELECTIONS, "current", "predicted")


def iga_step(gains: np.ndarray, profile: np.ndarray, lr: float | np.ndarray) -> np.ndarray:
    """p + lr dV1/dp, and likewise q (Singh, Kearns and Mansour, 2000)."""
    return towards(gains, profile, profile, lr)


def iga_pp_step(gains: np.ndarray, profile: np.ndarray, lr: float, gamma_pp: float) -> np.ndarray:
    """The gradient against the other's predicted policy q + gamma_pp dV2/dq, which is not projected.

    Zhang and Lesser (2010), "Multi-Agent Learning with Policy Prediction".
    """
    return towards(gains, profile, profile + gamma_pp * gradient(gains, profile), lr)


def wolf_iga_step(
    gains: np.ndarray, profile: np.ndarray, target: np.ndarray, lr_min: float, lr_max: float
) -> np.ndarray:
    """IGA with lr_min where V(p, q) > V(p*, q), that is while winning, else lr_max (Bowling and Veloso, 2002).

    Args:
        target: the equilibrium (p*, q*), [..., 2], which has to be known.
    """
    winning = (profile - target) * gradient(gains, profile) > 0
    return iga_step(gains, profile, np.where(winning, lr_min, lr_max))


def matrl_step(
    gains: np.ndarray,
    profile: np.ndarray,
    lr: float,
    lr_br: float,
    rule: str = "last",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Trial policies by IGA, Nash weights of the meta-game, a gradient step from the current policy at the mixture.

    Args:
        lr: of the trial policies.
        lr_br: of the best response.
        rule: which equilibrium of the meta-game if it has several (`two_by_two.select`); "current" and "predicted" put
            all weight there without solving it: IGA with lr_br, and IGA-PP with a projected prediction.
    """
    trial = iga_step(gains, profile, lr)
    rho = meta_weights(gains, profile, trial, rule, rng)
    return towards(gains, profile, rho * profile + (1 - rho) * trial, lr_br)


def towards(gains: np.ndarray, profile: np.ndarray, against: np.ndarray, lr: float | np.ndarray) -> np.ndarray:
    """A projected gradient step of both players from `profile`, each against the other's policy in `against`."""
    return np.clip(profile + lr * gradient(gains, against), 0.0, 1.0)


def meta_gains(gains: np.ndarray, profile: np.ndarray, trial: np.ndarray) -> np.ndarray:
    """Gains [..., 2, 2] of MATRL's meta-game with the actions "current" (0) and "predicted" (1).

    A player's payoff at (b1, b2) is V at the policies chosen, less V at the current ones. V is linear in a player's own
    probability, so current beats predicted by (p - trial p) dV1/dp at the other's chosen policy.
    """
    against = np.stack([gradient(gains, profile), gradient(gains, trial)], axis=-1)
    return (profile - trial)[..., None] * against


def meta_weights(
    gains: np.ndarray,
    profile: np.ndarray,
    trial: np.ndarray,
    rule: str = "last",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """rho [..., 2], each player's Nash weight on its current policy (0 if its trial is its current policy)."""
    if rule in ("current", "predicted"):
        return np.full(profile.shape, float(rule == "current"))
    meta = meta_gains(gains, profile, trial)
    # Nothing to solve where each player is at a bound or does better with its trial whatever the other chooses: nearly
    # everywhere.
    settled = ((meta[..., 0] < 0) & (meta[..., 1] < 0)) | (profile == trial)
    unsettled = ~(settled[..., 0] & settled[..., 1])
    rho = np.zeros(profile.shape)
    rho[unsettled] = select(equilibria(meta[unsettled]), rule, rng)
    return rho


def learn(step: Step, gains: np.ndarray, start: np.ndarray, n_steps: int) -> np.ndarray:
    """All profiles on the way: [n_steps + 1, ..., 2], the first being `start` [2] in every game."""
    path = np.empty((n_steps + 1, *gains.shape[:-1]))
    path[0] = start
    for t in range(n_steps):
        path[t + 1] = step(gains, path[t])
    return path


def near_equilibrium(path: np.ndarray, found: np.ndarray, radius: float = 0.05) -> np.ndarray:
    """Whether both probabilities are within `radius` of those of one equilibrium.

    Args:
        path: [T + 1, G, 2].
        found: `equilibria`, [G, E, 2], with NaN for none.

    Returns:
        [T + 1, G] of bool.
    """
    near = np.zeros(path.shape[:-1], dtype=bool)
    for k in range(found.shape[-2]):
        if not np.isnan(found[:, k, 0]).all():
            close = np.abs(path - found[:, k]) < radius  # false for NaN
            near |= close[..., 0] & close[..., 1]
    return near


def first_stay(near: np.ndarray, length: int = 1) -> np.ndarray:
    """Steps made before the first stay of `length` consecutive profiles near an equilibrium; -1 where there is none.

    Args:
        near: [T + 1, G] of bool. A stay that the end of the path cuts short does not count.
    """
    count = np.zeros((len(near) + 1, near.shape[1]), dtype=int)
    np.cumsum(near, axis=0, out=count[1:])
    stays = count[length:] - count[:-length] == length
    return np.where(stays.any(0), stays.argmax(0), -1) if len(stays) else np.full(near.shape[1], -1)
