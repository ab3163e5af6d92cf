"""`epymarl-tr study meta-game --out FOLDER`: how reliable and how fast the solver of MATRL's meta-game is.

Random games of four kinds as tables of 2^N payoffs, and as batches of ratios and advantages up to 27 players; every
answer is verified by its largest profitable deviation.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..command_line import Parser
from ..errors import ConfigError
from ..experiments.made_by import add_flag, made_by
from ..numerics.equilibrium import SOLVERS, solve
from ..numerics.meta_game import BatchGame, TableGame, deviation_gains

KINDS = ("random", "common", "zero-sum", "cyclic")
TABLE_PLAYERS = (2, 3, 4, 5, 6, 8, 10)
BATCH_PLAYERS = (2, 4, 8, 16, 27)
_SAMPLES = 1500


def table_game(rng: np.random.Generator, n: int, kind: str) -> TableGame:
    """Independent normal payoffs; the same for all ("common"), less their mean ("zero-sum"), or a cycle with noise.

    In the cycle player i wants to do as i + 1 does, and the first player the opposite.
    """
    table = rng.normal(size=(n, *(2,) * n))
    if kind == "common":
        table[:] = table[0]
    elif kind == "zero-sum":
        table -= table.mean(0)
    elif kind == "cyclic":
        sign = 1 - 2 * np.indices((2,) * n)
        for i in range(n):
            wish = (-1 if i == 0 else 1) * rng.uniform(1, 1.3)
            table[i] = wish * sign[i] * sign[(i + 1) % n] + 0.2 * table[i]
    return TableGame(table)


def batch_game(rng: np.random.Generator, n: int, kind: str) -> BatchGame:
    """As a batch gives it: log ratios of spread 0.15, clipped to 1 +- 0.3.

    "independent": own noise in each advantage. "trial": each advantage grows with the own log ratio, as it does after a
    trial step that went up one's own advantage.
    """
    log_ratios, advantages = rng.normal(0, 0.15, (n, _SAMPLES)), rng.normal(size=(n, _SAMPLES))
    if kind == "trial":
        advantages += 2 * log_ratios
    advantages -= advantages.mean(1, keepdims=True)
    return BatchGame(np.exp(log_ratios).clip(0.7, 1.3), advantages)


def measure(make: Callable, form: str, n: int, kind: str, games: int, seed: int) -> dict[str, Any]:
    """Solve so many games; deviations are in units of the payoffs' range (tables) or of the largest derivative where
    all are predicted (batches)."""
    solvers: Counter[str] = Counter()
    deviations, seconds, all_predicted = [], [], 0
    for index in range(games):
        rng = np.random.default_rng([seed, n, index])  # one a game, so that games do not depend on how others went
        game = make(rng, n, kind)
        start = time.perf_counter()
        answer = solve(game, rng)
        seconds.append(time.perf_counter() - start)
        solvers[answer.solver] += 1
        gain = deviation_gains(answer.rho, game.derivatives(answer.rho)).max()
        if form == "table":
            unit = np.ptp(game.table.reshape(n, -1), axis=1).max()
        else:
            unit = np.abs(game.derivatives(np.zeros(n))).max()
        deviations.append(gain / unit)
        all_predicted += not answer.rho.any()
    return {
        "form": form,
        "kind": kind,
        "players": n,
        "games": games,
        "solved": int(sum(deviation < 1e-3 for deviation in deviations)),
        "worst_deviation": float(max(deviations)),
        "mean_ms": 1e3 * float(np.mean(seconds)),
        "max_ms": 1e3 * float(np.max(seconds)),
        "all_predicted": all_predicted / games,
        "solvers": {name: solvers[name] for name in SOLVERS if solvers[name]},
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line per form, kind and number of players."""
    lines = [
        "| | players | solved | worst deviation | ms, mean (most) | all predicted | by |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        by = ", ".join(f"{name} {count}" for name, count in row["solvers"].items())
        lines.append(
            f"| {row['form']}, {row['kind']} | {row['players']} | {row['solved']} of {row['games']} | "
            f"{row['worst_deviation']:.1e} | {row['mean_ms']:.1f} ({row['max_ms']:.0f}) | "
            f"{row['all_predicted']:.0%} | {by} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: a number is out of range, or files are modified.
    """
    parser = Parser(prog="epymarl-tr study meta-game", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--games", type=int, default=50, help="of each kind and number of players (50)")
    parser.add_argument("--most-players", type=int, default=27, help="leave out games of more players (27)")
    parser.add_argument("--seed", type=int, default=0, help="of the games")
    add_flag(parser)
    options = parser.parse_args(argv)
    if options.games < 1 or options.most_players < 2 or options.seed < 0:
        raise ConfigError("--games must be at least 1, --most-players at least 2, --seed at least 0")
    made = {**made_by(options), "games": options.games, "seed": options.seed}
    cells: list[tuple[Callable, str, int, str]]
    cells = [(table_game, "table", n, kind) for n in TABLE_PLAYERS for kind in KINDS]
    cells += [(batch_game, "batch", n, kind) for n in BATCH_PLAYERS for kind in ("independent", "trial")]
    rows = []
    for make, form, n, kind in cells:
        if n <= options.most_players:
            rows.append(measure(make, form, n, kind, options.games, options.seed))
            print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "meta-game.md").write_text(markdown(rows), encoding="utf-8")
    (options.out / "meta-game.json").write_text(json.dumps({"made_by": made, "rows": rows}, indent=1) + "\n")
    print(f"written to {options.out}")
    return 0
