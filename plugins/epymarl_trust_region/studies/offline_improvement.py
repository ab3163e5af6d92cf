"""Policy improvement from fixed data: evaluate, then exponential weights with the prefix averages of Q = phi . omega.

With the pessimistic omega this follows the gradient of what it minimises, J_LSTD - `doubt` / (4 lam), which is concave
in the visitation and curved most where the data are few: with too small a beta the iterates jump to and fro.

Feature tables are [S, A^1, ..., A^N, D]; K samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame
from epymarl_trust_region.numerics.pessimistic import Evaluation
from epymarl_trust_region.studies.log_linear_exact import Tables, autoregressive_step, joint_of


class Transitions(NamedTuple):
    """Samples (s, a, r, s'): states [K], actions [K, N], rewards [K], next states [K]."""

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_states: np.ndarray


def sample_transitions(game: MarkovGame, weights: np.ndarray, n: int, rng: np.random.Generator) -> Transitions:
    """n independent draws of (s, a) from `weights`, [S, A^1, ..., A^N] with sum 1, and of s' from the game."""
    chosen = rng.choice(weights.size, size=n, p=weights.ravel())
    states, *actions = np.unravel_index(chosen, weights.shape)
    rows = game.transition.reshape(-1, game.n_states)[chosen].cumsum(-1)
    after = (rng.random(n)[:, None] > rows[:, :-1]).sum(-1)
    return Transitions(states, np.array(actions).T, game.reward.ravel()[chosen], after)


def evaluate(
    data: Transitions, features: np.ndarray, joint: np.ndarray, initial: np.ndarray, gamma: float, ridge: float = 0.0
) -> Evaluation:
    """The problem of evaluating `joint`, [S, A^1, ..., A^N], from samples; `initial` is the distribution of s0, [S]."""
    taken = (data.states, *data.actions.T)
    phi = features[taken]
    of_state = _mean_features(features, joint)
    weights = np.full(len(phi), 1 / len(phi))
    return Evaluation(phi, phi - gamma * of_state[data.next_states], data.rewards, initial @ of_state, weights, ridge)


def evaluate_exactly(
    game: MarkovGame, weights: np.ndarray, features: np.ndarray, joint: np.ndarray, ridge: float = 0.0
) -> Evaluation:
    """The same from as many data as one likes: every (s, a) with its weight, [S, A^1, ..., A^N] with sum 1."""
    of_state = _mean_features(features, joint)
    phi = features.reshape(weights.size, -1)
    after = game.transition.reshape(weights.size, -1) @ of_state
    return Evaluation(
        phi, phi - game.gamma * after, game.reward.ravel(), game.initial @ of_state, weights.ravel(), ridge
    )


class Iterate(NamedTuple):
    """A policy on the way, and the return that its own evaluation promises."""

    log_policies: Tables
    estimate: float


def improve(
    make_problem: Callable[[np.ndarray], Evaluation],
    features: np.ndarray,
    start: Sequence[np.ndarray],
    solve: Callable[[Evaluation], np.ndarray],
    beta: float,
    iterations: int,
) -> list[Iterate]:
    """Offline improvement: solve for omega, then exponential weights with the prefix averages of Q = phi . omega.

    Args:
        make_problem: joint policy [S, A^1, ..., A^N] -> its evaluation on the data.
        features: [S, A^1, ..., A^N, D].
        start: log-policies pi_0, autoregressive.
        solve: `lstd` or `pessimistic` with its lam.
        beta: weight of the KL.
        iterations: K.

    Returns:
        pi_0, ..., pi_K. The theorem is about playing one of them drawn at random.
    """
    log_policies, found = list(start), []
    for k in range(iterations + 1):
        problem = make_problem(joint_of(log_policies))
        omega = solve(problem)
        found.append(Iterate(log_policies, problem.estimate(omega)))
        if k < iterations:
            log_policies = autoregressive_step(features @ omega, log_policies, beta)
    return found


def _mean_features(features: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """E_{a ~ pi(.|s)} phi(s, a), [S, D]."""
    n_states = len(joint)
    return np.einsum("sk,skd->sd", joint.reshape(n_states, -1), features.reshape(n_states, -1, features.shape[-1]))
