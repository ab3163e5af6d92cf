"""Learning curves: one picture per task, and all tasks in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .canvas import INK, Picture, steps_axis
from .statistics import interval, pooled_mean
from .study import Curves, Study
from .styles import readable_task

_MARKS = 8  # on a curve
_LABELS = {
    "test_return_mean": "test return",
    "test_total_return_mean": "test return, all agents",
}


def learning_curves(study: Study) -> list[Picture]:
    """For each task one, and one of all tasks if there are several."""
    pictures = [_one(study, task) for task in study.tasks]
    if len(pictures) > 1:
        pictures.insert(0, _all(study))
    return pictures


def _one(study: Study, task: str) -> Picture:
    picture = Picture(task_file(task), readable_task(task))
    draw_task(study, task, picture.axes[0])
    picture.legend()
    picture.caption = caption(study, [task])
    return picture


def _all(study: Study) -> Picture:
    tasks = list(study.tasks)
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    picture = Picture("curves", "Learning curves", rows, columns, (1.0 + 3.0 * columns, 0.9 + 2.5 * rows))
    for axes, task in zip(picture.axes, tasks, strict=False):
        draw_task(study, task, axes, with_seeds=False)
        axes.set_title(readable_task(task))
    for axes in picture.axes[len(tasks) :]:
        axes.set_visible(False)
    picture.legend(study.order)
    picture.caption = caption(study, tasks)
    return picture


def draw_task(study: Study, task: str, axes: Any, with_seeds: bool = True) -> None:
    """Means over seeds with their intervals; where a curve ends before others do, its end is marked."""
    experiments = study.tasks[task]
    last = max(curves.end for curves in experiments)
    for k, curves in enumerate(experiments):
        label = curves.label + (seeds_of(curves) if with_seeds else "")
        draw_mean(curves, axes, label, shift=k)
        if ends_early(curves, last):
            mean = curves.table.loc[curves.end].mean()
            axes.plot([curves.end], [mean], marker="|", markersize=16, markeredgewidth=2.2, color=curves.style.colour)
    for k, end in enumerate(sorted({curves.end for curves in experiments if ends_early(curves, last)})):
        axes.axvline(end, color=INK, linewidth=0.7, linestyle=":")
        place = dict(
            xy=(end, 0.0), xycoords=("data", "axes fraction"), xytext=(4, 5 + 9 * k), textcoords="offset points"
        )
        text = f"curves with a bar end at {short_steps(end)}" if end else "with a bar: tested at the start only"
        axes.annotate(text, fontsize=7.5, **place)
    if far_off(experiments):
        low, high, room = _later(experiments)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, low - room), min(top, high + room))
    steps_axis(axes)
    if not last:  # nothing but the first test
        axes.set_xticks([0])
    axes.set_ylabel(_LABELS.get(study.metric[task], study.metric[task].replace("_", " ")))


def far_off(experiments: Sequence[Curves]) -> list[str]:
    """Whose first test, of an untrained policy, lies so far off that nothing else could be read beside it."""
    low, high, room = _later(experiments)
    first = {curves.label: float(curves.table.iloc[0].mean()) for curves in experiments}
    return [label for label, value in first.items() if room and not low - room <= value <= high + room]


def _later(experiments: Sequence[Curves]) -> tuple[float, float, float]:
    """Least and largest of all means but first tests', and three times their distance; 0 where there are none."""
    means = [mean for curves in experiments for mean in curves.table.mean(axis=1).iloc[1:]]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)
    return low, high, 3 * (high - low)


def draw_mean(curves: Curves, axes: Any, label: str, shift: int) -> None:
    """The mean, its band, or the single seeds where there are too few for one."""
    table, (colour, marker, line) = curves.table, curves.style
    every = max(1, len(table) // _MARKS)
    band = interval(pooled_mean, table.to_numpy().T)
    if band is not None:
        axes.fill_between(table.index, *band, color=colour, alpha=0.18, linewidth=0)
    elif curves.seeds > 1:
        axes.plot(table.index, table.to_numpy(), color=colour, alpha=0.45, linewidth=0.7, linestyle=line)
    axes.plot(
        table.index, table.mean(axis=1), color=colour, linestyle=line, marker=marker, label=label,
        markevery=(shift % every, every), markeredgecolor="none",
    )  # fmt: skip


def seeds_of(curves: Curves) -> str:
    """For a legend; never a curve without a band that does not say why."""
    few = "" if curves.seeds >= 3 else ", no interval"
    return f" ({curves.seeds} seed{'s' * (curves.seeds > 1)}{few})"


def caption(study: Study, tasks: list[str]) -> str:
    """What lines and bands are."""
    everyone = [curves for task in tasks for curves in study.tasks[task]]
    lines = [f"Mean over seeds of the {study.what}; bands: 95% bootstrap intervals of that mean."]
    if few := sorted({f"{c.label} ({c.seeds})" for c in everyone if c.seeds < 3}):
        lines.append(f"Fewer than 3 seeds, so no band, and thin lines for single seeds: {', '.join(few)}.")
    if far := sorted({label for task in tasks for label in far_off(study.tasks[task])}):
        lines.append(f"First tests, of untrained policies, are outside the picture: {', '.join(far)}.")
    early = [
        (c, task) for task in tasks for c in study.tasks[task] if ends_early(c, max(o.end for o in study.tasks[task]))
    ]
    if early:
        ends = sorted({f"{c.label} at {short_steps(c.end)}" for c, _ in early})
        lines.append(f"Bars mark the ends of curves that are shorter than others: {', '.join(ends)}.")
    return " ".join(lines)


def ends_early(curves: Curves, last: int) -> bool:
    """By more than two of its own test intervals: the last test may fall either way."""
    steps = list(curves.table.index)
    return last - curves.end > 2 * (steps[-1] - steps[-2] if len(steps) > 1 else 0)


def short_steps(step: float) -> str:
    """1.5M, 300k."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if step >= unit:
            return f"{step / unit:g}{name}" if step % (unit / 100) == 0 else f"{step / unit:.3g}{name}"
    return f"{step:g}"


def task_file(task: str) -> str:
    """A task's name as that of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_.=" else "-" for letter in task)
