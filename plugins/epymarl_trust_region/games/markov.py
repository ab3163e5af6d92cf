"""A small exact Markov-game kernel: every expectation is a sum over all states and joint actions, nothing is sampled.

Shapes: S states, N agents, A^i actions of agent i (unequal counts are fine). A *table* has one axis per agent after the
state axis, [S, A^1, ..., A^N]; individual rewards put an agent axis in front, [N, S, A^1, ..., A^N], and then so do the
values, Q and advantages made from them. A product policy is a list of N arrays [S, A^i] ("per-agent policies"); a joint
policy is one table, so that policies which condition on earlier agents' actions can be evaluated too.

Meant for tests and oracles: memory is S^2 times the number of joint actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_ATOL = 1e-9  # how far a distribution may be from summing to 1


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class MarkovGame:
    """A finite discounted Markov game.

    Args:
        transition: P(s'|s, a), [S, A^1, ..., A^N, S].
        reward: common reward [S, A^1, ..., A^N], or individual rewards [N, S, A^1, ..., A^N].
        initial: distribution of the first state, [S].
        gamma: discount in [0, 1); 0 makes it a one-shot game.

    Raises:
        ValueError: shapes disagree, a distribution is not one, or gamma is outside [0, 1).
    """

    transition: np.ndarray
    reward: np.ndarray
    initial: np.ndarray
    gamma: float

    def __post_init__(self) -> None:
        table = self.transition.shape[:-1]
        if self.transition.ndim < 3 or self.transition.shape[-1] != table[0]:
            raise ValueError(f"transition must be [S, A^1, ..., A^N, S], but has shape {self.transition.shape}")
        if self.reward.shape not in (table, (self.n_agents, *table)):
            raise ValueError(f"reward must be {table} or {(self.n_agents, *table)}, but has shape {self.reward.shape}")
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must be in [0, 1), but is {self.gamma}")
        _check_distribution("transition", self.transition)
        _check_distribution("initial", self.initial, (self.n_states,))

    @property
    def n_states(self) -> int:
        return self.transition.shape[-1]

    @property
    def n_agents(self) -> int:
        return self.transition.ndim - 2

    @property
    def n_actions(self) -> tuple[int, ...]:
        """Action counts (A^1, ..., A^N)."""
        return self.transition.shape[1:-1]

    @property
    def common_reward(self) -> bool:
        return self.reward.ndim == self.n_agents + 1

    def values(self, joint: np.ndarray) -> np.ndarray:
        """V of a joint policy [S, A^1, ..., A^N]: [S], or [N, S] with individual rewards. Solves V = r + gamma P V."""
        reward = (joint * self.reward).sum(axis=self._action_axes)
        return np.linalg.solve(np.eye(self.n_states) - self.gamma * self._state_kernel(joint), reward.T).T

    def q_values(self, joint: np.ndarray) -> np.ndarray:
        """Q(s, a) of a joint policy, of the reward's shape."""
        return self.reward + self.gamma * np.tensordot(self.values(joint), self.transition, axes=(-1, -1))

    def advantages(self, joint: np.ndarray) -> np.ndarray:
        """A(s, a) = Q(s, a) - V(s) of a joint policy, of the reward's shape."""
        return self.q_values(joint) - np.expand_dims(self.values(joint), self._action_axes)

    def visitation(self, joint: np.ndarray, normalised: bool = False) -> np.ndarray:
        """Discounted visitation sum_t gamma^t Pr(s_t = s), [S]; it sums to 1/(1-gamma), or to 1 if `normalised`."""
        visits = np.linalg.solve(np.eye(self.n_states) - self.gamma * self._state_kernel(joint).T, self.initial)
        return visits * (1 - self.gamma) if normalised else visits

    def objective(self, joint: np.ndarray) -> np.ndarray:
        """J, the expected discounted return from the initial distribution: a scalar, or [N]."""
        return self.values(joint) @ self.initial

    def best_response_values(self, policies: Sequence[np.ndarray], agent: int) -> np.ndarray:
        """V of the best that `agent` can do from each state while the others keep their per-agent policies: [S].

        Policy iteration on the Markov decision process that the others leave to `agent`.
        """
        own_reward = self.reward if self.common_reward else self.reward[agent]
        reward = average_out(own_reward, policies, [agent])  # [S, A]
        kernel = np.moveaxis(average_out(np.moveaxis(self.transition, -1, 0), policies, [agent]), 0, -1)  # [S, A, S]
        states, choice = np.arange(self.n_states), reward.argmax(-1)
        while True:
            value = np.linalg.solve(np.eye(self.n_states) - self.gamma * kernel[states, choice], reward[states, choice])
            q = reward + self.gamma * kernel @ value
            better = q.max(-1) > value + 1e-12 * (1 + np.abs(value))  # rounding must not make ties cycle
            if not better.any():
                return value
            choice = np.where(better, q.argmax(-1), choice)

    def best_response_gap(self, policies: Sequence[np.ndarray]) -> np.ndarray:
        """What each agent would gain in J by its best response alone, [N]; all zero exactly at a Nash equilibrium."""
        now = np.broadcast_to(self.objective(joint_policy(policies)), (self.n_agents,))
        best = [self.best_response_values(policies, agent) @ self.initial for agent in range(self.n_agents)]
        return np.array(best) - now

    @property
    def _action_axes(self) -> tuple[int, ...]:
        return tuple(range(-self.n_agents, 0))

    def _state_kernel(self, joint: np.ndarray) -> np.ndarray:
        """P_pi(s'|s), [S, S]."""
        flat = self.transition.reshape(self.n_states, -1, self.n_states)
        return np.einsum("sk,skt->st", joint.reshape(self.n_states, -1), flat)


def joint_policy(policies: Sequence[np.ndarray]) -> np.ndarray:
    """Product of per-agent policies N x [S, A^i] as one table [S, A^1, ..., A^N]."""
    operands: list[Any] = [item for i, policy in enumerate(policies) for item in (policy, [0, i + 1])]
    return np.einsum(*operands, list(range(len(policies) + 1)))


def average_out(table: np.ndarray, policies: Sequence[np.ndarray], keep: Sequence[int]) -> np.ndarray:
    """Expectation of a table over the actions of every agent that is not in `keep`, under their per-agent policies.

    Args:
        table: [..., S, A^1, ..., A^N].
        policies: N arrays [S, A^i]; those of the agents in `keep` are not read.
        keep: the agents i_1, ..., i_m whose actions stay, in any order.

    Returns:
        [..., S, A^{i_1}, ..., A^{i_m}], axes in the order of `keep`.
    """
    others = [i for i in range(len(policies)) if i not in keep]
    operands: list[Any] = [item for i in others for item in (policies[i], [0, i + 1])]
    axes: list[Any] = [..., *range(len(policies) + 1)]
    kept: Any = [..., 0, *(i + 1 for i in keep)]
    return np.einsum(table, axes, *operands, kept)


def multi_agent_q(q: np.ndarray, policies: Sequence[np.ndarray], agents: Sequence[int]) -> np.ndarray:
    """Q^{i_1:m}(s, a^{i_1:m}): the others act by their policies (HATRPO/HAPPO, Definition 1).

    Args:
        q: joint Q of these policies, [S, A^1, ..., A^N].
        agents: i_1, ..., i_m in order; empty gives V.

    Returns:
        [S, A^{i_1}, ..., A^{i_m}].
    """
    return average_out(q, policies, agents)


def multi_agent_advantage(
    q: np.ndarray, policies: Sequence[np.ndarray], earlier: Sequence[int], agents: Sequence[int]
) -> np.ndarray:
    """A^{i_1:m}(s, a^{j_1:k}, a^{i_1:m}) = Q^{j_1:k, i_1:m} - Q^{j_1:k} (HATRPO/HAPPO, Definition 1).

    With `earlier` = i_1..i_{m-1} and `agents` = [i_m] it is the advantage that agent i_m maximises in its turn.

    Args:
        q: joint Q of these policies, [S, A^1, ..., A^N].
        earlier: j_1, ..., j_k, whose actions are given.
        agents: i_1, ..., i_m, whose actions are judged.

    Returns:
        [S, A^{j_1}, ..., A^{j_k}, A^{i_1}, ..., A^{i_m}].
    """
    given, broadcast = multi_agent_q(q, policies, earlier), (..., *(None,) * len(agents))
    return multi_agent_q(q, policies, [*earlier, *agents]) - given[broadcast]


def random_game(
    rng: np.random.Generator,
    n_states: int = 3,
    n_actions: Sequence[int] = (2, 3, 2),
    gamma: float = 0.9,
    common_reward: bool = True,
) -> MarkovGame:
    """A game with uniform rewards in [-1, 1] and flat Dirichlet transitions and initial distribution."""
    table = (n_states, *n_actions)
    return MarkovGame(
        transition=rng.dirichlet(np.ones(n_states), size=table),
        reward=rng.uniform(-1, 1, size=table if common_reward else (len(n_actions), *table)),
        initial=rng.dirichlet(np.ones(n_states)),
        gamma=gamma,
    )


def random_policies(rng: np.random.Generator, n_states: int, n_actions: Sequence[int]) -> list[np.ndarray]:
    """Per-agent policies N x [S, A^i], each row a flat Dirichlet draw."""
    return [rng.dirichlet(np.ones(count), size=n_states) for count in n_actions]


def _check_distribution(name: str, values: np.ndarray, shape: tuple[int, ...] | None = None) -> None:
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, but has {values.shape}")
    if (values < 0).any() or not np.allclose(values.sum(-1), 1, rtol=0, atol=_ATOL):
        raise ValueError(f"{name} must be non-negative and sum to 1 over its last axis")
