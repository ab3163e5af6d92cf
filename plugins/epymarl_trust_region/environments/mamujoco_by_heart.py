"""What robots see, earn and when they fall, by Gymnasium's formulas, for several robots of a kind at once.

With the same operations in the same order, so that the numbers are the same to the last bit; `Robots` looks after that.
Shapes: B robots, U actuators, S state.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Of B robots: states [B, S], rewards [B], who is terminated [B].
Told = tuple[np.ndarray, np.ndarray, np.ndarray]


class Cheetahs:
    """Half cheetahs: w v - c |u|^2, v the speed of the torso, from where it was to where it is; they never fall."""

    skipped = 1  # coordinates that are not seen: where the torso is

    def __init__(self, simulators: Sequence[Any]) -> None:
        mujoco: Any = importlib.import_module("mujoco")
        self._step, self._forces = mujoco.mj_step, mujoco.mj_rnePostConstraint
        one = simulators[0]
        self._dt, self._frames = one.dt, one.frame_skip
        self._forward, self._cost = one._forward_reward_weight, one._ctrl_cost_weight
        self._handles = [(s.model, s.data, s.data.ctrl) for s in simulators]
        self._places = [self._place(s) for s in simulators]
        self._parts = [(s.data.qpos[self.skipped :], s.data.qvel) for s in simulators]

    def _place(self, simulator: Any) -> np.ndarray:
        """Where its torso is: the first of these."""
        return simulator.data.qpos

    def move(self, rows: Sequence[int], torques: np.ndarray) -> Told:
        """Move these robots by torques [B, U]."""
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

    def told(self, rows: Sequence[int], torques: np.ndarray, before: np.ndarray) -> Told:
        """What robots give that have moved by torques [B, U] from their places `before`, [B]."""
        forward = self._forward * ((self.places(rows) - before) / self._dt)
        states = np.concatenate([part for row in rows for part in self._parts[row]]).reshape(len(rows), -1)
        return self._judged(rows, states, forward, self._cost * np.add.reduce(np.square(torques), axis=1))

    def _judged(self, rows: Sequence[int], states: np.ndarray, forward: np.ndarray, cost: np.ndarray) -> Told:
        """Of coordinates and speeds [B, S], the reward of going forward [B] and the cost of torques [B]."""
        return states, forward - cost, np.zeros(len(rows), bool)


class _Mortals(Cheetahs):
    """Robots that earn a bonus while they are healthy, and whose episode may end when they are not."""

    def __init__(self, simulators: Sequence[Any]) -> None:
        super().__init__(simulators)
        one = simulators[0]
        self._bonus, self._heights = one._healthy_reward, one._healthy_z_range
        self._ends = one._terminate_when_unhealthy

    def _over(self, healthy: np.ndarray) -> np.ndarray:
        return ~healthy if self._ends else np.zeros(len(healthy), bool)


class Walkers(_Mortals):
    """Walkers in a plane: healthy within a range of heights and of angles of the torso; speeds are seen within 10."""

    def __init__(self, simulators: Sequence[Any]) -> None:
        super().__init__(simulators)
        self._angles = simulators[0]._healthy_angle_range
        self._coordinates = len(self._parts[0][0])

    def _judged(self, rows: Sequence[int], states: np.ndarray, forward: np.ndarray, cost: np.ndarray) -> Told:
        healthy = self._healthy(states)
        speeds = states[:, self._coordinates :]
        np.clip(speeds, -10, 10, out=speeds)
        return states, forward + healthy * self._bonus - cost, self._over(healthy)

    def _healthy(self, states: np.ndarray) -> np.ndarray:
        return _inside(states[:, 0], self._heights) & _inside(states[:, 1], self._angles)


class Hoppers(Walkers):
    """Hoppers: walkers that are healthy only if all but place and height is within a range."""

    def __init__(self, simulators: Sequence[Any]) -> None:
        super().__init__(simulators)
        self._range = simulators[0]._healthy_state_range

    def _healthy(self, states: np.ndarray) -> np.ndarray:
        return super()._healthy(states) & _inside(states[:, 1:], self._range).all(1)


class Ants(_Mortals):
    """Ants: they also pay for forces of contact, and see them; healthy while finite and within a range of heights.

    Where the torso is: as it was at the beginning of the last substep.
    """

    skipped = 2

    def __init__(self, simulators: Sequence[Any]) -> None:
        super().__init__(simulators)
        one = simulators[0]
        self._contact, self._limits = one._contact_cost_weight, one._contact_force_range
        self._contacts = [s.data.cfrc_ext for s in simulators]
        self._coordinates = [s.data.qpos for s in simulators]

    def _place(self, simulator: Any) -> np.ndarray:
        return simulator.data.body(simulator._main_body).xpos

    def _judged(self, rows: Sequence[int], states: np.ndarray, forward: np.ndarray, cost: np.ndarray) -> Told:
        forces = np.clip([self._contacts[row] for row in rows], *self._limits).reshape(len(rows), -1)
        cost = cost + self._contact * np.add.reduce(np.square(forces), axis=1)
        low, high = self._heights
        finite = np.isfinite(states).all(1) & np.isfinite([self._coordinates[row][:2] for row in rows]).all(1)
        healthy = finite & (low <= states[:, 0]) & (states[:, 0] <= high)
        states = np.concatenate([states, forces[:, 6:]], axis=1)  # but for the world's
        return states, forward + healthy * self._bonus - cost, self._over(healthy)


def _inside(x: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return (ends[0] < x) & (x < ends[1])


_KINDS = {
    ("half_cheetah_v5", "HalfCheetahEnv"): Cheetahs,
    ("walker2d_v5", "Walker2dEnv"): Walkers,
    ("hopper_v5", "HopperEnv"): Hoppers,
    ("ant_v5", "AntEnv"): Ants,
}


def by_heart(simulators: Sequence[Any]) -> Cheetahs | None:
    """All of one kind; None of one that is not known, or whose class has ways of its own."""
    kind = type(simulators[0])
    for (module, name), known in _KINDS.items():
        if kind is getattr(importlib.import_module(f"gymnasium.envs.mujoco.{module}"), name):
            return known(simulators)
    return None
