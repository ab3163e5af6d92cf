"""How fast one core multiplies the matrices of an update on HalfCheetah 6x1: 1024 samples, layers of 64 and 128 units.

    python results/speed/products.py

prints the GFLOP/s of PyTorch and NumPy, from the lower quartile of 300 times.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported

import time
from collections.abc import Callable

import numpy as np
import torch

SHAPES = ((1024, 17, 64), (1024, 64, 64), (64, 1024, 64), (1024, 128, 128), (128, 1024, 128))


def main() -> None:
    torch.set_num_threads(1)
    for rows, inner, columns in SHAPES:
        a, b, out = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
        x, y, z = a.numpy(), b.numpy(), out.numpy()
        seconds = [_lower_quartile(product) for product in (lambda: torch.mm(a, b, out=out), lambda: np.dot(x, y, z))]  # noqa: B023
        rates = (2e-9 * rows * inner * columns / one for one in seconds)
        print("{} x {} x {}: PyTorch {:.0f}, NumPy {:.0f} GFLOP/s".format(rows, inner, columns, *rates))


def _lower_quartile(product: Callable) -> float:
    taken = []
    for _ in range(300):
        start = time.perf_counter()
        product()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[75]


if __name__ == "__main__":
    main()
