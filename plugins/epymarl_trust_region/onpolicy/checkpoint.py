"""Saving and loading everything an update depends on: one file beside the actors' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..modules import file_format, files

LEARNER_FILE = "learner.th"
#: What a checkpoint consists of.
FILES = (files.AGENT_FILE, LEARNER_FILE)


def write(path: str, state: dict[str, Any]) -> None:
    """Write `<path>/learner.th`, which says for both files what format they have: the actors' is the suite's."""
    files.write(Path(path) / LEARNER_FILE, file_format.stamped(state))


def read(path: str) -> dict[str, Any]:
    """Read `<path>/learner.th`. Raises CheckpointError if it is missing, damaged, or of a format that is not known."""
    return file_format.read(Path(path) / LEARNER_FILE)


def check(path: str) -> None:
    """Raise CheckpointError if a file of a checkpoint is missing, damaged, or of a format that is not known."""
    files.read(Path(path) / files.AGENT_FILE)
    read(path)
