"""Files of parameters, written whole or not at all, and read with one clear error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError

#: The actors' file in a checkpoint, under the suite's name for it.
AGENT_FILE = "agent.th"


def write(file: Path, state: dict[str, Any]) -> None:
    """Write `state` to `file`; a process that dies meanwhile leaves the old file as it was."""
    unfinished = file.with_suffix(".unfinished")
    torch.save(state, unfinished)
    os.replace(unfinished, file)


def read(file: Path) -> dict[str, Any]:
    """Read what `write` wrote, onto the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint file {file} is missing; point checkpoint_path at a complete one") from None
    except Exception as error:  # torch raises many types for a damaged file, and for an empty one without a word
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"checkpoint file {file} is damaged ({reason}); use an earlier one with load_step"
        ) from error


def foreign(path: str, error: Exception) -> CheckpointError:
    """The error for a checkpoint whose contents do not fit."""
    reason = " ".join(str(error).split())[:200]
    return CheckpointError(
        f"the checkpoint in {path} was made for another task or network ({reason}); use the configuration that wrote it"
    )
