"""How the cost of an update and of a rollout grows with agents, episodes, steps and hidden units."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from .bench_work import Side, Work

_SPREAD = "pz-mpe-simple-spread-v3"
#: What is varied, over which values; the others stay at 3 agents, 10 episodes, 25 steps and 64 units.
AXES: dict[str, tuple[int, ...]] = {
    "agents": (2, 4, 8, 16, 27),
    "episodes": (10, 32, 128, 512),
    "steps": (25, 50, 100, 200, 400),
    "hidden_dim": (64, 128, 256),
}
_REPETITIONS = 3


def works(axis: str, value: int, use_rnn: bool) -> dict[str, Work]:
    """An update on a made batch, and an iteration of batched spread, where `axis` has this value."""
    at = {"agents": 3, "episodes": 10, "steps": 25, "hidden_dim": 64} | {axis: value}
    units = {"hidden_dim": at["hidden_dim"], "critic_hidden_dim": at["hidden_dim"], "use_rnn": use_rnn}
    env_args = {"key": _SPREAD, "time_limit": at["steps"], "max_cycles": at["steps"], "N": at["agents"]}
    common: dict[str, Any] = {
        "algorithm": "happo",
        "environment": "gymma",
        "episodes": at["episodes"],
        "overrides": units,
        "in_a_row": 3,
    }
    made: dict[str, Any] = {
        "agents": at["agents"],
        "steps": at["steps"],
        "made_batch": True,
        "env_args": {"key": _SPREAD},
    }
    update = {"update": Work(**common, **made)}
    return update if use_rnn else update | {"rollout": Work(**common, env_args=env_args)}


def measure_growth(checkout: Path | None) -> list[dict[str, Any]]:
    """Seconds of an update (MLP, GRU) and of a rollout (MLP) at every value of every axis; prints them as it goes."""
    points = []
    print(f"\n{'growth':20}{'':>8}{'update, MLP':>16}{'update, GRU':>16}{'rollout, MLP':>16}   (ms)", flush=True)
    for axis, values in AXES.items():
        for value in values:
            seconds = {}
            for use_rnn, network in ((False, "MLP"), (True, "GRU")):
                for kind, work in works(axis, value, use_rnn).items():
                    seconds[f"{kind}, {network}"] = _seconds(work, checkout, kind)
            points.append({"axis": axis, "value": value, "seconds": seconds})
            shown = "".join(f"{1000 * seconds[name]:>16.1f}" for name in ("update, MLP", "update, GRU", "rollout, MLP"))
            print(f"{axis:20}{value:>8}{shown}", flush=True)
    return points


def _seconds(work: Work, checkout: Path | None, kind: str) -> float:
    side = Side(work, checkout)
    try:
        side.ready()
        samples = [side.once() for _ in range(1 + _REPETITIONS)][1:]
    finally:
        side.end()
    # A rollout is what is left of an iteration without the update.
    part = [s.wall - (s.phases["learner"] if kind == "rollout" else 0.0) for s in samples]
    return statistics.median(part)
