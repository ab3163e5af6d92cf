"""The tables of results/pong, from what cross-play has written there; docs/write_tables.py puts them into its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from epymarl_trust_region.crossplay.outcome import cycles
from epymarl_trust_region.experiments.report.tables import markdown_rows

FOLDER = Path(__file__).resolve().parents[1] / "results/pong"
#: What cross-play calls them.
NAMES = {"nash": "MATRL", "predicted": "IL"}


class Grid:
    """All pairs of the checkpoints of one seed."""

    def __init__(self, file: Path) -> None:
        rows = pd.read_csv(file)
        order = list(dict.fromkeys(rows["first_folder"]))
        first = rows.drop_duplicates("first_folder").set_index("first_folder").loc[order]
        self.names = [NAMES[name.rpartition("=")[2]] for name in first["first"]]
        self.steps = first["first_step"].to_numpy()
        self.leads, widths = (
            rows.pivot(index="first_folder", columns="second_folder", values=of).loc[order, order].to_numpy()
            for of in ("lead", "lead_width")
        )
        self.beats = self.leads > widths

    def of(self, name: str) -> list[int]:
        """Indices of an algorithm's checkpoints, the earliest first."""
        return sorted((i for i, other in enumerate(self.names) if other == name), key=lambda i: self.steps[i])


def grids() -> dict[str, Grid]:
    """By the seed of training."""
    return {file.stem.rpartition("-")[2]: Grid(file) for file in sorted(FOLDER.glob("seed-*.csv"))}


def leads() -> str:
    """MATRL's checkpoints against IL's of the same seed."""
    shown, means = [], []
    for seed, grid in grids().items():
        ours, theirs = grid.of("MATRL"), grid.of("IL")
        pairs = np.ix_(ours, theirs)
        means.append(grid.leads[pairs].mean())
        last = grid.leads[ours[-1], theirs[-1]]
        won, lost = grid.beats[pairs].sum(), grid.beats[np.ix_(theirs, ours)].sum()
        shown.append([seed, f"{means[-1]:+.2f}", f"{won}, {lost} of {grid.leads[pairs].size}", f"{last:+.2f}"])
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    shown.append(["mean ± standard error", f"{np.mean(means):+.2f} ± {error:.2f}", "", ""])
    return "\n".join(markdown_rows(["seed", "MATRL's lead over IL", "pairs won, lost", "last over last"], shown)) + "\n"


def skill() -> str:
    """Whether an algorithm's later checkpoints are better than its earlier ones, and where that goes round."""
    shown = []
    for seed, grid in grids().items():
        for name in NAMES.values():
            own = grid.of(name)
            later = [grid.leads[j, i] for a, i in enumerate(own) for j in own[a + 1 :]]
            beats = grid.beats[np.ix_(own, own)]
            above, below = np.tril(beats, -1).sum(), np.triu(beats, 1).sum()
            count = len(own) * (len(own) - 1) * (len(own) - 2) // 6
            means = cycles(grid.leads[np.ix_(own, own)] > 0)
            row = [f"{np.mean(later):+.2f}", f"{above}, {below} of {len(later)}", f"{grid.leads[own[-1], own[0]]:+.2f}"]
            shown.append([seed, name, *row, f"{len(cycles(beats))} ({len(means)}) of {count}"])
    head = ["seed", "algorithm", "lead of the later over the earlier", "pairs won, lost", "last over first", "cycles"]
    return "\n".join(markdown_rows(head, shown)) + "\n"


TABLES = {"leads": leads, "skill": skill}
