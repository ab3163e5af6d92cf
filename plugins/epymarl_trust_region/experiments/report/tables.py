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
        return f"{self.note}\n\n" + "\n".join(_markdown_rows(self.head, self.shown)) + "\n"

    def save(self, folder: Path) -> None:
        """NAME.csv and NAME.md."""
        with (folder / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows([["" if x is None else x for x in row] for row in self.rows])
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")


def _markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|---" * len(head) + "|", *(line(row) for row in rows)]


# The course of training: mean and standard deviation ---------------------------------------------------------------


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


def course(summary: Any, steps: Sequence[int] | None) -> dict[str, tuple[list[str], list[list[str]]]]:
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


def course_markdown(summary: Any, steps: Sequence[int] | None) -> str:
    """A table per task."""
    lines = ["Test return: mean ± sample standard deviation over seeds, where there are several.", ""]
    for task, (head, rows) in course(summary, steps).items():
        lines += [f"### {task}", "", *_markdown_rows(head, rows), ""]
    return "\n".join(lines)


def _cell(row: Any, seeds: int) -> str:
    text = f"{row['mean']:.2f}" + ("" if math.isnan(row["std"]) else f" ± {row['std']:.2f}")  # one seed has no spread
    # Tests come at an update's end, so that those of some seeds may miss an interval.
    return text + (f" ({int(row['count'])} of {seeds})" if row["count"] < seeds else "")


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
            rows.append(
                [task, curves.experiment, curves.algorithm, len(values), step, *numbers, curves.end, _round(own)]
            )
            text = f"{mean:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")
            at_own = f"{own:.2f} at {short_steps(curves.end)}" if curves.end > step else ""
            name = [readable_task(task), curves.label, str(len(values)), f"{step:,}", text, f"{iqm:.2f}", at_own]
            shown.append(name)
    note = (
        "Test return at the last step that all experiments of a task reached: mean over seeds, with its 95% bootstrap "
        "interval (from 3 seeds on), and interquartile mean; where an experiment ran longer, the mean at its own end."
    )
    columns = [
        "task",
        "experiment",
        "algorithm",
        "seeds",
        "step",
        "mean",
        "low",
        "high",
        "iqm",
        "std",
        "own_end",
        "own_mean",
    ]
    head = ["task", "algorithm", "seeds", "steps", "mean [95% interval]", "IQM", "at its own end"]
    return Table("final", "At the end", note, columns, rows, head, shown)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def latex(study: Study) -> str:
    """Algorithms x tasks for `booktabs`; bold: whose interval reaches the highest mean of the task."""
    tasks = list(study.tasks)
    labels = list(dict.fromkeys(curves.label for curves_of in study.tasks.values() for curves in curves_of))
    cells: dict[tuple[str, str], str] = {}
    for task, experiments in study.tasks.items():
        step = study.common_end(task)
        at = {curves.label: curves.at(step) for curves in experiments}
        best = max(float(values.mean()) for values in at.values())
        for label, values in at.items():
            ends = interval(pooled_mean, values)
            mean = float(values.mean())
            text = f"{mean:.2f}" + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]")
            reaches = mean == best or (ends is not None and ends[1] >= best)
            cells[label, task] = f"\\textbf{{{text}}}" if reaches and len(at) > 1 else text
    head = " & ".join(["", *(f"{escaped(readable_task(t))} ({short_steps(study.common_end(t))})" for t in tasks)])
    body = [" & ".join([escaped(label), *(cells.get((label, t), "--") for t in tasks)]) + r" \\" for label in labels]
    return "\n".join([
        "% needs \\usepackage{booktabs}",
        "% Test return at the steps in brackets: mean over seeds [95% bootstrap interval].",
        "% Bold: the highest mean of a task, and those whose interval reaches it.",
        f"\\begin{{tabular}}{{l{'r' * len(tasks)}}}", r"\toprule", f"{head} \\\\", r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", "",
    ])  # fmt: skip


def escaped(text: str) -> str:
    """For LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter) or (f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


# Samples and seconds -----------------------------------------------------------------------------------------------


def efficiency(study: Study, thresholds: Sequence[float] | None = None) -> Table:
    """Environment steps to a test return: the median over seeds, a seed that never had it counting as infinite.

    Args:
        thresholds: test returns; else SHARES of each task's scale.
    """
    rows, shown = [], []
    for task, experiments in study.tasks.items():
        low, high = study.scale(task)
        wanted = thresholds or ([low + share * (high - low) for share in SHARES] if high > low else [])
        for curves in experiments:
            cells = []
            for threshold in wanted:
                reached = [steps_to(list(curves.table.index), list(curves.table[s]), threshold) for s in curves.table]
                middle, count = median(reached), sum(map(math.isfinite, reached))
                kept = int(middle) if math.isfinite(middle) else None
                rows.append([task, curves.experiment, _round(threshold), kept, count, len(reached)])
                steps = f"> {short_steps(curves.end)}" if kept is None else short_steps(kept)
                cells.append(f"{threshold:.2f}: {steps} ({count} of {len(reached)})")
            shown.append([readable_task(task), curves.label, *(cells + [""] * 3)[: max(3, len(wanted))]])
    width = max([3, len(thresholds or ())])
    shares = [""] * width if thresholds else [f", {share:.0%} of the scale" for share in SHARES]
    note = (
        "Environment steps to the first test with at least that return: the median over seeds, and how many of "
        'them had one. "> 300k": half of the seeds or more had none by then.'
    )
    columns = ["task", "experiment", "threshold", "median_steps", "reached", "seeds"]
    return Table(
        "efficiency",
        "Sample efficiency",
        note,
        columns,
        rows,
        ["task", "algorithm", *(f"return{s}" for s in shares)],
        shown,
    )


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
