"""Log-linear multi-agent PPO on tables: exact exponential weights for policies that see the earlier agents' actions.

Zhao et al. (2023), "Local Optimization Achieves Global Optimality in Multi-Agent Reinforcement Learning". An
*autoregressive* policy is a list of N tables pi^m(a^m|s, a^1..a^{m-1}), [S, A^1, ..., A^m]; a *product* policy is a
list of N tables [S, A^m]. The reward is common. Every agent m maximises <Q_k^{1:m}, pi> - beta KL(pi || pi_k), so that
pi_{k+1}^m is proportional to pi_k^m exp(Q_k^{1:m} / beta).

Steps take and give *logarithms* of policies: a probability that falls below the smallest float can come back.

Seen from (s, a^1..a^{m-1}), agent m is the only one that acts, and Q^{1:m} is its Q: this is exponential weights of one
agent on the tree of prefixes. Therefore V never falls at any state for any beta, and the gap closes as 1/K.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame, average_out

Tables = list[np.ndarray]
Step = Callable[[np.ndarray, Sequence[np.ndarray], float], Tables]  # (Q [S, A^1..A^N], log-policies, beta) -> the same


def uniform_autoregressive(game: MarkovGame) -> Tables:
    """log pi^m = -log A^m, N x [S, A^1, ..., A^m]."""
    counts = game.n_actions
    return [np.full((game.n_states, *counts[: m + 1]), -np.log(counts[m])) for m in range(game.n_agents)]


def uniform_product(game: MarkovGame) -> Tables:
    """log pi^m = -log A^m, N x [S, A^m]."""
    return [np.full((game.n_states, count), -np.log(count)) for count in game.n_actions]


def as_autoregressive(product: Sequence[np.ndarray]) -> Tables:
    """Per-agent tables N x [S, A^m], policies or their logs, repeated for every prefix: N x [S, A^1, ..., A^m]."""
    counts = [table.shape[-1] for table in product]
    spread = [table.reshape(len(table), *(1,) * m, -1) for m, table in enumerate(product)]
    return [np.broadcast_to(t, (len(t), *counts[: m + 1])).copy() for m, t in enumerate(spread)]


def joint_autoregressive(policies: Sequence[np.ndarray]) -> np.ndarray:
    """prod_m pi^m(a^m|s, a^1..a^{m-1}), [S, A^1, ..., A^N]."""
    return reduce(lambda joint, policy: joint[..., None] * policy, policies)


def prefix_q(q: np.ndarray, policies: Sequence[np.ndarray]) -> Tables:
    """Q^{1:m}(s, a^1..a^m) for every m, the later agents at their autoregressive policies: N x [S, A^1, ..., A^m]."""
    tables = [q]
    for policy in policies[:0:-1]:
        tables.append((policy * tables[-1]).sum(-1))
    return tables[::-1]


def autoregressive_step(q: np.ndarray, log_policies: Sequence[np.ndarray], beta: float) -> Tables:
    """pi_{k+1}^m ~ pi_k^m exp(Q_k^{1:m} / beta), all agents against the same Q_k.

    Raises:
        ValueError: beta is not positive.
    """
    gains = prefix_q(q, [np.exp(table) for table in log_policies])
    return [exponential_weights(old, gain, beta) for old, gain in zip(log_policies, gains, strict=True)]


def sequential_step(
    q: np.ndarray, log_policies: Sequence[np.ndarray], beta: float, order: Sequence[int] | None = None
) -> Tables:
    """Product policies in turn: Q_k averaged over the new policies of agents before m and the old ones of those after.

    Monotone at every state, but where it stops is a Nash point and no more.

    Args:
        q: Q_k, [S, A^1, ..., A^N].
        log_policies: N x [S, A^m].
        beta: weight of the KL.
        order: a permutation of the agents; default 0, 1, ..., N-1.

    Raises:
        ValueError: beta is not positive, or `order` is no permutation.
    """
    order = range(len(log_policies)) if order is None else order
    if sorted(order) != list(range(len(log_policies))):
        raise ValueError(f"order must be a permutation of the {len(log_policies)} agents, but is {list(order)}")
    new = list(log_policies)
    for m in order:
        gain = average_out(q, [np.exp(table) for table in new], [m])
        new[m] = exponential_weights(new[m], gain, beta)
    return new


def simultaneous_step(q: np.ndarray, log_policies: Sequence[np.ndarray], beta: float) -> Tables:
    """Product policies all at once, Q_k averaged over everybody's old policy: not monotone."""
    old = [np.exp(table) for table in log_policies]
    return [exponential_weights(table, average_out(q, old, [m]), beta) for m, table in enumerate(log_policies)]


