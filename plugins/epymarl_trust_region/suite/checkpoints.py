"""What the host's loader will meet in `checkpoint_path`, before anything is built."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..modules import files
from . import resume


def check_folder(path: str, load_step: int, learner: type[Any] | None, t_max: float | None = None) -> None:
    """Refuse a `checkpoint_path` from which the host could load nothing, or could not train on.

    Args:
        load_step: see `chosen_step`.
        learner: the class that will read it, if it is one of this plugin's; its files are then checked too.
        t_max: the steps to which it is to be trained on; None: it is not.

    Raises:
        CheckpointError: no such folder, no step folders in it, files missing or damaged or of a format that
            is not known, or `t_max` is behind it.
    """
    step = chosen_step(path, load_step, learner, _warn)
    chosen = Path(path) / str(step)
    files.check(chosen)
    resume.read(chosen)
    if learner is not None:
        learner.check_files(str(chosen))
    if t_max is not None and step > t_max:
        raise CheckpointError(
            f"the checkpoint in {chosen} has {step} steps, beyond t_max={t_max}: nothing would be trained. "
            "Give a larger t_max, an earlier load_step, or evaluate=True"
        )


def chosen_step(
    path: str, load_step: int, learner: type | None = None, warn: Callable[[str], None] = lambda text: None
) -> int:
    """The step whose folder is to be loaded: the last complete one if `load_step` is 0, else the nearest to it.

    Args:
        learner: see `check_folder`.
        warn: is told of later folders that are incomplete, of a process that was killed while it wrote them.

    Raises:
        CheckpointError: no such folder, none in it that can be loaded, or the nearest to `load_step` is incomplete.
    """
    folder, needed = Path(path), getattr(learner, "checkpoint_files", ())
    steps = _steps(folder, path)
    if load_step:
        step = min(steps, key=lambda s: abs(s - load_step))
        if lack := files.lacks(folder / str(step), needed):
            raise _incomplete(folder / str(step), lack)
        return step
    for step in reversed(steps):
        if not (lack := files.lacks(folder / str(step), needed)):
            return step
        warn(f"the checkpoint in {folder / str(step)} is incomplete (it lacks {lack}): passed over")
    raise _incomplete(folder / str(steps[-1]), files.lacks(folder / str(steps[-1]), needed))


def with_chosen_step(config: Mapping[str, Any], learner: Any) -> dict[str, Any]:
    """The configuration with the step that is to be loaded: EPyMARL itself takes incomplete folders too."""
    if not config.get("checkpoint_path"):
        return dict(config)
    step = chosen_step(config["checkpoint_path"], config.get("load_step", 0), learner)
    return {**config, "load_step": step}


def _steps(folder: Path, path: str) -> list[int]:
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint_path={path} is not a folder; give the folder that holds the step folders")
    for entry in folder.iterdir():
        # Python calls more signs digits than these, and EPyMARL looks for folders without leading zeros.
        if entry.is_dir() and entry.name.isdigit() and not _is_number(entry.name):
            raise CheckpointError(
                f"the name of the folder {entry} is no number of steps as they are written, such as 50000; rename or "
                "move it"
            )
    steps = files.steps(folder)
    if not steps and _is_number(folder.name):
        raise CheckpointError(
            f"checkpoint_path={path} is one step's folder; give the run's: checkpoint_path={folder.parent} "
            f"load_step={folder.name}"
        )
    if not steps:
        raise CheckpointError(
            f"checkpoint_path={path} holds no step folders (such as 50000/); give the run's folder under results/models"
        )
    return steps


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _incomplete(folder: Path, lack: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint in {folder} is incomplete (it lacks {lack}); {files.another(folder)}")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
