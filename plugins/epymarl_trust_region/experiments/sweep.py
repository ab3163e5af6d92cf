"""`epymarl-tr sweep FILE`: algorithms x tasks x seeds, one process a run, resumable.

A sweep file lists experiments; each run lands in `results/sweeps/<sweep>/<experiment>/seed<n>/` under the current
folder, in the suite's own layout. A run that has completed is not run again, so an interrupted sweep just goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config import check_known_keys
from ..errors import ConfigError
from .made_by import warning


@dataclass(frozen=True)
class Experiment:
    """One line of a sweep: an algorithm on a task, for some seeds."""

    name: str
    config: str
    env_config: str
    suite: str
    seeds: tuple[int, ...]
    task: str  # groups experiments into figures
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def command(self, seed: int, folder: Path) -> list[str]:
        """What a user would type for this run, after `epymarl-tr`."""
        given = {**self.overrides, "seed": seed, "local_results_path": folder}
        flags = [f"--suite={self.suite}", f"--config={self.config}", f"--env-config={self.env_config}"]
        return ["run", *flags, "--quiet", "--progress=off", "with", *(f"{k}={v}" for k, v in given.items())]


@dataclass(frozen=True)
class Sweep:
    """A whole sweep file."""

    name: str
    experiments: tuple[Experiment, ...]

    def folder(self, experiment: Experiment, seed: int) -> Path:
        """Where a run lands, relative to the current folder."""
        return Path("results/sweeps") / self.name / experiment.name / f"seed{seed}"


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        ConfigError: unknown or missing keys, or two experiments of one name.
    """
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"sweep file {file} cannot be read: {error}") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"sweep file {file} holds no keys; it needs `experiments`, a list")
    check_known_keys(data, ["defaults", "experiments"], str(file))
    defaults = data.get("defaults", {})
    experiments = tuple(_experiment(entry, defaults, file) for entry in data.get("experiments", []))
    names = [experiment.name for experiment in experiments]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"sweep file {file} needs at least one experiment, and a name of its own for each")
    return Sweep(file.stem, experiments)


def _experiment(entry: Mapping[str, Any], defaults: Mapping[str, Any], file: Path) -> Experiment:
    merged = {"suite": "auto", "env_config": "gymma", **defaults, **entry}
    merged["with"] = {**defaults.get("with", {}), **entry.get("with", {})}
    known = ["name", "config", "env_config", "suite", "seeds", "task", "with"]
    check_known_keys(merged, known, str(file))
    for name in ("name", "config", "seeds", "task"):
        if name not in merged:
            raise ConfigError(f"an experiment in {file} has no key `{name}`; add it")
    if not isinstance(merged["seeds"], list):
        raise ConfigError(f"seeds of {merged['name']} in {file} is not a list; write `seeds: [1, 2]`")
    overrides = merged.pop("with")
    return Experiment(**{**merged, "seeds": tuple(merged["seeds"])}, overrides=overrides)


def sacred_run(folder: Path) -> Path | None:
    """The completed Sacred run below a run's folder, if there is one."""
    for record in sorted(folder.glob("sacred/**/run.json")):
        with contextlib.suppress(ValueError):  # cut short: the process was killed while it wrote
            if json.loads(record.read_text())["status"] == "COMPLETED":
                return record.parent
    return None


def _run_one(command: list[str], folder: Path) -> float | None:
    """Run one process, its output in `<folder>/log.txt`; seconds, or None if it failed."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with open(folder / "log.txt", "w") as log:
        code = subprocess.run(
            [sys.executable, "-m", "epymarl_trust_region", *command],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
        ).returncode  # fmt: skip
    return time.monotonic() - started if code == 0 else None


def main(argv: list[str]) -> int:
    """The command line; returns 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="epymarl-tr sweep", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="sweep file, such as configs/sweeps/happo-first.yaml")
    parser.add_argument("--only", nargs="*", help="names of experiments; all if not given")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (EPyMARL's own use all cores already)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        raise ConfigError(f"--jobs={options.jobs} is out of range; at least one run at a time")
    sweep = read_sweep(options.file)
    names = [experiment.name for experiment in sweep.experiments]
    check_known_keys(options.only or [], names, str(options.file))
    chosen = [e for e in sweep.experiments if not options.only or e.name in options.only]
    todo = [(e, seed) for e in chosen for seed in e.seeds]
    if options.dry_run:
        for experiment, seed in todo:
            print(shlex.join(["epymarl-tr", *experiment.command(seed, sweep.folder(experiment, seed))]))
        return 0
    if line := warning():
        print(line, file=sys.stderr, flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        return int(not all(pool.map(lambda item: _report(sweep, *item), todo)))


def _report(sweep: Sweep, experiment: Experiment, seed: int) -> bool:
    folder, label = sweep.folder(experiment, seed), f"{experiment.name} seed {seed}"
    if sacred_run(folder):
        print(f"{label}: done before", flush=True)
        return True
    seconds = _run_one(experiment.command(seed, folder), folder)
    print(f"{label}: " + (f"FAILED, see {folder / 'log.txt'}" if seconds is None else f"{seconds:.0f} s"), flush=True)
    return seconds is not None
