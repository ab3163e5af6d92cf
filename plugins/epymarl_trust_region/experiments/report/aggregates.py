"""What several tasks say together: interquartile means, performance profiles, probabilities of improvement.

After Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from .canvas import Picture
from .statistics import above, interquartile_mean, interval, pooled_mean, probability_of_improvement, shared_core
from .study import Study
from .styles import Style

THRESHOLDS = np.linspace(0.0, 1.0, 101)
_MOST = 12  # experiments whose probabilities of improvement can be read


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, if it has one."""

    value: float
    ends: tuple[float, float] | None
    runs: int
    tasks: int

    def of_the_other(self) -> Estimate:
        """P(Y > X) from P(X > Y): ties count one half."""
        ends = None if self.ends is None else (1 - self.ends[1], 1 - self.ends[0])
        return replace(self, value=1 - self.value, ends=ends)


@dataclass(frozen=True)
class Aggregate:
    """Scores of the algorithms that were run on the same tasks."""

    scores: dict[str, list[Any]]  # label -> for each task [seeds]
    tasks: list[str]
    missing: list[str]  # labels that lack one of the tasks
    styles: dict[str, Style]
    what: str = "test return"  # as `Study.what`
    less_is_better: bool = False

    def iqm(self) -> dict[str, Estimate]:
        """Label -> interquartile mean over all runs of all tasks."""
        return {label: _estimate(interquartile_mean, scores) for label, scores in self.scores.items()}


def aggregate(study: Study) -> Aggregate:
    """Of the tasks on which several experiments can be compared; of those who have all of them."""
    compared = {task: study.scores(task) for task in study.compared}
    found = {curves.label: curves.style for curves_of in study.tasks.values() for curves in curves_of}
    styles = {label: found[label] for label in study.order if label in found}
    have = {label: {task for task, scores in compared.items() if label in scores} for label in styles}
    have = {label: tasks for label, tasks in have.items() if tasks}
    names, tasks = shared_core(have)
    scores = {name: [compared[task][name] for task in tasks] for name in names}
    return Aggregate(
        scores, tasks, [label for label in have if label not in names], styles, study.what, study.less_is_better
    )


