"""What `epymarl-tr sweep` reads: experiments, each an algorithm on a task for some seeds. The format: docs/sweep.md."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import check_known_keys, check_name, flatten, nearest
from ..config_files import name_of
from ..errors import ConfigError
from ..suite.newest import NOT_BESIDE
from .grid import OF_EXPERIMENTS, grid_of
from .yaml_file import read_yaml


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
        if given.get("save_model") is True and not any(map(given.get, NOT_BESIDE)):
            flags.append("--resume")
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
        ConfigError: unknown or missing keys, values of other types, names that are none of a folder, two experiments of
            one name, or a seed that comes twice.
    """
    data = read_yaml(file, "sweep file")
    check_name("the sweep (its file without .yaml)", file.stem)
    if not isinstance(data, Mapping):
        raise ConfigError(f"sweep file {file} holds no keys; it needs `experiments`, a list")
    _check_keys(data, file)
    defaults = data.get("defaults") or {}
    if not isinstance(defaults, Mapping):
        raise ConfigError(f"`defaults` in {file} is no group of keys; correct it")
    lists = {what: data.get(what) or [] for what in ("experiments", "algorithms", "tasks")}
    for what, value in lists.items():
        if not isinstance(value, list):
            raise ConfigError(f"`{what}` in {file} is no list; correct it")
    if bool(lists["algorithms"]) != bool(lists["tasks"]):
        raise ConfigError(f"{file} has one of `algorithms` and `tasks`; give both, each algorithm is run on each task")
    entries = [*lists["experiments"], *_every(lists["algorithms"], lists["tasks"], file)]
    common = {"grid": defaults["grid"]} if "grid" in defaults else {}
    spread = (one for entry in entries for one in _spread(entry, common, file))
    experiments = tuple(_experiment(one, defaults, file) for one in spread)
    _check_names([experiment.name for experiment in experiments], file)
    return Sweep(file.stem, experiments)


def _check_keys(data: Mapping[str, Any], file: Path) -> None:
    known = ["defaults", "experiments", "algorithms", "tasks"]
    for key in data:
        if key not in known and key in (*OF_EXPERIMENTS, "grid"):
            raise ConfigError(f"`{key}` in {file} stands by itself; put it into `defaults`, or into what it is of")
    check_known_keys(data, known, str(file))


def _check_names(names: list[str], file: Path) -> None:
    if not names:
        raise ConfigError(
            f"sweep file {file} needs at least one experiment: `experiments`, or `algorithms` and `tasks`"
        )
    if twice := [name for name in names if names.count(name) > 1][:1]:
        raise ConfigError(f"two experiments in {file} are called {twice[0]}; give each a `name` of its own")


def _every(algorithms: list[Any], tasks: list[Any], file: Path) -> Iterator[dict[str, Any]]:
    """An experiment of each algorithm on each task; what an algorithm says goes over what a task says."""
    for task, algorithm in itertools.product(tasks, algorithms):
        for entry, key in ((task, "task"), (algorithm, "config")):
            if not isinstance(entry, Mapping) or key not in entry:
                word = entry if isinstance(entry, str) else "..."
                raise ConfigError(f"`{entry}` in {file} is no group with `{key}`; write `- {{{key}: {word}}}`")
            for name in (key, "name"):
                if not isinstance(entry.get(name, ""), str):
                    raise ConfigError(f"{name} in {file} is {entry[name]!r}, which is no word; put one in quotes")
        name = f"{task['task']}-{algorithm.get('name', name_of(algorithm['config']))}"
        grids = {**grid_of(task, task["task"], file), **grid_of(algorithm, name, file)}
        given = {**_given(task, task["task"], file), **_given(algorithm, name, file)}
        yield {**task, **algorithm, "name": name, "with": given, **({"grid": grids} if grids else {})}


def _spread(entry: Any, common: Mapping[str, Any], file: Path) -> Iterator[Any]:
    """An experiment for each combination of the values in `grid`, a list for each key; itself without one.

    Args:
        common: the defaults' `grid`, if they have one.

    Raises:
        ConfigError: `grid` is none (`grid_of`).
    """
    if not isinstance(entry, Mapping) or "grid" not in {**common, **entry}:
        yield entry
        return
    grid = {**grid_of(common, "the defaults", file), **grid_of(entry, entry.get("name"), file)}
    rest = {key: value for key, value in entry.items() if key != "grid"}
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        suffix = "".join(f"-{key.rpartition('.')[2]}{value}" for key, value in chosen.items())
        given = {**_given(entry, entry.get("name"), file), **chosen}
        yield {**rest, "name": f"{entry.get('name')}{suffix}", "with": given}


def _experiment(entry: Any, defaults: Mapping[str, Any], file: Path) -> Experiment:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"an experiment in {file} is {entry!r}, and no group of keys; write `- {{name: ...}}`")
    merged = {"suite": "auto", "env_config": "gymma", **defaults, **entry}
    merged["with"] = {**_given(defaults, "the defaults", file), **_given(entry, entry.get("name"), file)}
    merged.pop("grid", None)  # the defaults', which is spread by now
    if misplaced := [
        k for k in merged if isinstance(k, str) and k not in OF_EXPERIMENTS and not nearest(k, OF_EXPERIMENTS)
    ]:
        raise ConfigError(
            f"unknown key `{misplaced[0]}` of {merged.get('name')} in {file}; a key of the run itself belongs into its "
            "`with`"
        )
    check_known_keys(merged, OF_EXPERIMENTS, str(file))
    for name in ("name", "config", "seeds", "task"):
        if name not in merged:
            raise ConfigError(f"an experiment in {file} has no key `{name}`; add it")
    for name in ("name", "task"):
        check_name(f"an experiment's {name} in {file},", merged[name])
    for name in ("config", "env_config", "suite"):
        if not isinstance(merged[name], str):
            raise ConfigError(f"{name} of {merged['name']} in {file} is {merged[name]!r}, which is no word; correct it")
    overrides = merged.pop("with")
    return Experiment(**{**merged, "seeds": _seeds(merged, file)}, overrides=overrides)


def _given(group: Mapping[str, Any], of: Any, file: Path) -> Mapping[str, Any]:
    given = group.get("with") or {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ConfigError(f"`with` of {of} in {file} is no group of keys; write `with: {{t_max: 1000}}`")
    for key in ("seed", "local_results_path"):
        if key in given:
            raise ConfigError(f"{key} of {of} in {file} is set by the sweep itself; remove it, and use `seeds`")
    if isinstance(given.get("env_args"), Mapping):  # it is to join the others' arguments, and not to replace them
        return {k: v for k, v in given.items() if k != "env_args"} | flatten({"env_args": given["env_args"]})
    return given


def _seeds(merged: Mapping[str, Any], file: Path) -> tuple[int, ...]:
    seeds, of = merged["seeds"], f"seeds of {merged['name']} in {file}"
    if not isinstance(seeds, list) or not seeds:
        raise ConfigError(f"{of} is not a list of at least one; write `seeds: [1, 2]`")
    for seed in seeds:
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise ConfigError(f"{of}: {seed!r} is no whole number from 0 to {2**32 - 1}; correct it")
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ConfigError(f"{of}: {', '.join(map(str, twice))} stands there more than once; remove it")
    return tuple(seeds)
