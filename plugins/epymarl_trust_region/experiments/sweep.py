"""`epymarl-tr sweep FILE`: algorithms x tasks x seeds, one process a run, resumable.

A sweep file lists experiments; each run lands in `results/sweeps/<sweep>/<experiment>/seed<n>/` under the current
folder, in the suite's own layout. A run that has completed is not run again, so an interrupted sweep just goes on; with
`save_model: True` the run that was interrupted does, too, from its last checkpoint, and one that has completed if the
file has a larger `t_max` now. One that was made with other settings than the file has is no such run: the sweep stops
before it starts, or, with `--anew`, puts the old one aside.
The format, and where runs can be made: docs/sweep.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..command_line import Parser
from ..config import check_known_keys
from ..errors import ConfigError, TrustRegionError
from . import rehearsal
from .board import Board
from .children import Stopped, stopped_by_signals
from .engines.local import Local
from .engines.ray import Ray
from .engines.slurm import Slurm
from .jobs import Engine, Job, sacred_run
from .made_by import warning
from .planned import Planned
from .sweep_file import Experiment, Sweep, read_sweep

_LOOK_EVERY_S = 0.5


def main(argv: list[str]) -> int:
    """The command line; returns 1 if a run failed."""
    options = _parser().parse_args(argv)
    _check_options(options)
    sweep = read_sweep(options.file)
    todo = _asked_for(sweep, options)
    planned = _planned(sweep, todo, options.file)
    jobs = [_job(sweep, *item, plan.steps) for item, plan in zip(todo, planned, strict=True)]
    changed = _changed(jobs, planned)
    left = [job for job in jobs if job.folder in changed or not job.done]
    if options.dry_run:
        _rehearse(todo, jobs, left, options)
        for job in jobs:
            print(shlex.join(["epymarl-tr", *job.command]))
        return 0
    _deal_with(changed, options.file, options.anew)
    if line := warning():
        print(line, file=sys.stderr, flush=True)
    board = Board(len(jobs), len(jobs) - len(left))
    if board.ended:
        board.line(f"{board.ended} of {_runs(board.total)}: done before")
    if not left:
        return 0
    engine = _engine(options)
    try:
        _rehearse(todo, jobs, left, options)
        code = _run_all(left, engine, board)
    finally:
        engine.close()
    if code == 0 and options.index is None:
        board.line(f"figures and tables of these runs: epymarl-tr report {options.file}")
    return code


def _parser() -> Parser:
    parser = Parser(prog="epymarl-tr sweep", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="sweep file, such as configs/sweeps/happo-first.yaml")
    parser.add_argument("--only", nargs="*", help="names of experiments; all if not given")
    parser.add_argument("--dry-run", action="store_true", help="check every run, print their commands, and stop")
    parser.add_argument(
        "--anew", action="store_true", help="put runs that were made with other settings aside, and make them anew"
    )
    parser.add_argument("--engine", choices=("local", "ray", "slurm"), default="local", help="where runs are made")
    text = (
        "runs at a time (local: 1, and EPyMARL's own use all cores already; ray, slurm: as many as there is room for)"
    )
    parser.add_argument("--jobs", type=int, help=text)
    parser.add_argument("--cpus", type=int, default=1, help="cores that a run asks for (ray, slurm)")
    parser.add_argument(
        "--gpus", type=float, default=0, help="GPUs that a run asks for (slurm; ray: also a part of one)"
    )
    text = "what jobs ask for, with submitit's names: timeout_min=240 mem_gb=8 partition=... account=..."
    parser.add_argument("--slurm", nargs="*", metavar="KEY=VALUE", help=text)
    text = "make one run alone, here: that on line I, from 0 on, of what --dry-run prints (for job arrays of any queue)"
    parser.add_argument("--index", type=int, metavar="I", help=text)
    return parser


def _check_options(options: argparse.Namespace) -> None:
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs={options.jobs} is out of range; at least one run at a time")
    if options.cpus < 1 or options.gpus < 0:
        raise ConfigError(f"--cpus={options.cpus} --gpus={options.gpus:g} is out of range; at least 1, and 0")
    if options.slurm is not None and options.engine != "slurm":
        raise ConfigError("--slurm is of --engine=slurm; add that, or remove it")
    if options.engine == "local" and (options.cpus != 1 or options.gpus):
        raise ConfigError("--cpus and --gpus are of --engine=ray and slurm; on this machine runs take what they need")
    if options.engine == "slurm" and options.gpus % 1:
        raise ConfigError(f"--gpus={options.gpus:g} is no whole number, and Slurm gives no parts of one")
    if options.index is not None and (options.engine != "local" or (options.jobs or 1) > 1):
        raise ConfigError("--index makes one run, here; remove --engine and --jobs")


def _asked_for(sweep: Sweep, options: argparse.Namespace) -> list[tuple[Experiment, int]]:
    """Experiments and seeds, in the order of `--dry-run`."""
    check_known_keys(options.only or [], [experiment.name for experiment in sweep.experiments], str(options.file))
    chosen = [e for e in sweep.experiments if not options.only or e.name in options.only]
    todo = [(e, seed) for e in chosen for seed in e.seeds]
    if options.index is None:
        return todo
    if not 0 <= options.index < len(todo):
        raise ConfigError(
            f"--index={options.index} is none of the {len(todo)} runs in {options.file}, which are 0 to {len(todo) - 1}"
        )
    return [todo[options.index]]


def _job(sweep: Sweep, experiment: Experiment, seed: int, steps: float) -> Job:
    folder = sweep.folder(experiment, seed)
    return Job(f"{experiment.name} seed {seed}", tuple(experiment.command(seed, folder)), folder, steps)


def _planned(sweep: Sweep, todo: list[tuple[Experiment, int]], file: Path) -> list[Planned]:
    """What each run would be.

    Raises:
        ConfigError: an experiment names an algorithm, environment or key that is not known.
    """
    found = []
    for experiment, seed in todo:
        command = experiment.command(seed, sweep.folder(experiment, seed))
        params = command[command.index("with") :]
        try:
            found.append(Planned(experiment.suite, experiment.config, experiment.env_config, params))
        except TrustRegionError as error:
            raise ConfigError(f"experiment {experiment.name} in {file}: {error}") from None
    return found


def _changed(jobs: Sequence[Job], planned: Sequence[Planned]) -> dict[Path, list[str]]:
    """Folders of completed runs that were made with other settings -> which."""
    found = {}
    for job, plan in zip(jobs, planned, strict=True):
        if (run := sacred_run(job.folder)) and (differences := plan.differences(run, "--resume" in job.command)):
            found[job.folder] = differences
    return found


def _rehearse(
    todo: list[tuple[Experiment, int]], jobs: Sequence[Job], left: Sequence[Job], options: argparse.Namespace
) -> None:
    """Check the whole configuration of each experiment of which there are runs to make; a seed more changes nothing."""
    if options.index is not None:  # each of many would check all the others
        return
    commands: dict[str, Sequence[str]] = {}
    for (experiment, _), job in zip(todo, jobs, strict=True):
        if job in left:
            commands.setdefault(experiment.name, job.command)
    if commands:
        rehearsal.check(commands, str(options.file))


def _deal_with(changed: Mapping[Path, list[str]], file: Path, anew: bool) -> None:
    """Refuse, or put aside, completed runs that are not those which the file asks for."""
    if changed and not anew:
        folder, differences = next(iter(changed.items()))
        more = f" (and so for {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ConfigError(
            f"{folder} was made with {'; '.join(differences[:3])} in {file}{more}; add --anew, which puts such runs "
            "aside and makes them anew, or give the experiment another name"
        )
    for folder in changed:
        number = next(n for n in range(1, 10**6) if not folder.with_name(f"{folder.name}.before{n}").exists())
        folder.rename(folder.with_name(f"{folder.name}.before{number}"))


def _engine(options: argparse.Namespace) -> Engine:
    if options.engine == "ray":
        return Ray(options.jobs, options.cpus, options.gpus)
    if options.engine == "slurm":
        folder = Path("results/sweeps", options.file.stem, ".slurm").absolute()
        return Slurm(folder, options.jobs, options.cpus, int(options.gpus), _told(options.slurm or []))
    return Local(options.jobs or 1)


def _told(words: list[str]) -> dict[str, Any]:
    """KEY=VALUE, each value as yaml reads it.

    Raises:
        ConfigError: a word that is none.
    """
    told = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ConfigError(f"--slurm {word} is no KEY=VALUE; write --slurm timeout_min=240")
        told[key] = yaml.safe_load(value)
    return told


def _run_all(jobs: list[Job], engine: Engine, board: Board) -> int:
    """The exit code: 1 if a run failed; 128 and a signal's number if it ended the sweep."""
    try:
        _make_folders(jobs)
        board.line(f"{_runs(len(jobs))}, {engine.where}")
        with stopped_by_signals(), board.shown():
            engine.start(jobs)
            left = dict.fromkeys(jobs)
            while left:
                for job, outcome in engine.finished(_LOOK_EVERY_S):
                    del left[job]
                    board.done(job, outcome)
                board.update(list(left))
        board.summary()
        return int(bool(board.failed))
    except (Stopped, KeyboardInterrupt) as stop:
        by, what = str(stop) or "Ctrl-C", engine.stop()
        print(f"stopped by {by}: {what}; completed runs are kept, and the same command goes on", file=sys.stderr)
        return stop.code if isinstance(stop, Stopped) else 130


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _make_folders(jobs: Sequence[Job]) -> None:
    for job in jobs:
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            job.log.touch()
            job.progress.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{job.folder} cannot be written: {error.strerror}; run the sweep in a folder of yours"
            ) from None