def improvements(study: Study) -> dict[tuple[str, str], Estimate]:
    """(X, Y) -> the probability that a run of X ends better than one of Y, over the tasks that both were run on."""
    all_scores = [study.scores(task) for task in study.compared]
    labels = [label for label in study.order if any(label in scores for scores in all_scores)]
    found = {}
    for x, y in combinations(labels, 2):
        pairs = [sample for scores in all_scores if {x, y} <= set(scores) for sample in (scores[x], scores[y])]
        if pairs:
            found[x, y] = _estimate(probability_of_improvement, pairs, tasks=len(pairs) // 2)
            found[y, x] = found[x, y].of_the_other()
    return found


def _estimate(statistic: Any, samples: list[Any], tasks: int | None = None) -> Estimate:
    ends = interval(statistic, *samples)
    number = float(statistic(*samples, axis=0))
    kept = None if ends is None else (float(ends[0]), float(ends[1]))
    return Estimate(number, kept, sum(map(len, samples)), tasks or len(samples))


def pictures(study: Study) -> list[Picture]:
    """Those that there are numbers for: at least two experiments on a task."""
    found, pairs = aggregate(study), improvements(study)
    drawn = [_iqm(found), _profiles(found)] if len(found.scores) > 1 else []
    if len({x for x, _ in pairs}) > _MOST:  # then of those who were run on the same tasks
        pairs = {(x, y): estimate for (x, y), estimate in pairs.items() if {x, y} <= set(found.scores)}
    return drawn + ([_improvement(pairs, study.less_is_better)] if 1 < len({x for x, _ in pairs}) <= _MOST else [])


def write(study: Study, folder: Path) -> None:
    """`aggregate.csv` and `improvement.csv`, with everyone, drawn or not."""
    of_one = [["algorithm", "iqm", "low", "high", "runs", "tasks"]]
    of_two = [["x", "y", "probability", "low", "high", "runs", "tasks"]]
    of_one += [[label, *_fields(estimate)] for label, estimate in aggregate(study).iqm().items()]
    of_two += [[x, y, *_fields(estimate)] for (x, y), estimate in improvements(study).items()]
    for name, rows in (("aggregate", of_one), ("improvement", of_two)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _fields(estimate: Estimate) -> list[str]:
    ends = ["", ""] if estimate.ends is None else [f"{end:.4f}" for end in estimate.ends]
    return [f"{estimate.value:.4f}", *ends, str(estimate.runs), str(estimate.tasks)]


def _over(found: Aggregate) -> str:
    text = f"over {len(found.tasks)} task{'s' * (len(found.tasks) > 1)}"
    few = sorted(label for label, scores in found.scores.items() if min(map(len, scores)) < 3)
    text += f". No interval for want of 3 seeds on each task: {', '.join(few)}" if few else ""
    return text + (
        f". Not here, for want of runs on all of these tasks: {', '.join(found.missing)}." if found.missing else "."
    )


def _iqm(found: Aggregate) -> Picture:
    picture = Picture("aggregate-iqm", "Interquartile mean", size=(6.4, 1.2 + 0.42 * len(found.scores)))
    (axes,) = picture.axes
    rows = sorted(found.iqm().items(), key=lambda item: item[1].value)
    low, high = _reach([estimate for _, estimate in rows])
    digits = 2 if high - low > 0.2 else 3
    for y, (label, estimate) in enumerate(rows):
        colour, marker, _ = found.styles[label]
        if estimate.ends:
            axes.plot(estimate.ends, [y, y], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
        axes.plot([estimate.value], [y], marker=marker, color=colour, markersize=8, markeredgecolor="none")
        axes.annotate(
            f"{estimate.value:.{digits}f}",
            (estimate.value, y),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    axes.set_yticks(range(len(rows)), [fill(label, 30) for label, _ in rows])
    axes.set(xlabel=f"normalised {found.what} (IQM)", xlim=(low, high), ylim=(-0.5, len(rows) - 0.2))
    picture.caption = (
        "Interquartile mean of the runs' scores with 95% stratified bootstrap intervals, "
        + _over(found)
        + " A score is the "
        f"{found.what} at the last step that all experiments of a task reached; 0 and 1 are "
        f"{'the highest and the lowest' if found.less_is_better else 'the lowest and the highest'} test of any run on "
        "that task up to there." + (" The axis does not begin at 0." if low > 0 else "")
    )
    return picture


def _reach(estimates: list[Estimate]) -> tuple[float, float]:
    """Of the axis: all of the scale, or where all scores lie far up and together, that part, but no less than 0.05.

    One run whose untrained policy was tested far below all others would leave nothing to see else.
    """
    ends = [end for estimate in estimates for end in (estimate.value, *(estimate.ends or ()))]
    low, high = min(ends), max(ends)
    room = max(0.1 * (high - low), (0.05 - (high - low)) / 2)
    return (low - room, high + room) if high - low < 0.5 and low - room > 0 else (-0.03, 1.06)


def _profiles(found: Aggregate) -> Picture:
    picture = Picture("aggregate-profiles", "Performance profiles", size=(6.4, 4.0))
    (axes,) = picture.axes
    for k, (label, scores) in enumerate(found.scores.items()):
        colour, marker, line = found.styles[label]
        samples = [above(score, THRESHOLDS) for score in scores]
        if (band := interval(pooled_mean, *samples)) is not None:
            axes.fill_between(THRESHOLDS, *band, color=colour, alpha=0.15, linewidth=0)
        share = pooled_mean(*samples)
        axes.plot(
            THRESHOLDS, share, color=colour, linestyle=line, marker=marker, markevery=(2 * k % 14, 14), label=label,
            markeredgecolor="none",
        )  # fmt: skip
    axes.set(xlabel=f"normalised {found.what} τ", ylabel="share of runs above τ", ylim=(-0.03, 1.03))
    picture.legend()
    picture.caption = (
        "Share of runs whose score is above τ, with 95% stratified bootstrap intervals, " + _over(found) + " Higher is "
        "better"
        + (", for a score of 1 is the lowest test" if found.less_is_better else "")
        + "; where a curve passes one "
        "half is its median score."
    )
    return picture


def _improvement(pairs: dict[tuple[str, str], Estimate], less_is_better: bool) -> Picture:
    labels = list(dict.fromkeys(x for x, _ in pairs))
    size = (0.74 * len(labels) + 3.4, 0.62 * len(labels) + 0.9)
    picture = Picture("aggregate-improvement", "Probability of improvement", size=size)
    (axes,) = picture.axes
    image = _matrix(axes, labels, pairs)
    axes.set_xticks(range(len(labels)), range(1, len(labels) + 1))
    axes.set_yticks(range(len(labels)), [f"{fill(label, 30)}  {k}" for k, label in enumerate(labels, 1)])
    axes.xaxis.tick_top()
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="Y", ylabel="X")
    axes.xaxis.set_label_position("top")
    bar = picture.figure.colorbar(image, ax=axes, shrink=0.8, boundaries=np.linspace(0, 1, 101), ticks=[0, 0.5, 1])
    bar.set_label("P(X < Y)" if less_is_better else "P(X > Y)")
    bar.outline.set_visible(False)
    picture.caption = (
        "Probability that a run of X (row) ends better than a run of Y (column), ties counting one half, as the mean "
        "over the tasks that both were run on; below it the 95% bootstrap interval, where both have 3 seeds on each."
    )
    return picture


def _matrix(axes: Any, labels: list[str], pairs: dict[tuple[str, str], Estimate]) -> Any:
    """The numbers in their colours, of a scale's pale part, on which letters can be read."""
    grid = np.full((len(labels), len(labels)), np.nan)
    for (x, y), estimate in pairs.items():
        row, column = labels.index(x), labels.index(y)
        grid[row, column] = estimate.value
        ends = "\n[{:.2f}, {:.2f}]".format(*estimate.ends) if estimate.ends else ""
        text = f"{estimate.value:.2f}{ends}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="#141516")
    return axes.imshow(grid, vmin=-0.35, vmax=1.35, cmap="PuOr_r", aspect="auto")
