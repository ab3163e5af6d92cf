"""The product game as a multi-agent Gymnasium environment with real-valued actions, in the shape that `gymma` expects.

The game of Figure 1 of Kuba et al., "Trust region policy optimisation in multi-agent reinforcement learning" (2022):
the common payoff is r = a_1 a_2, so that each agent's best direction depends on the sign of the other's action, and two
who step at once both step the wrong way. As in the matrix games each agent receives the whole payoff.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from epymarl_trust_region.environments.games.game_env import GameEnv
from epymarl_trust_region.errors import ConfigError


class ProductEnv(GameEnv):
    """r = (start_1 + u_1)(start_2 + u_2), played once per episode.

    Agents see a constant 0. Their actions u_i are measured from `start`: policies whose mean is 0, as that of a network
    with biases of 0 is for such an observation, stand at the means of the figure.

    Args:
        start: where action 0 is, of agents 1 and 2 (the figure: -0.25 and 0.25).
        bound: actions are in [-bound, bound]; with the figure's unit variance nearly none is clipped.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, start: Sequence[float] = (-0.25, 0.25), bound: float = 10.0) -> None:
        if not isinstance(start, Sequence) or len(start) != 2 or not all(map(_is_number, start)):
            raise ConfigError(f"env_args.start is {start!r}: give two finite numbers, such as [-0.25, 0.25]")
        if not _is_number(bound) or bound <= 0:
            raise ConfigError(f"env_args.bound is {bound!r}: give a positive number")
        self.start = np.array(start, float)
        super().__init__([spaces.Box(-bound, bound, (1,), np.float32)] * 2, 1)
        self.begin()

    def begin(self, *copies: int) -> None:
        """Nothing to set up."""
        self._copies = copies

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The payoff of actions [..., 2, 1], for each agent; over."""
        paid = (self.start + actions[..., 0].astype(float)).prod(-1)
        return np.repeat(paid[..., None], 2, axis=-1), np.ones(self._copies, bool)

    def look(self) -> np.ndarray:
        return np.zeros((*self._copies, 2, 1), np.float32)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
