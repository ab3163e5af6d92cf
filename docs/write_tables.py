"""Tables of studies, from results/*/*.csv into the pages that show them: no number is typed.

python docs/write_tables.py          # between the marks of README.md and of the pages in PAGES
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matrl_tables
import mujoco_tables
import pandas as pd
import pong_tables
import smax_tables
import zero_sum_tables
from epymarl_trust_region.experiments.compare import difference, read_curve
from epymarl_trust_region.experiments.report.statistics import interval, pooled_mean
from epymarl_trust_region.experiments.report.styles import readable, readable_task
from epymarl_trust_region.experiments.report.tables import markdown_rows

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "results/benchmark"
STUDIES = ("benchmark", "jr-ppo-smax", "mamujoco", "matrl-baselines", "pong", "zero-sum")
PAGES = (ROOT / "README.md", *(ROOT / "results" / of / "README.md" for of in STUDIES))
_MARKS = re.compile(r"(<!-- table of results/(\S+): (\S+) -->\n).*?(<!-- end of the table -->)", re.S)
#: Experiments, without their task, whose name says more than their algorithm's.
NAMES = {
    "simultaneous": "IR-MAPPO, separate actors",
    "happo-ends": "HAPPO, a limit is an end",
    "ir_mappo-ends": "IR-MAPPO, a limit is an end",
}
TITLES = {
    "reference": "MPE simple_reference",
    "speaker-listener": "MPE simple_speaker_listener",
    "spread": "MPE simple_spread, 3 agents",
}
#: From EPyMARL's mappo_ns to HAPPO, one thing more on each rung, on simple_reference.
LADDER = {
    "reference-mappo_ns": "EPyMARL's `mappo_ns`",
    "ladder-0-soft-target": "+ a target network that follows softly, as in its `mappo`",
    "ladder-2-limit": "ours with its numbers: GAE for 5-step returns, one critic without a target, PopArt for rewards",
    "ladder-3-standardised": "+ standardised advantages",
    "ladder-4-critic": "+ 10 passes of the critic at 0.001 (4 at 0.0003), no PopArt",
    "ladder-5-gamma": "+ discount 0.95 (0.99)",
    "ladder-6-step": "+ step size 0.0005 (0.0003), 5 passes (4)",
    "reference-simultaneous": "+ 128 units (64): IR-MAPPO, separate actors",
    "reference-happo": "+ one agent after the other: HAPPO",
    "ladder-9-minibatches": "+ 4 minibatches a pass",
}
#: Where a limit is taken for an end, and the same where it is not.
ENDS = {
    "HAPPO, simple_reference": ("reference-happo-ends", "reference-happo"),
    "IR-MAPPO, simple_reference": ("reference-ir_mappo-ends", "reference-ir_mappo"),
    "ours with the numbers of `mappo_ns`, simple_reference": ("ladder-1-gae", "ladder-2-limit"),
    "HAPPO, simple_speaker_listener": ("speaker-listener-happo-ends", "speaker-listener-happo"),
    "IR-MAPPO, simple_speaker_listener": ("speaker-listener-ir_mappo-ends", "speaker-listener-ir_mappo"),
    "HAPPO, simple_spread": ("spread-happo-ends", "spread-happo"),
    "IR-MAPPO, simple_spread": ("spread-ir_mappo-ends", "spread-ir_mappo"),
}


def comparison(everything: bool) -> str:
    """A row for each algorithm, a column for each task: mean return at the end, its 95% interval; the best mean bold.

    Args:
        everything: also the rows that differ from another in a setting alone.
    """
    rows = pd.read_csv(STUDY / "final.csv")
    rows = rows[~rows["task"].str.contains("ladder")].copy()
    rows["short"] = [name.removeprefix(f"{task}-") for task, name in zip(rows["task"], rows["experiment"], strict=True)]
    if not everything:
        rows = rows[~rows["short"].str.endswith("-ends")].copy()
    best = rows.groupby("task")["mean"].transform("max") == rows["mean"]
    rows["cell"] = [_cell(row, bold) for row, bold in zip(rows.itertuples(), best, strict=True)]
    cells = rows.pivot_table(index="short", columns="task", values="cell", aggfunc="first").fillna("")
    tasks, ends = list(dict.fromkeys(rows["task"])), rows.groupby("task")["step"].first()
    head = ["algorithm", *(f"{TITLES.get(task, readable_task(task))}, {ends[task]:,} steps" for task in tasks)]
    shown = [[_name(short), *(cells.loc[short, task] for task in tasks)] for short in dict.fromkeys(rows["short"])]
    return "\n".join(markdown_rows(head, shown)) + "\n"


def _name(short: str) -> str:
    return NAMES.get(short, readable(short))


def _cell(row: Any, bold: bool) -> str:
    mean = f"**{row.mean:.1f}**" if bold else f"{row.mean:.1f}"
    few = "" if row.seeds == 5 else f" ({row.seeds} seed{'s' * (row.seeds > 1)})"
    return mean + ("" if pd.isna(row.low) else f" [{row.low:.1f}, {row.high:.1f}]") + few


def together() -> str:
    """Interquartile means over the tasks that all were run on, and how probably HAPPO ends above each, best first."""
    scores = pd.read_csv(STUDY / "aggregate.csv").sort_values("iqm", ascending=False)
    pairs = pd.read_csv(STUDY / "improvement.csv").set_index(["x", "y"])
    shown = []
    for row in scores.itertuples():
        ends = row.algorithm.endswith(" ends")
        name = row.algorithm.removesuffix(" ends") + (", a limit is an end" if ends else "")
        cells = [NAMES.get(name, name), f"{row.iqm:.3f} [{row.low:.3f}, {row.high:.3f}]", ""]
        if row.algorithm != "HAPPO":
            pair = pairs.loc[("HAPPO", row.algorithm)]
            cells[2] = f"{pair.probability:.2f} [{pair.low:.2f}, {pair.high:.2f}]"
        shown.append(cells)
    head = ["algorithm", f"interquartile mean, {scores['tasks'].iloc[0]} tasks", "P(HAPPO ends above it)"]
    return "\n".join(markdown_rows(head, shown)) + "\n"


def ladder() -> str:
    """Each rung's return at the end, and its lead over the one before with its standard error, over all tests."""
    found = set(pd.read_csv(STUDY / "curves.csv")["experiment"])
    curves = {name: read_curve(STUDY / "curves.csv", name) for name in LADDER if name in found}
    end = min(table["step"].max() for table in curves.values())
    shown, before = [], None
    for name, everything in curves.items():
        table = everything[everything["step"] <= end]
        values = table[table["step"] == end]["value"].to_numpy()
        ends = interval(pooled_mean, values)
        span = "" if ends is None else f" [{ends[0]:.1f}, {ends[1]:.1f}]"
        lead = "" if before is None else "{0.mean:+.1f} ± {0.error:.1f}".format(difference(table, before))
        shown.append([LADDER[name], f"{values.mean():.1f}{span}", lead])
        before = table
    head = ["rung", f"return at {end:,} steps", "lead over the rung before, all tests"]
    return "\n".join(markdown_rows(head, shown)) + "\n"


