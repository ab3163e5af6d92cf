"""An environment that gets into trouble, where workers find it that share nothing with the process of the test."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from epymarl_trust_region.errors import ConfigError
from gymnasium.spaces import Box, Discrete, Tuple


class Troubled(gym.Env):
    """Two agents, five steps. At step 2 the environment with the seed `who` does what `trouble` says."""

    n_agents = 2
    action_space = Tuple([Discrete(2), Discrete(2)])
    observation_space = Tuple([Box(-np.inf, np.inf, (1,)), Box(-np.inf, np.inf, (1,))])

    def __init__(self, trouble: str = "none", who: int = 0) -> None:
        self.trouble, self.who = trouble, who

    def seed(self, seed: int) -> None:
        self.n = seed
        if self.trouble == "make" and seed == self.who:
            raise SystemExit(7)  # GymmaEnv tries `reset` after any Exception
        if self.trouble == "draw":
            random.random(), np.random.seed(seed), torch.manual_seed(seed)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return (np.array([self.n]), np.array([os.getpid()])), {}

    def close(self) -> None:
        if self.trouble == "note":
            Path(self.who, str(self.n)).touch()

    def step(self, actions):
        self.t += 1
        reward = 1.0
        if self.t == 2 and self.n == self.who:
            match self.trouble:
                case "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "hang":
                    time.sleep(600)
                case "leave-child":  # which has a copy of the worker's end
                    if os.fork():
                        os._exit(3)
                    time.sleep(10)
                    os._exit(0)
                case "exit":
                    os._exit(3)
                case "raise":
                    raise ZeroDivisionError("a bug of the environment's")
                case "refuse":
                    raise ConfigError("env_args.x=1: choose 2")
                case "nan":
                    reward = float("nan")
        return (np.array([self.n]), np.array([self.t])), [reward, reward], self.t == 5, False, {}


gym.register("Troubled-v0", entry_point=Troubled)
