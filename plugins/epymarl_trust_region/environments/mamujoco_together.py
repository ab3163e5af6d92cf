"""Several robots of one multi-agent MuJoCo task: each is stepped by MuJoCo, and what surrounds that is done for all.

Shapes: B robots, N agents, A = the most joints of any agent, U actuators, O observation, S state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .mamujoco_by_heart import by_heart

if TYPE_CHECKING:
    from .mamujoco import MaMuJoCoEnv

#: Of B robots and their joints' torques [B, U]: states [B, S], rewards [B], who is terminated [B].
_Moves = Callable[[Sequence[int], np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Robots:
    """The environments of one process; each may still be reset and asked by itself.

    A step gives what each one's own gives, bit for bit. Where a robot's rewards are known by heart they are computed
    for all robots at once; at the first step its own are computed too, and where a bit differs they are used for good.
    """

    def __init__(self, envs: Sequence[MaMuJoCoEnv]) -> None:
        """
        Args:
            envs: made with the same arguments, but for seeds.
        """
        self._envs = envs
        simulators = [env.simulator for env in envs]
        self._untried = by_heart(simulators)
        self._move: _Moves = self._one_by_one if self._untried is None else self._both_ways

    def step(self, rows: Sequence[int], actions: np.ndarray) -> Moved:
        """Move these of the robots.

        Args:
            rows: which, in order.
            actions: theirs, [len(rows), N, A] floats; padding is not read.
        """
        states, rewards, terminated = self._move(rows, self._envs[0].played(actions))
        seen = [self._envs[row].take_note(state) for row, state in zip(rows, states, strict=True)]
        return Moved(states, rewards, terminated, np.array(seen))

    def _both_ways(self, rows: Sequence[int], torques: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        known = self._untried
        assert known is not None  # until it has been tried
        before = known.places(rows)
        own = self._one_by_one(rows, torques)
        told = known.told(rows, torques, before)
        same = all(np.array_equal(one, other) for one, other in zip(own, told, strict=True))
        self._move = known.move if same else self._one_by_one
        return own

    def _one_by_one(self, rows: Sequence[int], torques: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moved = [self._envs[row].simulator.step(torque) for row, torque in zip(rows, torques, strict=True)]
        states, rewards, terminated, *_ = zip(*moved, strict=True)
        return np.array(states), np.array(rewards, np.float64), np.array(terminated, bool)


class Moved(NamedTuple):
    """What one step of B robots gives."""

    states: np.ndarray  # [B, S] float64
    rewards: np.ndarray  # [B] float64, one for the team
    terminated: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
