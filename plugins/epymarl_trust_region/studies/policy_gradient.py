"""Independent natural policy gradient (INPG) and independent policy gradient (IPG) on tables.

"Independent natural policy gradient always converges in Markov potential games", section 2.1; IPG in the direct
parametrisation as Leonardos et al. (2021) have it. All agents move at once. A policy here is one agent's, [..., S, A]
(a leading `...` for runs that go in parallel); unavailable actions have probability 0 and keep it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame, average_out, joint_policy


def averaged_advantages(game: MarkovGame, policies: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A_i(s, a_i), averaged over the other agents' actions: N x [S, A^i]."""
    advantages = game.advantages(joint_policy(policies))
    own = [advantages] * game.n_agents if game.common_reward else advantages
    return [average_out(own[i], policies, [i]) for i in range(game.n_agents)]


def inpg_step(policy: np.ndarray, advantage: np.ndarray, rate: float) -> np.ndarray:
    """pi exp(rate A), normalised: Lemma 2.1, the softmax form of theta += eta F^+ grad V.

    Args:
        policy: [..., S, A].
        advantage: A_i, [..., S, A].
        rate: eta / (1 - gamma) for the paper's eta, grad V of the discounted return and a normalised visitation in F.
    """
    exponent = np.where(policy > 0, rate * advantage, -np.inf)
    weight = policy * np.exp(exponent - exponent.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def ipg_step(
    policy: np.ndarray, q: np.ndarray, visits: np.ndarray, rate: float, available: np.ndarray | None = None
) -> np.ndarray:
    """Proj(pi + rate d(s) Q_i(s, .)) state by state, on the simplex of the available actions.

    Args:
        policy: [..., S, A].
        q: Q_i, averaged over the other agents, [..., S, A].
        visits: d, [..., S].
        rate: eta.
        available: [S, A], or None: all actions are.
    """
    return project_to_simplex(policy + rate * visits[..., None] * q, available)


def project_to_simplex(x: np.ndarray, available: np.ndarray | None = None) -> np.ndarray:
    """The nearest distribution to each row of x [..., A] (Held, Wolfe and Crowder, 1974): max(x - tau, 0)."""
    x = x if available is None else np.where(available, x, -np.inf)
    ordered = -np.sort(-x, axis=-1)
    finite = np.where(np.isfinite(ordered), ordered, 0.0)
    excess = (finite.cumsum(-1) - 1) / np.arange(1, x.shape[-1] + 1)
    used = (ordered > excess).sum(-1, keepdims=True)
    return np.maximum(x - np.take_along_axis(excess, used - 1, -1), 0.0)


def softmax_gradient(policy: np.ndarray, advantage: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """grad of the return in one agent's logits: d(s) pi(a|s) A_i(s, a), [S, A], for the unnormalised visitation d."""
    return visits[:, None] * policy * advantage


def softmax_fisher(policy: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """The Fisher matrix of one agent's logits, a block d(s) (diag pi - pi pi^T) per state: [S A, S A]."""
    n_states, n_actions = policy.shape
    fisher = np.zeros((n_states, n_actions, n_states, n_actions))
    for s, p in enumerate(policy):
        fisher[s, :, s] = visits[s] * (np.diag(p) - np.outer(p, p))
    return fisher.reshape(n_states * n_actions, -1)
