"""What `epymarl-tr tune` has tried, and what came of it: every trial of every algorithm, the best first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .report.tables import markdown_rows
from .tuning_file import Tuning


def finished(study: Any) -> list[Any]:
    """Trials that count: completed, stopped early, or failed by themselves."""
    kept = [trial for trial in study.trials if trial.state.is_finished()]
    return [trial for trial in kept if f"interrupted{trial.number}" not in study.user_attrs]


def report(tuning: Tuning, studies: Mapping[str, Any], folder: Path) -> str:
    """Everything that was tried, and the best of each algorithm; written to the folder, and given back."""
    import pandas as pd

    seeds = ", ".join(map(str, tuning.seeds))
    lines = [
        f"# Settings for {tuning.task}", "",
        f"{tuning.trials} trials of each algorithm, seeds {seeds}. Score: mean test return over the second half of a "
        "run, mean over seeds; a trial that was stopped early (pruned) has none.",
    ]  # fmt: skip
    rows = []
    for one in tuning.algorithms:
        trials = _ranked(finished(studies[one.name]))
        rows += [
            {"algorithm": one.name, "trial": t.number + 1, "state": state_of(t), "score": score_of(t), **t.params}
            for t in trials
        ]
        lines += ["", f"## {one.name}", "", *_table(trials, list(one.ranges))]
        if trials and score_of(trials[0]) is not None:
            best = " ".join(f"{key}={value}" for key, value in trials[0].params.items())
            lines += ["", f"Best: `{best}`, for the command line after `with`, or for `with` of a sweep file"]
    pd.DataFrame(rows).to_csv(folder / "trials.csv", index=False)
    text = "\n".join(lines) + "\n"
    (folder / "report.md").write_text(text)
    return text


def state_of(trial: Any) -> str:
    return trial.state.name.lower()


def score_of(trial: Any) -> float | None:
    """None where it was stopped early: what Optuna keeps there is one test."""
    return trial.value if state_of(trial) == "complete" else None


def _ranked(trials: list[Any]) -> list[Any]:
    """The best first, those without a score last."""
    return sorted(trials, key=lambda trial: (score_of(trial) is None, -(score_of(trial) or 0.0), trial.number))


def _table(trials: list[Any], keys: list[str]) -> list[str]:
    rows = []
    for trial in trials:
        value = score_of(trial)
        shown = state_of(trial) if value is None else short(value)
        rows.append([str(trial.number + 1), shown, *(short(trial.params.get(key, "")) for key in keys)])
    return markdown_rows(["trial", "score", *keys], rows)


def short(value: Any) -> str:
    """Four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
