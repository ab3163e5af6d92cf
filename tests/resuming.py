"""Runs of the built-in suite in this process that are stopped, however abruptly, and gone on with."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
from epymarl_trust_region.configuration import read
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.seeding import seed_everything
from epymarl_trust_region.suite.environments import task_name
from epymarl_trust_region.suite.registration import register_into
from epymarl_trust_region.suite.selection import lite_host

LOG = logging.getLogger("resuming")
SMALL = {
    "batch_size_run": 3, "batch_size": 3, "buffer_size": 3, "test_nepisode": 3, "hidden_dim": 6,
    "critic_hidden_dim": 6, "use_cuda": False, "seed": 4, "runner_log_interval": 1, "learner_log_interval": 1,
    "save_model": True, "env_processes": 1, "test_greedy": False,
}  # fmt: skip


class Killed(Exception):
    """The process is gone: nothing is saved."""


class SacredRun:
    """Keeps what is logged, as Sacred's run does."""

    def __init__(self) -> None:
        self.info: dict[str, list] = {}

    def log_scalar(self, key: str, value: float, t: int) -> None:
        """Not looked at."""

    @property
    def logged(self) -> dict[str, list[str]]:
        """As text: NaN is NaN."""
        return {key: [str(float(x)) for x in values] for key, values in self.info.items()}


def configured(folder: Path, algorithm: str, family: str, env_args: dict, **changes: Any) -> dict:
    """A whole configuration, as `epymarl-tr run` would hand it to the built-in suite."""
    host = lite_host()
    register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    config = copy.deepcopy(read(host, algorithm, family)[0]) | SMALL
    config["env_args"] |= {**env_args, "seed": config["seed"]}
    if family == "mamujoco":
        config["env_args"]["map_name"] = task_name(family, config["env_args"])
    return config | {"local_results_path": str(folder)} | changes


def play(config: dict, stop_at: int | None = None, by: type[BaseException] = Killed) -> tuple[SacredRun, int]:
    """Run it, to the end or to the step of all environments with this number, resets among them, at which `by` is met.

    Returns:
        What it has logged, and how many steps there were.
    """
    run, steps, original = SacredRun(), 0, VectorRunner._all

    def counted(self, *arguments):
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise by
        return original(self, *arguments)

    seed_everything(config["seed"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VectorRunner, "_all", counted)
        try:
            lite_host().run(run, copy.deepcopy(config), LOG)
        except by:
            assert stop_at is not None
    return run, steps


def last_checkpoint(folder: Path) -> Path:
    """The newest of the only run below."""
    (run,) = (folder / "models").iterdir()
    return max(run.iterdir(), key=lambda step: int(step.name))


def resumed(config: dict, checkpoint: Path) -> SacredRun:
    """The same run, going on from there."""
    found = {"checkpoint_path": str(checkpoint.parent), "load_step": int(checkpoint.name), "resumed": True}
    return play({**config, "local_results_path": config["local_results_path"] + "/again", **found})[0]
