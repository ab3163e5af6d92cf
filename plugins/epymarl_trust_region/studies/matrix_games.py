"""`epymarl-tr study matrix-games --out FOLDER`: Table 1 of the MATRL paper, re-made, beside rows at equal step sizes.

IGA, IGA-PP, WoLF-IGA and MATRL on random 2x2 games of three classes, from two generators and by two criteria of
convergence, with the orbits of matching pennies as a picture.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..command_line import Parser
from ..errors import ConfigError
from ..experiments.made_by import add_flag, made_by
from ..games.two_by_two import equilibria, gains_of, select
from ..games.two_by_two_classes import CLASSES, normal_games, structured_games
from .matrix_learning import (
    Step,
    first_stay,
    iga_pp_step,
    iga_step,
    learn,
    matrl_step,
    meta_weights,
    near_equilibrium,
    wolf_iga_step,
)

START = np.array([0.9, 0.2])  # the paper's Table 2
STEPS = 1000
GENERATORS = {"structured": structured_games, "normal": normal_games}
CRITERIA = {"first entry": 1, "stays 100 steps": 100}
LIMITS = {"games": (1, 10_000), "seeds": (1, 100), "seed": (0, 2**31)}  # 10,000 games take 1 GB


@dataclass(frozen=True)
class Method:
    """One row: a learner with its step sizes, and what the paper's Table 1 has for it, (rate, steps) per class."""

    name: str
    step: Callable[..., np.ndarray]
    parameters: dict[str, Any]
    paper: dict[str, tuple[float, float]] = field(default_factory=dict)
    target: str | None = None  # WoLF: which of a game's equilibria it knows

    def on(self, found: np.ndarray) -> Step:
        """Its step on games with the equilibria `found`."""
        known = {"target": select(found, self.target)} if self.target else {}
        return partial(self.step, **self.parameters, **known)


