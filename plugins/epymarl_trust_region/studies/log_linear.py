"""`epymarl-tr study log-linear --out FOLDER`: log-linear multi-agent PPO on tables, online and from fixed data.

The ratio game against independent policy gradient, the gap against K with its bounds, climbing and penalty game from
random starts, pairwise features, and offline learning from data with holes.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..command_line import Parser
from ..errors import ConfigError
from ..experiments.made_by import add_flag, made_by
from . import log_linear_offline as offline
from . import log_linear_online as online

LIMITS = {"seeds": (1, 1000), "seed": (0, 2**31), "starts": (1, 100_000), "samples": (10, 1_000_000)}
Row = dict[str, Any]
# Part -> the keys that make a line of its table; what remains is averaged over seeds.
KEYS = {
    "ratio": ("step", "method"),
    "gap": ("beta", "K"),
    "starts": ("game", "beta", "method"),
    "features": ("features", "beta"),
    "offline": ("coverage", "method"),
}


def measure(options: argparse.Namespace) -> dict[str, list[Row]]:
    """Every part's rows, seed by seed."""
    seeds = range(options.seed, options.seed + options.seeds)
    return {
        "ratio": online.ratio_rows(),
        "gap": [row for seed in seeds for row in online.gap_rows(seed)],
        "starts": online.start_rows(options.starts, options.seed),
        "features": [row for seed in seeds for row in online.feature_rows(seed)],
        "offline": [
            row
            for coverage in offline.COVERAGES
            for seed in seeds
            for row in offline.offline_rows(seed, coverage, options.samples)
        ],
    }


def combine(rows: list[Row], keys: tuple[str, ...]) -> list[Row]:
    """One row per value of `keys`: mean, and `..._std` over seeds, of every number that is there."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    table = []
    for values, group in groups.items():
        line = dict(zip(keys, values, strict=True))
        for name in group[0].keys() - {*keys, "seed"}:
            found = [row[name] for row in group if row[name] is not None]
            line[name] = float(np.mean(found)) if found else None
            line[f"{name}_std"] = float(np.std(found, ddof=1)) if len(found) > 1 else None
        table.append(dict(sorted(line.items(), key=lambda item: (item[0] not in keys, item[0]))))
    return table


def markdown(tables: dict[str, list[Row]]) -> str:
    """The tables to read, a section for each part."""
    lines = [
        "### Ratio game: iterations to V > 0.99",
        "",
        *_grid(tables["ratio"], "method", "step", ("iterations",), ".0f"),
    ]
    for name in ("mean_gap", "last_gap", "bound", "fast_bound"):
        lines += [f"### {name.replace('_', ' ')} against K", "", *_grid(tables["gap"], "beta", "K", (name,), ".3g")]
    for game in online.GAMES:
        rows = [row for row in tables["starts"] if row["game"] == game]
        lines += [f"### {game} game: share that ends in the optimum / mean value / share that ever fell", ""]
        lines += _grid(rows, "method", "beta", ("best", "mean", "fell"), ".3f")
    lines += ["### Features: last gap / share of iterations that fell", ""]
    lines += _grid(tables["features"], "features", "beta", ("last_gap", "share_of_falls"), ".2g")
    lines += ["### Offline: true return / promised return, by coverage", ""]
    return "\n".join(lines + _grid(tables["offline"], "method", "coverage", ("true", "promised"), ".2f"))


def _grid(rows: list[Row], down: str, across: str, names: tuple[str, ...], form: str) -> list[str]:
    """Lines of a table whose cells are `names`, mean ± standard deviation over seeds."""
    columns, cells = dict.fromkeys(row[across] for row in rows), {(row[down], row[across]): row for row in rows}
    lines = [f"| {across} | " + " | ".join(map(str, columns)) + " |", "|---|" + "---|" * len(columns)]
    for key in dict.fromkeys(row[down] for row in rows):
        texts = (" / ".join(_number(cells[key, column], name, form) for name in names) for column in columns)
        lines.append(f"| {key} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _number(row: Row, name: str, form: str) -> str:
    mean, std = row[name], row[f"{name}_std"]
    if mean is None:
        return "-"
    return format(mean, form) + (
        "" if std is None or std < 1e-12 * abs(mean) else f" ± {std:{form}}"
    )  # a bound does not vary


def draw_ratio(file: Path) -> None:
    """V of the ratio game against iterations at the largest step."""
    from matplotlib.figure import Figure

    canvas, rate = Figure(figsize=(7, 4.2), layout="constrained"), online.RATIO_RATES[0]
    axes = canvas.subplots()
    for i, method in enumerate(online.RATIO_METHODS):
        path = online.ratio_path(method, rate, online.RATIO_LIMIT)
        axes.plot(np.arange(len(path)) + 1, path, "--" if i == 2 else "-", label=f"{method}: {len(path) - 1}")
    axes.set(xscale="log", xlabel="iteration + 1", ylabel="V", title=f"Ratio game, step {rate}: iterations to V > 0.99")
    axes.legend(fontsize=8)
    canvas.savefig(file, dpi=110)


def draw_gap(file: Path, table: list[Row]) -> None:
    """Mean gap and bounds against K, for both choices of beta."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9.5, 4), layout="constrained")
    titles = {"scheduled": "beta = Qmax sqrt(K / (2 log A))", "1": "beta = 1"}
    for axes, (beta, title) in zip(canvas.subplots(1, 2, sharex=True, sharey=True), titles.items(), strict=True):
        rows = [row for row in table if row["beta"] == beta]
        K, gap, std = ([row[name] for row in rows] for name in ("K", "mean_gap", "mean_gap_std"))
        axes.errorbar(K, gap, yerr=None if None in std else std, marker="o", label="mean gap of the K iterates")
        axes.plot(K, [row["last_gap"] for row in rows], "s-", label="gap of the last policy")
        axes.plot(K, [row["fast_bound"] for row in rows], ":", label="bound, any beta")
        if beta == "scheduled":
            axes.plot(K, [row["bound"] for row in rows], "--", label="bound of the schedule")
        axes.set(xscale="log", yscale="log", xlabel="K", title=title)
        axes.legend(fontsize=8)
    canvas.axes[0].set_ylabel("V* - V")
    canvas.savefig(file, dpi=110)


