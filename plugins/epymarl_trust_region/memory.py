"""How much memory there is, so that what cannot fit is refused in a line and not by the kernel."""

from __future__ import annotations

import os
from pathlib import Path

# Of a control group, as containers and batch queues set them: the limit, and what is taken of it. Versions 2 and 1.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available() -> int | None:
    """Bytes that this process may still take; None where the system does not say."""
    found = [_of_the_machine(), *(_of_the_group(*files) for files in _GROUPS)]
    return min((size for size in found if size is not None), default=None)


def gib(size: int) -> str:
    """Bytes as words."""
    return f"{size / 2**30:,.1f} GiB"


def does_not_fit(size: int) -> str | None:
    """`needs about X GiB of memory, and this machine has Y GiB free`; None if it fits, or nobody knows."""
    free = available()
    if free is None or size <= free:
        return None
    return f"needs about {gib(size)} of memory, and this machine has {gib(free)} free"


def _of_the_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:  # the size of the whole: more than is free, but a limit
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _of_the_group(limit: str, taken: str) -> int | None:
    try:
        return max(int(Path(limit).read_text()) - int(Path(taken).read_text()), 0)  # "max" is no number: no limit
    except (OSError, ValueError):
        return None
