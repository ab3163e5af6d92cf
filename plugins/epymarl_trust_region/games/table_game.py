"""Small games of several states and a last step, in tables: what policies are worth, and what a best response gains.

Shapes: S states, N agents, A^i actions of agent i. A table has one axis per agent after the state axis, [S, A^1, ...,
A^N]; per-agent policies are N arrays [S, A^i], the same at every step. Nothing is sampled, and nothing is discounted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epymarl_trust_region.games.markov import average_out


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class TableGame:
    """A game of at most `horizon` steps that begins in state 0; the next state follows from the joint action.

    Args:
        reward: of each agent, [N, S, A^1, ..., A^N].
        next_state: [S, A^1, ..., A^N]; S is the end.
        available: which actions there are, N arrays [S, A^i] of booleans; None: all of them.
        horizon: steps after which the game is over wherever it is.
        values: what the agents win in the equilibrium, [N], where that is known.

    Raises:
        ValueError: shapes disagree, or a state has no action.
    """

    reward: np.ndarray
    next_state: np.ndarray
    available: tuple[np.ndarray, ...] | None
    horizon: int
    values: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.reward.shape != (self.n_agents, *self.next_state.shape):
            raise ValueError(
                f"reward must be {(self.n_agents, *self.next_state.shape)}, but has shape {self.reward.shape}"
            )
        if not all(mask.any(-1).all() for mask in self.masks):
            raise ValueError("a state has no action for one of the agents")

    @property
    def n_states(self) -> int:
        return self.next_state.shape[0]

    @property
    def n_agents(self) -> int:
        return self.next_state.ndim - 1

    @property
    def n_actions(self) -> tuple[int, ...]:
        """Action counts (A^1, ..., A^N)."""
        return self.next_state.shape[1:]

    @property
    def masks(self) -> list[np.ndarray]:
        """N arrays [S, A^i] of booleans."""
        if self.available is not None:
            return list(self.available)
        return [np.ones((self.n_states, count), bool) for count in self.n_actions]

    def expected_returns(self, policies: Sequence[np.ndarray]) -> np.ndarray:
        """What each agent wins in an episode, [N]."""
        value = np.zeros((self.n_agents, self.n_states))
        for _ in range(self.horizon):
            value = average_out(self.reward + self._after(value), policies, [])
        return value[:, 0]

    def best_response_return(self, policies: Sequence[np.ndarray], agent: int) -> float:
        """The most that `agent` can win in an episode while the others keep their policies, by backward induction.

        It may do another thing at each step; the others' policies do not know the step, so that it may gain by that.
        """
        value, mask = np.zeros(self.n_states), self.masks[agent]
        for _ in range(self.horizon):
            q = average_out(self.reward[agent] + self._after(value), policies, [agent])  # [S, A]
            value = np.where(mask, q, -np.inf).max(-1)
        return float(value[0])

    def best_response_gains(self, policies: Sequence[np.ndarray]) -> np.ndarray:
        """What each agent would win more by a best response alone, [N]; all zero exactly in a Nash equilibrium.

        Their sum is NashConv, and in a zero-sum game of two twice what is often called exploitability.
        """
        best = [self.best_response_return(policies, agent) for agent in range(self.n_agents)]
        return np.array(best) - self.expected_returns(policies)

    def _after(self, value: np.ndarray) -> np.ndarray:
        """Values [..., S] of the states that come next, [..., S, A^1, ..., A^N]; the end is worth 0."""
        return np.concatenate([value, np.zeros_like(value[..., :1])], -1)[..., self.next_state]
