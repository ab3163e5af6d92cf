"""`--resume`: which checkpoint a run goes on from, found by what the run is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config import flatten
from ..errors import CheckpointError, ConfigError
from ..modules import files
from . import algorithms
from .environments import task_name
from .host import folder_name
from .resume import read
from .same_run import ASIDE, COMMIT, differences, is_begun_by

#: What `--resume` cannot stand beside, and why.
NOT_BESIDE = {
    "checkpoint_path": "it finds the checkpoint to go on from by itself",
    "load_step": "it finds the checkpoint to go on from by itself",
    "evaluate": "it trains on",
    "save_replay": "it trains on",
    "save_episodes": "a recording cannot be gone on with: some episodes would be missing, or be there twice",
}


class Found(NamedTuple):
    """A checkpoint to go on from."""

    folder: Path  # the run's, as `checkpoint_path` takes it
    step: int
    seed: int
    commit: str | None  # of the plugin that wrote it
    t_max: float  # of the run that wrote it

    def applied(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with which a host goes on from it."""
        return {**config, "checkpoint_path": str(self.folder), "load_step": self.step, "resumed": True}


def saving(config: dict[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run with `--resume`, which saves what another one can go on from.

    Raises:
        ConfigError: a key is set that cannot stand beside it.
    """
    values = {**config, **updates}
    for key, why in NOT_BESIDE.items():
        if values.get(key):
            raise ConfigError(f"{key}={values[key]} cannot stand beside --resume: {why}; remove one of the two")
    if not updates.get("save_model", True):
        raise ConfigError("save_model=False cannot stand beside --resume, which saves; remove one of the two")
    return {**config, "save_model": True}


def newest(config: Mapping[str, Any], updates: Mapping[str, Any], host: str) -> Found | None:
    """The newest complete checkpoint of the run that is told this, below its `local_results_path`; says which.

    Args:
        config: of yaml files; without a `seed`, of a run of any seed.
        updates: flat keys of the command line.
    """
    values = {**flatten(config), **updates}
    found = [one for folder in _folders(values) for one in [_newest_in(folder, values, updates)] if one]
    if not found:
        print("resume: there is no checkpoint of this configuration, so it starts from the beginning")
        return None
    chosen = max(found, key=lambda one: one[0])[1]
    longer = f", further than the t_max={chosen.t_max} of then" if values.get("t_max") != chosen.t_max else ""
    place = os.path.relpath(chosen.folder / str(chosen.step))
    print(f"resume: from {place}, of t_max={values.get('t_max')} steps{longer}")
    if chosen.commit != values.get(COMMIT):
        print(
            f"warning: it was written by commit {chosen.commit} of this plugin, which is {values.get(COMMIT)} now: the "
            "numbers may not be those of an unbroken run",
            file=sys.stderr,
        )
    if host == "epymarl":
        print(
            "resume: EPyMARL's loop counts its tests, logs and saves anew, and environments and a replay buffer begin "
            "afresh; learner and steps go on, and the numbers are not those of an unbroken run"
        )
    return chosen


def _folders(values: Mapping[str, Any]) -> list[Path]:
    """Of models of runs with this name, seed and task."""
    env_args = {key.removeprefix("env_args."): value for key, value in values.items() if key.startswith("env_args.")}
    task = task_name(values.get("env"), env_args)
    begin, middle = folder_name(f"{values.get('name')}_seed{values.get('seed', '')}"), folder_name(f"_{task}_")
    root = Path(str(values.get("local_results_path"))) / "models"
    return [f for f in sorted(root.glob("*")) if f.is_dir() and f.name.startswith(begin) and middle in f.name]


def _newest_in(folder: Path, values: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[float, Found] | None:
    """When it was saved, and which it is."""
    part = algorithms.learners().get(str(values.get("learner")))
    for step in reversed(files.steps(folder)):
        of_step = folder / str(step)
        try:
            state = read(of_step)
            if state is None or type(state["configuration"].get("seed")) is not int:
                continue
            saved = state["configuration"]
            if differences(saved, values, given, ASIDE | ({"t_max"} if is_begun_by(saved, values) else set())):
                return None
            files.check(of_step)
            if part is not None:
                part.load().check_files(str(of_step))
            return state["saved_at"], Found(folder, step, *(saved.get(key) for key in ("seed", COMMIT, "t_max")))
        except CheckpointError as error:
            print(f"warning: {str(error).partition(';')[0]}: passed over", file=sys.stderr)
    return None