def exponential_weights(log_policy: np.ndarray, gain: np.ndarray, beta: float) -> np.ndarray:
    """log of pi exp(gain / beta), normalised over the last axis: argmax <gain, p> - beta KL(p || pi).

    Raises:
        ValueError: beta is not positive.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, but is {beta}; a small one takes large steps")
    return log_softmax(log_policy + gain / beta)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The iterates of `learn`.

    Attributes:
        values: V_k(s) of pi_0, ..., pi_K, [K + 1, S].
        log_policies: of pi_K.
    """

    values: np.ndarray
    log_policies: Tables


def learn(game: MarkovGame, start: Sequence[np.ndarray], step: Step, beta: float, iterations: int) -> Trajectory:
    """K iterations of a step with the exact Q of every iterate.

    Raises:
        ValueError: the game has individual rewards.
    """
    if not game.common_reward:
        raise ValueError("log-linear PPO is about a common reward: give the game one reward table, not one per agent")
    log_policies, values = list(start), []
    for k in range(iterations + 1):
        joint = joint_of(log_policies)
        values.append(game.values(joint))
        if k < iterations:
            log_policies = step(game.q_values(joint), log_policies, beta)
    return Trajectory(np.array(values), log_policies)


def joint_of(log_policies: Sequence[np.ndarray]) -> np.ndarray:
    """The joint policy [S, A^1, ..., A^N] of autoregressive or of product policies."""
    if all(table.ndim == 2 for table in log_policies):
        log_policies = as_autoregressive(log_policies)
    return joint_autoregressive([np.exp(table) for table in log_policies])


def beta_schedule(q_max: float, iterations: int, n_actions: int) -> float:
    """beta = Qmax sqrt(K / (2 log A)), which makes `average_gap_bound` smallest; constant over the K iterations."""
    return q_max * math.sqrt(iterations / (2 * math.log(n_actions)))


def average_gap_bound(q_max: float, iterations: int, n_actions: int, n_agents: int, gamma: float) -> float:
    """N/(1-gamma) Qmax sqrt(2 log A / K) >= mean over k = 0..K-1 of V*(s) - V_k(s), from a uniform start.

    For |Q| <= Qmax, the largest A of the agents and the beta of `beta_schedule`.
    """
    return n_agents / (1 - gamma) * q_max * math.sqrt(2 * math.log(n_actions) / iterations)


def fast_gap_bound(beta: float, iterations: int, n_actions: int, n_agents: int, span: float, gamma: float) -> float:
    """N (beta log A + span) / ((1-gamma) K) >= the same mean, for every beta: exact evaluation closes the gap as 1/K.

    With A = Q^{1:m} - Q^{1:m-1} and Z = E_{pi_k} exp(A / beta): A(a*) = beta log(pi_{k+1}(a*) / pi_k(a*)) + beta log Z,
    whose first part telescopes to beta log A^m, and beta log Z <= V_{k+1} - V_k at that prefix, which telescopes to
    `span`, the range of Q.
    """
    return n_agents * (beta * math.log(n_actions) + span) / ((1 - gamma) * iterations)


def optimal_values(game: MarkovGame) -> np.ndarray:
    """max over all joint policies of V(s), [S]: the joint action as one agent's, by policy iteration."""
    flat = (game.n_states, math.prod(game.n_actions))
    one_agent = MarkovGame(
        game.transition.reshape(*flat, game.n_states), game.reward.reshape(flat), game.initial, game.gamma
    )
    return one_agent.best_response_values([np.full(flat, 1 / flat[1])], 0)
