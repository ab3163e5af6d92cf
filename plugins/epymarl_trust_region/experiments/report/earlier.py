"""The tests of an earlier report, from its `curves.csv` and what lies beside it: of runs that are here no longer.

`runs.csv` says what each run was. Experiments that a sweep file beside it names are those of the sweep, so that a study
grows over machines that keep no runs; a run that is here goes before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConfigError
from .naming import Entry, renamed, short_names
from .runs import Run
from .study import COLUMNS, METRICS, curve

#: What `runs.csv` says of each run, beside its task, experiment and seed; older reports have none.
ABOUT = ("label", "algorithm", "environment", "metric", "plugin_commit", "host_commit")
_NOT_ADDED = {"runs", "metric", "modified_files", "less_is_better", "plugin_commit"}


@dataclass(frozen=True, eq=False)
class EarlierRun(Run):
    """A run of which its tests alone are left: in `file`, beside which `versions` says what made all of them."""

    file: Path
    versions: Mapping[str, Any]


class _Named(NamedTuple):
    """An experiment as a sweep file would name it."""

    task: str
    name: str
    config: str


def write(entries: Iterable[Entry], metric: Mapping[str, str], folder: Path) -> None:
    """`runs.csv`.

    Args:
        metric: of each task.
    """
    import pandas as pd

    rows = []
    for entry in entries:
        made_by, environment = entry.run.made_by, entry.run.config.get("env") or ""
        commits = [made_by.get(f"{of}_commit") or "" for of in ("plugin", "host")]
        about = [entry.label, entry.run.algorithm, environment, metric[entry.task], *commits]
        rows.append([entry.task, entry.experiment, entry.seed, *about])
    pd.DataFrame(rows, columns=["task", "experiment", "seed", *ABOUT]).to_csv(folder / "runs.csv", index=False)


def read(file: Path, metric: str | None = None) -> list[Entry]:
    """The runs of an earlier report, with its names.

    Args:
        file: its `curves.csv`.
        metric: what is to be reported, if it was said.

    Raises:
        ConfigError: there is no such file, it or one of its neighbours is none of a report, or it is of another metric.
    """
    try:
        rows, about, versions = _tests(file), _about(file.resolve(), metric), _versions(file.resolve())
        groups = rows.groupby(["task", "experiment", "seed"], sort=False)
        found = [(place, about[place], tests) for place, tests in groups]
    except OSError as error:
        raise ConfigError(f"{error.filename or file} cannot be read: {error.strerror}; {_beside(file)}") from None
    except KeyError as error:
        raise ConfigError(f"{file} is no report's curves, for want of {error}; {_beside(file)}") from None
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        raise ConfigError(f"{file} is no report's curves: {' '.join(str(error).split())}; {_beside(file)}") from None
    if not found:
        raise ConfigError(f"{file} has no tests; name the curves.csv of another report")
    entries = []
    for (task, name, seed), of_it, tests in found:
        key = of_it["metric"]
        if metric not in (None, key) or metric is None and key not in METRICS:
            other = f", not {metric}" if metric else ""
            raise ConfigError(f"{file} has the {key} of {task}{other}; leave it out, or say --metric {key}")
        info = {key: tests["value"].tolist(), f"{key}_T": tests["step"].tolist()}
        made_by: dict[str, Any] = {k: of_it[k] for k in ("plugin_commit", "host_commit") if of_it[k]}
        made_by |= {f"{of}_modified": _modified(versions, of_it[f"{of}_commit"]) for of in ("plugin", "host")}
        made_by["host"] = ""  # not known; its commit may be
        config = {"name": of_it["algorithm"], "seed": seed, "env": of_it["environment"], "plugin": made_by}
        run = EarlierRun(Path(f"{file} ({name}, seed {seed})"), config, info, {}, file, versions)
        entries.append(Entry(run, task, name, of_it["label"], seed))
    return entries


def _beside(file: Path) -> str:
    return f"name the curves.csv of a whole report, as `epymarl-tr report` leaves it, with what lies beside {file.name}"


def _table(file: Path) -> Any:
    """Of words alone: no task is called nan, and no seed is a fraction."""
    import pandas as pd

    return pd.read_csv(file, dtype=str, keep_default_na=False, index_col=False)


def _tests(file: Path) -> Any:
    rows = _table(file)[COLUMNS]
    rows["seed"], rows["step"] = [int(seed) for seed in rows["seed"]], [int(step) for step in rows["step"]]
    rows["value"] = [float(value) if value else math.nan for value in rows["value"]]
    return rows.drop_duplicates(["task", "experiment", "seed", "step"], keep="last")


def _versions(file: Path) -> dict[str, Any]:
    versions = json.loads(file.with_name("versions.json").read_text(encoding="utf-8"))
    for key, kind in (("runs", dict), ("metric", dict), ("modified_files", dict), ("host_commit", list)):
        if not isinstance(versions.get(key, kind()), kind):
            raise TypeError(f"{key} of its versions.json is no {kind.__name__}")
    return versions


def _about(file: Path, metric: str | None) -> dict[tuple[str, str, int], dict[str, str]]:
    """(task, experiment, seed) -> ABOUT."""
    table = file.with_name("runs.csv")
    if table.is_file():
        rows = _table(table)
        return {(r["task"], r["experiment"], int(r["seed"])): {k: r[k] for k in ABOUT} for _, r in rows.iterrows()}
    return _about_older(file, metric)


def _about_older(file: Path, metric: str | None) -> dict[tuple[str, str, int], dict[str, str]]:
    """From reports that have no runs.csv: commits are known where a name is that of one task's experiment."""
    final, versions = _table(file.with_name("final.csv")), _versions(file)
    named = [_Named(*row) for row in final[["task", "experiment", "algorithm"]].itertuples(index=False)]
    labels, names = short_names(named), [one.name for one in named]
    made = [(c, name, seed) for c, of in versions["runs"].items() for name, seeds in of.items() for seed in seeds]
    commits = {(name, seed): c for c, name, seed in made if c != "None" and names.count(name) == 1}
    hosts = versions.get("host_commit", [])
    found = {}
    for one in named:
        key = versions.get("metric", {}).get(one.task) or metric
        if key is None:
            raise ValueError("its report does not say what it read; say --metric test_return_mean, or what it was")
        for seed in {seed for _, name, seed in made if name == one.name}:
            by = commits.get((one.name, seed), ""), hosts[0] if len(hosts) == 1 else ""
            found[one.task, one.name, seed] = dict(
                zip(ABOUT, [labels[one.name], one.config, "", key, *by], strict=True)
            )
    return found


