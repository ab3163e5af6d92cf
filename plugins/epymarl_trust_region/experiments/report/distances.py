"""How far policies moved per update, in distributions: `epymarl-tr report PATH... --out FOLDER --distances`.

From the diagnostics that every on-policy learner logs. The panels are those of Figures 1 and 2 of "Monotonic
improvement guarantees under non-stationarity for decentralized PPO": ranges of ratios, and how total variation is
distributed over agents (single policies) and over updates (the joint policy).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .canvas import INK, Picture, log_axis, steps_axis
from .figures import task_file
from .naming import Entry
from .runs import number
from .study import Study
from .styles import readable_task

JOINT: tuple[str, ...] = ("ratio_min", "ratio_max", "joint_ratio_min", "joint_ratio_max", "tv_mean", "tv_p90", "tv_max")
JOINT += ("joint_tv_sum", "joint_tv", "clip_fraction", "kl_mean", "entropy")
JOINT += ("factor_min", "factor_max", "factor_ess")  # of learners whose agents take turns
_OF_AGENT = re.compile(r"agent_(\d+)_tv_max")


def read_updates(info: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The logged updates of one run: one row per update, and one row per update and agent."""

    def column(name: str) -> list[float]:
        return [number(v) for v in info.get(name, [])]

    steps = info.get("joint_tv_T", [])
    columns = {name: values for name in JOINT if len(values := column(name)) == len(steps)}
    updates = [{"step": step} | {name: values[k] for name, values in columns.items()} for k, step in enumerate(steps)]
    agents = sorted((int(match[1]), match[0]) for name in info if (match := _OF_AGENT.fullmatch(name)))
    of_agents = [
        {"step": step, "agent": agent, "tv_max": tv}
        for agent, name in agents
        for step, tv in zip(steps, column(name), strict=True)
    ]
    return updates, of_agents


def load_updates(entries: Iterable[Entry]) -> tuple[Any, Any]:
    """All logged updates of all runs: two tables, with the columns task, experiment and seed in front."""
    import pandas as pd

    tables: tuple[list, list] = ([], [])
    for entry in entries:
        label = {"task": entry.task, "experiment": entry.experiment, "seed": entry.seed}
        for table, rows in zip(tables, read_updates(entry.run.info), strict=True):
            table.extend(label | row for row in rows)
    return pd.DataFrame(tables[0]), pd.DataFrame(tables[1])


def summarise(updates: Any, of_agents: Any) -> Any:
    """Means over updates and seeds per experiment, with the extremes of ratios and the 90th percentile over agents.

    Of `factor_ess`, where it was logged: the mean, the smallest, and the smallest mean of ten updates in a row.
    """
    grouped = updates.groupby(["task", "experiment"], sort=False)
    means = ("tv_mean", "tv_max", "joint_tv", "joint_tv_sum", "clip_fraction", "kl_mean")
    table = grouped[[name for name in means if name in updates]].mean()  # not all of them clip
    table["ratio_min"], table["ratio_max"] = grouped["ratio_min"].min(), grouped["ratio_max"].max()
    table["joint_ratio_max"] = grouped["joint_ratio_max"].max()
    by_agent = of_agents.groupby(["task", "experiment"], sort=False)["tv_max"]
    table["agent_tv_max_median"], table["agent_tv_max_p90"] = by_agent.median(), by_agent.quantile(0.9)
    table["updates"] = grouped.size()
    if "factor_ess" in updates:
        table["factor_ess"], table["factor_ess_min"] = grouped["factor_ess"].mean(), grouped["factor_ess"].min()
        by_seed = updates.groupby(["task", "experiment", "seed"], sort=False)["factor_ess"]
        in_a_row = by_seed.apply(lambda column: column.rolling(10).mean().min())
        table["factor_ess_min_of_10"] = in_a_row.groupby(["task", "experiment"], sort=False).min()
    return table.reset_index()


