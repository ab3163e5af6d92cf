"""The pictures of `epymarl-tr bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .bench_work import PHASES
from .report.styles import readable

_COLOURS = dict(
    zip((*PHASES, "other"), ("#4c72b0", "#dd8452", "#8c8c8c", "#55a868", "#c44e52", "#d9d9d9"), strict=True)
)


_LABELS = {"messages": "messages and waiting", "other": "the runner itself"}


def draw_phases(results: Sequence[Any], file: Path) -> None:
    """Where the time of whole iterations goes: a bar for each side of each result, in percent of the suite's side."""
    sides = [
        (f"{r.name}\n{name}", side, (r.theirs or r.ours)["wall_s"])
        for r in results
        for name, side in (("mappo_ns", r.theirs), ("HAPPO", r.ours))
        if side
    ]
    figure = Figure(figsize=(9, 1.2 + 0.55 * len(sides)), layout="constrained")
    axes = figure.subplots()
    left = [0.0] * len(sides)
    for phase, colour in _COLOURS.items():
        widths = [100 * _seconds(side, phase) / whole for _, side, whole in sides]
        axes.barh(range(len(sides)), widths, left=left, color=colour, label=_LABELS.get(phase, phase))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for row, (total, (_, side, _)) in enumerate(zip(left, sides, strict=True)):
        axes.text(total, row, f" {1000 * side['wall_s']:.0f} ms", va="center")
    axes.set_yticks(range(len(sides)), [label for label, _, _ in sides])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(left))  # room for the totals
    axes.set_xlabel("% of mappo_ns's time for as many environment steps (ms: per 1000 steps, medians)")
    axes.legend(ncols=len(_COLOURS), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.savefig(file, dpi=120)


def _seconds(side: dict[str, Any], phase: str) -> float:
    phases = side["phases_s"]
    return phases[phase] if phase in phases else max(0.0, side["wall_s"] - sum(phases.values()))


def draw_growth(points: Sequence[dict[str, Any]], file: Path) -> None:
    """Cost over each axis, both logarithmic; the dotted lines grow in proportion."""
    axes_of = {point["axis"]: None for point in points}
    figure = Figure(figsize=(4 * len(axes_of), 3.6), layout="constrained")
    for axes, axis in zip(figure.subplots(1, len(axes_of), squeeze=False)[0], axes_of, strict=True):
        here = [point for point in points if point["axis"] == axis]
        values = [point["value"] for point in here]
        for name in here[0]["seconds"]:
            seconds = [1000 * point["seconds"][name] for point in here]
            (drawn,) = axes.plot(values, seconds, marker="o", label=name)
            proportional = [seconds[-1] * value / values[-1] for value in values]
            axes.plot(values, proportional, linestyle=":", linewidth=0.8, color=drawn.get_color())
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms")
        axes.set_xticks(values, [str(value) for value in values], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)


_SIZES = {"agents": "agents N", "steps": "steps T", "episodes": "episodes B", "hidden_dim": "hidden units"}


def draw_curves(points: Sequence[Any], file: Path) -> None:
    """An update's time (above) and peak memory (below) over each size; the dotted lines grow in proportion."""
    axes_of, learners = dict.fromkeys(p.axis for p in points), dict.fromkeys(p.learner for p in points)
    figure = Figure(figsize=(3.6 * len(axes_of), 6.6), layout="constrained")
    places = figure.subplots(2, len(axes_of), squeeze=False, sharey="row")
    for row, (name, of) in enumerate(
        {"ms per update": lambda p: 1000 * p.seconds, "peak memory, MiB": lambda p: p.peak_mib}.items()
    ):
        for axes, axis in zip(places[row], axes_of, strict=True):
            for number, learner in enumerate(learners):
                here = [p for p in points if (p.axis, p.learner) == (axis, learner) and not p.left_out]
                style = {"marker": "o", "markersize": 3, "color": f"C{number % 10}"}
                axes.plot([p.value for p in here], [of(p) for p in here], label=readable(learner), **style)
            _draw_proportion(axes, [(p.value, of(p)) for p in points if p.axis == axis and not p.left_out])
            values = sorted({p.value for p in points if p.axis == axis})
            axes.set(xscale="log", yscale="log", xlabel=_SIZES[axis])
            axes.set_xticks(values, [str(value) for value in values], minor=False)
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axes.grid(alpha=0.3)
        places[row][0].set_ylabel(name)
    handles, labels = places[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, max(1, len(labels))), frameon=False)
    figure.savefig(file, dpi=120)


def _draw_proportion(axes: Any, drawn: Sequence[tuple[int, float]]) -> None:
    if drawn:
        first = min(value for value, _ in drawn)
        start = min(number for value, number in drawn if value == first)
        values = sorted({value for value, _ in drawn})
        axes.plot(values, [start * value / first for value in values], ":", linewidth=1, color="0.4")
