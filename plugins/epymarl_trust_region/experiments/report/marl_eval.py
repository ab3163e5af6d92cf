"""The curves as JSON in the format of InstaDeep's marl-eval: environment, task, algorithm, run, step.

Its `absolute_metrics` are those of a run's best policy in ten times as many episodes. The suite tests no policy again,
so the best of a run's tests stands there, which is too good by a little (docs/report.md). It takes more for better:
where less is, its "returns" are the negatives.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .study import Study


def document(study: Study) -> dict[str, Any]:
    """The nested groups; of a task, the steps that all of its runs share, since marl-eval wants as many of each."""
    found: dict[str, Any] = {}
    sign = -1.0 if study.less_is_better else 1.0
    known = {entry.task: str(entry.run.config["env"]) for entry in study.entries if entry.run.config.get("env")}
    environment = {entry.task: known.get(entry.task, "unknown") for entry in study.entries}
    for task, rows in study.rows.groupby("task", sort=False):
        of_runs = {
            key: dict(zip(run["step"], run["value"], strict=True))
            for key, run in rows.groupby(["experiment", "seed"], sort=False)
        }
        steps = sorted(set.intersection(*(set(values) for values in of_runs.values())))
        for (experiment, seed), values in of_runs.items():
            place = found.setdefault(environment[task], {}).setdefault(task, {}).setdefault(experiment, {})
            place[f"seed_{seed}"] = _run([(int(step), sign * float(values[step])) for step in steps])
    return found


def _run(points: list[tuple[int, float]]) -> dict[str, Any]:
    steps = {f"step_{k}": {"step_count": step, "return": [value]} for k, (step, value) in enumerate(points)}
    return steps | {"absolute_metrics": {"return": [max(value for _, value in points)] if points else []}}


def write(study: Study, folder: Path) -> None:
    """`marl-eval.json`."""
    (folder / "marl-eval.json").write_text(json.dumps(document(study), indent=1) + "\n", encoding="utf-8")
