"""The course of training as `summary.csv` and `summary.md`: mean and standard deviation over seeds at each test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .tables import markdown_rows


def summarise(table: Any) -> Any:
    """Mean, standard deviation, smallest, largest and number of seeds, per task, experiment and step."""
    grouped = table.groupby(["task", "experiment", "step"], sort=False)["value"]
    return grouped.agg(["mean", "std", "min", "max", "count"]).reset_index()


def quarters(summary: Any) -> list[int]:
    """A quarter, half, three quarters and the end of one task's longest run: the nearest steps that were tested.

    Steps that all its experiments share come first, so that no column is empty for one of them.
    """
    of_each = [set(rows["step"]) for _, rows in summary.groupby("experiment", sort=False)]
    end = max(map(max, of_each))
    shared, every = set.intersection(*of_each), set.union(*of_each)
    found = []
    for part in (1, 2, 3):
        near = [step for step in sorted(shared) if abs(step - part * end / 4) <= end / 8]
        found.append(min(near or sorted(every), key=lambda step: abs(step - part * end / 4)))
    return sorted({*found, end})


def of_tasks(summary: Any, steps: Sequence[int] | None) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Task -> head and rows: mean ± standard deviation over seeds at the steps asked for; of how many, if not all."""
    found = {}
    for task, rows in summary.groupby("task", sort=False):
        columns = list(steps or quarters(rows))
        shown = []
        for name, curve in rows.groupby("experiment", sort=False):
            at, seeds = curve.set_index("step"), int(curve["count"].max())
            shown.append([name, str(seeds), *(_cell(at.loc[s], seeds) if s in at.index else "" for s in columns)])
        found[task] = (["experiment", "seeds", *(f"{step:,} steps" for step in columns)], shown)
    return found


def markdown(summary: Any, steps: Sequence[int] | None, what: str) -> str:
    """A table per task, of `what`."""
    lines = [f"{what[0].upper()}{what[1:]}: mean ± sample standard deviation over seeds, where there are several.", ""]
    for task, (head, rows) in of_tasks(summary, steps).items():
        lines += [f"### {task}", "", *markdown_rows(head, rows), ""]
    return "\n".join(lines)


def _cell(row: Any, seeds: int) -> str:
    text = f"{row['mean']:.2f}" + ("" if math.isnan(row["std"]) else f" ± {row['std']:.2f}")  # one seed has no spread
    # Tests come at an update's end, so that those of some seeds may miss an interval.
    return text + (f" ({int(row['count'])} of {seeds})" if row["count"] < seeds else "")
