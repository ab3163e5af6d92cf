"""The runs of a report as curves, and what is compared: every experiment of a task at one step, on one scale."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from .naming import Entry
from .runs import Run
from .styles import Style, rank, readable, style

METRICS = ("test_return_mean", "test_total_return_mean")
#: What a key begins or ends with of which less is better: distances from an equilibrium.
LESS = ("nash_conv",), ("_best_response_gain",)
COLUMNS = ["task", "experiment", "seed", "step", "value"]


@dataclass(frozen=True)
class Curves:
    """One experiment on one task: a table of steps x seeds, without gaps."""

    experiment: str
    label: str
    algorithm: str
    table: Any
    style: Style

    @property
    def seeds(self) -> int:
        return int(self.table.shape[1])

    @property
    def end(self) -> int:
        """The last step at which every seed was tested."""
        return int(self.table.index[-1])

    def at(self, step: int) -> Any:
        """Each seed's test at a step, or the last one before it: [seeds]."""
        return self.table.loc[:step].iloc[-1].to_numpy()


@dataclass(frozen=True)
class Study:
    """Everything that a report is made from."""

    entries: Sequence[Entry]
    metric: dict[str, str]  # of each task
    rows: Any  # table with COLUMNS: every test of every run
    less_is_better: bool = False

    @property
    def what(self) -> str:
        """What the curves are of, in words: the test return, or the metric that was asked for."""
        others = sorted({key for key in self.metric.values() if key not in METRICS})
        return " and ".join(f"`{key}`" for key in others) if others else "test return"

    @cached_property
    def tasks(self) -> dict[str, list[Curves]]:
        """Task -> its experiments."""
        return {task: self._curves(task) for task in self.rows["task"].unique()}

    def _curves(self, task: str) -> list[Curves]:
        found: list[Curves] = []
        kinds = {entry.experiment: entry for entry in self.entries if entry.task == task}
        for name, rows in self.rows[self.rows["task"] == task].groupby("experiment", sort=False):
            entry = kinds[name]
            table = without_gaps(rows.pivot_table(index="step", columns="seed", values="value", aggfunc="last"))
            if len(table):
                found.append(Curves(name, entry.label, entry.run.algorithm, table, self.style_of(entry)))
        return found

    def style_of(self, entry: Entry) -> Style:
        """One for each label, in every picture of the report alike."""
        algorithm = entry.run.algorithm
        return style(algorithm, list(self._labels[algorithm]).index(entry.label))

    @property
    def order(self) -> list[str]:
        """All labels, in the order of legends."""
        return [label for algorithm in sorted(self._labels, key=rank) for label in self._labels[algorithm]]

    @cached_property
    def _labels(self) -> dict[str, dict[str, None]]:
        found: dict[str, dict[str, None]] = {}
        for entry in self.entries:
            found.setdefault(entry.run.algorithm, {})[entry.label] = None
        for algorithm, labels in found.items():
            own = readable(algorithm)  # the experiment that is called like its algorithm has that one's own colour
            found[algorithm] = {label: None for label in (*filter(own.__eq__, labels), *filter(own.__ne__, labels))}
        return found

    def common_end(self, task: str) -> int:
        """The last step that every experiment of the task reached: there they are compared."""
        return min(curves.end for curves in self.tasks[task])

    @property
    def compared(self) -> list[str]:
        """Tasks with several experiments that were all tested again after their first test, of an untrained policy."""
        found = []
        for task, experiments in self.tasks.items():
            first = max(int(curves.table.index[0]) for curves in experiments)
            if len(experiments) > 1 and self.common_end(task) > first:
                found.append(task)
        return found

    def scale(self, task: str) -> tuple[float, float]:
        """The lowest and highest test of any run, up to the common end (Gorsane et al., 2022)."""
        end = self.common_end(task)
        values = [curves.table.loc[:end].to_numpy() for curves in self.tasks[task]]
        return min(float(v.min()) for v in values), max(float(v.max()) for v in values)

    @property
    def best(self) -> Any:
        """`max` or `min`, of what the curves are of."""
        return min if self.less_is_better else max

    def scores(self, task: str) -> dict[str, Any]:
        """Label -> each seed's return at the common end on the task's scale: [seeds]."""
        end = self.common_end(task)
        return {curves.label: self.normalised(task, curves.at(end)) for curves in self.tasks[task]}

    def normalised(self, task: str, values: Any) -> Any:
        """From 0, the worst end of the task's scale, to 1; one half where all tests are alike."""
        low, high = self.scale(task)
        if low == high:
            return values * 0.0 + 0.5
        return (high - values) / (high - low) if self.less_is_better else (values - low) / (high - low)


