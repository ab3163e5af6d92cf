"""The congestion and the distancing game as multi-agent Gymnasium environments, in the shape that `gymma` expects.

Rewards are individual: use them with `common_reward=False`. Observations are one-hot, so that a table can be a policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from epymarl_trust_region.environments.games.game_env import GameEnv
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games import congestion, distancing


class CongestionEnv(GameEnv):
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
        self._one_hot = np.eye(len(states) if states else congestion.N_VERTICES, dtype=np.float32)
        super().__init__([2] * n_agents, len(self._one_hot))
        self.begin()

    def begin(self, *copies: int) -> None:
        """All agents at s."""
        self._vertices = np.full((*copies, self.n_agents), congestion.SOURCE)

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One edge for every agent; over when all are at t."""
        self._vertices, rewards = congestion.move(self._vertices, actions)
        return self._scale * rewards, (self._vertices == congestion.TARGET).all(-1)

    def look(self) -> np.ndarray:
        seen = self._vertices
        if self._index:
            whole = [self._index[tuple(one)] for one in seen.reshape(-1, self.n_agents).tolist()]
            seen = np.broadcast_to(np.reshape(whole, (*seen.shape[:-1], 1)), seen.shape)
        return self._one_hot[seen]

    def available(self) -> np.ndarray:
        """From the second layer a single edge leads on."""
        return congestion.available(self._vertices)


class DistancingEnv(GameEnv):
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
        super().__init__([len(distancing.WEIGHTS)] * n_agents, 2)
        self.begin()

    def begin(self, *copies: int) -> None:
        """The safe state."""
        self._state = np.full(copies, distancing.SAFE)

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One choice of every agent; never over."""
        self._state, rewards = distancing.play(self._state, actions)
        return rewards, np.zeros(actions.shape[:-1], bool)

    def look(self) -> np.ndarray:
        return np.repeat(np.eye(2, dtype=np.float32)[self._state][..., None, :], self.n_agents, axis=-2)


def _check_count(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"env_args.{name} is {value!r}: give a whole number from {low} to {high}")
