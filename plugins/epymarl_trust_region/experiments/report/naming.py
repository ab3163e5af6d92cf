"""Which runs are seeds of one experiment, and what experiments and tasks are called: from configurations alone.

Runs whose configurations agree but for the seed are one experiment. Where those of one algorithm differ within a task,
its experiments are named after the keys that do (`happo lr=0.001`), in every task alike. Tasks likewise (`3m N=5`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...config import flatten
from ...suite.same_run import ASIDE, differences, is_begun_by
from ..jobs import sacred_run
from ..sweep_file import Sweep
from .runs import Run, find, read_run
from .styles import rank, readable

# Keys that say where a run is kept, how fast it is or what else it writes, and not what is learned.
_ASIDE = {
    "seed", "name", "plugin", "local_results_path", "label", "hypergroup", "repeat_id", "use_cuda", "buffer_cpu_only",
    "use_tensorboard", "use_wandb", "save_model", "save_model_interval", "save_replay", "save_episodes",
    "save_episodes_overwrite", "log_interval", "runner_log_interval", "learner_log_interval", "learner_device",
    "torch_threads", "test_nepisode", "env_processes", "batched_envs", "env_timeout", "render", "evaluate", "load_step",
    "checkpoint_path", "runner",
}  # fmt: skip
_NAMES_OF_TASKS = ("env_args.map_name", "env_args.key", "env_args.scenario", "env_args.partition")
_OF_TASKS = ("env", "common_reward", "reward_scalarisation")
_MOST = 3  # keys in a name; experiments that differ in more are numbered


@dataclass(frozen=True, eq=False)
class Entry:
    """A run with its place in the report."""

    run: Run
    task: str
    experiment: str  # as in tables; `label` is as in pictures
    label: str
    seed: int


def of_folder(path: Path) -> tuple[list[Run], list[str]]:
    """Runs below a folder that are no evaluations, and lines for the others."""
    runs, left_out = find(path)
    evaluations = [run for run in runs if run.config.get("evaluate")]
    left_out += [f"{run.folder}: it is an evaluation" for run in evaluations]
    runs = [run for run in runs if run not in evaluations]
    longer = {run: next((other for other in runs if _goes_on(run, other)), None) for run in runs}
    left_out += [f"{run.folder}: {other.folder} goes on from it" for run, other in longer.items() if other]
    return [run for run in runs if not longer[run]], left_out


def _goes_on(run: Run, other: Run) -> bool:
    """Whether the other one, beside it, has resumed the run after its end and holds its numbers too."""
    if other is run or run.folder.parent != other.folder.parent or "resumed_from" not in other.info:
        return False
    short, long = flatten(run.config), flatten(other.config)
    aside = (*ASIDE, "t_max", "checkpoint_path", "load_step")
    return not differences(short, long, long, aside) and is_begun_by(short, long)


def named(runs: Sequence[Run]) -> tuple[list[Entry], list[str]]:
    """Each run's task and experiment, in the order of tables; a seed that was run twice counts once, the newer."""
    # What goes on from a checkpoint is not what starts anew.
    configs = [flatten(run.config) | {"continued": bool(run.config.get("checkpoint_path"))} for run in runs]
    tasks = _tasks(configs)
    entries = []
    for algorithm in sorted({run.algorithm for run in runs}, key=rank):
        of_it = [i for i, run in enumerate(runs) if run.algorithm == algorithm]
        group = [configs[i] for i in of_it]
        keys = _keys_of_variants(group, [tasks[i] for i in of_it])
        for i, end, short in zip(of_it, _ends(group, keys), _ends(group, _enough(group, keys)), strict=True):
            entries.append(Entry(runs[i], tasks[i], algorithm + end, readable(algorithm) + short, _seed(runs[i])))
    entries.sort(key=lambda entry: (entry.task, rank(entry.run.algorithm), entry.experiment, entry.seed))
    return once(entries)


