"""What padding costs on SMAX 2s3z: whole episodes with padding computed, without it, and rollouts of a fixed length.

    python results/speed/padding.py happo ir_mappo

plays and learns by turns, 64 environments as one array, and prints the CPU time of a counted environment step. Episodes
of a team differ in length, and agents die in them; only counted steps are divided by. Policies are hardly trained.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from epymarl_trust_region.experiments.bench_work import Work, make_work
from epymarl_trust_region.onpolicy import rollout
from epymarl_trust_region.suite.registration import register_into
from epymarl_trust_region.suite.selection import lite_host

TURNS, WARM = 11, 2
NEVER = 2.0  # no share of padding is worth leaving it out
SIDES = {
    "whole episodes, padding computed": ({}, NEVER),
    "whole episodes, padding left out": ({}, rollout._WORTH_PACKING),
    "rollout_steps=30": ({"rollout_steps": 30}, rollout._WORTH_PACKING),
}


def main(algorithms: list[str]) -> None:
    torch.set_num_threads(1)
    host = lite_host()
    register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    for algorithm in algorithms:
        made = {name: make_work(host, _work(algorithm, given))[0] for name, (given, _) in SIDES.items()}
        taken: dict[str, list[float]] = {name: [] for name in SIDES}
        for _ in range(TURNS):
            for name, (_, share) in SIDES.items():
                rollout._WORTH_PACKING = share
                start = time.process_time()
                _, steps = made[name]()
                taken[name].append((time.process_time() - start) / steps)
        first = taken["whole episodes, padding computed"][WARM:]
        for name, seconds in taken.items():
            ratios = sorted(a / b for a, b in zip(first, seconds[WARM:], strict=True))
            middle = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            print(
                f"{algorithm:10}{name:36}{1e6 * statistics.median(seconds[WARM:]):8.0f} µs per step, "
                f"{statistics.median(ratios):.2f}x ({middle[0]:.2f} to {middle[1]:.2f})"
            )


def _work(algorithm: str, given: dict) -> Work:
    return Work(algorithm, "smax", {"map_name": "2s3z"}, episodes=64, overrides={"env_processes": 1, **given})


if __name__ == "__main__":
    main(sys.argv[1:])
