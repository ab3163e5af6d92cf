"""What the host's loader will meet in `checkpoint_path`, before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CheckpointError


def check_folder(path: str, load_step: int, learner: type[Any] | None, t_max: float | None = None) -> None:
    """Refuse a `checkpoint_path` from which the host could load nothing, or could not train on.

    The host reads the sub-folder whose name, a number of steps, is nearest to `load_step` (0: the largest).

    Args:
        learner: the class that will read it, if it is one of this plugin's; its files are then checked too.
        t_max: the steps to which it is to be trained on; None: it is not.

    Raises:
        CheckpointError: no such folder, no step folders in it, files missing or damaged, or `t_max` is behind it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint_path={path} is not a folder; give the folder that holds the step folders")
    steps = [int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdigit()]
    if not steps and folder.name.isdigit():
        raise CheckpointError(
            f"checkpoint_path={path} is one step's folder; give the run's: checkpoint_path={folder.parent} "
            f"load_step={folder.name}"
        )
    if not steps:
        raise CheckpointError(
            f"checkpoint_path={path} holds no step folders (such as 50000/); give the run's folder under results/models"
        )
    step = max(steps) if load_step == 0 else min(steps, key=lambda s: abs(s - load_step))
    if learner is not None:
        learner.check_files(str(folder / str(step)))
    if t_max is not None and step > t_max:
        raise CheckpointError(
            f"the checkpoint in {folder / str(step)} has {step} steps, beyond t_max={t_max}: nothing would be trained. "
            "Give a larger t_max, an earlier load_step, or evaluate=True"
        )
