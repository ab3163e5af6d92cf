"""This plugin's own games with all environments as one array: the code of a single game, with one axis more.

Shape letters: B environments, N agents, A actions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from .batched import Played, Seen
from .games.game_env import GameEnv

_OURS = "epymarl_trust_region.environments.games."


class BatchedGame:
    """B copies of a game, under the wrapper that the suite puts around Gymnasium's environments."""

    def __init__(self, game: GameEnv, size: int) -> None:
        """
        Args:
            size: B.
        """
        self.game, self.size = game, size
        self._never = np.zeros(size, bool)
        self._infos: list[dict[str, Any]] = [{} for _ in range(size)]

    def reset(self) -> Seen:
        """Start a new episode in every copy."""
        self.game.begin(self.size)
        return self._look()

    def step(self, actions: np.ndarray) -> Played:
        """Take one step in every copy: actions [B, N]. Rewards are per agent, [B, N]."""
        rewards, ended = self.game.play(actions)
        return Played(self._look(), rewards, ended, self._never, self._infos)

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> Seen:
        obs, avail = self.game.look(), self.game.available()
        return Seen(obs, obs.reshape(self.size, -1), np.broadcast_to(avail, (*obs.shape[:2], avail.shape[-1])))


def find(key: str, arguments: Mapping[str, Any]) -> Callable[..., GameEnv] | None:
    """What makes the game of a Gymnasium id, with or without its module; None where it is not ours to play as one.

    So is an id that someone else has registered, an argument that is Gymnasium's own, and a `render_mode`, for which
    Gymnasium may wrap the environment.
    """
    spec = gymnasium.registry.get(key.rpartition(":")[2])
    if spec is None or not str(spec.entry_point).startswith(_OURS):
        return None
    make = load_env_creator(spec.entry_point)
    known = inspect.signature(make).parameters.keys() - {"render_mode"}
    return make if arguments.keys() <= known else None
