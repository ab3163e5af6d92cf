"""Blank pictures, their axes and legends, and the three kinds of files that they are kept in."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

# Not quite black and white, so that the page can find and turn them where it is dark.
INK, PAPER, GRID = "#1d1f21", "#fffffe", "#dcdee1"
_LOOK: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "epymarl-tr",  # the same file from the same numbers
}
_LOOK |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK)
_LOOK |= dict.fromkeys(("xtick.color", "ytick.color"), INK)


def look() -> Any:
    """The context in which pictures are drawn and kept."""
    import matplotlib

    return matplotlib.rc_context(_LOOK)


class Picture:
    """A figure with a name, a caption for the page, and its files. Draw it within `look()`."""

    def __init__(self, name: str, title: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.2)):
        """
        Args:
            name: of the files, without their ends.
            size: inches.
        """
        from matplotlib.figure import Figure

        self.name, self.title, self.caption = name, title, ""
        self.figure = Figure(figsize=size, layout="constrained")
        self.axes: Sequence[Any] = list(self.figure.subplots(rows, columns, squeeze=False).ravel())

    def legend(self, order: Sequence[str] = ()) -> None:
        """One for all axes, below them, where it hides nothing."""
        found = {
            label: line for axes in self.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if not found:
            return
        labels = [label for label in dict.fromkeys(order) if label in found] or list(found)
        fit = int(16 * self.figure.get_figwidth() / (max(map(len, labels)) + 10))  # 16 letters an inch
        lines = [found[label] for label in labels]
        columns = max(1, min(len(labels), fit))
        self.figure.legend(lines, labels, loc="outside lower center", ncols=columns, handlelength=3.2)

    def save(self, folder: Path) -> None:
        """As PNG, SVG and PDF."""
        with look():
            self.figure.savefig(folder / f"{self.name}.png", dpi=160)
            self.figure.set_layout_engine("none")  # it stays as it was laid out for the first
            self.figure.savefig(folder / f"{self.name}.pdf", metadata={"CreationDate": None})
        (folder / f"{self.name}.svg").write_text(self.svg, encoding="utf-8")

    @cached_property
    def svg(self) -> str:
        """The picture itself."""
        text = io.StringIO()
        with look():
            self.figure.savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()


def steps_axis(axes: Any, label: str = "environment steps") -> None:
    """50k, 1M."""
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


_FINE = (1, 1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 8.5, 9, 9.5)


def log_axis(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis with plain numbers at 1, 2, 5, 10, ..., above and below 1 alike, and some where it is short.

    Args:
        low, high: the ends of what is drawn.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.axes.set_yscale("log")
    span = math.log10(high / low)
    digits = (1, 2, 5) if span > 1.3 else (1, 1.5, 2, 3, 5, 7) if span > 0.5 else _FINE
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    step = max(1, round(span / 5))  # of many decades only some
    ticks = [d * 10.0**p for p in powers if p % step == 0 for d in (digits if step == 1 and span < 3 else (1,))]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