def _modified(versions: Mapping[str, Any], commit: str) -> list[str]:
    return list(versions.get("modified_files", {}).get(commit, []))


def joined(
    entries: Sequence[Entry], earlier: Sequence[Sequence[Entry]], of_sweeps: Mapping[tuple[str, str], str]
) -> list[Entry]:
    """Runs that are here with those of earlier reports, in the order of the sweep files and then as they came.

    Args:
        entries: runs that are here.
        earlier: of each report.
        of_sweeps: (task, experiment) -> label, of the sweep files named beside.
    """
    found, order = list(entries), {place: k for k, place in enumerate(of_sweeps)}
    for report in earlier:
        theirs = [replace(e, label=of_sweeps[_place(e)]) for e in report if _place(e) in of_sweeps]
        others = [e for e in report if _place(e) not in of_sweeps]
        here = {(*_place(e), e.seed) for e in found if _tests_of(e)}  # a run without tests replaces none
        same = {(*_place(e), e.seed, _tests_of(e)) for e in found}
        others = [e for e in others if (*_place(e), e.seed, _tests_of(e)) not in same]  # the very tests that are here
        source = report[0].run.file.absolute() if isinstance(report[0].run, EarlierRun) else report[0].run.folder
        prefix, parts = source.parent.name, list(source.parent.parts[:-1])
        taken = {*map(_place, found)}
        if {*map(_place, others)} & taken:  # whether they are the same, no one knows
            while any((e.task, f"{prefix}/{e.experiment}") in taken for e in others):
                prefix = f"{parts.pop()}/{prefix}" if parts else f"{prefix}'"
            others = renamed(others, prefix)
        found += [e for e in theirs if (*_place(e), e.seed) not in here] + others
    return sorted(found, key=lambda e: order.get(_place(e), len(order)))


def _tests_of(entry: Entry) -> tuple[tuple[int, float], ...]:
    """Steps and values as `curves.csv` has them; none of a run that cannot be read, or was never tested."""
    run = entry.run
    keys = [key[:-2] for key in run.info if key.startswith("test_") and key.endswith("_T")]
    keys = [key for key in METRICS if key in keys] or keys
    try:
        return tuple((s, round(v, 4)) for key in keys[:1] for s, v in curve(run, key) if math.isfinite(v))
    except (TypeError, ValueError, KeyError, ArithmeticError):
        return ()


def places(earlier: Iterable[Sequence[Entry]]) -> set[tuple[str, str, int]]:
    """(task, experiment, seed) of everything that reports have."""
    return {(*_place(entry), entry.seed) for report in earlier for entry in report}


def _place(entry: Entry) -> tuple[str, str]:
    return entry.task, entry.experiment


def of_reports(runs: Iterable[Run]) -> list[Mapping[str, Any]]:
    """What earlier reports say of what made their runs, each once."""
    return list({id(run.versions): run.versions for run in runs if isinstance(run, EarlierRun)}.values())


def with_versions(made_by: Mapping[str, Any], runs: Iterable[Run]) -> dict[str, Any]:
    """What made the runs that are here, and what earlier reports say of theirs; packages that differ as a list."""
    found = dict(made_by)
    for versions in of_reports(runs):
        for key in versions.keys() - _NOT_ADDED:
            both = sorted({*_listed(found.get(key, [])), *_listed(versions[key])})
            found[key] = both if isinstance(versions[key], list) or len(both) > 1 else both[0]
    return found


def _listed(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