def ends() -> str:
    """What bootstrapping at the time limit is worth, over all tests and at the end."""
    shown = []
    for what, names in ENDS.items():
        without, with_it = (read_curve(STUDY / "curves.csv", name) for name in names)
        last = without["step"].max()
        pairs = (with_it, without), (with_it[with_it["step"] == last], without[without["step"] == last])
        shown.append([what, *("{0.mean:+.1f} ± {0.error:.1f}".format(difference(*pair)) for pair in pairs)])
    return "\n".join(markdown_rows(["", "over all tests", "at the end"], shown)) + "\n"


TABLES = {
    "benchmark": {
        "main": lambda: comparison(False),
        "all": lambda: comparison(True),
        "together": together,
        "ladder": ladder,
        "ends": ends,
    },
    "jr-ppo-smax": smax_tables.TABLES,
    "matrl-baselines": matrl_tables.TABLES,
    "mamujoco": mujoco_tables.TABLES,
    "pong": pong_tables.TABLES,
    "zero-sum": zero_sum_tables.TABLES,
}


def filled(page: str) -> str:
    """A page's text with its tables made anew.

    Raises:
        KeyError: a mark names another table.
    """
    return _MARKS.sub(lambda found: found[1] + TABLES[found[2]][found[3]]() + found[4], page)


if __name__ == "__main__":
    for file in PAGES:
        file.write_text(filled(file.read_text(encoding="utf-8")), encoding="utf-8")
