"""The only writer to a host's registries; also what EPyMARL's plugin discovery (patches/0001) loads.

The suite's entry-point group `epymarl.plugins` expects of this module: `register()`, `config_dir`, `check_config()`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium
import yaml

from ..environments.actions import is_continuous
from ..environments.contract import Contract, contract_of
from ..environments.mamujoco import MaMuJoCoEnv
from ..environments.smax import SMAXEnv
from ..environments.spaces import check_spaces
from ..errors import CheckpointError, ConfigError, SuiteError, TrustRegionError
from ..modules import files
from ..modules.device import check_device
from ..recordings.recording import check_recording, record
from ..run_config import check_run
from . import algorithms
from .checkpoints import check_folder, with_chosen_step
from .ends import TeamEnds
from .environment_code import add_current_folder
from .environments import inspect, make_bare, own_limit, resolved
from .feasible import check_feasible, shared_reward_warning
from .host import config_root, run_defaults
from .last_policy import saving_last
from .lite.gymma import GymmaEnv
from .progress import Progress, follow
from .size import check_size
from .tensorboard import stand_in

_log = logging.getLogger(__name__)

# Left when Python ends, while what it has to close can still be closed.
_for_good = contextlib.ExitStack()
_watch: contextlib.AbstractContextManager[Any]  # of the workers, once there is one
atexit.register(_for_good.close)

_watching = None  # the watch over EPyMARL's workers, once there is one

#: Folder with `algs/`, searched by a patched EPyMARL after its own.
config_dir: Path = config_root()

#: Keys that a patched EPyMARL adds to those of its default.yaml.
defaults: dict[str, Any] = run_defaults()

#: More such folders, of packages that extend this plugin (patches/0003); filled by `register`.
more_config_dirs: list[Path] = []


def add_all(additions: Iterable[tuple[dict[str, Any], str, Mapping[str, Any]]]) -> None:
    """Register components, each under its name in a registry: all of them, or none. The same one twice is fine.

    Args:
        additions: registry, what its entries are called in messages, and what is added to it.

    Raises:
        SuiteError: another component holds a name.
    """
    additions = list(additions)
    for registry, kind, components in additions:
        for name, component in components.items():
            if registry.get(name, component) != component:
                raise SuiteError(
                    f"the {kind} name `{name}` is taken by {registry[name]!r}; epymarl-trust-region cannot register "
                    "its own: uninstall one of the two plugins"
                )
    for registry, _, components in additions:
        registry.update(components)


def register_into(
    learners: dict,
    controllers: dict,
    runners: dict,
    environments: dict,
    vector_runner: Callable,
    progress: Progress | None = None,
    runner_made: Callable[[Any], None] | None = None,
) -> None:
    """Register this plugin's parts and those of packages, and let the host's runners find this plugin's environments.

    Where a package has a name of the host's own, the host's stays.

    Args:
        vector_runner: the constructor of the runner `vector` on this host.
        runner_made: the host's, see `Host`.
    """
    for kind, registry in (("learner", learners), ("offline learner", learners), ("controller", controllers)):
        algorithms.yield_to_host(kind, (name for name, made in registry.items() if not _is_part(made)))
    add_all(
        [
            (learners, "learner", algorithms.learners()),
            (controllers, "controller", algorithms.controllers()),
            (environments, "environment", {"smax": SMAXEnv, "mamujoco": MaMuJoCoEnv}),
            ({name: _unwrapped(runner) for name, runner in runners.items()}, "runner", {"vector": vector_runner}),
        ]
    )
    if "gymma" in environments:
        environments["gymma"] = with_own_availability(environments["gymma"])
    runners.setdefault("vector", vector_runner)
    for name, make_runner in runners.items():
        runners[name] = _with_plugin(_unwrapped(make_runner), progress, runner_made)


def _is_part(made: Any) -> bool:
    return isinstance(getattr(made, "__wrapped__", made), algorithms.Part)


def with_own_availability(make_env: Callable) -> Callable:
    """The host's `gymma` with a `Contract` inside, so that all that an environment gives is checked before it is used.

    It also asks an environment with a method `get_avail_actions()` which actions there are, and counts actions from
    each space's start: EPyMARL's wrapper only knows that some agents have fewer actions than others. Its ends are
    mended here, too.
    """
    already = isinstance(make_env, functools.partial) and make_env.func is _made_with_own_availability
    return make_env if already else functools.partial(_made_with_own_availability, make_env)


def _made_with_own_availability(make_env: Callable, **env_args: Any) -> Any:
    """Of this module, and not made inside a function: workers that are spawned have to find it."""
    try:
        env = make_env(**env_args)
    except TrustRegionError:
        raise
    except Exception:
        env = _look_again(env_args)
        if env is None:
            raise
    contract = contract_of(env) or _sign(env, env_args)
    if isinstance(getattr(env, "_env", None), gymnasium.Env):
        env._env = TeamEnds(env._env)
    # A wrapper that is made otherwise than at the tested commit goes without a contract.
    inner = getattr(getattr(env, "_env", None), "unwrapped", None)
    own = contract.available if contract else getattr(inner, "get_avail_actions", None)
    if own is not None:
        env.get_avail_actions = own
    state = getattr(inner, "compact_state", None) if hasattr(inner, "state_size") else None
    if state is not None and not isinstance(env, GymmaEnv):
        env.get_state = state
    return env


def _look_again(env_args: Mapping[str, Any]) -> GymmaEnv | None:
    """What stands in for EPyMARL's wrapper where actions are real-valued, which it cannot count; None elsewhere.

    Says what is wrong if it is the environment: EPyMARL's wrapper resets it before it can have a contract.
    """
    env = make_bare(env_args)
    check_spaces(env, env_args["key"])
    if is_continuous(cast(Sequence, env.action_space)):
        env.close()
        return GymmaEnv(**env_args)
    Contract(env, _task(env_args), env_args["common_reward"]).reset(seed=env_args["seed"])
    return None


def _task(env_args: Mapping[str, Any]) -> str:
    return env_args["key"].rpartition(":")[2]


def _sign(env: Any, env_args: Mapping[str, Any]) -> Contract | None:
    """Put a contract where EPyMARL's wrapper begins: inside its time limit, around what `gymnasium.make` gave."""
    outer = getattr(env, "_env", None)
    while isinstance(outer, gymnasium.Wrapper) and type(outer).__name__ != "FlattenObservation":
        outer = outer.env  # around it there may be a pretrained opponent
    limit = getattr(outer, "env", None)
    if not isinstance(limit, gymnasium.wrappers.TimeLimit):
        return None
    if not env_args.get("pretrained_wrapper"):  # with one it has fewer agents by now than spaces
        check_spaces(limit.env, env_args["key"])
    limit.env = contract = Contract(limit.env, _task(env_args), env_args["common_reward"])
    wrapper: gymnasium.Wrapper = contract
    while isinstance(wrapper.env, gymnasium.Wrapper):
        if isinstance(wrapper.env, gymnasium.wrappers.PassiveEnvChecker):
            wrapper.env = wrapper.env.env  # it warns, or fails, in words of its own, before the contract is asked
        else:
            wrapper = wrapper.env
    return contract


