"""What a run is told: yaml files and command line, read, merged, and refused where nothing would read them.

One way down: `read` the files, `overrides` of the command line, `check_overrides`. What the values mean is checked when
all of them are known (config.py, run_config.py, suite/registration.py), before a run folder is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from sacred.arg_parser import get_config_updates

from . import __version__
from . import config_files as given
from .config import check_known_keys, flatten, nearest
from .errors import ConfigError
from .provenance import own_version, version
from .suite import algorithms
from .suite.environment_code import INSTALL
from .suite.environments import task_name
from .suite.host import Host, config_root, folder_name, run_defaults
from .suite.selection import HostFiles

# Groups of keys for code that is not ours: an environment, a network of the user's own.
_OPEN = ("env_args", "actor_args", "critic_args")


def read(
    host: Host | HostFiles, algorithm: str | None, environment: str | None, typed: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The suite's order: its defaults (and ours for every run), then the environment's yaml, then the algorithm's.

    Args:
        algorithm: the value of --config, a name or a file of one's own.
        environment: the value of --env-config.
        typed: flat keys of the command line: such a file may name code that these name.

    Returns:
        The merged configuration, and the host's defaults alone.

    Raises:
        ConfigError: a name is missing or unknown, or its file is no yaml.
    """
    defaults = algorithms.read_yaml(host.config_dir / "default.yaml")
    of_environment = _read_named(host, "--env-config", environment, "envs")
    own_file = algorithm if algorithm and given.is_file(algorithm) else None
    if own_file:
        of_algorithm = given.read_algorithm(own_file, typed or {})
        if "mac" not in of_algorithm and of_algorithm["learner"] in algorithms.learners():
            raise ConfigError(f"--config={own_file} has no key `mac`; start from a copy of an algorithm's yaml")
    else:
        of_algorithm = _read_named(host, "--config", algorithm, "algs")
    # Sacred takes only keys that it knows, and the host ignores those that it does not.
    merged = {**deepcopy(defaults), **run_defaults()}
    merged = _merge(_merge(merged, of_environment), of_algorithm)
    merged["plugin"] = {
        "epymarl_trust_region": __version__,
        **own_version(),
        "host": host.name,
        **version("host", host.commit, host.modified),
        **({"package": package} if (package := algorithms.package_of(merged)) else {}),
        **({"config_file": own_file} if own_file else {}),
    }
    return merged, defaults


def _read_named(host: Host | HostFiles, flag: str, name: str | None, kind: str) -> dict[str, Any]:
    """The keys of the yaml that a flag names, ours or the host's."""
    files = config_files(host, kind)
    known = ", ".join(sorted(files))
    if not name:
        raise ConfigError(f"{flag}=NAME is missing; known names: {known}")
    if kind == "algs" and (why := algorithms.listing().refused.get(("algorithm", name))):
        raise ConfigError(f"{flag}={name} is not to be had: {why}")
    if name not in files:
        more = "" if host.name == "epymarl" else "; the suite's own need EPyMARL: `epymarl-tr suite fetch`"
        raise ConfigError(f"unknown {flag}={name}{nearest(name, files)}; known names: {known}{more}")
    if kind == "algs" and files[name] == algorithms.algorithm_files().get(name):
        return algorithms.read_algorithm(name)
    return algorithms.read_yaml(files[name])


def config_files(host: Host | HostFiles, kind: str) -> dict[str, Path]:
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
        given.check_word(param)
        try:
            updates = _merge(updates, get_config_updates([param])[0])
        except (TypeError, AttributeError):  # Sacred's, where a key is a group and a value at once
            raise ConfigError(f"`{param}` in the command line is no key=value; correct it") from None
    return flatten(updates)


def lay_files(files: list[str], config: dict[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the keys of files that are named after `with`; what the command line sets goes over them.

    Raises:
        ConfigError: see `config_files.read_all`; or a file has a key that no yaml has.
    """
    found = given.read_all(files, updates, (*INSTALL, __package__))
    for file in files:
        check_overrides({key: found[key] for key in flatten(given.read(file))}, config)
    laid = deepcopy(config)
    for key, value in found.items():
        _lay(laid, key.split("."), value)
    return laid


def _lay(config: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        if not isinstance(config.get(name), dict):
            config[name] = {}
        config = config[name]
    config[path[-1]] = value


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

    Raises:
        ConfigError: a file has something else in the place of the group.
    """
    for key in updates:
        parent, _, leaf = key.partition(".")
        if parent in _OPEN and leaf and parent in config:
            if not isinstance(config[parent], dict):
                raise ConfigError(
                    f"{parent}={config[parent]!r} of a file is no group of keys; correct it, or remove it"
                )
            config[parent].setdefault(leaf.partition(".")[0], None)


def results_folder(config: Mapping[str, Any], updates: Mapping[str, Any]) -> str:
    """`results/sacred/<name>/<map name or key>` under the current folder, as in the suite but for signs like `:`."""
    values = {**flatten(config), **updates}
    env_args = {key.removeprefix("env_args."): value for key, value in values.items() if key.startswith("env_args.")}
    task = task_name(values.get("env"), env_args) or "unknown"
    return str(Path(str(values["local_results_path"])) / "sacred" / str(values["name"]) / folder_name(task))
