"""A run that goes on as if it had never stopped: what a checkpoint holds for that.

Beside the learner's own files, `run.th` holds every other part's `state_dict`:

    loop       EPyMARL's counters: episodes, the last test, log and save; and how far the present round has come
    runner     steps, returns that are not logged yet, environments, and what streams carry over
    random     the generators of PyTorch, NumPy and Python
    series     what was logged
    configuration, saved_at

EPyMARL's own loop cannot be set: of a run on EPyMARL it holds the last two lines alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..interfaces import Logger
from ..modules import file_format, files
from ..modules.plain import packed, unpacked
from ..seeding import random_state, restore_random_state
from .same_run import configuration, differences

RUN_FILE = "run.th"
# Of these, too, a run may differ that goes on from a `checkpoint_path`.
_GOES_ON = ("t_max", "checkpoint_path", "load_step", "evaluate", "plugin")
#: A statistic -> its steps and values, as hosts' loggers keep them.
Series = Mapping[str, list[tuple[int, Any]]]


@dataclass
class Loop:
    """EPyMARL's loop: a round is a rollout and an update, then a test, a save and a log where they are due."""

    last_test: int
    episode: int = 0
    last_log: int = 0
    last_save: int = 0
    learnt: bool = False  # what follows the update of this round is still to be done, where it is due


def state_of(loop: Loop, runner: Any, logger: Any) -> dict[str, Any]:
    """All that the rest of the run depends on beside the learner, now; `write` it whenever there is need."""
    return {
        "t_env": runner.t_env,
        "loop": asdict(loop),
        "runner": runner.state_dict() if hasattr(runner, "state_dict") else None,
        "random": random_state(),
        "logged": {key: len(points) for key, points in logger.stats.items()},
    }


def write(folder: Path, of_run: Mapping[str, Any], series: Series, state: Mapping[str, Any] | None = None) -> None:
    """Write `<folder>/run.th`.

    Args:
        of_run: its `configuration`.
        state: of `state_of`; what was logged after it is left out.
    """
    state = dict(state or {})
    logged = state.pop("logged", {key: len(points) for key, points in series.items()})
    kept = {key: _columns(series[key][:length]) for key, length in logged.items() if length}
    about = {"configuration": json.dumps(of_run, default=str), "saved_at": time.time()}
    files.write(folder / RUN_FILE, file_format.stamped({**about, "series": kept, **packed(state)}))


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` wrote; None if there is none, as in checkpoints of older versions.

    Raises:
        CheckpointError: it is damaged, or something else, or of a format that is not known.
    """
    if not (folder / RUN_FILE).exists():
        return None
    state = file_format.read(folder / RUN_FILE)
    try:
        state = unpacked(state)
        found = {**state, "configuration": dict(json.loads(state["configuration"]))}
        return {**found, "saved_at": float(state["saved_at"]), "series": dict(state["series"])}
    except files.DO_NOT_FIT as error:
        raise files.foreign(str(folder / RUN_FILE), error) from error


def load(folder: Path, config: Mapping[str, Any], runner: Any, logger: Any) -> Loop | None:
    """Let a run go on where the checkpoint in `folder` was written; None if it can only begin from the networks there.

    Raises:
        CheckpointError: it is damaged, or something else.
    """
    state, log = read(folder), logger.console_logger
    if state is None:
        return None
    if state.get("runner") is None:
        log.warning(f"Only the learner goes on from {folder}: it was written on EPyMARL, which keeps no more")
        replay(state["series"] if config.get("resumed") else {}, logger)
        return None
    if found := differences(state["configuration"], configuration(config), (), _GOES_ON):
        log.info(f"Only the learner goes on from {folder}: it was written with {'; '.join(found[:3])}")
        return None
    try:
        if config.get("resumed"):
            replay(state["series"], logger)
        lost = runner.load_state_dict(state["runner"])
        loop = _loop_of(state["loop"])
        restore_random_state(state["random"])  # last: some environments are made from the same generators
    except files.DO_NOT_FIT as error:
        raise files.foreign(str(folder / RUN_FILE), error) from error
    if lost:
        log.warning(f"Not all environments go on as they were: {'; '.join(lost)}")
    return loop


def _loop_of(state: Mapping[str, Any]) -> Loop:
    loop = Loop(**state)
    if [type(value) for value in asdict(loop).values()] != [int, int, int, int, bool]:
        raise ValueError(f"no counters: {state}")
    return loop


def replay(series: Mapping[str, Any], logger: Logger) -> None:
    """Log once more what was logged, in the order of steps, so that a resumed run holds the whole curve."""
    points = [(t, key, value) for key, of in series.items() for t, value in zip(*_points(of), strict=True)]
    for t, key, value in sorted(points, key=lambda point: point[0]):
        logger.log_stat(key, value, t)


def _columns(points: list[tuple[int, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    steps, values = zip(*points, strict=True)
    kind = torch.int64 if all(isinstance(value, int) for value in values) else torch.float64
    return torch.tensor(steps), torch.tensor([float(value) for value in values], dtype=torch.float64).to(kind)


def _points(columns: tuple[torch.Tensor, torch.Tensor]) -> tuple[list[int], list[Any]]:
    return columns[0].tolist(), columns[1].tolist()