def _unwrapped(make_runner: Callable) -> Callable:
    return getattr(make_runner, "without_plugin", make_runner)


def _with_plugin(make_runner: Callable, progress: Progress | None, runner_made: Callable | None) -> Callable:
    """The host's runner, which then finds our environment ids (in workers too), records and shows its progress."""

    @functools.wraps(make_runner, updated=())
    def make(args: Any, logger: Any) -> Any:
        original = args.env_args
        args.env_args = resolved(original)
        try:
            runner = make_runner(args=args, logger=logger)
        finally:
            args.env_args = original  # the learner and the logs keep the name that the user gave
        if runner_made:
            runner_made(runner)
        _warn_of_own_limit(runner, args)
        if getattr(args, "save_episodes", None):  # a configuration that did not come through our `run` lacks the key
            runner = record(runner, args)
        return follow(runner, progress, args.t_max) if progress else runner

    make.without_plugin = make_runner  # type: ignore[attr-defined]  # for `_unwrapped`
    return make


def _warn_of_own_limit(runner: Any, args: Any) -> None:
    """Where the runner does not say which ends are cuts, this plugin's learners take `time_limit` alone for one."""
    if hasattr(runner, "extend_scheme") or getattr(args, "learner", None) not in algorithms.learners():
        return
    own, limit = own_limit(args.env, args.env_args), args.env_args.get("time_limit")
    if own is not None and limit is not None and own < limit:
        _log.warning(
            f"the environment's own limit of {own} steps is shorter than env_args.time_limit={limit}, and "
            f"runner={args.runner} does not say which episodes it cut: the learner takes them for ended, and its "
            f"values come out wrong. Set env_args.time_limit={own}, or runner=vector"
        )


