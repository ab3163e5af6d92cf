"""What a peer's script says to the bench, in lines of JSON. Nothing is imported here but the standard library.

A script calls `serve(build)`. `build(home, work)` gives a function that does the work once and returns the environment
steps that it played.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(build: Callable[[Path, dict[str, Any]], Callable[[], int]]) -> None:
    """Build what the command line names, `SCRIPT HOME JSON`, and do it once for every line that is read.

    The first line written is {"ready": true}, or {"failed": the reason}; each further one has the seconds of wall clock
    and of all processes' CPUs, and the steps.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a peer prints

    def reply(**message: Any) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    home, work = Path(sys.argv[1]), json.loads(sys.argv[2])
    sys.path.insert(0, str(home))
    sys.argv = sys.argv[:1]  # a peer may read it
    try:
        once = build(home, work)
    except Exception as error:
        reply(failed=f"{type(error).__name__}: {error}")
        return
    reply(ready=True)
    for _ in sys.stdin:
        cpu, start = _cpu_seconds(), time.perf_counter()
        steps = once()
        reply(wall=time.perf_counter() - start, cpu=_cpu_seconds() - cpu, steps=steps)
    os._exit(0)  # its workers are daemons


def _cpu_seconds() -> float:
    """Of this process and its workers; of this one alone where the system does not tell."""
    children = [child.pid for child in multiprocessing.active_children()]
    try:
        ticks = 0
        for pid in children:
            ticks += sum(int(x) for x in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return time.process_time()
