"""What a run came to, in three lines, with its learning curve as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_RETURNS = ("test_return_mean", "test_total_return_mean")


def print_summary(run_folder: Path, info: Mapping[str, Any]) -> None:
    """Print the test return before and after, and where the run and its learning curve are.

    Args:
        run_folder: Sacred's folder of the run.
        info: the run's `info`, with the suite's keys `<metric>` and `<metric>_T`.
    """
    shown = Path(os.path.relpath(run_folder))
    key = next((k for k in _RETURNS if info.get(k)), None)
    if key:
        before, after = _point(info, key, 0), _point(info, key, -1)
        print(f"test return  {before} -> {after}")
    print(f"run          {shown}")
    if key and len(info[key]) > 1:
        picture = run_folder / "learning_curve.png"
        plot_run(info, key, picture)
        print(f"curve        {shown / picture.name}")


def _point(info: Mapping[str, Any], key: str, index: int) -> str:
    return f"{float(info[key][index]):.2f} (at {info[f'{key}_T'][index]:,} steps)"


def plot_run(info: Mapping[str, Any], key: str, file: Path) -> None:
    """One run's test return against environment steps, with the spread over test episodes, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.ticker import EngFormatter

    steps, mean = np.array(info[f"{key}_T"], float), np.array(info[key], float)
    spread = np.array(info.get(key.replace("_mean", "_std"), np.zeros_like(mean)), float)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(steps, mean, marker="o", markersize=3)
    axes.fill_between(steps, mean - spread, mean + spread, alpha=0.2, label="± 1 standard deviation over test episodes")
    axes.set(xlabel="environment steps", ylabel=key, title=file.parent.parent.name)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(file, dpi=120)
    plt.close(figure)
