"""Environments that never end by themselves, for any host: `data.endings:<id>` names them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, Tuple


class Endless(gym.Env):
    """Two agents who see 1 and receive 1 together, for ever: V = 1 / (1 - gamma)."""

    n_agents = 2
    action_space = Tuple([Discrete(2)] * 2)
    observation_space = Tuple([Box(-1, 1, (1,), np.float32)] * 2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.see(), {}

    def step(self, actions):
        return self.see(), 1.0, False, False, {}

    def see(self):
        return (np.ones(1, np.float32),) * 2


class EndlessPerAgent(Endless):
    """The same, with rewards and flags per agent."""

    def step(self, actions):
        return self.see(), [1.0, 1.0], [False, False], [False, False], {}


gym.register("OwnLimit-v0", entry_point=Endless, max_episode_steps=5)
gym.register("PerAgent-v0", entry_point=EndlessPerAgent, max_episode_steps=10)
