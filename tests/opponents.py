"""Games with opponents, teams trained for a moment, and one that is known."""

from __future__ import annotations

from pathlib import Path

import torch
from resuming import configured, last_checkpoint, play

RPS = {"key": "trust-region-rock-paper-scissors-v0", "time_limit": 3, "max_steps": 2}
TAG = {"key": "pz-mpe-simple-tag-v3", "time_limit": 4, "num_adversaries": 2}


def trained(at: Path, algorithm: str, env_args: dict, **changes) -> str:
    """A run's folder of saved models, of a team that has been trained for a moment."""
    changes = {"common_reward": False, "t_max": 1, "test_interval": 10**6} | changes
    play(configured(at, algorithm, "gymma", env_args, **changes))
    return str(last_checkpoint(at).parent)


class Constant:
    """A controller whose agents do the same thing always; it counts what it is asked."""

    def __init__(self, action: int) -> None:
        self.action, self.asked = action, 0

    def init_hidden(self, batch_size: int) -> None:
        self.asked = 0

    def select_actions(self, batch, t_ep, t_env, bs, test_mode):
        self.asked += 1
        return torch.full((len(bs), 2), self.action)
