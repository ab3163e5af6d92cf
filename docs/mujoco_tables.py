"""The tables of results/mamujoco, from its curves; docs/write_tables.py puts them into its page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from epymarl_trust_region.experiments.compare import difference, read_curve
from epymarl_trust_region.experiments.report.tables import markdown_rows

CURVES = Path(__file__).resolve().parents[1] / "results/mamujoco/curves.csv"
STEPS = (250_000, 500_000, 700_000, 950_000)
#: Experiments, without their task.
NAMES = {
    "happo": "HAPPO",
    "simultaneous": "simultaneous, separate actors",
    "hatrpo": "HATRPO",
    "shared": "simultaneous, one shared actor",
    "matrl": "MATRL, 10 passes and then 4 that stay",
    "il": "independent learners (IL), 10 passes",
    "il-4": "independent learners (IL), 4 passes",
    "ir_ippo": "IR-IPPO",
    "local": "HAPPO, local observations",
}
#: Robots, by the number of agents where one robot is shared out among more and more.
ROBOTS = (
    *("HalfCheetah-2x3", "HalfCheetah-3x2", "HalfCheetah-6x1", "Walker2d-2x3", "Ant-4x2"),
    *("Hopper-3x1", "Hopper-3x1-tuned"),
)
AGENTS = {"HalfCheetah-2x3": 2, "HalfCheetah-3x2": 3, "HalfCheetah-6x1": 6}


def published() -> dict[str, list[str]]:
    """Task -> experiments without their task, in the order of NAMES."""
    names = set(pd.read_csv(CURVES)["experiment"])
    found = {robot: [short for short in NAMES if f"{robot}-{short}" in names] for robot in ROBOTS}
    return {robot: shorts for robot, shorts in found.items() if shorts}


def returns() -> str:
    """Mean and standard deviation over seeds at four tests; the best mean of a robot's column bold."""
    shown = []
    for robot, shorts in published().items():
        tables = {short: read_curve(CURVES, f"{robot}-{short}") for short in shorts}
        at = {(short, step): t[t["step"] == step]["value"] for short, t in tables.items() for step in STEPS}
        best = {step: max(at[short, step].mean() for short in shorts) for step in STEPS}
        for short in shorts:
            cells = [_cell(at[short, step], at[short, step].mean() == best[step]) for step in STEPS]
            shown.append([_robot(robot) if short == shorts[0] else "", NAMES[short], _seeds(tables[short]), *cells])
    return "\n".join(markdown_rows(["robot", "algorithm", "seeds", *(f"{step:,}" for step in STEPS)], shown)) + "\n"


def leads() -> str:
    """HAPPO less each of the others, with the standard error, over all tests and over those of the last quarter."""
    shown = []
    for robot, shorts in published().items():
        happo = read_curve(CURVES, f"{robot}-happo")
        late = happo["step"].max() * 3 // 4
        for short in shorts:
            if short == "happo":
                continue
            other = read_curve(CURVES, f"{robot}-{short}")
            pairs = (happo, other), (happo[happo["step"] > late], other[other["step"] > late])
            shown.append([_robot(robot), NAMES[short], *(_lead(*pair) for pair in pairs)])
    return "\n".join(markdown_rows(["robot", "HAPPO less", "all tests", "last quarter"], shown)) + "\n"


def sharing() -> str:
    """Separate actors less one shared actor, both updated all at once or in turn, against the number of agents."""
    shown = []
    for robot, agents in AGENTS.items():
        if {"happo", "simultaneous", "shared"} <= set(published().get(robot, ())):
            happo, separate, shared = (read_curve(CURVES, f"{robot}-{x}") for x in ("happo", "simultaneous", "shared"))
            share = f"{100 * (1 - shared['value'].mean() / separate['value'].mean()):.0f}%"
            shown.append([str(agents), _lead(separate, shared), _lead(happo, shared), _lead(happo, separate), share])
    head = ["agents", "separate less shared", "HAPPO less shared", "HAPPO less separate", "what sharing costs"]
    return "\n".join(markdown_rows(head, shown)) + "\n"


def _cell(values: pd.Series, bold: bool) -> str:
    mean = f"**{values.mean():.0f}**" if bold else f"{values.mean():.0f}"
    return mean + (f" ± {values.std():.0f}" if len(values) > 1 else "")


def _seeds(table: pd.DataFrame) -> str:
    return str(table["seed"].nunique())


def _lead(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Over the tests that both have, as `epymarl-tr compare` has it."""
    both = set(first["step"]) & set(second["step"])
    return "{0.mean:+.0f} ± {0.error:.0f}".format(difference(*(t[t["step"].isin(both)] for t in (first, second))))


def _robot(name: str) -> str:
    return name.replace("-", " ")


TABLES = {"returns": returns, "leads": leads, "sharing": sharing}