def register() -> None:
    """Register into the EPyMARL that is being run: the hook of patches/0001."""
    from .epymarl import REGISTRIES, let_extend_scheme, vector_runner

    host = {kind: importlib.import_module(module).REGISTRY for module, kind in REGISTRIES.items()}
    register_into(**host, vector_runner=vector_runner, runner_made=let_extend_scheme)
    found = algorithms.listing()
    more_config_dirs[:] = dict.fromkeys(found.files[name].parents[1] for name in found.owners if name in found.files)
    host["learners"] |= {name: saving_last(learner) for name, learner in host["learners"].items()}
    _for_good.enter_context(stand_in())
    _watch_workers_for_good()


def _watch_workers_for_good() -> None:
    from .worker_watch import watch_workers

    global _watch, _watching  # kept: a collected context manager would stop watching
    _watch = watch_workers(timeout_s=defaults["env_timeout"])
    _watching = _watch.__enter__()


def check_config(config: Mapping[str, Any]) -> None:
    """Check a complete configuration before the patched suite builds anything: the second hook of patches/0001.

    Raises:
        ConfigError, CapabilityError, EnvironmentMissingError, CheckpointError.
    """
    from .epymarl import check_parts

    check_online(config)
    check_parts(config)
    folder = Path(str(importlib.import_module("run").__file__)).parent / "config"
    host_defaults = yaml.safe_load((folder / "default.yaml").read_text())
    algorithms.yield_to_host("algorithm", (file.stem for file in (folder / "algs").glob("*.yaml")))
    for problem in algorithms.listing().problems:
        _log.warning(problem)
    check_all(config, host_defaults)
    if _watching is not None:
        _watching.timeout_s = config.get("env_timeout")
    _check_last_folder(config)
    if warning := shared_reward_warning(config):
        _log.warning(warning)


def _check_last_folder(config: Mapping[str, Any]) -> None:
    """EPyMARL's own `main.py` loads the last folder if `load_step` is 0, whether it is complete or not."""
    path, part = config.get("checkpoint_path"), algorithms.learners().get(config["learner"])
    if not path or config.get("load_step"):
        return
    step = with_chosen_step(config, part and part.load())["load_step"]
    if step != files.steps(Path(path))[-1]:
        raise CheckpointError(
            f"the last checkpoint in {path} is incomplete, and EPyMARL would load it: set "
            f"load_step={step}, which is whole"
        )


def check_online(config: Mapping[str, Any]) -> None:
    """Refuse an algorithm that no host can train.

    Raises:
        ConfigError: it learns from recorded episodes, or two packages give it.
    """
    algorithms.check_offered(config)
    if config.get("learner") in algorithms.offline_learners():
        name = config["name"]
        raise ConfigError(f"{name} learns from recorded episodes: use `epymarl-tr offline --config={name} --data PATH`")


def _check_learner_device(config: Mapping[str, Any]) -> None:
    device = config.get("learner_device")
    for name, default, word in (("learner_device", None, "null"), ("torch_threads", 1, "1")):
        value = config.get(name, default)
        if value != default and algorithms.schema_of(config.get("learner")) is None:
            raise ConfigError(
                f"{name}={value} is for this plugin's learners, and {config.get('learner')} is the suite's own; "
                f"set it to {word}"
            )
    check_device(device, bool(config.get("use_cuda")))


def check_all(
    config: Mapping[str, Any],
    host_defaults: Mapping[str, Any],
    where: str | None = None,
    before: Mapping[str, Any] | None = None,
) -> None:
    """Every check that can be made before a run, for either host.

    Args:
        where: names the source in messages; None: the configuration, and whose package it is of.
        before: the configuration as yaml files made it, before a user changed it; None: as the algorithm's own has it.
    """
    check_online(config)
    where = where or f"the configuration{algorithms.of_package(algorithms.package_of(config))}"
    if config.get("actor_network") or config.get("critic_network"):
        add_current_folder()  # they may lie there
    before = before or {**host_defaults, **run_defaults(), **_of_the_algorithm(config)}
    check_run(config, before, where)
    algorithms.check_learner(config, host_defaults, where, before)
    _check_learner_device(config)
    check_size(config)  # without an environment first: what its networks alone would take
    continuous, sizes = inspect(config)
    check_size(config, sizes)
    check_feasible(config, continuous)
    check_recording(config)
    if config.get("checkpoint_path"):
        t_max = None if config.get("evaluate") or config.get("save_replay") else config.get("t_max")
        part = algorithms.learners().get(config["learner"])
        check_folder(config["checkpoint_path"], config.get("load_step", 0), part.load() if part else None, t_max)


def _of_the_algorithm(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our yaml that the configuration was made from, or a package's; of a run that has another name it is not known."""
    file = algorithms.algorithm_files().get(str(config.get("name")))
    return yaml.safe_load(file.read_text()) if file else dict(config)
