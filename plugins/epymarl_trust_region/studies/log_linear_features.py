"""The log-linear form of exponential weights: pi^m ~ exp(phi_m(s, a^1..a^m) . theta^m) and theta^m += w^m / beta.

w^m regresses Q(s, a) on the features of the prefix, which averages the later agents out by itself. Feature tables are
[S, A^1, ..., A^m, D]; K samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from epymarl_trust_region.studies.log_linear_exact import log_softmax


def tabular_features(n_states: int, n_actions: Sequence[int]) -> list[np.ndarray]:
    """onehot(s, a^1..a^m) for every m: with these the log-linear step is the exact one."""
    tables = [(n_states, *n_actions[: m + 1]) for m in range(len(n_actions))]
    return [np.eye(math.prod(table)).reshape(*table, -1) for table in tables]


def pairwise_features(psi: np.ndarray, n_actions: Sequence[int]) -> list[np.ndarray]:
    """psi(s) x onehot(a^m), and onehot(a^j) x onehot(a^m) for j < m: D = A^m (P + A^1 + ... + A^{m-1}).

    Args:
        psi: features of the states, [S, P].
        n_actions: A^1, ..., A^N.
    """
    found = []
    for m, count in enumerate(n_actions):
        table = (len(psi), *n_actions[: m + 1])
        state, *actions = np.indices(table).reshape(m + 2, -1)
        context = [psi[state], *(np.eye(n_actions[j])[actions[j]] for j in range(m))]
        features = np.concatenate(context, -1)[:, :, None] * np.eye(count)[actions[m]][:, None, :]
        found.append(features.reshape(*table, -1))
    return found


def log_policies(features: Sequence[np.ndarray], thetas: Sequence[np.ndarray]) -> list[np.ndarray]:
    """log pi^m, N x [S, A^1, ..., A^m]."""
    return [log_softmax(phi @ theta) for phi, theta in zip(features, thetas, strict=True)]


def ridge_regression(
    features: np.ndarray, targets: np.ndarray, ridge: float = 0.0, weights: np.ndarray | None = None
) -> np.ndarray:
    """argmin over w of the mean of (features . w - targets)^2, plus ridge |w|^2; the shortest of several solutions.

    Args:
        features: [K, D].
        targets: [K].
        ridge: at least 0, in units of the mean squared feature.
        weights: of the samples, [K], not negative; default equal.

    Raises:
        ValueError: `ridge` is negative.
    """
    if not ridge >= 0:
        raise ValueError(f"ridge must be at least 0, but is {ridge}")
    weights = np.ones(len(targets)) if weights is None else weights
    root = np.sqrt(weights / weights.sum())
    design, goal = root[:, None] * features, root * targets
    if ridge == 0:
        return np.linalg.lstsq(design, goal, rcond=None)[0]
    return np.linalg.solve(design.T @ design + ridge * np.eye(features.shape[1]), design.T @ goal)


def log_linear_step(
    features: Sequence[np.ndarray],
    thetas: Sequence[np.ndarray],
    samples: tuple[np.ndarray, np.ndarray, np.ndarray],
    beta: float,
    ridge: float = 0.0,
    weights: np.ndarray | None = None,
) -> list[np.ndarray]:
    """theta^m + w^m / beta for every agent, with w^m the regression of the same targets on its own prefix.

    Args:
        features: phi_m, N x [S, A^1, ..., A^m, D_m].
        thetas: N x [D_m].
        samples: states [K], actions [K, N] and estimates of Q(s, a) at them [K].
        beta: weight of the KL, positive.
        ridge, weights: of `ridge_regression`.

    Raises:
        ValueError: beta is not positive, or `ridge` is negative.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, but is {beta}; a small one takes large steps")
    states, actions, targets = samples
    places = [(states, *actions.T[: m + 1]) for m in range(len(features))]
    at = [phi[place] for phi, place in zip(features, places, strict=True)]
    fits = [ridge_regression(design, targets, ridge, weights) for design in at]
    return [theta + fit / beta for theta, fit in zip(thetas, fits, strict=True)]
