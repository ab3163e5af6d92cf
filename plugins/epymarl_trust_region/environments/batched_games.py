"""Games (`GameEnv`), ours and others', with all environments as one array: the code of a single one, with an axis more.

Shape letters: B environments, N agents, A actions.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Tuple

from .actions import BoxActions, actions_of
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
        self._actions = actions_of(cast(Tuple, game.action_space))
        self._never = np.zeros(size, bool)
        self._infos: list[dict[str, Any]] = [{} for _ in range(size)]

    def reset(self) -> Seen:
        """Start a new episode in every copy."""
        self.game.begin(self.size)
        return self._look()

    def step(self, actions: np.ndarray) -> Played:
        """Take one step in every copy: actions [B, N], or draws [B, N, A], which it clips. Rewards are [B, N]."""
        if isinstance(self._actions, BoxActions):
            actions = np.clip(actions.astype(self._actions.low.dtype), self._actions.low, self._actions.high)
        rewards, ended = self.game.play(actions)
        return Played(self._look(), rewards, ended, self._never, self._infos)

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> Seen:
        obs, avail = self.game.look(), self.game.available()
        return Seen(obs, obs.reshape(self.size, -1), np.broadcast_to(avail, (*obs.shape[:2], avail.shape[-1])))


def find(key: str, arguments: Mapping[str, Any]) -> Callable[..., GameEnv] | None:
    """What makes the game of a Gymnasium id, with or without its module; None where it is not to be played as one.

    So is an environment that is no `GameEnv`, an argument that is Gymnasium's own, and whatever Gymnasium may wrap it
    for: a `render_mode`, a limit or a wrapper of its registration.
    """
    spec = gymnasium.registry.get(key.rpartition(":")[2])
    if spec is None or spec.kwargs or spec.max_episode_steps or spec.additional_wrappers:
        return None
    make = _creator(str(spec.entry_point))
    if make is None:
        return None
    known = inspect.signature(make).parameters.keys() - {"render_mode"}
    return make if arguments.keys() <= known else None


def _creator(entry_point: str) -> Any:
    if entry_point.startswith(_OURS):
        return load_env_creator(entry_point)
    module, _, name = entry_point.partition(":")  # where it is someone else's game, its module was imported with the id
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, GameEnv) else None
