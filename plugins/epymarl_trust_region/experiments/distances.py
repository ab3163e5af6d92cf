"""How far the policies of a sweep's runs moved per update: `epymarl-tr report FILE --out FOLDER --distances`.

From the diagnostics that every on-policy learner logs. The panels are those of Figures 1 and 2 of "Monotonic
improvement guarantees under non-stationarity for decentralized PPO": ranges of ratios, and how total variation is
distributed over agents (single policies) and over updates (the joint policy).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .sweep import Sweep, sacred_run

JOINT: tuple[str, ...] = ("ratio_min", "ratio_max", "joint_ratio_min", "joint_ratio_max", "tv_mean", "tv_p90", "tv_max")
JOINT += ("joint_tv_sum", "joint_tv", "clip_fraction", "kl_mean", "entropy")
JOINT += ("factor_min", "factor_max", "factor_ess")  # of learners whose agents take turns
_OF_AGENT = re.compile(r"agent_(\d+)_tv_max")


def read_updates(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The logged updates of one Sacred run: one row per update, and one row per update and agent."""
    info = json.loads((run / "info.json").read_text())

    def column(name: str) -> list[float]:
        return [float(v["value"] if isinstance(v, dict) else v) for v in info.get(name, [])]

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


def load_updates(sweep: Sweep) -> tuple[Any, Any]:
    """All logged updates of all completed runs: two tables, with the columns task, experiment and seed in front."""
    import pandas as pd

    tables: tuple[list, list] = ([], [])
    for experiment in sweep.experiments:
        for seed in experiment.seeds:
            run = sacred_run(sweep.folder(experiment, seed))
            for table, rows in zip(tables, read_updates(run) if run else ((), ()), strict=True):
                label = {"task": experiment.task, "experiment": experiment.name, "seed": seed}
                table.extend(label | row for row in rows)
    return pd.DataFrame(tables[0]), pd.DataFrame(tables[1])


def summarise(updates: Any, of_agents: Any) -> Any:
    """Means over updates and seeds per experiment, with the extremes of ratios and the 90th percentile over agents.

    Of `factor_ess`, where it was logged: the mean, the smallest, and the smallest mean of ten updates in a row.
    """
    grouped = updates.groupby(["task", "experiment"], sort=False)
    table = grouped[["tv_mean", "tv_max", "joint_tv", "joint_tv_sum", "clip_fraction", "kl_mean"]].mean()
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


def plot_distances(updates: Any, of_agents: Any, task: str, file: Path) -> None:
    """Four panels for one task: ratio ranges, total variation of agents and of the joint policy, and over time."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, ScalarFormatter

    figure = Figure(figsize=(12, 8), layout="constrained")
    (ranges, single), (joint, course) = figure.subplots(2, 2)
    groups = updates[updates["task"] == task].groupby("experiment", sort=False)
    for i, (name, rows) in enumerate(groups):
        colour, label = f"C{i % 10}", name
        x = i + 1
        ranges.vlines(x, rows["ratio_min"].min(), rows["ratio_max"].max(), colors=colour, linewidth=6, alpha=0.35)
        ranges.vlines(x, rows["ratio_min"].median(), rows["ratio_max"].median(), colors=colour, linewidth=6)
        own = of_agents[of_agents["experiment"] == name]["tv_max"]
        _cumulative(single, own, color=colour, label=label)
        _cumulative(joint, rows["joint_tv_sum"], color=colour, label=label)
        _cumulative(joint, rows["joint_tv"], color=colour, linestyle="--")
        by_step = rows.groupby("step")["joint_tv"].mean()
        smooth = by_step.rolling(max(1, len(by_step) // 25), min_periods=1).mean()
        course.plot(smooth.index, smooth, color=colour, label=label)
    ranges.set_xticks(range(1, len(groups) + 1), [name for name, _ in groups], rotation=25, ha="right", fontsize=8)
    ranges.set(ylabel="ratio of one agent", title="range in an update: median (dark), widest (light)", yscale="log")
    single.set(xlabel="largest total variation of an agent in an update", ylabel="share of updates and agents")
    joint.set(xlabel="joint total variation: sum of agents (solid), 1 - product (dashed)", ylabel="share of updates")
    ranges.yaxis.set_major_formatter(ScalarFormatter())
    ranges.yaxis.set_minor_formatter(ScalarFormatter())
    course.set(xlabel="environment steps", ylabel="joint total variation, 1 - product")
    course.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in (single, joint, course):
        axes.legend(fontsize=7)
    for axes in (ranges, single, joint, course):
        axes.grid(alpha=0.3)
    figure.suptitle(task)
    figure.savefig(file, dpi=110)


def _cumulative(axes: Any, values: Iterable[float], **style: Any) -> None:
    """The empirical distribution function."""
    ordered = sorted(values)
    axes.step([0.0, *ordered], [0.0, *((k + 1) / len(ordered) for k in range(len(ordered)))], where="post", **style)


def write(sweep: Sweep, folder: Path) -> str:
    """Write `updates.csv`, `distances.csv` and one figure per task; gives the table as markdown."""
    updates, of_agents = load_updates(sweep)
    if updates.empty:
        return "no run logged distances"
    table = summarise(updates, of_agents)
    updates.to_csv(folder / "updates.csv", index=False, float_format="%.5g")
    table.to_csv(folder / "distances.csv", index=False, float_format="%.4f")
    for task in updates["task"].unique():
        plot_distances(updates, of_agents[of_agents["task"] == task], task, folder / f"distances-{task}.png")
    return _markdown(table)


def _markdown(table: Any) -> str:
    columns = ["agent_tv_max_median", "agent_tv_max_p90", "joint_tv_sum", "joint_tv", "ratio_min", "ratio_max"]
    columns += [name for name in ("factor_ess", "factor_ess_min", "factor_ess_min_of_10") if name in table]
    lines = ["| experiment | updates | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for row in table.to_dict("records"):
        cells = ["" if math.isnan(row[name]) else f"{row[name]:.3f}" for name in columns]
        lines.append(f"| {row['experiment']} | {row['updates']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
