"""`epymarl-tr run`: the suite's own command line, on either host.

    epymarl-tr run --config=happo --env-config=gymma with env_args.key=pz-mpe-simple-spread-v3 env_args.time_limit=25

Everything the suite's `src/main.py` takes is taken here, Sacred's flags included. Ours beside it:
`--suite=auto|epymarl|lite`, `--progress=auto|off`, `--quiet` (progress and summary only), `--debug` (tracebacks).
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import traceback
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sacred import SETTINGS, Experiment
from sacred.arg_parser import get_config_updates
from sacred.observers import FileStorageObserver
from sacred.utils import SacredError, apply_backspaces_and_linefeeds

from . import __version__
from .config import check_known_keys, flatten, nearest
from .errors import ConfigError, TrustRegionError
from .provenance import own_version, version
from .suite import algorithms
from .suite.environments import task_name
from .suite.feasible import shared_reward_warning
from .suite.host import Host, config_root, folder_name, run_defaults
from .suite.progress import Progress
from .suite.registration import check_all, check_online, register_into
from .suite.selection import choose
from .suite.worker_watch import watch_workers

# "sys" rather than the suite's "fd": what Python prints is captured, and the terminal stays ours for the progress bar.
SETTINGS["CAPTURE_MODE"] = "sys"


@dataclass
class Options:
    """Our own flags, and the rest of the command line."""

    suite: str
    progress: str
    quiet: bool
    debug: bool
    params: list[str]


def main(argv: list[str]) -> int:
    """Run one experiment; returns the exit code: 0, 1 (it failed), 2 (refused), 130 (interrupted)."""
    options = split_options(argv)
    try:
        run_experiment(options)
    except TrustRegionError as error:
        return _fail(error, f"error: {error}", options.debug, code=2)
    except KeyboardInterrupt:
        return _fail(None, "interrupted; what was saved so far is kept", options.debug, code=130)
    except SacredError as error:
        return _fail(error, f"error: {error}", options.debug, code=2)
    except Exception as error:
        text = f"error: {type(error).__name__}: {error} (add --debug for the traceback)"
        return _fail(error, text, options.debug, code=1)
    return 0


def _fail(error: Exception | None, text: str, debug: bool, code: int) -> int:
    if debug and error is not None:
        traceback.print_exception(error)
    print(text, file=sys.stderr)
    return code


def split_options(argv: list[str]) -> Options:
    """Separate our flags from the suite's command line."""
    flags = {"--suite": "auto", "--progress": "auto"}
    params, quiet, debug = [], False, False
    for param in argv:
        name, _, value = param.partition("=")
        if name in flags and value:
            flags[name] = value
        elif param == "--quiet":
            quiet = True
        else:
            debug |= param in ("--debug", "-d")
            params.append(param)
    return Options(flags["--suite"], flags["--progress"], quiet, debug, params)


def run_experiment(options: Options) -> None:
    """Choose the host, check the configuration, train, and print what came of it."""
    torch.set_num_threads(1)  # the networks are small; more threads are slower
    if options.progress not in ("auto", "off"):
        raise ConfigError(f"--progress={options.progress} is unknown; choose auto or off")
    logger = _console_logger(options.quiet)
    host, lines = choose(options.suite)
    print("\n".join(lines))
    progress = Progress(enabled=options.progress == "auto")
    registries = (host.learners, host.controllers, host.runners, host.environments)
    register_into(*registries, host.vector_runner, progress, host.runner_made)

    algorithms.yield_to_host("algorithm", (file.stem for file in (host.config_dir / "algs").glob("*.yaml")))
    for problem in algorithms.listing().problems:
        print(f"warning: {problem}", file=sys.stderr)
    config, params, defaults = assemble(host, options.params)
    updates = overrides(params)
    check_overrides(updates, config, forced=bool({"-f", "--force"}.intersection(params)))
    admit_environment_arguments(updates, config)
    experiment, observer = _make_experiment(host, config, updates, defaults, logger)
    try:
        run = experiment.run_commandline(["epymarl-tr run", *params, *([] if options.debug else ["--debug"])])
    finally:
        progress.close()
    if run is not None and (run.info or run.result):
        from .experiments.summary import print_summary

        print_summary(observer.dir and Path(observer.dir), run.info, run.result)


def _make_experiment(host: Host, config: dict, updates: dict, defaults: dict, logger: logging.Logger):
    """Sacred's experiment, which checks the final configuration before it makes a folder, and its observer."""
    experiment = Experiment("epymarl_trust_region", save_git_info=False)
    experiment.logger = logger
    experiment.captured_out_filter = apply_backspaces_and_linefeeds
    experiment.add_config(config)
    observer = FileStorageObserver(_results_folder(config, updates))
    experiment.observers.append(observer)
    before = deepcopy(config)
    where = f"--config={before['name']}{algorithms.of_package(algorithms.package_of(before))} or the command line"

    @experiment.config_hook
    def check(config, command_name, logger):
        check_online(config)
        host.check(config)
        check_all(config, defaults, where, before)
        if warning := shared_reward_warning(config):
            print(f"warning: {warning}", file=sys.stderr)
        return {}

    @experiment.main
    def train(_run, _config, _log):
        config = deepcopy(dict(_config))
        seed_everything(config["seed"])
        config["env_args"]["seed"] = config["seed"]
        if config["env"] == "mamujoco":  # the hosts know tasks by `map_name` or `key`
            config["env_args"]["map_name"] = task_name(config["env"], config["env_args"])
        with _worker_watch(host):
            return host.run(_run, config, _log)

    return experiment, observer


