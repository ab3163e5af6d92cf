"""The numbers of a report, with intervals by SciPy's percentile bootstrap. Definitions: docs/report.md.

Samples are of independent runs, [runs] or [runs, steps]; a statistic takes one per task and reduces `axis`. Whole runs
are drawn with replacement, within each task: the stratified bootstrap of Agarwal et al. (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
FEWEST = 3  # runs: two say next to nothing about a spread
SEED = 0


def interval(statistic: Callable[..., Any], *samples: Any) -> tuple[Any, Any] | None:
    """The ends of the 95% interval; None where a sample has fewer than 3 runs."""
    from scipy.stats import bootstrap

    if min(len(sample) for sample in samples) < FEWEST:
        return None
    found = bootstrap(
        samples, statistic, n_resamples=RESAMPLES, axis=0, vectorized=True, confidence_level=LEVEL, method="percentile",
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return found.confidence_interval.low, found.confidence_interval.high


def pooled_mean(*samples: Any, axis: int = 0) -> Any:
    """The mean over all runs of all tasks."""
    return np.concatenate(samples, axis).mean(axis)


def interquartile_mean(*samples: Any, axis: int = 0) -> Any:
    """IQM: the mean of the middle half of all runs of all tasks; a quarter is cut at each end, rounded down."""
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(samples, axis), 0.25, axis)


def probability_of_improvement(*samples: Any, axis: int = 0) -> Any:
    """P(X > Y) of a run of X and one of Y, ties counting one half; the mean over tasks.

    Args:
        samples: X and Y of the first task, X and Y of the second, ... On each it is U / (n m), Mann and Whitney's U.
    """
    each = []
    for x, y in zip(samples[::2], samples[1::2], strict=True):
        x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
        each.append(((x > y) + 0.5 * (x == y)).mean((-2, -1)))
    return np.mean(each, axis=0)


def above(scores: Any, thresholds: Any) -> Any:
    """Which run is above which threshold, as 0 or 1: [runs, thresholds]; the mean over runs is a profile."""
    return (np.asarray(scores)[:, None] > np.asarray(thresholds)).astype(float)


def steps_to(steps: Iterable[int], values: Iterable[float], threshold: float) -> float:
    """The first step whose test is at least the threshold; infinite if none is."""
    return next((float(step) for step, value in zip(steps, values, strict=True) if value >= threshold), math.inf)


def shared_core(runs: dict[str, set[str]]) -> tuple[list[str], list[str]]:
    """Algorithms and the tasks that all of them were run on; who has fewest tasks goes, until there is such a task.

    Args:
        runs: algorithm -> its tasks.
    """
    names = list(runs)
    while names and not set.intersection(*(runs[name] for name in names)):
        names.remove(min(reversed(names), key=lambda name: len(runs[name])))
    tasks = set.intersection(*(runs[name] for name in names)) if names else set()
    return names, sorted(tasks)
