"""Several robots of one multi-agent MuJoCo task: each is stepped by MuJoCo, and what surrounds that is done for all.

Shapes: B robots, N agents, A = the most joints of any agent, U actuators, O observation, S state.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

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
        kind = importlib.import_module("gymnasium.envs.mujoco.half_cheetah_v5").HalfCheetahEnv
        self._untried = _Cheetahs(simulators) if type(simulators[0]) is kind else None
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


class _Cheetahs:
    """Half cheetahs: w v - c |u|^2, v the speed of the torso, from where it was to where it is; they never fall."""

    def __init__(self, simulators: Sequence[Any]) -> None:
        mujoco: Any = importlib.import_module("mujoco")
        self._step, self._forces = mujoco.mj_step, mujoco.mj_rnePostConstraint
        one = simulators[0]
        self._dt, self._frames = one.dt, one.frame_skip
        self._forward, self._cost = one._forward_reward_weight, one._ctrl_cost_weight
        self._handles = [(s.model, s.data, s.data.ctrl) for s in simulators]
        self._places = [s.data.qpos for s in simulators]
        self._parts = [(s.data.qpos[1:], s.data.qvel) for s in simulators]

    def move(self, rows: Sequence[int], torques: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        step, forces, frames = self._step, self._forces, self._frames
        before = self.places(rows)
        for row, torque in zip(rows, torques, strict=True):
            model, data, control = self._handles[row]
            control[:] = torque
            step(model, data, frames)
            forces(model, data)
        return self.told(rows, torques, before)

    def places(self, rows: Sequence[int]) -> np.ndarray:
        """Where their torsos are, [B]."""
        return np.array([self._places[row][0] for row in rows])

    def told(
        self, rows: Sequence[int], torques: np.ndarray, before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What robots give that have moved from their places `before`, [B]."""
        speed = (self.places(rows) - before) / self._dt
        rewards = self._forward * speed - self._cost * np.add.reduce(np.square(torques), axis=1)
        states = np.concatenate([part for row in rows for part in self._parts[row]]).reshape(len(rows), -1)
        return states, rewards, np.zeros(len(rows), bool)