def _paper(*cells: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return dict(zip(CLASSES, cells, strict=True))


_IGA = _paper((0.99, 140.67), (0.975, 88.95), (0.78, 452.92))
_IGA_PP = _paper((0.99, 138.56), (0.975, 83.11), (0.809, 432.98))
_MATRL = _paper((0.99, 86.54), (0.9825, 75.52), (0.846, 369.40))
_WOLF = {"lr_min": 0.02, "lr_max": 0.06}
METHODS = (
    Method("IGA .02", iga_step, {"lr": 0.02}, _IGA),
    Method("IGA-PP .02, look-ahead .01", iga_pp_step, {"lr": 0.02, "gamma_pp": 0.01}, _IGA_PP),
    Method("MATRL .03, trial .02", matrl_step, {"lr": 0.02, "lr_br": 0.03}, _MATRL),
    Method("IGA .03", iga_step, {"lr": 0.03}),
    Method("IGA-PP .03, look-ahead .01", iga_pp_step, {"lr": 0.03, "gamma_pp": 0.01}),
    Method("IGA-PP .03, look-ahead .02", iga_pp_step, {"lr": 0.03, "gamma_pp": 0.02}),
    Method("IGA-PP .02, look-ahead .02", iga_pp_step, {"lr": 0.02, "gamma_pp": 0.02}),
    Method("MATRL .02, trial .02", matrl_step, {"lr": 0.02, "lr_br": 0.02}),
    Method("MATRL .03, trial .02, first solution", matrl_step, {"lr": 0.02, "lr_br": 0.03, "rule": "first"}),
    Method("MATRL .03, trial .02, no meta-game", matrl_step, {"lr": 0.02, "lr_br": 0.03, "rule": "predicted"}),
    Method("WoLF-IGA .06/.02, first equilibrium", wolf_iga_step, _WOLF, target="first"),
    Method("WoLF-IGA .06/.02, last equilibrium", wolf_iga_step, _WOLF, target="last"),
)
ORBITS = [METHODS[i] for i in (3, 5, 10, 2)]  # IGA, IGA-PP, WoLF-IGA and MATRL


def measure(generator: str, name: str, n_games: int, seed: int) -> list[dict[str, Any]]:
    """All methods on one set of games of a class: a row per method and criterion.

    Returns:
        Rows with `rate`, the share of games that converge within `STEPS` steps; `steps`, the mean over these (None if
        there are none), both with their standard errors over games; for MATRL with its default rule also `undecided`.
    """
    rng = np.random.default_rng([seed, list(GENERATORS).index(generator), CLASSES.index(name)])
    gains = gains_of(GENERATORS[generator](name, n_games, rng))
    found, rows = equilibria(gains), []
    for method in METHODS:
        path = learn(method.on(found), gains, START, STEPS)
        near = near_equilibrium(path, found)
        same = {"generator": generator, "class": name, "method": method.name, "seed": seed, "games": n_games}
        if method.step is matrl_step and "rule" not in method.parameters:
            same["undecided"] = undecided(gains, path, first_stay(near), method.parameters["lr"])
        rows += [same | {"criterion": text} | summary(first_stay(near, n)) for text, n in CRITERIA.items()]
    return rows


def summary(steps: np.ndarray) -> dict[str, Any]:
    """Rate of convergence and mean steps that it takes, with their standard errors over games, from `first_stay`."""
    reached = steps[steps >= 0]
    rate, n = len(reached) / len(steps), len(reached)
    mean, error = (float(reached.mean()), float(reached.std() / math.sqrt(n))) if n else (None, None)
    return {"rate": rate, "rate_se": math.sqrt(rate * (1 - rate) / len(steps)), "steps": mean, "steps_se": error}


def undecided(gains: np.ndarray, path: np.ndarray, entry: np.ndarray, lr: float) -> float:
    """The share of MATRL's steps, up to each game's first entry, whose meta-game is not solved by "all predicted"."""
    before = np.arange(len(path) - 1)[:, None] < np.where(entry < 0, len(path), entry)
    x, gains = path[:-1][before], np.broadcast_to(gains, (*before.shape, 2, 2))[before]
    if not len(x):
        return 0.0
    return float((meta_weights(gains, x, iga_step(gains, x, lr)) != 0).any(-1).mean())


def combine(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of several seeds as one: mean and standard deviation over seeds, mean standard error over games."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in ("generator", "class", "method", "criterion")), []).append(row)
    paper = {method.name: method.paper for method in METHODS}
    return [_combined(key, group, paper[key[2]].get(key[1], (None, None))) for key, group in groups.items()]


def _combined(key: tuple, group: list[dict[str, Any]], paper: tuple) -> dict[str, Any]:
    column = {name: [row[name] for row in group if row[name] is not None] for name in summary(np.zeros(1))}
    on_paper = paper if (key[0], key[3]) == ("structured", "first entry") else (None, None)
    return {
        **dict(zip(("generator", "class", "method", "criterion"), key, strict=True)),
        "rate": _mean(column["rate"]),
        "rate_std_seeds": _std(column["rate"]),
        "rate_se_games": _mean(column["rate_se"]),
        "steps": _mean(column["steps"]),
        "steps_std_seeds": _std(column["steps"]),
        "steps_se_games": _mean(column["steps_se"]),
        "paper_rate": on_paper[0],
        "paper_steps": on_paper[1],
        "undecided": _mean([row["undecided"] for row in group if "undecided" in row]),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _std(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def markdown(table: list[dict[str, Any]]) -> str:
    """A table per generator and criterion: rate / mean steps, ± standard deviation over seeds if there are several."""
    cells = {(r["generator"], r["criterion"], r["method"], r["class"]): r for r in table}
    lines = []
    for generator in GENERATORS:
        for criterion in CRITERIA:
            lines += [f"### {generator} games, {criterion}", "", "| | " + " | ".join(CLASSES) + " |"]
            lines.append("|---|" + "---|" * len(CLASSES))
            for method in METHODS:
                row = [cells[generator, criterion, method.name, name] for name in CLASSES]
                if row[0]["paper_rate"] is not None:
                    text = (f"{cell['paper_rate']:.4g} / {cell['paper_steps']:.1f}" for cell in row)
                    lines.append(f"| *the paper's {method.name.split()[0]}* | " + " | ".join(text) + " |")
                lines.append(f"| {method.name} | " + " | ".join(map(_cell, row)) + " |")
            lines.append("")
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    pairs = ((row["rate"], row["rate_std_seeds"], 3), (row["steps"], row["steps_std_seeds"], 1))
    return " / ".join(
        "-" if mean is None else f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
        for mean, std, digits in pairs
    )


def draw_pennies(file: Path) -> None:
    """Where each method goes in matching pennies within `STEPS` steps."""
    from matplotlib.figure import Figure

    gains = gains_of(np.array([[[1.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]]))
    canvas = Figure(figsize=(13, 3.8), layout="constrained")
    for axes, method in zip(canvas.subplots(1, len(ORBITS), sharex=True, sharey=True), ORBITS, strict=True):
        path = learn(method.on(equilibria(gains)), gains, START, STEPS)
        axes.plot(*path.T, color="C7", linewidth=0.5)
        dots = axes.scatter(*path.T, c=np.arange(len(path)), s=4)
        axes.plot(0.5, 0.5, "*", color="C3", markersize=10)
        axes.set(title=method.name, xlabel="p (first player)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    canvas.axes[0].set_ylabel("q (second player)")
    canvas.colorbar(dots, ax=canvas.axes, label="steps")
    canvas.savefig(file, dpi=110)


def write(folder: Path, rows: list[dict[str, Any]], options: argparse.Namespace, made: dict[str, Any]) -> None:
    """table1.csv, table1.json (with every seed), table1.md and matching-pennies.png."""
    folder.mkdir(parents=True, exist_ok=True)
    table = combine(rows)
    with open(folder / "table1.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in table)
    content = {
        "made_by": made,
        **{name: getattr(options, name) for name in LIMITS},
        "parameters": {method.name: method.parameters for method in METHODS},
        "table": table,
        "seeds_one_by_one": rows,
    }
    (folder / "table1.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "table1.md").write_text(markdown(table), encoding="utf-8")
    draw_pennies(folder / "matching-pennies.png")


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: a number is out of range, or files are modified.
    """
    parser = Parser(prog="epymarl-tr study matrix-games", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--games", type=int, default=1000, help="per class, generator and seed (1000, as in the paper)")
    parser.add_argument("--seed", type=int, default=0, help="of the games")
    parser.add_argument("--seeds", type=int, default=1, help="so many sets of games: seed, seed + 1, ... (1)")
    add_flag(parser)
    options = parser.parse_args(argv)
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(options, name) <= high:
            raise ConfigError(f"--{name}={getattr(options, name)} is out of range; {low} to {high}")
    made, started, rows = made_by(options), time.monotonic(), []
    for seed in range(options.seed, options.seed + options.seeds):
        for generator in GENERATORS:
            for name in CLASSES:
                rows += measure(generator, name, options.games, seed)
    write(options.out, rows, options, made)
    print((options.out / "table1.md").read_text(encoding="utf-8"))
    print(f"written to {options.out} after {time.monotonic() - started:.0f} s")
    return 0
