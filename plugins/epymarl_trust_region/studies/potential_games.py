"""`epymarl-tr study potential-games --out FOLDER`: Figures 2 to 6 of the INPG paper, re-made on tables.

INPG against IPG in the stochastic congestion game and the distancing game, with the paper's sampled advantages, under
the reading of its step size and visitation that gives its figures, and under those that do not.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..command_line import Parser
from ..errors import ConfigError
from ..experiments.made_by import add_flag, made_by
from ..games.congestion import congestion_game
from ..games.distancing import distancing_game
from ..games.markov import MarkovGame
from .sampled_gradients import (
    Estimator,
    SampledGame,
    l1_accuracy,
    learn,
    sampled_congestion,
    sampled_distancing,
    stopped_at,
)


@dataclass(frozen=True)
class Setting:
    """One curve of a figure."""

    name: str
    figure: str
    method: str
    game: str
    n_agents: int
    eta: float
    iterations: int
    scale: str = "distribution"  # of IPG's visitation

    def make(self) -> SampledGame:
        """The game."""
        return sampled_congestion(self.n_agents) if self.game == "congestion" else sampled_distancing(self.n_agents)

    def exact(self) -> MarkovGame | None:
        """The same with all its tables; None where these are too large."""
        if self.game == "distancing":
            return distancing_game(self.n_agents)
        return congestion_game(self.n_agents) if self.n_agents <= 4 else None


_DISTANCING = "distancing game, 8 agents (Figures 2 and 3)"
_FOUR = "congestion game, 4 agents (Figures 4 and 5)"
_FIVE, _SIX = "congestion game, 5 agents", "congestion game, 6 agents"
_EIGHT = "congestion game, 8 agents (Figure 6)"
_LITERAL = "congestion game, 4 agents, the step size as printed"
SETTINGS = (
    Setting("INPG", _DISTANCING, "inpg", "distancing", 8, 1e-4, 2500),
    Setting("IPG, visitation a distribution", _DISTANCING, "ipg", "distancing", 8, 1e-4, 3000),
    Setting("IPG, visitation a sum", _DISTANCING, "ipg", "distancing", 8, 1e-4, 3000, "sum"),
    Setting("INPG, eta 0.05", _FOUR, "inpg", "congestion", 4, 0.05, 3000),
    Setting("IPG, eta 0.05, visitation a distribution", _FOUR, "ipg", "congestion", 4, 0.05, 3000),
    Setting("IPG, eta 0.05, visitation a sum", _FOUR, "ipg", "congestion", 4, 0.05, 3000, "sum"),
    Setting("IPG, eta 0.05, visitation / T", _FOUR, "ipg", "congestion", 4, 0.05, 10000, "mean"),
    Setting("INPG, eta 0.05", _FIVE, "inpg", "congestion", 5, 0.05, 3000),
    Setting("IPG, eta 0.05, visitation a distribution", _FIVE, "ipg", "congestion", 5, 0.05, 3000),
    Setting("IPG, eta 0.05, visitation a sum", _FIVE, "ipg", "congestion", 5, 0.05, 3000, "sum"),
    Setting("INPG, eta 0.05", _SIX, "inpg", "congestion", 6, 0.05, 3000),
    Setting("IPG, eta 0.05, visitation a distribution", _SIX, "ipg", "congestion", 6, 0.05, 3000),
    Setting("IPG, eta 0.05, visitation a sum", _SIX, "ipg", "congestion", 6, 0.05, 3000, "sum"),
    Setting("INPG, eta 0.05", _EIGHT, "inpg", "congestion", 8, 0.05, 150),
    Setting("INPG, eta 1e-4", _LITERAL, "inpg", "congestion", 4, 1e-4, 3000),
    Setting("IPG, eta 1e-4", _LITERAL, "ipg", "congestion", 4, 1e-4, 3000),
)


def measure(setting: Setting, runs: int, seed: int) -> dict:
    """Run a setting.

    Returns:
        L1-accuracy [iterations, R]; per run the iterations until it stopped (None: it had not) and until it was within
        10% and 1% of where it had begun, and what the agent that can gain most gains by its exact best response.
    """
    started = time.monotonic()
    estimator = Estimator(scale=setting.scale)
    policies = learn(setting.make(), setting.method, setting.eta, runs, setting.iterations, seed, estimator)
    accuracy = l1_accuracy(policies)
    last, exact = stopped_at(policies), setting.exact()
    return {
        "accuracy": accuracy,
        "stopped": [int(k) if k < setting.iterations else None for k in last],
        "to_10_percent": within(accuracy, 0.1),
        "to_1_percent": within(accuracy, 0.01),
        "best_response_gap": exact and [float(exact.best_response_gap(list(p)).max()) for p in policies[-1]],
        "seconds": time.monotonic() - started,
    }


def within(accuracy: np.ndarray, share: float) -> list[int]:
    """The first iteration from which each run stays within `share` of its first distance: accuracy [iterations, R]."""
    outside = accuracy > share * accuracy[0]
    return (len(outside) - np.argmax(outside[::-1], axis=0)).tolist()


def draw(figure: str, curves: dict[str, np.ndarray], file: Path) -> None:
    """Every run on the left, mean and standard deviation on the right."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = canvas.subplots(1, 2, sharex=True)
    for i, (name, accuracy) in enumerate(curves.items()):
        x, mean, std = np.arange(len(accuracy)), accuracy.mean(1), accuracy.std(1)
        left.plot(x, accuracy, color=f"C{i}", linewidth=0.7)
        right.plot(x, mean, color=f"C{i}", label=f"{name} ({accuracy.shape[1]} runs)")
        right.fill_between(x, np.maximum(mean - std, 0), mean + std, color=f"C{i}", alpha=0.2, linewidth=0)
    left.set(xlabel="iterations", ylabel="L1-accuracy", xscale="symlog")
    right.set(xlabel="iterations", ylabel="mean L1-accuracy")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    canvas.suptitle(figure)
    canvas.savefig(file, dpi=110)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = Parser(prog="epymarl-tr study potential-games", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--runs", type=int, default=10, help="runs of each setting (10, as in the paper)")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers")
    parser.add_argument("--iterations", type=int, help="at most so many, for a quick look")
    parser.add_argument("--agents", type=int, nargs="+", help="only settings with so many agents, as in 5 6")
    add_flag(parser)
    options = parser.parse_args(argv)
    for name in ("runs", "iterations"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name}={value} is out of range; at least 1")
    settings = [one for one in SETTINGS if options.agents is None or one.n_agents in options.agents]
    if not settings:
        known = sorted({one.n_agents for one in SETTINGS})
        raise ConfigError(f"--agents {options.agents}: no setting has so many; choose among {known}")
    made = made_by(options)
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    print(
        f"{'':62}{'iterations to 10%':>20}{'to 1%':>16}{'to a standstill':>26}{'largest gap':>13}{'seconds':>9}",
        flush=True,
    )
    for setting in settings:
        limited = min(setting.iterations, options.iterations or setting.iterations)
        setting = Setting(**{**vars(setting), "iterations": limited})
        found = measure(setting, options.runs, options.seed)
        figures.setdefault(setting.figure, {})[setting.name] = found.pop("accuracy")
        rows.append({**vars(setting), **found})
        print(_line(setting, found), flush=True)
    for figure, curves in figures.items():
        draw(figure, curves, options.out / f"{_file_name(figure)}.png")
    content = {"made_by": made, "runs": options.runs, "seed": options.seed, "settings": rows}
    (options.out / "potential-games.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {options.out}")
    return 0


def _line(setting: Setting, found: dict) -> str:
    stopped = [k for k in found["stopped"] if k is not None]
    standstill = f"{_range(stopped)} ({len(stopped)} of {len(found['stopped'])})"
    gaps, seconds = found["best_response_gap"], f"{found['seconds']:.0f}"
    gap = f"{max(gaps):.2g}" if gaps else "-"
    columns = (_range(found["to_10_percent"]), _range(found["to_1_percent"]), standstill, gap, seconds)
    title = f"{setting.game} {setting.n_agents}: {setting.name}"
    return f"{title:62}" + "".join(f"{text:>{width}}" for text, width in zip(columns, (20, 16, 26, 13, 9), strict=True))


def _range(values: list[int]) -> str:
    return f"{min(values)} - {max(values)}" if values else "-"


def _file_name(figure: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in figure.lower()).split())
