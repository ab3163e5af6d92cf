"""Finite batches whose plain mean *is* the exact expectation: the bridge from exact games to the learners.

A learner averages over samples. If every joint action appears in the batch exactly in proportion to its probability,
that average has no sampling error, and what the learner computes can be held to enumeration at 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def exact_batch(
    policies: Sequence[np.ndarray], denominator: int, state_counts: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All (state, joint action) samples of rational per-agent policies, each as often as its probability says.

    In state s the joint action a appears `state_counts[s] * denominator^N * prod_i pi^i(a^i|s)` times. So the mean over
    the batch of f(s, a) is sum_s w(s) sum_a pi(a|s) f(s, a), with w = state_counts / sum(state_counts). The values of a
    table [S, A^1, ..., A^N] at the samples are `table[(states, *actions.T)]`.

    Args:
        policies: N arrays [S, A^i] of multiples of 1/denominator.
        denominator: the common denominator m.
        state_counts: copies of each state, [S]; default 1 each.

    Returns:
        states [K] and actions [K, N], integers, K = sum(state_counts) * denominator^N; ordered by state.

    Raises:
        ValueError: a probability is not a multiple of 1/denominator, or a row does not sum to 1.
    """
    tickets = np.stack([_tickets(policy, denominator) for policy in policies])  # [N, S, m]
    n_agents, n_states, _ = tickets.shape
    draws = np.indices((denominator,) * n_agents).reshape(n_agents, -1)  # [N, m^N]: which ticket each agent draws
    per_state = tickets[np.arange(n_agents)[:, None], :, draws]  # [N, m^N, S]
    counts = np.ones(n_states, dtype=int) if state_counts is None else np.asarray(state_counts)
    states = np.repeat(np.arange(n_states), counts)
    actions = per_state[:, :, states].transpose(2, 1, 0).reshape(-1, n_agents)
    return np.repeat(states, draws.shape[1]), actions


def rational_policies(
    rng: np.random.Generator, n_states: int, n_actions: Sequence[int], denominator: int
) -> list[np.ndarray]:
    """Random per-agent policies N x [S, A^i] in multiples of 1/denominator, no probability zero.

    Raises:
        ValueError: `denominator` is smaller than an action count.
    """
    if denominator < max(n_actions):
        raise ValueError(f"denominator must be at least {max(n_actions)}, the largest action count, not {denominator}")
    extra = [rng.multinomial(denominator - n, np.ones(n) / n, size=n_states) for n in n_actions]
    return [(1 + more) / denominator for more in extra]


def _tickets(policy: np.ndarray, denominator: int) -> np.ndarray:
    """[S, m]: each action of a state written on as many of m tickets as its probability says."""
    counts = np.rint(policy * denominator).astype(int)
    if not np.allclose(counts, policy * denominator, rtol=0, atol=1e-9) or (counts < 0).any():
        raise ValueError(f"a policy has probabilities that are not multiples of 1/{denominator}")
    if (counts.sum(-1) != denominator).any():
        raise ValueError("a policy's probabilities do not sum to 1 in every state")
    return np.stack([np.repeat(np.arange(row.size), row) for row in counts])
