"""The tables of results/zero-sum, from its seeds.csv; docs/write_tables.py puts them into its page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from epymarl_trust_region.experiments.report.statistics import interval, pooled_mean
from epymarl_trust_region.experiments.report.tables import markdown_rows

SEEDS = Path(__file__).resolve().parents[1] / "results/zero-sum/seeds.csv"
#: Experiments, without their task and their entropy bonus.
NAMES = {
    "il-4": "IL, 4 passes",
    "il-8": "IL, 8 passes",
    "il_pp": "IL-PP",
    "matrl": "MATRL",
    "matrl_no_br": "MATRL without best response",
    "inpg": "INPG",
    "wolf": "WoLF",
}
GAMES = {
    "pennies": "matching pennies",
    "rock-paper-scissors": "rock-paper-scissors",
    "pennies-heads-3": "pennies, equilibrium (1/3, 2/3)",
    "inspection": "inspection",
    "repeated-pennies": "pennies, 10 plays",
    "chicken": "Chicken",
    "prisoners-dilemma": "Prisoner's Dilemma",
}


def rows() -> pd.DataFrame:
    """The file with the columns `algorithm` and `bonus` beside."""
    table = pd.read_csv(SEEDS)
    short = [name.removeprefix(f"{task}-") for task, name in zip(table["task"], table["experiment"], strict=True)]
    table["algorithm"] = [name.partition("-entropy_coef")[0] for name in short]
    table["bonus"] = [float(name.partition("-entropy_coef")[2] or 0) for name in short]
    return table


def games_of(table: pd.DataFrame) -> list[str]:
    """Those that all algorithms have played."""
    everybody = table["experiment"].groupby(table["task"]).nunique()
    return [game for game in GAMES if everybody.get(game) == everybody.max()]


def of(column: str, bold: bool = True) -> str:
    """Mean over seeds with its 95% interval, of each algorithm in each game; the lowest mean of a game bold."""
    table = rows()
    games = games_of(table)
    means = table.groupby(["task", "algorithm", "bonus"])[column].mean()
    shown = []
    for bonus in sorted(table["bonus"].unique()):
        for algorithm, name in NAMES.items():
            of_it = table[(table["algorithm"] == algorithm) & (table["bonus"] == bonus)]
            if of_it.empty:
                continue
            cells = [_cell(of_it[of_it["task"] == game][column], means[game].min() if bold else None) for game in games]
            shown.append([name, f"{bonus:g}", *cells])
    return "\n".join(markdown_rows(["algorithm", "entropy bonus", *map(GAMES.get, games)], shown)) + "\n"


def trust() -> str:
    """How often MATRL's meta-game does not trust the trial steps wholly."""
    table = rows()
    table["share"] = 100 * (1 - table["il_pp_share"])
    games = games_of(table)
    shown = []
    for (bonus, algorithm), of_it in table.groupby(["bonus", "algorithm"]):
        if algorithm in ("matrl", "matrl_no_br"):
            by = of_it.groupby("task")["share"]
            shown.append([NAMES[algorithm], f"{bonus:g}", *(f"{by.mean()[game]:.0f}%" for game in games)])
    return (
        "\n".join(markdown_rows(["rho ≠ 0 in so many updates", "entropy bonus", *map(GAMES.get, games)], shown)) + "\n"
    )


def _cell(values: pd.Series, best: float | None) -> str:
    """Bold: what reads like the best."""
    ends = interval(pooled_mean, values.to_numpy())
    text = f"{values.mean():.2f}"
    text = f"**{text}**" if best is not None and text == f"{best:.2f}" else text
    return text + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]")


TABLES = {
    "last": lambda: of("nash_conv"),
    "average": lambda: of("nash_conv_of_average"),
    "entropy": lambda: of("entropy", bold=False),
    "trust": trust,
}
