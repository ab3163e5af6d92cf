"""How far policies moved per update, over training: one picture per task whose runs logged it (docs/diagnostics.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .canvas import INK, Picture, log_axis, steps_axis
from .figures import task_file
from .naming import Entry
from .runs import Run
from .study import Study
from .styles import readable_task

_BINS = 30  # over a task's steps
_PANELS = (  # title, keys (the second dashed), label of the axis
    ("KL of one agent: mean; largest (dashed)", ("kl_mean", "kl_max"), "nats"),
    ("TV: joint; mean of one agent (dashed)", ("joint_tv", "tv_mean"), "total variation"),
    ("Ratios: largest; smallest (dashed)", ("ratio_max", "ratio_min"), "ratio"),
    ("MATRL: weight on current policies", ("rho_mean", ""), "ρ, mean over agents"),
)
_LOGS = ("KL", "Ratios")  # how the titles of logarithmic panels start
_AGENTS = re.compile(r"agent_\d+_rho")


def pictures(study: Study) -> list[Picture]:
    """One for each task of which a run logged one of the panels."""
    found = [_of_task(study, task) for task in study.tasks]
    return [picture for picture in found if picture is not None]


def _of_task(study: Study, task: str) -> Picture | None:
    groups: dict[str, list[Entry]] = {}
    for entry in study.entries:
        if entry.task == task:
            groups.setdefault(entry.label, []).append(entry)
    drawn = {
        panel[0]: {name: lines for name, group in groups.items() if (lines := _lines(group, panel[1]))}
        for panel in _PANELS
    }
    panels = [panel for panel in _PANELS if drawn[panel[0]]]
    if not panels:
        return None
    columns = 2 if len(panels) == 4 else len(panels)
    rows = len(panels) // columns
    picture = Picture(
        f"kl-and-tv-{task_file(task)}", readable_task(task), rows, columns, (max(4.4, 3.6 * columns), 0.9 + 2.6 * rows)
    )
    for axes, (title, _, label) in zip(picture.axes, panels, strict=False):
        for name, lines in drawn[title].items():
            _draw(axes, lines, study.style_of(groups[name][0]), name)
        axes.set(title=title, ylabel=label)
        steps_axis(axes)
        _scale(axes, title, [y for lines in drawn[title].values() for _, ys in lines for y in ys])
    picture.legend(study.order)
    silent = sorted(set(groups) - {name for lines in drawn.values() for name in lines})
    picture.caption = (
        "Per update, from the policies as they are after it: means over seeds, and over the logged updates of each of "
        f"{_BINS} stretches of training." + (f" Not logged by {', '.join(silent)}." if silent else "")
    )
    return picture


def _lines(group: Sequence[Entry], keys: tuple[str, str]) -> list[tuple[Any, Any]]:
    """(steps, values) of each key that was logged, as means over stretches of training."""
    found = []
    for key in keys:
        points = [point for entry in group for point in logged(entry.run, key)]
        if points:
            steps, values = np.array(points, float).T
            place = np.minimum((steps / (steps.max() + 1) * _BINS).astype(int), _BINS - 1)
            bins = sorted(set(place))
            found.append(([steps[place == b].mean() for b in bins], [values[place == b].mean() for b in bins]))
    return found


def logged(run: Run, key: str) -> list[tuple[int, float]]:
    """Finite logged values; of `rho_mean`, of the agents' own where the mean was not logged."""
    try:
        points = run.series(key) if key else []
        if key == "rho_mean" and not points:
            each = [dict(run.series(name)) for name in run.info if _AGENTS.fullmatch(name)]
            points = [(step, sum(rho[step] for rho in each) / len(each)) for step in (each[0] if each else ())]
    except (TypeError, ValueError, KeyError):  # a diagnostic that is not what it should be is no reason for no report
        return []
    return [(step, value) for step, value in points if np.isfinite(value)]


def _draw(axes: Any, lines: list[tuple[Any, Any]], style: Any, name: str) -> None:
    for k, (steps, values) in enumerate(lines):
        first = dict(label=name, marker=style.marker, markevery=max(1, len(steps) // 6), markeredgecolor="none")
        alone = dict(marker="_", markersize=10) if len(steps) == 1 else {}  # else there would be nothing to see
        axes.plot(
            steps,
            values,
            color=style.colour,
            linestyle="--" if k else "-",
            linewidth=1.0 if k else 1.5,
            **(alone if k else first),
        )


def _scale(axes: Any, title: str, values: Sequence[float]) -> None:
    positive = [value for value in values if value > 0]
    if title.startswith(_LOGS) and positive and max(positive) > min(positive):
        log_axis(axes.yaxis, min(positive), max(positive))
    if title.startswith("Ratios"):
        axes.axhline(1.0, color=INK, linewidth=0.7)
