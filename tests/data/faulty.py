"""An environment that gives one wrong thing at one step, where workers find it that share nothing with the test."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, Tuple

ACTIONS = (Discrete(3), Discrete(3))
VECTORS = (Box(-1.0, 1.0, (2,), np.float32), Box(-1.0, 1.0, (2,), np.float32))


class Faulty(gym.Env):
    """Two agents (or as many as there are spaces) that see the step and the environment's seed.

    Args:
        field: what is wrong: seen (of the last agent), observations, reward, terminated, truncated, info, avail,
            result (all that `step` gives) or reset (all that `reset` gives).
        value: what it is instead.
        at: step of the episode at which it happens; 0 is the reset.
        who: seed of the environment that does it; None: every one.
        length: steps of an episode.
        masked: whether it has a method `get_avail_actions`.
        echo: agents see their own last action.
    """

    def __init__(
        self,
        field: str = "",
        value: Any = None,
        at: int = 2,
        who: int | None = None,
        length: int = 4,
        masked: bool = False,
        echo: bool = False,
        actions: tuple = ACTIONS,
        observations: tuple = VECTORS,
    ) -> None:
        self.field, self.value, self.at, self.who, self.length = field, value, at, who, length
        self.echo = echo
        self.action_space, self.observation_space = Tuple(actions), Tuple(observations)
        self.n_agents, self.n_seed, self.t, self.played = len(actions), 0, 0, []
        if masked or field == "avail":
            self.get_avail_actions = self._avail

    def seed(self, seed: int) -> None:
        self.n_seed = seed

    def _or(self, field: str, value: Any) -> Any:
        """`value`, unless it is this field's turn to be wrong."""
        is_now = self.field == field and self.t == self.at and self.who in (None, self.n_seed)
        return self.value if is_now else value

    def _avail(self) -> Any:
        most = max(int(space.n) for space in self.action_space)
        return self._or("avail", [[int(i < space.n) for i in range(most)] for space in self.action_space])

    def _observe(self) -> Any:
        seen = [self._see(space) for space in self.observation_space]
        if self.echo and self.t:
            seen = [np.full(2, action, np.float32) for action in self.played[-1]]
        seen[-1] = self._or("seen", seen[-1])
        return self._or("observations", tuple(seen))

    def _see(self, space: gym.Space) -> Any:
        if isinstance(space, Box) and space.dtype == np.float32:
            return np.full(space.shape, self.t / 10 + self.n_seed / 100, np.float32)
        return space.sample()

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._or("reset", (self._observe(), {}))

    def step(self, actions):
        self.t += 1
        self.played.append(list(actions))
        over = self.t >= self.length
        reward = self._or("reward", [1.0, 2.0, 4.0][: self.n_agents])
        ends = self._or("terminated", over), self._or("truncated", False)
        return self._or("result", (self._observe(), reward, *ends, self._or("info", {"won": over})))


gym.register("Faulty-v0", entry_point=Faulty)
KEY = "data.faulty:Faulty-v0"  # with its module, so that a spawned worker finds it too
