"""Backtracking line search along a given step, on parameters that are one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Outcome(NamedTuple):
    """What `backtrack` did."""

    # j of the step taken, coef^j times the full one; -1 if none was
    index: int  # type: ignore[assignment]  # hides a method of tuples
    gain: float  # of the objective by that step; 0 if none was taken
    expected: float  # what the slope promised for it; for the full step if none was taken


@torch.no_grad()
def backtrack(
    vector: Tensor,
    step: Tensor,
    slope: Tensor,
    measure: Callable[[], tuple[float, float]],
    radius: float,
    accept_ratio: float,
    coef: float,
    steps: int,
) -> Outcome:
    """Take the longest of `step`, coef `step`, ..., coef^steps `step` that is good enough, or none.

    Good enough: the distance is at most `radius`, the gain is positive, and it is at least `accept_ratio` times what
    the slope promises. NaN is never good enough.

    Args:
        vector: the parameters, [P]; moved in place, and left bit for bit as they were if nothing is accepted.
        step: the full step, [P].
        slope: gradient of the objective at `vector`, [P].
        measure: () -> (gain of the objective, distance) of where `vector` is at the moment.
        radius: of the trust region, in units of the distance.
        accept_ratio: in (0, 1).
        coef: in (0, 1).
        steps: j goes from 0 to `steps`.
    """
    start, promised = vector.clone(), torch.dot(slope, step).item()
    for j in range(steps + 1):
        fraction = coef**j
        torch.add(start, step, alpha=fraction, out=vector)
        gain, distance = measure()
        if distance <= radius and gain > 0 and gain >= accept_ratio * fraction * promised:
            return Outcome(j, gain, fraction * promised)
    vector.copy_(start)
    return Outcome(-1, 0.0, promised)
