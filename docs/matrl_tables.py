"""The tables of results/matrl-baselines, from its curves.csv; docs/write_tables.py puts them into its page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
from epymarl_trust_region.experiments.report.tables import markdown_rows

FILE = Path(__file__).resolve().parents[1] / "results/matrl-baselines/curves.csv"
#: Experiments, without their task.
NAMES = {
    "matrl_grid_paper": "MATRL",
    "il": "independent learners (IL)",
    "vdn": "VDN",
    "qmix": "QMIX",
    "qtran": "QTRAN",
}
_WINDOW = 50_000  # steps; tests of ours come at the end of an update, so not all seeds have one at every step


def _table(task: str) -> str:
    """A row for each experiment: the mean of the tests of every 50,000 steps, over seeds."""
    found = pd.read_csv(FILE)
    found = found[(found["task"] == task) & (found["step"] > 0)]
    found["window"] = (found["step"] - 1) // _WINDOW
    windows = sorted(found["window"].unique())
    rows = []
    for short, name in NAMES.items():
        of_it = found[found["experiment"] == f"{task}-{short}"]
        if of_it.empty:
            continue
        each = of_it.pivot_table(index="window", columns="seed", values="value", aggfunc="mean")
        cells = [
            f"{each.loc[one].mean():.1f} ± {each.loc[one].std():.1f}" if one in each.index else "" for one in windows
        ]
        best = of_it["value"].max()
        rows.append([name, str(each.shape[1]), *cells, f"{best:.1f}"])
    head = [f"{one * _WINDOW // 1000}k to {(one + 1) * _WINDOW // 1000}k steps" for one in windows]
    return "\n".join(markdown_rows(["", "seeds", *head, "best single test"], rows)) + "\n"


TABLES = {task: partial(_table, task) for task in ("checkers", "switch")}
