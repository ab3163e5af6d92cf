"""What a step of one of eight robots costs: together, each by Gymnasium's own code, and MuJoCo's part of it.

    python results/speed/robots.py HalfCheetah-2x3 Walker2d-2x3 Hopper-3x1 Ant-4x2

prints the lower quartile of 500 steps, in microseconds per robot.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import mujoco
import numpy as np
from epymarl_trust_region.environments.mamujoco import MaMuJoCoEnv
from epymarl_trust_region.environments.mamujoco_together import Robots

ROBOTS, STEPS = 8, 500


def main(tasks: list[str]) -> None:
    for task in tasks:
        scenario, partition = task.split("-")
        envs = [MaMuJoCoEnv(scenario, partition, 1000, seed, True, "sum") for seed in range(ROBOTS)]
        team, alone = Robots(envs), Robots(envs)
        alone._move = alone._one_by_one
        shape = envs[0].get_avail_actions().shape
        actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, ROBOTS, *shape)).astype(np.float32)
        handles = [(env.simulator.model, env.simulator.data) for env in envs]
        frames = envs[0].simulator.frame_skip
        ways: dict[str, Callable] = {
            "together": lambda a, team=team: team.step(range(ROBOTS), a),
            "Gymnasium's": lambda a, alone=alone: alone.step(range(ROBOTS), a),
            "MuJoCo": lambda a, h=handles, n=frames: [mujoco.mj_step(model, data, n) for model, data in h],
        }
        taken = {name: _lower_quartile(envs, step, actions) for name, step in ways.items()}
        print(f"{task:18}" + "   ".join(f"{name} {1e6 * seconds / ROBOTS:.0f} µs" for name, seconds in taken.items()))


def _lower_quartile(envs: list[MaMuJoCoEnv], step: Callable, actions: np.ndarray) -> float:
    """Of seconds per step; robots begin anew every 30 steps."""
    taken = []
    for t, action in enumerate(actions):
        if t % 30 == 0:
            for env in envs:
                env.reset()
        start = time.perf_counter()
        step(action)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 4]


if __name__ == "__main__":
    main(sys.argv[1:])
