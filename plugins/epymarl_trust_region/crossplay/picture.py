"""The outcome as a grid, as the MATRL paper's Figure 6 has it: rows play role 0, columns role 1, yellow is more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StorageError
from .outcome import Outcome
from .teams import Team

ENDINGS = (".png", ".svg", ".pdf")
_MOST_NUMBERS = 12  # teams, beyond which numbers in cells would be too small to read


def check_file(file: Path) -> None:
    """Refuse an ending that names no format.

    Raises:
        ConfigError: it is none of pictures, nor of tables.
    """
    if file.suffix.lower() not in (*ENDINGS, ".csv"):
        raise ConfigError(
            f"--out={file}: there is no format {file.suffix or 'without an ending'} here; end it in "
            f"{', '.join(ENDINGS)} or .csv"
        )


def draw(file: Path, outcome: Outcome, teams: Sequence[Team], title: str) -> None:
    """Write the picture: one grid, or one for each role where the game is not zero-sum.

    Raises:
        StorageError: it cannot be written.
    """
    from matplotlib.figure import Figure

    roles = (0,) if outcome.zero_sum else (0, 1)
    side = 2.2 + 0.32 * max(len(teams), 6)
    figure = Figure((side * 1.15 * len(roles), side), layout="constrained")
    for role, axes in zip(roles, figure.subplots(1, len(roles), squeeze=False)[0], strict=True):
        image = _grid(axes, outcome.means[..., role], teams)
        axes.set_title(f"{title}\nmean return of role {role}", fontsize=9)
        figure.colorbar(image, ax=axes, shrink=0.8)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise StorageError.of(file, error, "--out") from error


def labels_of(teams: Sequence[Team]) -> tuple[list[str], dict[float, str]]:
    """A label for each team, and names for neighbours of one name, at their middle.

    Teams are numbered as in the tables. Those of such a group have their steps, the others their names.
    """
    labels, groups = [], {}
    for name, group in itertools.groupby(range(len(teams)), key=lambda i: teams[i].name):
        members = list(group)
        if len(members) > 1:
            groups[(members[0] + members[-1]) / 2] = name
        seeds = {teams[i].seed for i in members}
        for i in members:
            seed, step = teams[i].seed, teams[i].step
            words = [f"seed {seed}"] * (len(seeds) > 1) + ([] if step is None else [short(step)])
            labels.append(" ".join([str(i + 1), *([name] if len(members) == 1 else words)]))
    return labels, groups


def short(step: int) -> str:
    """`212k` for 211,856 steps."""
    return str(step) if step < 1000 else f"{step / 1000:.0f}k"


def _grid(axes: Any, means: Any, teams: Sequence[Team]) -> Any:
    image = axes.imshow(means, cmap="viridis")
    labels, groups = labels_of(teams)
    axes.set_xticks(range(len(teams)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(teams)), labels, fontsize=7)
    beside = 22 if groups else 4  # points, for their names
    axes.set_xlabel("role 1", labelpad=beside)
    axes.set_ylabel("role 0", labelpad=beside)
    outside = 14 + 4.5 * max(map(len, labels))  # points, beyond the labels
    for axis, turn in (("x", 0), ("y", 90)) if groups else ():
        of_groups = getattr(axes, f"secondary_{axis}axis")(0)
        getattr(of_groups, f"set_{axis}ticks")([*groups], [*groups.values()], rotation=turn, ha="center", va="center")
        of_groups.tick_params(axis, length=0, pad=outside, labelsize=8)
    for k in range(1, len(teams)):  # between algorithms
        if teams[k].name != teams[k - 1].name:
            axes.axvline(k - 0.5, color="white", linewidth=1.5)
            axes.axhline(k - 0.5, color="white", linewidth=1.5)
    if len(teams) <= _MOST_NUMBERS:
        middle = (means.min() + means.max()) / 2
        for (i, j), mean in zip(
            ((i, j) for i in range(len(teams)) for j in range(len(teams))), means.flat, strict=True
        ):
            axes.text(j, i, f"{mean:.2g}", ha="center", va="center", fontsize=6, color="k" if mean > middle else "w")
    return image
