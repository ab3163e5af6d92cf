"""The congestion and the distancing game as multi-agent Gymnasium environments, in the shape that `gymma` expects.

Rewards are individual: use them with `common_reward=False`. Observations are one-hot, so that a table can be a policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games import congestion, distancing


class _OneHotEnv(gymnasium.Env):
    """N agents with one-hot observations of O and individual rewards."""

    metadata = {"render_modes": []}

    def __init__(self, n_agents: int, n_observations: int, n_actions: int) -> None:
        self.n_agents = n_agents
        self.action_space = spaces.Tuple([spaces.Discrete(n_actions)] * n_agents)
        self.observation_space = spaces.Tuple([spaces.Box(0.0, 1.0, (n_observations,), np.float32)] * n_agents)
        self._one_hot = np.eye(n_observations, dtype=np.float32)

    def _see(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        return tuple(self._one_hot[index] for index in indices)

    def _checked(self, actions: Sequence[int]) -> np.ndarray:
        joint = tuple(actions)
        if not self.action_space.contains(joint):
            raise ValueError(f"joint action {joint} is not in the action space {self.action_space}")
        return np.array(joint)


class CongestionEnv(_OneHotEnv):
    """The stochastic congestion game: three steps from s to t, then the episode truly ends.

    Args:
        n_agents: N.
        observe: "vertex": an agent sees where it is itself, one-hot [6]; with such policies the game is an exact Markov
            potential game. "configuration": where all agents are, one-hot over all [2 + 2 * 2^N] configurations.
        reward_scale: multiplies every reward.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, n_agents: int = 4, observe: str = "vertex", reward_scale: float = 1.0) -> None:
        _check_count("n_agents", n_agents, 1, 10 if observe == "configuration" else 1000)
        if observe not in ("vertex", "configuration"):
            raise ConfigError(f"env_args.observe is {observe!r}: choose vertex or configuration")
        if not np.isfinite(reward_scale) or reward_scale <= 0:
            raise ConfigError(f"env_args.reward_scale is {reward_scale!r}: give a positive number")
        states = congestion.configurations(n_agents).tolist() if observe == "configuration" else None
        self._index = {tuple(state): k for k, state in enumerate(states)} if states else None
        self._scale = float(reward_scale)
        super().__init__(n_agents, len(states) if states else congestion.N_VERTICES, 2)
        self._vertices = np.zeros(n_agents, dtype=int)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """All agents at s. The game is deterministic: `seed` only seeds the (unused) generator."""
        super().reset(seed=seed)
        self._vertices = np.full(self.n_agents, congestion.SOURCE)
        return self._observations(), {}

    def step(self, actions: Sequence[int]):
        """One edge for every agent: observations, N rewards, terminated (all at t), truncated (never), info."""
        self._vertices, rewards = congestion.move(self._vertices, self._checked(actions))
        ended = bool((self._vertices == congestion.TARGET).all())
        return self._observations(), (self._scale * rewards).tolist(), ended, False, {}

    def get_avail_actions(self) -> list[list[int]]:
        """N lists of 0 and 1: from the second layer a single edge leads on."""
        return congestion.available(self._vertices).tolist()

    def _observations(self) -> tuple[np.ndarray, ...]:
        whole = self._index and self._index[tuple(self._vertices.tolist())]
        return self._see([whole] * self.n_agents if self._index else self._vertices)


class DistancingEnv(_OneHotEnv):
    """The distancing game: it starts in the safe state and goes on until the time limit. Agents see the state, [2].

    Args:
        n_agents: N, a multiple of 4 (the paper has 8).

    Raises:
        ConfigError: `n_agents` is out of range.
    """

    def __init__(self, n_agents: int = 8) -> None:
        _check_count("n_agents", n_agents, 4, 1000)
        if n_agents % 4:
            raise ConfigError(f"env_args.n_agents is {n_agents}: give a multiple of 4, one share for each facility")
        super().__init__(n_agents, 2, len(distancing.WEIGHTS))
        self._state = distancing.SAFE

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """The safe state. The game is deterministic: `seed` only seeds the (unused) generator."""
        super().reset(seed=seed)
        self._state = distancing.SAFE
        return self._see([self._state] * self.n_agents), {}

    def step(self, actions: Sequence[int]):
        """One choice of every agent: observations, N rewards, terminated and truncated (never), info."""
        state, rewards = distancing.play(np.array(self._state), self._checked(actions))
        self._state = int(state)
        return self._see([self._state] * self.n_agents), rewards.tolist(), False, False, {}


def _check_count(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"env_args.{name} is {value!r}: give a whole number from {low} to {high}")