def without_gaps(table: Any) -> Any:
    """From steps x seeds: steps that lie within every seed's tests. One that a seed missed is interpolated.

    Tests come at an update's end, so that a seed may have none in some interval.
    """
    return table.interpolate(method="index", limit_area="inside").dropna()


def study(entries: Sequence[Entry], metric: str | None = None, less_is_better: bool = False) -> tuple[Study, list[str]]:
    """The curves of runs, and lines for those that have none.

    Args:
        metric: the key to read; else the first of METRICS that all runs of a task have; or, of some the one and of
            some the other, where both are all agents' returns together.
        less_is_better: of the metric; of those that LESS names it is anyway.

    Raises:
        ConfigError: the runs of a task have no metric in common.
    """
    import pandas as pd

    wanted = (metric,) if metric else METRICS
    left_out: list[str] = []
    logged: dict[Entry, dict[str, Any]] = {}
    for entry in entries:
        try:
            logged[entry] = {key: points for key in wanted if (points := curve(entry.run, key))}
        except (TypeError, ValueError, KeyError, ArithmeticError) as error:
            left_out.append(f"{entry.run.folder}: its info.json holds no curve ({error})")
            continue
        if not logged[entry]:
            del logged[entry]
            left_out.append(f"{entry.run.folder}: it ended before its first test of {' or '.join(wanted)}")
    chosen = _metrics(logged, wanted)
    rows = []
    for entry, curves in logged.items():
        points = curves.get(chosen[entry.task]) or curves[METRICS[0]]
        if bad := [step for step, value in points if not math.isfinite(value)]:
            left_out.append(
                f"{entry.run.folder}: its {len(bad)} tests without a number (the first at {bad[0]:,} steps)"
            )
        rows += [(entry.task, entry.experiment, entry.seed, *p) for p in points if math.isfinite(p[1])]
    table = pd.DataFrame(rows, columns=COLUMNS)
    apart = _without_common_tests(table)
    left_out += [f"{name} of {task}: its seeds have no test in common" for task, name in apart]
    table = table[[place not in apart for place in zip(table["task"], table["experiment"], strict=True)]]
    kept = [entry for entry in entries if entry in logged and (entry.task, entry.experiment) not in apart]
    less = less_is_better or metric is not None and (metric.startswith(LESS[0]) or metric.endswith(LESS[1]))
    return Study(kept, chosen, table, less), left_out


def _without_common_tests(rows: Any) -> list[tuple[str, str]]:
    """(task, experiment) of those whose seeds were never tested at the same steps: there is no mean of them."""
    found = []
    for place, of_it in rows.groupby(["task", "experiment"], sort=False):
        if without_gaps(of_it.pivot_table(index="step", columns="seed", values="value", aggfunc="last")).empty:
            found.append(place)
    return found


def curve(run: Run, key: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, each step rounded down to the run's test interval.

    Seeds whose episodes end at different steps can then be averaged.
    """
    interval = max(1, int(run.config.get("test_interval") or 1))
    return [(step // interval * interval, value) for step, value in run.series(key)]


def read_curve(folder: Path) -> list[tuple[int, float]]:
    """(step, test return) of a run that may still be going on; none before its first test."""
    config, info = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "info"))
    run = Run(folder, config, info, {})
    return next((points for key in METRICS if (points := curve(run, key))), [])


def _is_total(entry: Entry, keys: set[str]) -> bool:
    """Whether its test return is all agents' together: theirs added up, or a team's reward that is their sum."""
    return METRICS[1] in keys or METRICS[0] in keys and entry.run.config.get("reward_scalarisation") == "sum"


def _metrics(logged: dict[Entry, dict[str, Any]], wanted: Sequence[str]) -> dict[str, str]:
    found = {}
    for task in dict.fromkeys(entry.task for entry in logged):
        of_it = {entry: set(curves) for entry, curves in logged.items() if entry.task == task}
        common = set.intersection(*of_it.values())
        if not common and all(_is_total(entry, keys) for entry, keys in of_it.items()):
            found[task] = METRICS[1]
            continue
        if not common:
            first, other = next((a, b) for a in of_it for b in of_it if not of_it[a] & of_it[b])
            raise ConfigError(
                f"no metric is common to all runs of {task}: {first.experiment} has {min(of_it[first])} and "
                f"{other.experiment} {min(of_it[other])}; report them apart, or name one with --metric"
            )
        found[task] = next(key for key in wanted if key in common)
    return found
