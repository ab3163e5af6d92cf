"""What several threads of NumPy's do to a GRU's loop over time: CPU time by their number, of one pass forward.

python results/speed/recurrence.py        # 128 steps of 80 sequences with 128 units, best of 9 turns
"""

from __future__ import annotations

import os
import time

import numpy as np
from epymarl_trust_region.numerics.gru import _recurrence
from threadpoolctl import threadpool_limits

STEPS, SEQUENCES, UNITS = 128, 80, 128


def main() -> None:
    """A line for each number of threads."""
    draw = np.random.default_rng(0)

    def made(*shape: int) -> np.ndarray:
        return draw.normal(scale=0.1, size=shape).astype(np.float32)

    given = made(3, STEPS, SEQUENCES, UNITS), made(SEQUENCES, UNITS), made(3 * UNITS, UNITS), made(3 * UNITS), None
    loop = _recurrence.__wrapped__  # as it would be without its limit of one
    for threads in sorted({1, os.cpu_count() or 1}):
        with threadpool_limits(threads, user_api="blas"):
            turns = []
            for _ in range(9):
                cpu, wall = time.process_time(), time.perf_counter()
                loop(*given)
                turns.append((time.process_time() - cpu, time.perf_counter() - wall))
        cpu, wall = (1000 * min(column) for column in zip(*turns, strict=True))
        print(f"{threads} thread{'s' * (threads > 1)}: {cpu:.0f} ms of CPU time, {wall:.0f} ms by the clock")


if __name__ == "__main__":
    main()