def once(entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """Without the older of two runs of one seed, which are no two samples; and a line for each of these."""
    kept: dict[tuple, Entry] = {}
    left_out = []
    for entry in entries:
        place = (entry.task, entry.experiment, entry.seed)
        if place in kept:
            older, entry = sorted((kept[place], entry), key=lambda e: str(e.run.record.get("start_time")))
            left_out.append(
                f"{older.run.folder}: the same configuration and seed as {entry.run.folder}, which is newer"
            )
        kept[place] = entry
    return list(kept.values()), left_out


def of_sweep(sweep: Sweep, elsewhere: Collection[tuple[str, str, int]] = ()) -> tuple[list[Entry], list[str]]:
    """The completed runs of a sweep file, with its names, and lines for those that it lacks.

    Args:
        elsewhere: (task, experiment, seed) of runs whose tests an earlier report has, so that nothing is lacking.
    """
    labels, entries, left_out = labels_of(sweep), [], []
    for experiment in sweep.experiments:
        missing = []
        for seed in experiment.seeds:
            folder = sweep.folder(experiment, seed)
            try:
                run = read_run(found) if (found := sacred_run(folder)) else _why_not(folder)
            except ValueError as error:
                run = f"{folder}: {error}"
            if isinstance(run, Run):
                entries.append(Entry(run, experiment.task, experiment.name, labels[experiment.name], seed))
            elif run:
                left_out.append(run)
            elif (experiment.task, experiment.name, seed) not in elsewhere:
                missing.append(seed)
        if missing:
            seeds = f"seed{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
            left_out.append(f"{sweep.folder(experiment, 0).parent}: there is no run of {seeds}")
    return entries, left_out


def _why_not(folder: Path) -> str:
    """Why the last run in a folder is of no use; empty if there is none."""
    return next(reversed(find(folder)[1]), "")


def labels_of(sweep: Sweep) -> dict[str, str]:
    """Of a sweep file's experiments, the names in pictures."""
    return short_names(sweep.experiments)


def short_names(experiments: Iterable[Any]) -> dict[str, str]:
    """Names without the words that all of a task share: spread-happo and spread-hatrpo are HAPPO and HATRPO.

    Args:
        experiments: each with its `name`, its `task` and, as `config`, its algorithm.
    """
    found: dict[str, str] = {}
    every = list(experiments)
    for task in dict.fromkeys(experiment.task for experiment in every):
        of_it = [experiment for experiment in every if experiment.task == task]
        words = [experiment.name.split("-") for experiment in of_it]
        shared = 0
        if len(words) == 1:
            shared = words[0].index(of_it[0].config) if of_it[0].config in words[0] else 0
        while len(words) > 1 and all(len(w) > shared + 1 and w[shared] == words[0][shared] for w in words):
            shared += 1
        labels = [" ".join([_first(w[shared], e.config), *w[shared + 1 :]]) for w, e in zip(words, of_it, strict=True)]
        unique = len(set(labels)) == len(labels)
        found |= {e.name: label if unique else e.name for e, label in zip(of_it, labels, strict=True)}
    return found


def _first(word: str, config: str) -> str:
    """An algorithm's name for a word of a sweep file: also for the end of one, as `no_br` of matrl_no_br."""
    return readable(config if config.endswith(f"_{word}") else word)


def _seed(run: Run) -> int:
    seed = run.config.get("seed")
    return seed if isinstance(seed, int) else 0


def _tasks(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [" ".join(str(c[key]) for key in _NAMES_OF_TASKS if c.get(key)) or str(c.get("env")) for c in configs]
    found = [""] * len(configs)
    for name in set(names):
        of_it = [i for i, other in enumerate(names) if other == name]
        args = [{key: value for key, value in configs[i].items() if _is_of_task(key)} for i in of_it]
        keys = {key for group in args for key in group}
        for i, end in zip(of_it, _ends(args, _differing(args, keys)), strict=True):
            found[i] = name + end
    return found


def _is_of_task(key: str) -> bool:
    return key in _OF_TASKS or (key.startswith("env_args.") and key not in {*_NAMES_OF_TASKS, "env_args.seed"})


def _keys_of_variants(configs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> set[str]:
    """In which one algorithm's runs differ on some task. A key that only some have is of another version: no matter."""
    keys = {key for key in set.intersection(*(set(c) for c in configs)) if not _aside(key)}
    differing: set[str] = set()
    for task in set(tasks):
        differing |= _differing([c for c, t in zip(configs, tasks, strict=True) if t == task], keys)
    return differing


def _enough(configs: Sequence[Mapping[str, Any]], keys: set[str]) -> set[str]:
    """Keys that tell the same configurations apart as all of them do: for pictures, where names should be short."""
    kept = set(keys)
    for key in sorted(keys):
        if len(set(_pairs(configs, kept - {key}))) == len(set(_pairs(configs, kept))):
            kept.remove(key)
    return kept


def told_apart(algorithms: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of configurations of one task: each its algorithm's, with as few keys behind as tell them apart."""
    found, flat = list(algorithms), [flatten(config) for config in configs]
    for algorithm in set(algorithms):
        of_it = [i for i, name in enumerate(algorithms) if name == algorithm]
        group = [flat[i] for i in of_it]
        keys = _enough(group, _keys_of_variants(group, [""] * len(group)))
        for i, end in zip(of_it, _ends(group, keys), strict=True):
            found[i] += end
    return found


def _aside(key: str) -> bool:
    head = key.partition(".")[0]
    return head in _ASIDE or head in ("env_args", *_OF_TASKS) or head.startswith("wandb")


def _differing(configs: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> set[str]:
    return {key for key in keys if len({_text(c.get(key)) for c in configs}) > 1}


def _ends(configs: Sequence[Mapping[str, Any]], keys: set[str]) -> list[str]:
    """` lr=0.001 epochs=5`; or a number, where many keys differ. A key that is not there is not named."""
    pairs = _pairs(configs, keys)
    if len(keys) <= _MOST:
        return ["".join(pair) for pair in pairs]
    numbers = {pair: n for n, pair in enumerate(sorted(set(pairs)), 1)}
    return [f" #{numbers[pair]}" for pair in pairs]


def _pairs(configs: Sequence[Mapping[str, Any]], keys: set[str]) -> list[tuple[str, ...]]:
    names = {key: key.removeprefix("env_args.") for key in sorted(keys)}
    return [tuple(f" {names[k]}={_text(c[k])}" for k in names if c.get(k) is not None) for c in configs]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str).replace("null", "none")


def told_by_label(entries: Sequence[Entry]) -> list[Entry]:
    """With the experiment behind the label where several of a task have one label, as those of two sources may."""
    names: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        names.setdefault((entry.task, entry.label), set()).add(entry.experiment)
    alike = {place for place, of_it in names.items() if len(of_it) > 1}
    return [replace(e, label=f"{e.label} ({e.experiment})") if (e.task, e.label) in alike else e for e in entries]


def renamed(entries: Iterable[Entry], source: str) -> list[Entry]:
    """With the name of their source in front, for two sources that use a name for different things."""
    return [replace(e, experiment=f"{source}/{e.experiment}", label=f"{e.label} ({source})") for e in entries]
