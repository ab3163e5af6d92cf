"""`epymarl-tr run`: the suite's own command line, on either host.

    epymarl-tr run --config=happo --env-config=gymma with env_args.key=pz-mpe-simple-spread-v3 env_args.time_limit=25

Everything the suite's `src/main.py` takes is taken here, Sacred's flags included. Ours beside it:
`--suite=auto|epymarl|lite`, `--progress=auto|off`, `--quiet` (progress and summary only), `--debug` (tracebacks),
`--resume` (go on from where a run with the same command line was stopped).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from sacred import SETTINGS, Experiment
from sacred.experiment import gather_command_line_options
from sacred.utils import SacredError, apply_backspaces_and_linefeeds

from .command_line import NOBODY_READS, Parser, nobody_reads
from .config_files import split
from .configuration import admit_environment_arguments, check_overrides, lay_files, overrides, read, results_folder
from .errors import StorageError, TrustRegionError
from .seeding import seed_everything
from .suite import algorithms, newest
from .suite.environments import task_name
from .suite.feasible import shared_reward_warning
from .suite.host import Host
from .suite.progress import Progress
from .suite.registration import check_all, check_online, register_into
from .suite.run_files import RunFiles
from .suite.selection import choose, files_of
from .suite.signals import interruptible
from .suite.worker_watch import watch_workers

# "sys" rather than the suite's "fd": what Python prints is captured, and the terminal stays ours for the progress bar.
SETTINGS["CAPTURE_MODE"] = "sys"


def make_parser() -> Parser:
    """Our flags; what it does not know, `with` and all that follows among it, is Sacred's."""
    parser = Parser(
        prog="epymarl-tr run",
        usage="%(prog)s --config=ALG --env-config=ENV [--suite=auto|epymarl|lite] [flags] with KEY=VALUE ...",
        description="Train, or evaluate a checkpoint. Everything that the suite's src/main.py takes is taken here.",
        epilog="Sacred's own flags (--force, --name=..., print_config, ...) go before `with`. Keys and what they mean: "
        "the comments in configs/ and docs/. Results: results/sacred/ALG/TASK/RUN in the current folder.",
        add_help=False,
        passes_on=True,
    )
    parser.add_argument(
        "-h", "--help", nargs="?", const="", metavar="NAME", help="this; or every key of an algorithm or environment"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the merged, checked configuration, and stop")
    parser.add_argument(
        "--config",
        metavar="ALG",
        help="algorithm: happo, hatrpo, matrl, ...; in EPyMARL also qmix, ...; or a file of your own, mine.yaml",
    )
    parser.add_argument("--env-config", metavar="ENV", help="family of environments: gymma, smax, mamujoco, ...")
    text = "save checkpoints, and go on from the newest complete one of the same configuration, if there is one"
    parser.add_argument("--resume", action="store_true", help=text)
    parser.add_argument(
        "--suite", default="auto", help="epymarl, lite (built in), or auto: EPyMARL if there is one (default)"
    )
    parser.add_argument("--progress", choices=("auto", "off"), default="auto", help="off: no progress bar")
    text = "also write how far the run is into a file, every few seconds, for a program that watches"
    parser.add_argument("--progress-file", type=Path, metavar="FILE", help=text)
    parser.add_argument("--quiet", action="store_true", help="progress and summary only")
    parser.add_argument("-d", "--debug", action="store_true", help="tracebacks of errors")
    return parser


def check_passed_on(parser: Parser, params: list[str]) -> None:
    """Refuse a flag that neither we nor Sacred have, for which Sacred would print its usage."""
    theirs = {flag for option in gather_command_line_options() for flag in option.get_flags()}
    for word in params:
        parser.check_flag(word, theirs)


def main(argv: list[str]) -> int:
    """Run one experiment; returns the exit code: 0, 1 (it failed), 2 (refused), 128 + the signal that has ended it."""
    debug = bool({"-d", "--debug"}.intersection(argv))
    with interruptible():
        return _main(argv, debug)


def _main(argv: list[str], debug: bool) -> int:
    try:
        parser = make_parser()
        options, params = parser.parse_known_args(argv)
        check_passed_on(parser, params)
        if options.help is not None:
            from .run_help import print_help

            print_help(parser, options.help, files_of(options.suite))
        else:
            run_experiment(options, with_the_word(params))
    except TrustRegionError as error:
        return _fail(error, f"error: {error}", debug, code=2)
    except KeyboardInterrupt as stop:
        how = "the same command goes on from there" if "--resume" in argv else "for checkpoint_path"
        return _interrupted(stop, debug, how)
    except SacredError as error:
        return _fail(error, f"error: {error}", debug, code=2)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads(pipe_broken=True):
            return NOBODY_READS
        if isinstance(error, OSError) and error.errno in StorageError.numbers:
            return _fail(error, f"error: {StorageError.of(error.filename or Path.cwd() / '*', error)}", debug, code=2)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        hint = "" if debug else "; add --debug for the traceback"
        text = f"error: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno}{hint})"
        return _fail(error, text, debug, code=1)
    return 0


def _interrupted(stop: KeyboardInterrupt, debug: bool, how: str) -> int:
    number = getattr(stop, "number", signal.SIGINT)
    text = "interrupted" if number == signal.SIGINT else f"interrupted by {signal.Signals(number).name}"
    if models := getattr(stop, "models", None):
        return _fail(None, f"{text}; the models are in {os.path.relpath(models)} ({how})", debug, 128 + number)
    return _fail(None, f"{text}; what was saved so far is kept", debug, 128 + number)


def _fail(error: Exception | None, text: str, debug: bool, code: int) -> int:
    if debug and error is not None:
        traceback.print_exception(error)
    print(text, file=sys.stderr)
    return code


def with_the_word(params: list[str]) -> list[str]:
    """The command line with all its KEY=VALUE after `with`, where Sacred looks for them; it may have been left out."""
    at = params.index("with") if "with" in params else len(params)
    settings = [word for word in params[:at] if "=" in word and not word.startswith("-")]
    if not settings:
        return params
    return [*(word for word in params[:at] if word not in settings), "with", *settings, *params[at + 1 :]]


def run_experiment(options: argparse.Namespace, params: list[str]) -> None:
    """Choose the host, read and check what the run is told, train, and print what came of it.

    Args:
        params: the rest of the command line, Sacred's.
    """
    torch.set_num_threads(1)  # the networks are small; more threads are slower
    logger = _console_logger(options.quiet)
    host, lines = choose(options.suite)
    print("\n".join(lines), file=sys.stderr if options.dry_run else sys.stdout)  # whose output is yaml
    progress = Progress(enabled=options.progress == "auto")
    progress.file = options.progress_file
    registries = (host.learners, host.controllers, host.runners, host.environments)
    register_into(*registries, host.vector_runner, progress, host.runner_made)

    algorithms.yield_to_host("algorithm", (file.stem for file in (host.config_dir / "algs").glob("*.yaml")))
    for problem in algorithms.listing().problems:
        print(f"warning: {problem}", file=sys.stderr)
    told, params = _told(host, options, params)
    experiment, observer = _make_experiment(host, told, logger)
    try:
        command = ["dry_run"] if options.dry_run else []
        run = experiment.run_commandline(["epymarl-tr run", *command, *params, "--debug"])
    finally:
        progress.close()
    observer.check()
    if run is not None and (run.info or run.result):
        from .summary import print_summary

        print_summary(observer.dir and Path(observer.dir), run.info, run.result)


class _Told(NamedTuple):
    """What a run is told."""

    config: dict[str, Any]  # what Sacred starts from, and `updates` go over
    before: dict[str, Any]  # the same without what the user has changed
    updates: dict[str, Any]  # flat keys of the command line
    defaults: dict[str, Any]  # the host's
    checkpoint: newest.Found | None  # what the run goes on from, if anything

    @property
    def where(self) -> str:
        """Where it was said, for messages."""
        package = algorithms.of_package(algorithms.package_of(self.before))
        return f"--config={self.before['name']}{package} or the command line"


def _told(host: Host, options: argparse.Namespace, params: list[str]) -> tuple[_Told, list[str]]:
    """All that is said to a run, read and laid over each other; and what is left for Sacred."""
    params, files = split(params)
    updates = overrides(params)
    config, defaults = read(host, options.config, options.env_config, updates)
    before = deepcopy(config)
    check_overrides(updates, config, forced=bool({"-f", "--force"}.intersection(params)))
    config = lay_files(files, config, updates)
    checkpoint = None
    if options.resume:
        config = newest.saving(config, updates)
        if checkpoint := newest.newest(config, updates, host.name):
            config.setdefault("seed", checkpoint.seed)
    admit_environment_arguments(updates, config)
    return _Told(config, before, updates, defaults, checkpoint), params


def _make_experiment(host: Host, told: _Told, logger: logging.Logger) -> tuple[Any, RunFiles]:
    """Sacred's experiment, which checks the final configuration before it makes a folder, and its observer."""
    experiment: Any = Experiment("epymarl_trust_region", save_git_info=False)
    experiment.logger = logger
    experiment.captured_out_filter = apply_backspaces_and_linefeeds
    experiment.add_config(told.config)
    observer = RunFiles(results_folder(told.config, told.updates))
    experiment.observers.append(observer)

    @experiment.config_hook
    def check(config: dict, command_name: str, logger: logging.Logger) -> dict:
        check_online(config)
        host.check(config)
        check_all(config, told.defaults, told.where, told.before)
        if warning := shared_reward_warning(config):
            print(f"warning: {warning}", file=sys.stderr)
        return {}

    @experiment.main
    def train(_run: Any, _config: dict, _log: logging.Logger) -> Any:
        config = _for_the_host(_config, told.checkpoint)
        seed_everything(config["seed"])
        if told.checkpoint:
            _run.info["resumed_from"] = f"{told.checkpoint.folder}/{told.checkpoint.step}"
        _run.log_scalar = observer.failing(_run.log_scalar)
        with _worker_watch(host, config.get("env_timeout")):
            return host.run(_run, config, _log)

    @experiment.command(unobserved=True)
    def dry_run(_config: dict) -> None:
        print(yaml.safe_dump(json.loads(json.dumps(_config)), sort_keys=True, allow_unicode=True), end="")

    return experiment, observer


def _for_the_host(config: Mapping[str, Any], checkpoint: newest.Found | None) -> dict[str, Any]:
    own = deepcopy(dict(config))
    own["env_args"]["seed"] = own["seed"]
    if own["env"] == "mamujoco":  # the hosts know tasks by `map_name` or `key`
        own["env_args"]["map_name"] = task_name(own["env"], own["env_args"])
    return checkpoint.applied(own) if checkpoint else own


@contextlib.contextmanager
def _worker_watch(host: Host, env_timeout: float | None) -> Iterator[None]:
    if host.name != "epymarl":  # the built-in suite has no workers
        yield
        return
    with watch_workers(timeout_s=env_timeout):
        yield


def _console_logger(quiet: bool) -> logging.Logger:
    """The root logger in the suite's own format, on standard error."""
    root = logging.getLogger()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(levelname)s %(asctime)s] %(name)s %(message)s", "%H:%M:%S"))
    root.handlers = [handler]
    root.setLevel(logging.ERROR if quiet else logging.INFO)
    return root
