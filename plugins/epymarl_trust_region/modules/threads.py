"""How many threads PyTorch takes for an update: the key `torch_threads`.

Rollouts keep to one: their networks are small, and environments have the other cores. These wait while an update lasts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from ..cores import cores

#: Steps of an optimiser's step for each thread, and from how many on there are two.
_PER_THREAD, _FROM = 5_000, 10_000


def threads_for(wanted: int | str, steps: int) -> int:
    """Threads of an update.

    Args:
        wanted: `torch_threads`: so many, or "auto": by the size of what is computed at once, and at most one per core
            that this process may use, and no more than OMP_NUM_THREADS says.
        steps: environment steps of one step of an optimiser.
    """
    if wanted != "auto":
        return int(wanted)
    said = os.environ.get("OMP_NUM_THREADS", "")
    most = min(cores(), int(said)) if said.isdecimal() and int(said) else cores()
    return 1 if steps < _FROM else min(steps // _PER_THREAD, most)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """What PyTorch computes inside takes so many threads."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
