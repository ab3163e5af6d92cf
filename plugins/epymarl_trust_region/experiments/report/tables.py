"""Tables of a report, as rows and as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .figures import short_steps
from .statistics import interquartile_mean, interval, pooled_mean, steps_to
from .study import Study
from .styles import readable_task

SHARES = (0.5, 0.75, 0.9)  # of a task's scale: default thresholds of sample efficiency


@dataclass(frozen=True)
class Table:
    """A table: `rows` of numbers for CSV, `shown` for people."""

    name: str
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    head: Sequence[str]
    shown: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """With its note above."""
        return f"{self.note}\n\n" + "\n".join(markdown_rows(self.head, self.shown)) + "\n"

    def save(self, folder: Path) -> None:
        """NAME.csv and NAME.md."""
        with (folder / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows([["" if x is None else x for x in row] for row in self.rows])
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")


def markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|---" * len(head) + "|", *(line(row) for row in rows)]


# The end of training -----------------------------------------------------------------------------------------------


def final(study: Study) -> Table:
    """Each experiment's test return at the last step that all of its task reached."""
    rows, shown = [], []
    for task, experiments in study.tasks.items():
        step = study.common_end(task)
        for curves in experiments:
            values = curves.at(step)
            mean, iqm, ends = float(values.mean()), float(interquartile_mean(values)), interval(pooled_mean, values)
            low, high = (None, None) if ends is None else (float(ends[0]), float(ends[1]))
            std = float(values.std(ddof=1)) if len(values) > 1 else None
            own = float(curves.at(curves.end).mean())
            numbers = [_round(x) for x in (mean, low, high, iqm, std)]
            about = [task, curves.experiment, curves.algorithm, len(values), step]
            rows.append([*about, *numbers, curves.end, _round(own)])
            text = f"{mean:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")
            at_own = f"{own:.2f} at {short_steps(curves.end)}" if curves.end > step else ""
            name = [readable_task(task), curves.label, str(len(values)), f"{step:,}", text, f"{iqm:.2f}", at_own]
            shown.append(name)
    note = (
        f"The {study.what} at the last step that all experiments of a task reached: mean over seeds, with its 95% "
        "bootstrap interval (from 3 seeds on), and interquartile mean; where an experiment ran longer, the mean at "
        "its own end."
    )
    columns = "task experiment algorithm seeds step mean low high iqm std own_end own_mean".split()
    head = ["task", "algorithm", "seeds", "steps", "mean [95% interval]", "IQM", "at its own end"]
    return Table("final", "At the end", note, columns, rows, head, shown)


def _short(value: float) -> str:
    """Two decimals; two digits of what is smaller."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.2g}"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# Samples and seconds -----------------------------------------------------------------------------------------------


def efficiency(study: Study, thresholds: Sequence[float] | None = None) -> Table:
    """Environment steps to a test return: the median over seeds, a seed that never had it counting as infinite.

    Args:
        thresholds: test returns; else SHARES of each task's scale.
    """
    rows, shown, sign = [], [], -1 if study.less_is_better else 1
    for task, experiments in study.tasks.items():
        low, high = study.scale(task)
        begin, end = (high, low) if study.less_is_better else (low, high)
        wanted = thresholds or ([begin + share * (end - begin) for share in SHARES] if high > low else [])
        for curves in experiments:
            cells = []
            for threshold in wanted:
                reached = [steps_to(curves.table.index, sign * curves.table[s], sign * threshold) for s in curves.table]
                middle, count = median(reached), sum(map(math.isfinite, reached))
                kept = int(middle) if math.isfinite(middle) else None
                rows.append([task, curves.experiment, _round(threshold), kept, count, len(reached)])
                steps = f"> {short_steps(curves.end)}" if kept is None else short_steps(kept)
                cells.append(f"{_short(threshold)}: {steps} ({count} of {len(reached)})")
            shown.append([readable_task(task), curves.label, *(cells + [""] * 3)[: max(3, len(wanted))]])
    width = max([3, len(thresholds or ())])
    shares = [""] * width if thresholds else [f", {share:.0%} of the scale" for share in SHARES]
    note = (
        f"Environment steps to the first test with at {'most' if study.less_is_better else 'least'} that {study.what}: "
        'the median over seeds, and how many of them had one. "> 300k": half of the seeds or more had none by then.'
    )
    columns = ["task", "experiment", "threshold", "median_steps", "reached", "seeds"]
    head = ["task", "algorithm", *(f"{study.what.removeprefix('test ')}{s}" for s in shares)]
    return Table("efficiency", "Sample efficiency", note, columns, rows, head, shown)


def wall_time(study: Study) -> Table:
    """Hours from start to end by the runs' own clocks."""
    rows, shown = [], []
    for task, experiments in study.tasks.items():
        for curves in experiments:
            group = [e for e in study.entries if (e.task, e.experiment) == (task, curves.experiment)]
            timed = [(s, entry.run.last_step) for entry in group if (s := entry.run.seconds) and s > 0]
            if not timed:
                continue
            seconds = [s for s, _ in timed]
            middle, rate = median(seconds), median(steps / s for s, steps in timed)
            numbers = map(_round, (middle, min(seconds), max(seconds), rate))
            rows.append([task, curves.experiment, len(seconds), *numbers])
            spread = f"{duration(min(seconds))} to {duration(max(seconds))}" if len(seconds) > 1 else ""
            name = [readable_task(task), curves.label, str(len(seconds)), duration(middle), spread]
            shown.append([*name, f"{rate:,.0f}"])
    note = (
        "From a run's start to its end by its own clock, tests included: median over seeds, and range. Comparable only "
        "between runs that had the same machine, with the same load, to themselves."
    )
    columns = ["task", "experiment", "runs", "median_seconds", "least_seconds", "most_seconds", "steps_per_second"]
    head = ["task", "algorithm", "runs", "median", "range", "steps per second"]
    return Table("wall-time", "Wall time", note, columns, rows, head, shown)


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.4 h."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
