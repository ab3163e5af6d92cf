"""What runs were made with: their command lines, commits, versions and seeds, as far as the runs say so themselves."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..made_by import modified_runs, package_versions, refuse_modified
from .earlier import EarlierRun, of_reports, with_versions
from .naming import Entry

_NOT_SHOWN = ("seed=", "local_results_path=")


@dataclass(frozen=True)
class Origin:
    """Of one experiment."""

    task: str
    experiment: str
    label: str
    seeds: Sequence[int]
    command: str
    commits: Sequence[str]
    host: str


def versions(entries: Iterable[Entry], allow_dirty: bool = False, source: str = "") -> dict[str, Any]:
    """What the runs were made with, from the runs themselves where they say so, and which runs each commit made.

    EPyMARL's own `src/main.py` records no commit.

    Args:
        source: where the runs are, for the error.

    Raises:
        ConfigError: runs were made from modified files, and `allow_dirty` is False.
    """
    made = [(entry, entry.run.made_by) for entry in entries]
    found = package_versions()
    for key in ("epymarl_trust_region", "plugin_commit", "host_commit"):
        found[key] = sorted({str(by[key]) for _, by in made if by.get(key)})
    if packages := sorted({str(by["package"]) for _, by in made if by.get("package")}):
        found["packages"] = packages  # whose algorithms they are, with their versions
    modified = modified_runs(by for _, by in made)
    for earlier in of_reports(entry.run for entry in entries):  # whichever of its runs they were
        modified = {**earlier.get("modified_files", {}), **modified}
    if modified:
        if not allow_dirty:
            refuse_modified(modified, source)
        found["modified_files"] = modified
    runs: dict[str, dict[str, list[int]]] = {}
    for entry, by in made:
        of_commit = runs.setdefault(str(by.get("plugin_commit")), {})
        of_commit.setdefault(entry.experiment, []).append(entry.seed)
    return with_versions(found, [entry.run for entry in entries]) | {"runs": runs}


def origins(entries: Iterable[Entry]) -> list[Origin]:
    """One for each experiment of each task."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.task, entry.experiment), []).append(entry)
    return [_origin(group) for group in groups.values()]


def _origin(group: list[Entry]) -> Origin:
    first = group[0]
    made = [entry.run.made_by for entry in group]
    commits = sorted({str(by[f"{of}_commit"]) for by in made for of in ("plugin", "host") if by.get(f"{of}_commit")})
    hosts = sorted({str(by.get("host", "EPyMARL's src/main.py")) for by in made} - {""})
    seeds, ways = [entry.seed for entry in group], dict.fromkeys(map(command, group))
    return Origin(first.task, first.experiment, first.label, seeds, "; ".join(ways), commits, ", ".join(hosts))


def command(entry: Entry) -> str:
    """The command line of a run, from the words after `with` that Sacred recorded; SEED is the seed.

    Of an earlier report's, where they were taken from.
    """
    run = entry.run
    if isinstance(run, EarlierRun):
        return f"taken over from {run.file}"
    options = ((run.record.get("meta") or {}).get("options") or {}) if isinstance(run.record.get("meta"), dict) else {}
    updates = [str(word) for word in options.get("UPDATE") or [] if not str(word).startswith(_NOT_SHOWN)]
    host = run.made_by.get("host")
    start = ["epymarl-tr", "run", f"--suite={host}"] if host else ["python", "src/main.py"]
    algorithm = run.made_by.get("config_file", run.algorithm)
    words = [*start, f"--config={algorithm}", f"--env-config={run.config.get('env', '?')}", "with", *updates]
    return shlex.join(words) + " seed=SEED"
