"""`epymarl-tr report FILE --out FOLDER`: the completed runs of a sweep as CSV, tables and figures.

Writes `curves.csv` (every test of every seed), `summary.csv` (mean and spread over seeds at each test), `summary.md`
(the same at the steps asked for), `versions.json` (what made which runs), and one figure per task. `--distances` adds
how far the policies moved per update (`distances.py`). Runs that were made from modified files are refused.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from . import distances
from .made_by import add_flag, modified_runs, package_versions, refuse_modified
from .sweep import Sweep, read_sweep, sacred_run

METRICS = ("test_return_mean", "test_total_return_mean")


def load_runs(sweep: Sweep) -> Any:
    """All completed runs as a table: task, experiment, seed, step, value.

    Steps are rounded down to the test interval, so that runs whose episodes end at different steps can be averaged.
    """
    import pandas as pd

    rows = []
    for experiment in sweep.experiments:
        for seed in experiment.seeds:
            folder = sacred_run(sweep.folder(experiment, seed))
            if folder is not None:
                rows += [(experiment.task, experiment.name, seed, *point) for point in read_curve(folder)]
    return pd.DataFrame(rows, columns=["task", "experiment", "seed", "step", "value"])


def read_curve(run: Path) -> list[tuple[int, float]]:
    """(step, test return) of one Sacred run, each step rounded down to the run's test interval."""
    info, config = (json.loads((run / f"{name}.json").read_text()) for name in ("info", "config"))
    metric = next((m for m in METRICS if m in info), None)
    if metric is None:
        return []  # it ended before its first test
    # numpy numbers reach Sacred's json as tagged objects.
    values = [v["value"] if isinstance(v, dict) else v for v in info[metric]]
    interval = config["test_interval"]
    return [(step // interval * interval, float(v)) for step, v in zip(info[f"{metric}_T"], values, strict=True)]


def summarise(table: Any) -> Any:
    """Mean, standard deviation, smallest, largest and number of seeds, per task, experiment and step."""
    grouped = table.groupby(["task", "experiment", "step"], sort=False)["value"]
    return grouped.agg(["mean", "std", "min", "max", "count"]).reset_index()


def markdown(summary: Any, steps: list[int]) -> str:
    """A table per task: mean ± standard deviation over seeds at the steps asked for, and of how many if not of all."""
    lines = []
    for task, rows in summary.groupby("task", sort=False):
        lines += [f"### {task}", "", "| experiment | seeds | " + " | ".join(f"{s:,} steps" for s in steps) + " |"]
        lines.append("|---|---|" + "---|" * len(steps))
        for name, curve in rows.groupby("experiment", sort=False):
            at, seeds = curve.set_index("step"), int(curve["count"].max())
            cells = [_cell(at.loc[step], seeds) if step in at.index else "" for step in steps]
            lines.append(f"| {name} | {seeds} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(row: Any, seeds: int) -> str:
    text = f"{row['mean']:.2f}" + ("" if math.isnan(row["std"]) else f" ± {row['std']:.2f}")  # one seed has no spread
    # Tests come at an update's end, so that those of some seeds may miss an interval.
    return text + (f" ({int(row['count'])} of {seeds})" if row["count"] < seeds else "")


def plot_task(table: Any, task: str, file: Path) -> None:
    """Mean over seeds with a band of one standard deviation, each seed as a thin line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for i, (name, runs) in enumerate(table[table["task"] == task].groupby("experiment", sort=False)):
        colour = f"C{i}"
        curves = runs.pivot(index="step", columns="seed", values="value")
        mean, std = curves.mean(1), curves.std(1)
        axes.plot(curves.index, curves, color=colour, alpha=0.25, linewidth=0.7)
        axes.plot(mean.index, mean, color=colour, linewidth=2, label=f"{name} ({curves.shape[1]} seeds)")
        axes.fill_between(mean.index, mean - std, mean + std, color=colour, alpha=0.12, linewidth=0)
    axes.set(xlabel="environment steps", ylabel="test return (mean over episodes)", title=task)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def versions(sweep: Sweep, allow_dirty: bool = False) -> dict[str, Any]:
    """What the runs were made with, from the runs themselves where they say so, and which runs each commit made.

    Raises:
        ConfigError: runs were made from modified files, and `allow_dirty` is False.
    """
    made = {
        (experiment.name, seed): json.loads((run / "config.json").read_text())["plugin"]
        for experiment in sweep.experiments
        for seed in experiment.seeds
        if (run := sacred_run(sweep.folder(experiment, seed)))
    }
    found = package_versions()
    for key in ("epymarl_trust_region", "plugin_commit", "host_commit"):
        found[key] = sorted({str(entry[key]) for entry in made.values() if entry[key]})
    if modified := modified_runs(made.values()):
        if not allow_dirty:
            refuse_modified(modified, sweep.name)
        found["modified_files"] = modified
    runs: dict[str, dict[str, list[int]]] = {}
    for (name, seed), entry in made.items():
        runs.setdefault(str(entry["plugin_commit"]), {}).setdefault(name, []).append(seed)
    return found | {"runs": runs}


def write(folder: Path, table: Any, made_by: dict[str, Any], steps: list[int]) -> str:
    """Write everything but the distances; gives the table as markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(table)
    table.to_csv(folder / "curves.csv", index=False, float_format="%.4f")
    summary.to_csv(folder / "summary.csv", index=False, float_format="%.4f")
    (folder / "summary.md").write_text(markdown(summary, steps))
    (folder / "versions.json").write_text(json.dumps(made_by, indent=2) + "\n")
    for task in table["task"].unique():
        plot_task(table, task, folder / f"{task}.png")
    return markdown(summary, steps)


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: there is nothing to report, or nothing that a commit stands for.
    """
    parser = argparse.ArgumentParser(prog="epymarl-tr report", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the sweep file whose runs are read")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[100_000, 200_000, 300_000], help="columns of summary.md"
    )
    parser.add_argument(
        "--distances", action="store_true", help="also ratios and total variation per update, with a figure per task"
    )
    add_flag(parser)
    options = parser.parse_args(argv)
    if importlib.util.find_spec("pandas") is None:
        raise ConfigError("epymarl-tr report needs pandas, which is not installed; pip install pandas")
    sweep = read_sweep(options.file)
    table = load_runs(sweep)
    if table.empty:
        raise ConfigError(f"no completed run of {options.file} below results/sweeps; run `epymarl-tr sweep` first")
    print(write(options.out, table, versions(sweep, options.allow_dirty), options.steps))
    if options.distances:
        print(distances.write(sweep, options.out))
    print(f"written to {options.out}")
    return 0
