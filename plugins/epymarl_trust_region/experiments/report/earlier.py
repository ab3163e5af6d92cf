"""The tests of an earlier report, from its `curves.csv` and what lies beside it: of runs that are here no longer.

`final.csv` says whose algorithm an experiment is, `versions.json` what made it. Experiments that a sweep file beside it
names are those of the sweep, so that a study grows over machines that keep no runs; a run that is here goes before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConfigError
from .naming import Entry, renamed, short_names
from .runs import Run
from .study import COLUMNS, METRICS

_FILES = "it is read with final.csv and versions.json of its report, which must lie beside it"


@dataclass(frozen=True, eq=False)
class EarlierRun(Run):
    """A run of which its tests alone are left; `folder` is their file, `versions` what its report says of all runs."""

    versions: Mapping[str, Any]


class _Named(NamedTuple):
    """An experiment as a sweep file would name it."""

    task: str
    name: str
    config: str


def read(file: Path, metric: str | None = None) -> list[Entry]:
    """The runs of an earlier report, with its names.

    Args:
        file: its `curves.csv`.
        metric: what is to be reported, if it was said.

    Raises:
        ConfigError: there is no such file, it or one of its neighbours is none of a report, or it is of another metric.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(file)[COLUMNS]
        final = pd.read_csv(file.with_name("final.csv"))
        versions = json.loads(file.with_name("versions.json").read_text(encoding="utf-8"))
        rows = rows.astype({"task": str, "experiment": str, "seed": int, "step": int, "value": float})
        algorithms = {(str(t), str(e)): str(a) for t, e, a in final[["task", "experiment", "algorithm"]].to_numpy()}
        commits = {
            (name, seed): c for c, of in versions["runs"].items() for name, seeds in of.items() for seed in seeds
        }
        keys = versions.get("metric", {})
        experiments = [_Named(*pair, algorithms[pair]) for pair in dict.fromkeys(_pairs(rows))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read as an earlier report's curves: {error!r}; {_FILES}") from None
    found, labels = [], short_names(experiments)
    for (task, name, seed), tests in rows.groupby(["task", "experiment", "seed"], sort=False):
        key = keys.get(task, METRICS[0])
        if metric not in (None, key):
            raise ConfigError(f"{file} has the {key} of {task}, not {metric}; leave it out, or say --metric {key}")
        made_by = _made_by(versions, commits.get((name, seed)))
        info = {key: tests["value"].tolist(), f"{key}_T": tests["step"].tolist()}
        config = {"name": algorithms[task, name], "seed": int(seed), "plugin": made_by}
        run = EarlierRun(file, config, info, {}, versions)
        found.append(Entry(run, task, name, labels[name], int(seed)))
    return found


def _made_by(versions: Mapping[str, Any], commit: str | None) -> dict[str, Any]:
    """As a run records it of itself, as far as its report says so; EPyMARL's own `src/main.py` records nothing."""
    modified, hosts = versions.get("modified_files", {}), versions.get("host_commit", [])
    found: dict[str, Any] = {"host": ""}
    if commit not in (None, "None"):
        found |= {"plugin_commit": commit, "plugin_modified": modified.get(commit, [])}
    if len(hosts) == 1:
        found |= {"host_commit": hosts[0], "host_modified": modified.get(hosts[0], [])}
    return found


def _pairs(rows: Any) -> Iterable[tuple[str, str]]:
    return zip(rows["task"], rows["experiment"], strict=True)


def joined(
    entries: Sequence[Entry], earlier: Sequence[Sequence[Entry]], of_sweeps: Mapping[tuple[str, str], str]
) -> list[Entry]:
    """Runs that are here with those of earlier reports, in the order of the sweep files and then as they came.

    Args:
        entries: runs that are here.
        earlier: of each report.
        of_sweeps: (task, experiment) -> label, of the sweep files named beside.
    """
    found, order = list(entries), list(of_sweeps)
    for report in earlier:
        theirs = [replace(e, label=of_sweeps[_place(e)]) for e in report if _place(e) in of_sweeps]
        others = [e for e in report if _place(e) not in of_sweeps]
        if {*map(_place, others)} & {*map(_place, found)}:  # whether they are the same, no one knows
            others = renamed(others, report[0].run.folder.absolute().parent.name)
        here = {(*_place(e), e.seed) for e in found}
        found += [e for e in (*theirs, *others) if (*_place(e), e.seed) not in here]
    return sorted(found, key=lambda e: order.index(_place(e)) if _place(e) in of_sweeps else len(order))


def places(earlier: Collection[Sequence[Entry]]) -> set[tuple[str, str, int]]:
    """(task, experiment, seed) of everything that reports have."""
    return {(*_place(entry), entry.seed) for report in earlier for entry in report}


def _place(entry: Entry) -> tuple[str, str]:
    return entry.task, entry.experiment


def with_versions(made_by: Mapping[str, Any], runs: Iterable[Run]) -> dict[str, Any]:
    """What made the runs that are here, and what earlier reports say of theirs; packages that differ as a list."""
    found = dict(made_by)
    told = {id(run.versions): run.versions for run in runs if isinstance(run, EarlierRun)}
    for versions in told.values():
        for key in versions.keys() - {"runs", "metric", "modified_files"}:
            both = sorted({*_listed(found.get(key, [])), *_listed(versions[key])})
            found[key] = both if isinstance(versions[key], list) or len(both) > 1 else both[0]
    return found


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [str(value)]
