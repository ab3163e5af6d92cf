"""Saving and loading everything an update depends on: one file beside the actors' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..modules import files

LEARNER_FILE = "learner.th"
#: What a checkpoint consists of.
FILES = (files.AGENT_FILE, LEARNER_FILE)


def write(path: str, state: dict[str, Any]) -> None:
    """Write `<path>/learner.th`."""
    files.write(Path(path) / LEARNER_FILE, state)


def read(path: str) -> dict[str, Any]:
    """Read `<path>/learner.th`. Raises CheckpointError if it is missing or damaged."""
    return files.read(Path(path) / LEARNER_FILE)


def check(path: str) -> None:
    """Raise CheckpointError if one of the files of a checkpoint is missing or damaged."""
    for name in FILES:
        files.read(Path(path) / name)
