"""The same random tables by this plugin's solver and by pygambit's `logit_solve`, one thread, one after the other.

pip install pygambit==17.0.0b2
python results/matrl-meta-game/against_pygambit.py
"""

from __future__ import annotations

import ast
import time

import numpy as np
import pygambit
from epymarl_trust_region.experiments.meta_games import table_game
from epymarl_trust_region.games.equilibrium import solve
from epymarl_trust_region.games.meta_game import TableGame, deviation_gains

GAMES, SEED = 100, 2


def ours(game: TableGame) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    rho = solve(game, np.random.default_rng(0)).rho
    return rho, time.perf_counter() - start


def theirs(game: TableGame) -> tuple[np.ndarray, float]:
    """Without the time that it takes to hand over the table."""
    other = pygambit.StrategicGame.from_arrays(*game.table)
    start = time.perf_counter()
    found = pygambit.nash.logit_solve(other).equilibrium
    seconds = time.perf_counter() - start
    return np.array([next(iter(chances.values())) for chances in ast.literal_eval(repr(found)).values()]), seconds


print("| players | solver | solved | ms: mean | median | most |")
print("|---|---|---|---|---|---|")
for n in (3, 4, 6, 8, 10):
    games = [table_game(np.random.default_rng([SEED, n, index]), n, "random") for index in range(GAMES)]
    for name, solver in (("ours", ours), ("pygambit", theirs)):
        solver(games[0])  # what is done once
        answers = [solver(game) for game in games]
        solved = sum(
            deviation_gains(rho, game.derivatives(rho)).max() < 1e-3 * np.ptp(game.table.reshape(n, -1), axis=1).max()
            for game, (rho, _) in zip(games, answers, strict=True)
        )
        ms = [1e3 * seconds for _, seconds in answers]
        times = f"{np.mean(ms):.1f} | {np.median(ms):.1f} | {max(ms):.0f}"
        print(f"| {n} | {name} | {solved} of {GAMES} | {times} |", flush=True)
