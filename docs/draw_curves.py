"""The README's picture, from published tests of results/: ours beside EPyMARL's MAPPO, IPPO, QMIX and VDN.

python docs/draw_curves.py           # writes docs/pictures/curves.png
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from epymarl_trust_region.experiments.report.canvas import Picture, look, steps_axis
from epymarl_trust_region.experiments.report.figures import draw_mean
from epymarl_trust_region.experiments.report.study import Curves, without_gaps
from epymarl_trust_region.experiments.report.styles import readable, style

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/pictures/curves.png"


class Panel(NamedTuple):
    """A task, up to a step, and whose curves are drawn: study, experiment in its curves.csv, algorithm."""

    title: str
    until: int
    curves: tuple[tuple[str, str, str], ...]


PANELS = (
    Panel(
        "MPE simple_reference, 2 agents",
        100_000,
        (
            ("benchmark", "reference-happo", "happo"),
            ("benchmark", "reference-hatrpo", "hatrpo"),
            ("benchmark", "reference-matrl", "matrl"),
            ("benchmark", "reference-mappo", "mappo"),
            ("benchmark", "reference-ippo", "ippo"),
            ("benchmark", "reference-qmix", "qmix"),
            ("benchmark", "reference-vdn", "vdn"),
        ),
    ),
    Panel(
        "MPE simple_spread, 3 agents",
        100_000,
        (
            ("benchmark", "spread-happo", "happo"),
            ("benchmark", "spread-hatrpo", "hatrpo"),
            ("benchmark", "spread-ir_mappo", "ir_mappo"),
            ("benchmark", "spread-mappo", "mappo"),
            ("benchmark", "spread-ippo", "ippo"),
            ("benchmark", "spread-qmix", "qmix"),
            ("benchmark", "spread-vdn", "vdn"),
        ),
    ),
    Panel(
        "The climbing game, 2 agents",
        20_000,
        (
            ("log-linear-ppo/suite", "climbing-autoregressive", "log_linear_ppo"),
            ("log-linear-ppo/suite", "climbing-happo", "happo"),
            ("log-linear-ppo/suite", "climbing-qmix", "qmix"),
        ),
    ),
)


def curves_of(panel: Panel) -> list[Curves]:
    """A panel's curves, cut at its last step."""
    found = []
    for study, experiment, algorithm in panel.curves:
        rows = pd.read_csv(ROOT / "results" / study / "curves.csv")
        rows = rows[(rows["experiment"] == experiment) & (rows["step"] <= panel.until)]
        table = without_gaps(rows.pivot_table(index="step", columns="seed", values="value"))
        found.append(Curves(experiment, readable(algorithm), algorithm, table, style(algorithm)))
    return found


def draw() -> Picture:
    """All panels, in the report's names, colours and intervals."""
    picture = Picture("curves", "Learning curves", 1, len(PANELS), (10.5, 3.7))
    for panel, axes in zip(PANELS, picture.axes, strict=True):
        drawn = curves_of(panel)
        for shift, curves in enumerate(drawn):
            draw_mean(curves, axes, curves.label, shift)
        learnt = pd.concat([curves.table.iloc[1:].stack() for curves in drawn])  # first tests are of untrained policies
        margin = 0.05 * (learnt.max() - learnt.min())
        axes.set_ylim(learnt.min() - margin, learnt.max() + margin)
        axes.set_title(panel.title)
        steps_axis(axes)
    picture.axes[0].set_ylabel("test return")
    picture.legend()
    return picture


if __name__ == "__main__":
    with look():
        draw().figure.savefig(FILE, dpi=160)
