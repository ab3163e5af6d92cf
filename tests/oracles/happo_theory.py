"""The exact update of HATRPO/HAPPO's Algorithm 1 for tabular policies, the step that Theorem 2 proves monotone.

Agent i_m maximises  sum_s d(s) <p'(s) - p(s), g(s)> - C max_s KL(p(s) || p'(s))  over its own policy p', where p is its
old policy, d the unnormalised visitation, g(s, a) the mean of A_pi(s, a^1..a^N) with earlier agents at their new and
later ones at their old policies, and C = 4 gamma max|A_pi| / (1 - gamma)^2. For a given radius kappa = max_s KL the
states separate (`best_in_kl_ball`); what remains is a search over one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from epymarl_trust_region.games.markov import MarkovGame, average_out, joint_policy

_BISECTIONS = 60  # halves an interval of 80 in log(mu - max g) to below rounding
_LOG_MU_SPAN = 40.0
_RADII = 64  # per round of the search; three rounds narrow eleven decades to less than 1e-3 of the radius
_ROUNDS = 3
_LOG_RADIUS_RANGE = (-10.0, 1.0)  # decades of KL, in nats


@dataclass(frozen=True)
class MonotonicStep:
    """Result of one pass over all agents.

    Attributes:
        policies: the new per-agent policies, N x [S, A^i].
        bound: sum over agents of the maximised objective; J grows by at least this much (Lemma 2). Never negative.
    """

    policies: list[np.ndarray]
    bound: float


def penalty_coefficient(advantages: np.ndarray, gamma: float) -> float:
    """C = 4 gamma max|A| / (1 - gamma)^2 of Theorem 1, for an advantage table of any shape."""
    return 4 * gamma * float(np.abs(advantages).max()) / (1 - gamma) ** 2


def best_in_kl_ball(policy: np.ndarray, gain: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Per state, the p' that maximises <p', gain> subject to KL(policy || p') <= radius.

    Stationarity gives p'(a) = nu p(a) / (mu - g(a)) with mu > max g; nu normalises, and KL falls as mu grows, so mu is
    found by bisection. With e = (mu - max g) / range(g) and h = (max g - g) / range(g) in [0, 1], p' is proportional to
    p / (e + h).

    Args:
        policy: p, [S, A], positive.
        gain: g, [S, A].
        radius: kappa >= 0 in nats, a number or an array that broadcasts against [..., S].

    Returns:
        p', [..., S, A]; never outside the ball by more than rounding.
    """
    spread = np.ptp(gain, axis=-1, keepdims=True)
    short = (gain.max(-1, keepdims=True) - gain) / np.where(spread > 0, spread, 1.0)
    radius = np.asarray(radius, dtype=float)
    low = np.full(np.broadcast_shapes(radius.shape, policy.shape[:-1]), -_LOG_MU_SPAN)
    high = -low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        inside = _kl(policy, _tilt(policy, short, middle)) <= radius
        low, high = np.where(inside, low, middle), np.where(inside, middle, high)
    return _tilt(policy, short, high)  # the inner end of the bracket


def exact_agent_step(
    policy: np.ndarray, gain: np.ndarray, visits: np.ndarray, penalty: float
) -> tuple[np.ndarray, float]:
    """Line 7 of Algorithm 1: one agent's penalised maximisation.

    The best value inside a ball is concave in its radius, so a grid over log radius, refined around its best point,
    finds it.

    Args:
        policy: the agent's old policy, [S, A], positive.
        gain: g, [S, A].
        visits: unnormalised discounted visitation, [S].
        penalty: C.

    Returns:
        The new policy [S, A] and the maximised objective; the old policy and 0 if no radius gains anything.
    """
    best, best_value = policy, 0.0
    low, high = _LOG_RADIUS_RANGE
    for _ in range(_ROUNDS):
        radii = np.logspace(low, high, _RADII)
        candidates = best_in_kl_ball(policy, gain, radii[:, None])  # [K, S, A]
        # The penalty is charged for the KL that was really spent: at most the radius.
        spent = _kl(policy, candidates).max(-1)
        value = np.einsum("s,ksa,sa->k", visits, candidates - policy, gain) - penalty * spent
        top = int(value.argmax())
        if value[top] > best_value:
            best, best_value = candidates[top], float(value[top])
        low, high = np.log10(radii[max(top - 1, 0)]), np.log10(radii[min(top + 1, _RADII - 1)])
    return best, best_value


def monotonic_step(game: MarkovGame, policies: Sequence[np.ndarray], order: Sequence[int]) -> MonotonicStep:
    """Lines 3-8 of Algorithm 1: all agents once, in this order, all against the advantages of the old joint policy.

    Args:
        game: a game with a common reward.
        policies: per-agent policies N x [S, A^i], all probabilities positive.
        order: a permutation of the agents.

    Raises:
        ValueError: the game has individual rewards, for which the theorem says nothing, or `order` is no permutation.
    """
    if not game.common_reward:
        raise ValueError("Theorem 2 is about a common reward: give the game one reward table, not one per agent")
    if sorted(order) != list(range(game.n_agents)):
        raise ValueError(f"order must be a permutation of the {game.n_agents} agents, but is {list(order)}")
    joint = joint_policy(policies)
    advantages, visits = game.advantages(joint), game.visitation(joint)
    penalty = penalty_coefficient(advantages, game.gamma)
    new, bound = list(policies), 0.0
    for agent in order:
        gain = average_out(advantages, new, [agent])  # agents not yet visited are still at their old policies
        new[agent], value = exact_agent_step(policies[agent], gain, visits, penalty)
        bound += value
    return MonotonicStep(new, bound)


def _tilt(policy: np.ndarray, short: np.ndarray, log_excess: np.ndarray) -> np.ndarray:
    """p / (1 + h/e), normalised, for log e [..., S]: the same as p / (e + h), but exact for large e."""
    weight = policy / (1 + short * np.exp(-log_excess)[..., None])
    return weight / weight.sum(-1, keepdims=True)


def _kl(policy: np.ndarray, other: np.ndarray) -> np.ndarray:
    """KL(policy || other) over the last axis, in nats."""
    return (policy * (np.log(policy) - np.log(other))).sum(-1)
