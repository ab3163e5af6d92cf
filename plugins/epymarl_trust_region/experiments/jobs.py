"""One run of a sweep: what an engine is given, what it does with it on whichever machine, and what it gives back."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from .children import Children


@dataclass(frozen=True)
class Job:
    """A run, as plain data: it is sent to other machines."""

    name: str
    command: tuple[str, ...]  # what a user would type, after `epymarl-tr`
    folder: Path  # its own, below the current folder
    steps: float = 0  # to which it trains

    @property
    def done(self) -> bool:
        """Whether it is complete; a shorter one that it goes on from is not it."""
        run = sacred_run(self.folder)
        return run is not None and _steps(run) >= self.steps

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "log.txt"

    @property
    def progress(self) -> Path:
        """How far it is; there from its start on."""
        return self.folder / "progress.json"


class Outcome(NamedTuple):
    """What has become of a run."""

    good: bool
    seconds: float = 0.0
    why: str = ""  # of a failure of which the log says nothing
    code: int | None = None  # of the process's exit


class Engine(Protocol):
    """Where the runs of a sweep are made. To make one refuses, before anything is written, what it cannot do."""

    where: str  # for a line such as `12 runs, 2 at a time on this machine`

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin with all of them; their folders are there."""

    def finished(self, wait_s: float) -> list[tuple[Job, Outcome]]:
        """Those that have ended since this was asked last; waits for one no longer than told."""

    def stop(self) -> str:
        """Let no more begin; what has become of those that had, in a few words."""

    def close(self) -> None:
        """All have ended, or were stopped."""


def sacred_run(folder: Path) -> Path | None:
    """The completed Sacred run below a run's folder, if there is one; the longest, where one has gone on."""
    found = []
    for record in sorted(folder.glob("sacred/**/run.json")):
        with contextlib.suppress(ValueError):  # cut short: the process was killed while it wrote
            if json.loads(record.read_text())["status"] == "COMPLETED":
                found.append(record.parent)
    return max(found, key=_steps, default=None)


def _steps(run: Path) -> float:
    """The `t_max` of a Sacred run; infinite where its configuration cannot be read, which others say."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads((run / "config.json").read_text())["t_max"])
    return math.inf


def make(job: Job, children: Children) -> Outcome | None:
    """Make a run on this machine, unless it is complete; None where it was stopped.

    An engine may have lost sight of a machine that had completed it.
    """
    if job.done:
        return Outcome(True, code=0)
    command = [job.command[0], f"--progress-file={job.progress}", *job.command[1:]]
    started = time.monotonic()
    try:
        job.progress.write_text("{}")
        code = children.run(command, job.log)
    except OSError as error:
        return Outcome(False, why=f"{error.filename or job.folder}: {error.strerror}")
    return None if code is None else Outcome(code == 0, time.monotonic() - started, code=code)
