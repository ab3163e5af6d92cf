"""Evaluation from fixed data with a linear Q = phi . omega: plain (LSTD) and pessimistic.

The pessimism is regularisation, as Zhao et al. (2023) have it for log-linear multi-agent PPO; its form follows
Bellman-consistent pessimism (Xie et al., 2021). Among all omega it takes the one that promises least, unless the data
speak against it:

    minimise  phi0 . omega + lam (C omega - b)' Sigma^-1 (C omega - b)

with Sigma = mean[phi phi'], C = mean[phi (phi - gamma phi'_pi)'], b = mean[phi r] and phi0 = E_{s0, pi} phi. The first
term is the estimate of the return, the second one the mean square of the projected Bellman error. The minimum
omega = C^-1 b - (1 / 2 lam) (C' Sigma^-1 C)^-1 phi0 is LSTD with the reward lowered by (1 / 2 lam) phi . C^-T phi0, an
estimate of how often pi visits (s, a), in multiples of the data's share. So an action that pi never takes is judged
without pessimism: a large improvement step runs into it.

K samples of D features. Their mean may be weighted, so that exact moments can be had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_HALVINGS = 200  # of the bracket of the multiplier that holds |omega| at its bound: to rounding


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The least-squares problem of evaluating one policy.

    Attributes:
        phi: features of the samples' (s, a), [K, D].
        change: phi - gamma phi'_pi, with phi'_pi the features of s' averaged over the evaluated policy, [K, D].
        rewards: [K].
        initial: phi0, [D].
        weights: of the samples, [K] with sum 1.
        ridge: added to the diagonals of Sigma and C. It draws Q towards 0 where there are no data: that is pessimistic
            where rewards are positive, and optimistic where they are negative.
    """

    phi: np.ndarray
    change: np.ndarray
    rewards: np.ndarray
    initial: np.ndarray
    weights: np.ndarray
    ridge: float

    def __post_init__(self) -> None:
        if not self.ridge >= 0:
            raise ValueError(f"ridge must be at least 0, but is {self.ridge}")

    @cached_property
    def sigma(self) -> np.ndarray:
        """Mean of phi phi', [D, D]."""
        return self._mean_with(self.phi) + self.ridge * np.eye(len(self.initial))

    @cached_property
    def c(self) -> np.ndarray:
        """Mean of phi (phi - gamma phi'_pi)', [D, D]."""
        return self._mean_with(self.change) + self.ridge * np.eye(len(self.initial))

    @cached_property
    def b(self) -> np.ndarray:
        """Mean of phi r, [D]."""
        return self._mean_with(self.rewards)

    @cached_property
    def ratio(self) -> np.ndarray:
        """C^-T phi0, [D]: phi . ratio estimates how often pi visits (s, a), in multiples of the data's share."""
        return _solve(self.c.T, self.initial)

    @cached_property
    def doubt(self) -> float:
        """phi0' (C' Sigma^-1 C)^-1 phi0, the squared length of phi0 in what the data leave open."""
        return float(self.ratio @ self.sigma @ self.ratio)

    def estimate(self, omega: np.ndarray) -> float:
        """phi0 . omega, the return that omega promises."""
        return float(self.initial @ omega)

    def bellman_error(self, omega: np.ndarray) -> float:
        """(C omega - b)' Sigma^-1 (C omega - b)."""
        off = self.c @ omega - self.b
        return float(off @ _solve(self.sigma, off))

    def _mean_with(self, other: np.ndarray) -> np.ndarray:
        return (self.phi * self.weights[:, None]).T @ other


def lstd(problem: Evaluation, max_norm: float = math.inf) -> np.ndarray:
    """omega = C^-1 b; or, if that is longer than `max_norm`, the least Bellman error within it."""
    omega = _solve(problem.c, problem.b)
    return omega if np.linalg.norm(omega) <= max_norm else _bounded(problem, 0.0 * problem.initial, max_norm)


def pessimistic(problem: Evaluation, lam: float, max_norm: float = math.inf) -> np.ndarray:
    """omega = C^-1 b - (1 / 2 lam) (C' Sigma^-1 C)^-1 phi0; or the minimum within |omega| <= `max_norm`.

    Raises:
        ValueError: lam is not positive, or the data do not cover the features and there is no ridge.
    """
    if not lam > 0:
        raise ValueError(f"lam must be positive, but is {lam}; a large one trusts the data")
    omega = _solve(problem.c, problem.b - problem.sigma @ problem.ratio / (2 * lam))
    return omega if np.linalg.norm(omega) <= max_norm else _bounded(problem, problem.initial / lam, max_norm)


def confident_lam(problem: Evaluation, z: float, noise: float) -> float:
    """The lam that puts the estimate z standard errors below LSTD's, `doubt` and the samples' number deciding.

    LSTD's estimate has the variance `doubt` noise^2 / K where temporal-difference errors have the standard deviation
    `noise`, and pessimism takes `doubt` / (2 lam) off. So lam = sqrt(`doubt` K) / (2 z noise).

    Raises:
        ValueError: z or noise is not positive.
    """
    if not (z > 0 and noise > 0):
        raise ValueError(f"z and noise must be positive, but are {z} and {noise}")
    return math.sqrt(problem.doubt * len(problem.rewards)) / (2 * z * noise)


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        raise ValueError("the data do not cover the features (a singular matrix): use ridge > 0") from None


def _bounded(problem: Evaluation, slope: np.ndarray, max_norm: float) -> np.ndarray:
    """argmin over |omega| <= max_norm of slope . omega + bellman_error, where the bound is active.

    (2 H + mu I) omega = 2 C' Sigma^-1 b - slope with H = C' Sigma^-1 C; |omega| falls as mu grows.
    """
    weighted = _solve(problem.sigma, problem.c)
    right = 2 * weighted.T @ problem.b - slope
    values, vectors = np.linalg.eigh(2 * problem.c.T @ weighted)
    values, turned = np.maximum(values, 0), vectors.T @ right
    low, high = 0.0, float(np.linalg.norm(right) / max_norm)
    for _ in range(_HALVINGS):
        mu = (low + high) / 2
        low, high = (mu, high) if np.linalg.norm(turned / (values + mu)) > max_norm else (low, mu)
    return vectors @ (turned / (values + high))


def noise_scale(rewards: np.ndarray, gamma: float, steps: int | None = None) -> float:
    """std(r) times the discounted number of steps: how far values can be apart, for `confident_lam`.

    Not the temporal-difference errors that LSTD leaves: they are small for a policy that walks where there are no data.

    Args:
        steps: of the longest episode; None: episodes do not end, and gamma must be below 1.
    """
    horizon = 1 / (1 - gamma) if steps is None else sum(gamma**t for t in range(steps))
    return float(rewards.std()) * horizon
