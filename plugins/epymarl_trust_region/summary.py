"""What a run came to, in a few lines, with its learning curve as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_RETURNS = ("test_return_mean", "test_total_return_mean")


def print_summary(run_folder: Path | None, info: Mapping[str, Any], models: str | None = None) -> None:
    """Print the test return before and after, and where the run, its learning curve and its models are.

    An evaluation has tests of one step only: then it is their mean.

    Args:
        run_folder: Sacred's folder of the run; None: it has kept none.
        info: the run's `info`, with the suite's keys `<metric>` and `<metric>_T`.
        models: what `checkpoint_path` takes, if models were saved.
    """
    key = next((k for k in _RETURNS if info.get(k)), None)
    if key:
        print(f"test return  {_before_and_after(info[key], info[f'{key}_T'])}")
    if run_folder is None:
        print("run          not kept (--unobserved)")
    else:
        _print_folder(run_folder, info, key)
    if models:
        print(f"models       {os.path.relpath(models)} (for checkpoint_path)")


def _print_folder(run_folder: Path, info: Mapping[str, Any], key: str | None) -> None:
    shown = Path(os.path.relpath(run_folder))
    print(f"run          {shown}")
    if key and len(set(info[f"{key}_T"])) > 1:
        picture = run_folder / "learning_curve.png"
        plot_run(info, key, picture)
        print(f"curve        {shown / picture.name}")


def _before_and_after(returns: Sequence[float], steps: Sequence[int]) -> str:
    if len(set(steps)) > 1:
        return f"{float(returns[0]):.2f} (at {steps[0]:,} steps) -> {float(returns[-1]):.2f} (at {steps[-1]:,} steps)"
    tests = f", mean of {len(returns)} tests" if len(returns) > 1 else ""
    return f"{sum(map(float, returns)) / len(returns):.2f} (at {steps[0]:,} steps{tests})"


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
