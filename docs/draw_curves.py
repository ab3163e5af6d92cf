"""The README's picture, from published tests of results/: ours beside EPyMARL's MAPPO, IPPO and QMIX.

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
        ),
    ),
    Panel(
        "MPE simple_spread, 3 agents",
        300_000,
        (
            ("happo-first", "spread-happo-epymarl", "happo"),
            ("trust-region", "spread-hatrpo", "hatrpo"),
            ("trust-region", "spread-ir_mappo", "ir_mappo"),
            ("happo-first", "spread-mappo", "mappo"),
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
        for shift, curves in enumerate(curves_of(panel)):
            draw_mean(curves, axes, curves.label, shift)
        axes.set_title(panel.title)
        steps_axis(axes)
    picture.axes[0].set_ylabel("test return")
    picture.legend()
    return picture


if __name__ == "__main__":
    with look():
        draw().figure.savefig(FILE, dpi=160)
