"""The pictures of results/ again, from the tables published beside them: no run is made, and no number changes.

python docs/draw_results.py                     # all
python docs/draw_results.py trust-region        # one folder of results/
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from epymarl_trust_region.experiments.report import distances, figures
from epymarl_trust_region.experiments.report.canvas import Picture, look
from epymarl_trust_region.experiments.report.naming import Entry, labels_of
from epymarl_trust_region.experiments.report.runs import Run
from epymarl_trust_region.experiments.report.study import COLUMNS, METRICS, Study
from epymarl_trust_region.experiments.sweep_file import Experiment, read_sweep

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
#: Folder -> the sweep file whose runs its curves are.
CURVES = {
    "benchmark": "benchmark",
    "happo-first": "happo-first",
    "inpg-potential-games/suite": "potential-games",
    "log-linear-ppo/suite": "log-linear",
    "mamujoco": "mamujoco",
    "matrl-baselines": "matrl-baselines",
    "matrl-grid-games": "matrl",
    "speed": "speed",
    "trust-region": "trust-region",
}
#: The same for updates.csv.
DISTANCES = {"trust-region/distances": "distances"}


def study_of(folder: str, sweep_name: str, table: str = "curves.csv") -> Study:
    """What a published table holds, with the names that its sweep file gives."""
    rows = pd.read_csv(RESULTS / folder / table)
    sweep = read_sweep(ROOT / f"configs/sweeps/{sweep_name}.yaml")
    labels, experiments = labels_of(sweep), {experiment.name: experiment for experiment in sweep.experiments}
    entries = []
    for task, name, seed in rows[["task", "experiment", "seed"]].drop_duplicates().itertuples(index=False):
        run = Run(RESULTS / folder, {"name": experiments[name].config}, {}, {})
        entries.append(Entry(run, task, name, labels[name], int(seed)))
    metric = {task: _metric(group, experiments) for task, group in rows.groupby("task")}
    return Study(entries, metric, rows[COLUMNS] if set(COLUMNS) <= set(rows) else rows)


def _metric(rows: pd.DataFrame, experiments: dict[str, Experiment]) -> str:
    shared = all(experiments[name].overrides.get("common_reward", True) for name in rows["experiment"].unique())
    return METRICS[0 if shared else 1]


def pictures(folder: str) -> list[Picture]:
    """Those that are published in a folder."""
    if folder in CURVES:
        found = figures.learning_curves(study_of(folder, CURVES[folder]))
    else:
        study = study_of(folder, DISTANCES[folder], "updates.csv")
        found = [distances.picture(study, study.rows, None, task) for task in study.rows["task"].unique()]
    return [picture for picture in found if (RESULTS / folder / f"{picture.name}.png").exists()]


def main(names: list[str]) -> None:
    """Draw all, or those of the folders that are named and of folders in them."""
    for folder in (*CURVES, *DISTANCES):
        if not names or any(f"{folder}/".startswith(f"{name.strip('/')}/") for name in names):
            with look():
                for picture in pictures(folder):
                    file = RESULTS / folder / f"{picture.name}.png"
                    picture.figure.savefig(file, dpi=160)
                    print(file.relative_to(ROOT), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
