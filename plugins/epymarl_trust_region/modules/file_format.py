"""The version of what checkpoints hold: read where it is known, refused in one line where it is newer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import CheckpointError
from . import files

#: Of the checkpoints that this version writes. A change that an older plugin would misread raises it.
FORMAT_VERSION = 1
#: Of those without a version, which are older than it; they hold the same parts, or fewer.
UNVERSIONED = 0
_KEY = "format_version"


def stamped(state: dict[str, Any]) -> dict[str, Any]:
    """`state` with the version in front."""
    return {_KEY: FORMAT_VERSION, **state}


def read(file: Path) -> dict[str, Any]:
    """Read a file whose contents were `stamped`, or are older than versions.

    Raises:
        CheckpointError: the file is missing or damaged, holds something else, or has a version that is not known here.
    """
    state = files.read(file)
    version = state.pop(_KEY, UNVERSIONED)
    if type(version) is int and UNVERSIONED <= version <= FORMAT_VERSION:
        return state
    shown = version if type(version) is int and abs(version) < 10**9 else f"of type {type(version).__name__}"
    raise CheckpointError(
        f"checkpoint file {file} has the format version {shown}, and this plugin, {__version__}, reads {UNVERSIONED} "
        f"to {FORMAT_VERSION}; use the version of this plugin that wrote it"
    )