def picture(study: Study, updates: Any, of_agents: Any | None, task: str) -> Picture:
    """Four panels for one task: ratio ranges, total variation of agents and of the joint policy, and over time.

    Args:
        of_agents: `load_updates`'; None, where only `updates.csv` is left: that of the agent which moved most.
    """
    drawn = Picture(f"distances-{task_file(task)}", f"{readable_task(task)}: distances", 2, 2, (9.6, 7.0))
    ranges, single, joint, course = drawn.axes
    groups = updates[updates["task"] == task].groupby("experiment", sort=False)
    first = {entry.experiment: entry for entry in study.entries if entry.task == task}
    for x, (name, rows) in enumerate(groups, 1):
        colour, marker, line = study.style_of(first[name])
        ranges.vlines(x, rows["ratio_min"].min(), rows["ratio_max"].max(), colors=colour, linewidth=6, alpha=0.35)
        ranges.vlines(x, rows["ratio_min"].median(), rows["ratio_max"].median(), colors=colour, linewidth=6)
        of_each = rows if of_agents is None else of_agents[of_agents["experiment"] == name]
        _cumulative(single, of_each["tv_max"], colour, marker, label=first[name].label)
        _cumulative(joint, rows["joint_tv_sum"], colour, marker)
        _cumulative(joint, rows["joint_tv"], colour, marker, linestyle="--")
        by_step = rows.groupby("step")["joint_tv"].mean()
        smooth = by_step.rolling(max(1, len(by_step) // 25), min_periods=1).mean()
        course.plot(smooth.index, smooth, color=colour, marker=marker, markevery=max(1, len(smooth) // 6))
    labels = [first[name].label for name, _ in groups]
    ranges.set_xticks(range(1, len(groups) + 1), labels, rotation=25, ha="right", fontsize=8)
    ranges.set(ylabel="ratio of one agent", title="range in an update: median (dark), widest (light)")
    low, high = (updates[updates["task"] == task][f"ratio_{end}"] for end in ("min", "max"))
    log_axis(ranges.yaxis, max(low.min(), 1e-6), high.max())
    ranges.axhline(1.0, color=INK, linewidth=0.7)
    whose, of = ("an", "updates and agents") if of_agents is not None else ("any", "updates")
    single.set(xlabel=f"largest total variation of {whose} agent in an update", ylabel=f"share of {of}")
    joint.set(xlabel="joint total variation: sum of agents (solid), 1 - product (dashed)", ylabel="share of updates")
    course.set_ylabel("joint total variation, 1 - product")
    steps_axis(course)
    drawn.legend()
    drawn.caption = "How far policies moved per update: its distribution over all updates of all seeds, and its course."
    return drawn


def _cumulative(axes: Any, values: Iterable[float], colour: str, marker: str, **style: Any) -> None:
    """The empirical distribution function."""
    ordered = sorted(values)
    axes.step(
        [0.0, *ordered], [0.0, *((k + 1) / len(ordered) for k in range(len(ordered)))], where="post", color=colour,
        marker=marker, markevery=max(1, len(ordered) // 4), markeredgecolor="none", linewidth=1.2, **style,
    )  # fmt: skip


def write(study: Study, folder: Path) -> tuple[str, list[Picture]]:
    """Write `updates.csv` and `distances.csv`; gives the table as markdown, and one picture per task."""
    updates, of_agents = load_updates(study.entries)
    if updates.empty:
        return "no run logged distances", []
    table = summarise(updates, of_agents)
    updates.to_csv(folder / "updates.csv", index=False, float_format="%.5g")
    table.to_csv(folder / "distances.csv", index=False, float_format="%.4f")
    tasks = updates["task"].unique()
    return _markdown(table), [picture(study, updates, of_agents[of_agents["task"] == task], task) for task in tasks]


def _markdown(table: Any) -> str:
    columns = ["agent_tv_max_median", "agent_tv_max_p90", "joint_tv_sum", "joint_tv", "ratio_min", "ratio_max"]
    columns += [name for name in ("factor_ess", "factor_ess_min", "factor_ess_min_of_10") if name in table]
    lines = ["| experiment | updates | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for row in table.to_dict("records"):
        cells = ["" if math.isnan(row[name]) else f"{row[name]:.3f}" for name in columns]
        lines.append(f"| {row['experiment']} | {row['updates']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
