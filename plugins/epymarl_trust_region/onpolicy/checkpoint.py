"""Saving and loading everything an update depends on: one file beside the actors' own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..modules import files

LEARNER_FILE = "learner.th"
#: What a checkpoint consists of.
FILES = (files.AGENT_FILE, LEARNER_FILE)


def random_state() -> dict[str, Any]:
    """The state of every generator that training draws from, as tensors and plain values."""
    name, keys, position, has_gauss, gauss = cast(tuple, np.random.get_state())
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


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
