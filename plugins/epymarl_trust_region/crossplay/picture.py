"""The outcome as a grid, as the MATRL paper's Figure 6 has it: rows play role 0, columns role 1, yellow is more."""

from __future__ import annotations

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


def _grid(axes: Any, means: Any, teams: Sequence[Team]) -> Any:
    image = axes.imshow(means, cmap="viridis")
    labels = [f"{i} {team.name}" for i, team in enumerate(teams, 1)]
    axes.set_xticks(range(len(teams)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(teams)), labels, fontsize=7)
    axes.set_xlabel("role 1")
    axes.set_ylabel("role 0")
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