def draw_offline(file: Path, table: list[Row]) -> None:
    """True and promised return against lam, a panel for each coverage."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(13, 4.2), layout="constrained")
    panels = canvas.subplots(1, len(offline.COVERAGES), sharey=True, squeeze=False)[0]
    for axes, coverage in zip(panels, offline.COVERAGES, strict=True):
        rows = {row["method"]: row for row in table if row["coverage"] == coverage}
        grid = [rows[f"lam {lam:g}"] for lam in offline.LAMS]
        std = [row["true_std"] for row in grid]
        true = [row["true"] for row in grid]
        axes.errorbar(offline.LAMS, true, yerr=None if None in std else std, marker="o", label="pessimistic, true")
        axes.plot(
            offline.LAMS, [row["promised"] for row in grid], "o:", color="C0", alpha=0.6, label="pessimistic, estimate"
        )
        axes.axhline(rows["LSTD"]["true"], color="C3", label="LSTD, true")
        axes.axhline(rows["LSTD"]["promised"], color="C3", linestyle=":", label="LSTD, estimate")
        axes.axhline(rows["confident, z 2"]["true"], color="C2", label="lam from the data (z = 2), true")
        axes.axhline(rows["the data's own policy"]["true"], color="C7", linestyle="--", label="the data's own policy")
        axes.axhline(rows["optimum"]["true"], color="k", linewidth=0.8, label="optimum")
        axes.set(xscale="log", xlabel="lam", title=f"{coverage:.0%} of the joint actions in the data", ylim=(-4.5, 0.2))
    panels[0].set_ylabel("return")
    panels[0].legend(fontsize=7, loc="lower right")
    canvas.savefig(file, dpi=110)


def write(folder: Path, parts: dict[str, list[Row]], options: argparse.Namespace, made: dict[str, Any]) -> None:
    """A csv per part, log-linear.json with every seed, log-linear.md, and three pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {part: combine(rows, KEYS[part]) for part, rows in parts.items()}
    for part, table in tables.items():
        with open(folder / f"{part}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in r.items()} for r in table)
    content = {
        "made_by": made,
        "options": {name: getattr(options, name) for name in LIMITS},
        **parts,
    }
    (folder / "log-linear.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    (folder / "log-linear.md").write_text(markdown(tables), encoding="utf-8")
    draw_ratio(folder / "ratio.png")
    draw_gap(folder / "gap.png", tables["gap"])
    draw_offline(folder / "offline.png", tables["offline"])


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: a number is out of range, or files are modified.
    """
    parser = Parser(prog="epymarl-tr study log-linear", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the games and data (0)")
    parser.add_argument("--seeds", type=int, default=10, help="so many games and data sets: seed, seed + 1, ... (10)")
    parser.add_argument("--starts", type=int, default=500, help="random starts of the climbing and penalty game (500)")
    parser.add_argument("--samples", type=int, default=200, help="transitions of a data set (200)")
    add_flag(parser)
    options = parser.parse_args(argv)
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(options, name) <= high:
            raise ConfigError(f"--{name}={getattr(options, name)} is out of range; {low} to {high}")
    made, started = made_by(options), time.monotonic()
    write(options.out, measure(options), options, made)
    print((options.out / "log-linear.md").read_text(encoding="utf-8"))
    print(f"written to {options.out} after {time.monotonic() - started:.0f} s")
    return 0
