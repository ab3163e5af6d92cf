"""The peak of a whole run's memory in batches: HAPPO on spread, 50 agents, 10 episodes of 200 steps, built-in suite.

python results/speed/memory.py              # learning from the rollout where it was written
python results/speed/memory.py --copies     # from a buffer, with a copy of the rollout beside it
... normalise_inputs=True                   # any overrides
"""

from __future__ import annotations

import sys

import yaml
from epymarl_trust_region.experiments import bench_work
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.suite.lite.episode_batch import ReplayBuffer
from epymarl_trust_region.suite.registration import register_into
from epymarl_trust_region.suite.selection import lite_host

EPISODES, STEPS, AGENTS = 10, 200, 50
BATCH = 2 * 4 * EPISODES * (STEPS + 1) * 6 * AGENTS**2 / 2**20  # MiB of observations, and of states as long as these


def main(words: list[str]) -> None:
    copies = "--copies" in words
    overrides = {key: yaml.safe_load(value) for key, _, value in (w.partition("=") for w in words if "=" in w)}
    if copies:
        bench_work.make_buffer = lambda args, *given: ReplayBuffer(*given[:2], args.buffer_size, *given[2:])
        VectorRunner.own_memory = property(lambda _: True, lambda _, value: None)
    host = lite_host()
    register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    for agents, steps in ((3, 5), (AGENTS, STEPS)):  # the first loads what the second needs
        before = bench_work.peak_memory()
        env_args = {"key": "pz-mpe-simple-spread-v3", "N": agents, "time_limit": steps}
        given = {"env_processes": 1, **overrides}
        once, end = bench_work.make_work(host, bench_work.Work("happo", "gymma", env_args, EPISODES, overrides=given))
        once(), once()
        peak = bench_work.peak_memory() - before
        end()
    print(f"{'copies' if copies else 'in place'} {overrides or ''}: {peak / BATCH:.1f} batches of {BATCH:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