def seed_everything(seed: int) -> None:
    """Seed every generator that a host or this plugin draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def _worker_watch(host: Host) -> Iterator[None]:
    if host.name != "epymarl":  # the built-in suite has no workers
        yield
        return
    with watch_workers():
        yield


def _console_logger(quiet: bool) -> logging.Logger:
    """The root logger in the suite's own format, on standard error."""
    root = logging.getLogger()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(levelname)s %(asctime)s] %(name)s %(message)s", "%H:%M:%S"))
    root.handlers = [handler]
    root.setLevel(logging.ERROR if quiet else logging.INFO)
    return root


# Configuration --------------------------------------------------------------------------------------------------


def assemble(host: Host, params: list[str]) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """The suite's order: its defaults (and ours for every run), then the environment's yaml, then the algorithm's.

    Returns:
        The merged configuration, the parameters without the two `--*config` flags, and the host's defaults alone.
    """
    defaults = algorithms.read_yaml(host.config_dir / "default.yaml")
    params = list(params)
    environment = _take_config(host, params, "--env-config", "envs")
    algorithm = _take_config(host, params, "--config", "algs")
    # Sacred takes only keys that it knows, and the host ignores those that it does not.
    merged = {**deepcopy(defaults), **run_defaults()}
    merged = _merge(_merge(merged, environment), algorithm)
    merged["plugin"] = {
        "epymarl_trust_region": __version__,
        **own_version(),
        "host": host.name,
        **version("host", host.commit, host.modified),
    }
    return merged, params, defaults


def _take_config(host: Host, params: list[str], flag: str, kind: str) -> dict[str, Any]:
    """Remove `flag=NAME` from `params` and read that yaml, ours or the host's."""
    given = [param for param in params if param.partition("=")[0] == flag]
    files = config_files(host, kind)
    known = ", ".join(sorted(files))
    if not given:
        raise ConfigError(f"{flag}=NAME is missing; known names: {known}")
    params.remove(given[0])
    name = given[0].partition("=")[2]
    if kind == "algs" and (why := algorithms.listing().refused.get(("algorithm", name))):
        raise ConfigError(f"{flag}={name} is not to be had: {why}")
    if name not in files:
        more = "" if host.name == "epymarl" else "; the suite's own need EPyMARL: `epymarl-tr suite fetch`"
        raise ConfigError(f"unknown {flag}={name}{nearest(name, files)}; known names: {known}{more}")
    if kind == "algs" and files[name] == algorithms.algorithm_files().get(name):
        return algorithms.read_algorithm(name)
    return algorithms.read_yaml(files[name])


def config_files(host: Host, kind: str) -> dict[str, Path]:
    """Name -> yaml file of the kind `algs` or `envs`: the plugin's, packages' and the host's, the host's first."""
    own = algorithms.algorithm_files() if kind == "algs" else _files(config_root() / kind)
    return {**own, **_files(host.config_dir / kind)}


def _files(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))} if folder.is_dir() else {}


def _merge(base: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in update.items():
        base[key] = _merge(base.get(key) or {}, value) if isinstance(value, Mapping) else value
    return base


def overrides(params: list[str]) -> dict[str, Any]:
    """What follows `with`, as Sacred reads it, in flat keys: `env_args={'key': 1}` is env_args.key=1."""
    after = params[params.index("with") + 1 :] if "with" in params else []
    updates: dict[str, Any] = {}
    for param in after:
        try:
            updates = _merge(updates, get_config_updates([param])[0])
        except (TypeError, AttributeError):  # Sacred's, where a key is a group and a value at once
            raise ConfigError(f"`{param}` in the command line is no key=value; correct it") from None
    return flatten(updates)


# Groups of keys for code that is not ours: an environment, a network of the user's own.
_OPEN = ("env_args", "actor_args", "critic_args")


def check_overrides(updates: Mapping[str, Any], config: Mapping[str, Any], forced: bool = False) -> None:
    """Refuse a key on the command line that no yaml has; new are only those of `env_args` and of networks' arguments.

    Args:
        updates: flat keys of the command line.
        forced: with Sacred's --force, keys that are no near miss pass: the suite's own algorithms read some that stand
            in no yaml. A learner of ours refuses them later.

    Raises:
        ConfigError: names the key and the nearest known one; or `env_args.seed`, which `seed` overwrites.
    """
    known = {*flatten(config), *config, "seed"}
    for key in updates:
        parent, _, leaf = key.rpartition(".")
        if key in known:
            continue
        if key == "env_args.seed":
            raise ConfigError(
                f"env_args.seed={updates[key]} does nothing: every environment's seed follows from seed; set that"
            )
        siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
        may_be_new = forced or key.partition(".")[0] in _OPEN
        if nearest(leaf, siblings, cutoff=0.8) or not may_be_new:
            check_known_keys([key], siblings.values(), "the command line")


def admit_environment_arguments(updates: Mapping[str, Any], config: dict[str, Any]) -> None:
    """Make room in `config` for new `env_args.*` of the command line, such as `env_args.N=8` for MPE spread.

    Sacred refuses keys that the configuration does not have; these are the environment's own, or a network's, which no
    yaml can list.
    """
    for key in updates:
        parent, _, leaf = key.partition(".")
        if parent in _OPEN and leaf and isinstance(config.get(parent), dict):
            config[parent].setdefault(leaf.partition(".")[0], None)


def _results_folder(config: Mapping[str, Any], updates: Mapping[str, Any]) -> str:
    """`results/sacred/<name>/<map name or key>` under the current folder, as in the suite but for signs like `:`."""
    values = {**flatten(config), **updates}
    env_args = {key.removeprefix("env_args."): value for key, value in values.items() if key.startswith("env_args.")}
    task = task_name(values.get("env"), env_args) or "unknown"
    return str(Path(str(values["local_results_path"])) / "sacred" / str(values["name"]) / folder_name(task))
