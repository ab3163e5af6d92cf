"""`--engine local`: on this machine, so many at a time."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..children import Children
from ..jobs import Job, Outcome, make


class Local:
    """Each run is a process, which a thread waits for.

    Args:
        at_a_time: runs.
    """

    def __init__(self, at_a_time: int) -> None:
        self.where = f"{at_a_time} at a time on this machine"
        self._children = Children()
        self._pool = ThreadPoolExecutor(at_a_time)
        self._ended: queue.SimpleQueue[tuple[Job, Outcome]] = queue.SimpleQueue()

    def start(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._pool.submit(self._make, job)

    def _make(self, job: Job) -> None:
        try:
            outcome = make(job, self._children)
        except Exception as error:  # nobody looks at what the pool gives back
            outcome = Outcome(False, why=f"{type(error).__name__}: {error}")
        if outcome:
            self._ended.put((job, outcome))

    def finished(self, wait_s: float) -> list[tuple[Job, Outcome]]:
        try:
            found = [self._ended.get(timeout=wait_s)]
        except queue.Empty:
            return []
        while not self._ended.empty():
            found.append(self._ended.get())
        return found

    def stop(self) -> str:
        self._children.stop()
        return "its runs were ended"

    def close(self) -> None:
        self._children.stop()
        self._pool.shutdown(cancel_futures=True)
