"""The tables of results/jr-ppo-smax, from its distances.csv; docs/write_tables.py puts them into its page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from epymarl_trust_region.experiments.report.tables import markdown_rows

FOLDER = Path(__file__).resolve().parents[1] / "results/jr-ppo-smax/ratios"
#: Maps with their agents, and experiments without the map.
MAPS = {"3s_vs_5z": 3, "2s3z": 5, "6h_vs_8z": 6, "10m_vs_11m": 10, "27m_vs_30m": 27}
NAMES = {
    "ir_ippo_paper-eps_clip0.1": "independent, 0.1",
    "ir_ippo_paper-eps_clip0.3": "independent, 0.3",
    "ir_ippo_paper-eps_clip0.5": "independent, 0.5",
    "unclipped": "independent, not clipped",
    "jr_ppo_paper-eps_clip0.1": "joint, 0.1",
    "jr_ppo_paper-eps_clip0.3": "joint, 0.3",
    "jr_ppo_paper-eps_clip0.5": "joint, 0.5",
}


def _table(cell: str) -> str:
    """A row for each range, a column for each map; `cell` is a format of the columns of distances.csv."""
    found = pd.read_csv(FOLDER / "distances.csv").set_index("experiment")
    tasks = [task for task in MAPS if task in set(found["task"])]
    rows = []
    for short, name in NAMES.items():
        of_it = [f"{task}-{short}" for task in tasks]
        rows.append([name, *(cell.format(**found.loc[full]) if full in found.index else "" for full in of_it)])
    head = ["ratios, range", *(f"{task}, {MAPS[task]} agents" for task in tasks)]
    return "\n".join(markdown_rows(head, rows)) + "\n"


TABLES = {
    "single": lambda: _table("{agent_tv_max_median:.2f} ({agent_tv_max_p90:.2f})"),
    "joint": lambda: _table("{joint_tv_sum:.2f}; {joint_tv:.2f}"),
    "ratios": lambda: _table("{ratio_min:.2f} to {ratio_max:.3g}"),
}
