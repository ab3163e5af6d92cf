"""What the runs of configs/sweeps/zero-sum.yaml come to, a line each: seeds.csv, for docs/zero_sum_tables.py.

From the folder in which the sweep was made:

    python results/zero-sum/collect.py configs/sweeps/zero-sum.yaml results/zero-sum
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from epymarl_trust_region.experiments.report.naming import of_sweep
from epymarl_trust_region.experiments.report.origin import versions
from epymarl_trust_region.experiments.report.runs import Run
from epymarl_trust_region.experiments.sweep_file import read_sweep


def line(run: Run) -> dict[str, float]:
    """Of the tests and updates of the last half of training the mean; of averages and counts the last."""
    half = run.config["t_max"] / 2

    def late(key: str) -> float:
        return pd.Series([value for step, value in run.series(key) if step > half], dtype=float).mean()

    def last(key: str) -> float:
        series = run.series(key)
        return series[-1][1] if series else float("nan")

    return {
        "nash_conv": late("nash_conv"),
        "nash_conv_at_end": last("nash_conv"),
        "nash_conv_of_average": last("nash_conv_of_average"),
        "entropy": late("entropy"),
        "return_0": late("test_agent_0_return_mean"),
        "return_1": late("test_agent_1_return_mean"),
        "il_pp_share": last("il_pp_share"),
    }


def main(file: str, folder: str) -> None:
    entries, left_out = of_sweep(read_sweep(Path(file)))
    print("\n".join(left_out))
    rows = [{"task": e.task, "experiment": e.experiment, "seed": e.seed, **line(e.run)} for e in entries]
    pd.DataFrame(rows).to_csv(Path(folder) / "seeds.csv", index=False, float_format="%.4f")
    (Path(folder) / "versions.json").write_text(json.dumps(versions(entries), indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
