"""Environment ids: where they are registered, and whether they exist, before anything is built."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium
from gymnasium.spaces import flatdim

from ..config import flatten
from ..environments.actions import is_continuous
from ..environments.spaces import check_spaces
from ..errors import ConfigError, EnvironmentMissingError, TrustRegionError
from .apart import apart
from .environment_code import INSTALL, add_current_folder, import_code, origin
from .robot_check import check_robot
from .size import Sizes, check_agents

# Prefix of an id -> the module whose import registers it. The module goes in front of the id when an environment is
# made, so that worker processes which share nothing with this one (start method "spawn") find it too.
_PACKAGE = "epymarl_trust_region."
_REGISTERED_BY = {
    "pz-mpe-": "epymarl_trust_region.environments.mpe",
    "trust-region-": "epymarl_trust_region.environments.games",
    "vmas-": "epymarl_trust_region.environments.vmas",
}
_OWN = "epymarl_trust_region/"  # in front of ids of ours that a host may have, too
# Of env_args; the rest is handed to the environment.
_OF_THE_WRAPPER = {"key", "time_limit", "seed", "pretrained_wrapper", "common_reward", "reward_scalarisation"}
# Words that a yaml file takes for values, and the command line for words. "none" may be meant, as for `value_norm`.
_WORDS = {"true": "True", "false": "False", "null": "None"}
_STUBS = Path(__file__).resolve().parent / "stubs"


def resolve_key(key: str) -> str:
    """The id with its module in front, as epymarl_trust_region.environments.mpe:pz-mpe-X; others as they are."""
    spec = gymnasium.registry.get(key)
    if spec is not None and not str(spec.entry_point).startswith(_PACKAGE):  # the host's, say with an older PettingZoo
        return key
    for prefix, module in _REGISTERED_BY.items():
        if key.startswith(prefix):
            return f"{module}:{key}"
    return key


def resolved(env_args: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the environment's arguments with its key resolved."""
    copy = dict(env_args)
    if isinstance(copy.get("key"), str):
        copy["key"] = resolve_key(copy["key"])
        if copy.get("continuous_actions") and copy["key"].startswith("vmas-"):  # EPyMARL's has discrete ones alone
            copy["key"] = f"{_REGISTERED_BY['vmas-']}:{_OWN}{copy['key']}"
    return copy


def task_name(env: str | None, env_args: Mapping[str, Any]) -> str | None:
    """What folders and logs call the task: its map, or its id, or its robot and partition."""
    if env == "mamujoco" and not env_args.get("map_name"):
        return f"{env_args.get('scenario')}-{env_args.get('partition')}"
    name = env_args.get("map_name") or env_args.get("key")
    return str(name) if name else None


def check_environment(config: Mapping[str, Any]) -> bool:
    """`inspect`, for whether actions are real-valued."""
    return inspect(config)[0]


def inspect(config: Mapping[str, Any]) -> tuple[bool, Sizes | None]:
    """Refuse a `gymma`, `smaclite` or `mamujoco` environment that does not exist or has no time limit; say of others
    whether their actions are real-valued, and of `gymma` and `mamujoco` their sizes.

    Others the host checks.

    Both are also made once, in a process of its own: `gymma` for its spaces, since no policy can choose from some, and
    a robot plays a step, since its simulator takes what it cannot be built of.

    Raises:
        ConfigError: `env_args.key`, `env_args.map_name` or `env_args.time_limit` is missing or unusable; the
            environment cannot be made with its arguments, or its spaces are none that algorithms here can use.
        EnvironmentMissingError: the id is not registered, or the code behind it cannot be imported.
    """
    env, env_args = config.get("env"), config.get("env_args", {})
    _check_words(config)
    if env == "mamujoco":
        return True, check_robot(env_args)
    name = {"gymma": "key", "smaclite": "map_name"}.get(str(env))
    if name is None:
        return False, None
    if not isinstance(env_args.get(name), str):
        example = {"key": "pz-mpe-simple-spread-v3", "map_name": "2s3z"}[name]
        raise ConfigError(f"env_args.{name} is missing; say which environment, as in `with env_args.{name}={example}`")
    limit = env_args.get("time_limit")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigError(
            f"env_args.time_limit={limit!r} is missing or not a positive number of steps; every episode needs a limit, "
            "as in `with env_args.time_limit=25`"
        )
    load_environment(env_args["key"] if env == "gymma" else f"smaclite:smaclite/{env_args['map_name']}-v0")
    if env != "gymma":
        return False, None
    check_agents(env_args, config.get("batch_size_run") or 1)
    return _check_made(env_args)


def _check_words(config: Mapping[str, Any]) -> None:
    """Refuse text where a truth value was meant: `false` would be taken for true."""
    for group in ("env_args", "actor_args", "critic_args"):
        for key, value in flatten({group: config.get(group) or {}}).items():
            if isinstance(value, str) and (meant := _WORDS.get(value.strip().lower())):
                raise ConfigError(f"{key}={value!r} is a word, and would be taken as one; write {key}={meant}")


def _check_made(env_args: Mapping[str, Any]) -> tuple[bool, Sizes]:
    key = env_args["key"]
    try:
        return apart(functools.partial(_make_and_check, dict(env_args)))
    except TrustRegionError:
        raise
    except MemoryError as error:
        numbers = {name: value for name, value in env_args.items() if type(value) is int and name != "seed"}
        largest = max(numbers, key=lambda name: numbers[name], default="key")
        raise ConfigError(
            f"env_args.key={key}: one environment alone needs more memory than this machine has free; lower "
            f"env_args.{largest}={env_args[largest]}"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"env_args.key={key}: the environment cannot be made: {_in_a_line(error)}; correct env_args, or mend what "
            "fails in it"
        ) from error


def _make_and_check(env_args: dict[str, Any]) -> tuple[bool, Sizes]:
    env = make_bare(env_args)
    check_spaces(env, env_args["key"])
    env.close()
    return is_continuous(cast(Sequence, env.action_space)), _sizes(env)


def _sizes(env: gymnasium.Env) -> Sizes:
    """As the hosts' wrappers count them."""
    actions, observations = cast(Sequence, env.action_space), cast(Sequence, env.observation_space)
    n_agents, obs_dim = len(actions), max(flatdim(space) for space in observations)
    n_actions = max(int(space.n) if hasattr(space, "n") else flatdim(space) for space in actions)
    state_dim = getattr(env.unwrapped, "state_size", None)
    return Sizes(n_agents, n_actions, obs_dim, state_dim if isinstance(state_dim, int) else n_agents * obs_dim)


def make_bare(env_args: Mapping[str, Any]) -> gymnasium.Env:
    """The environment as the hosts' `gymma` makes it, without their wrappers."""
    arguments = {key: value for key, value in env_args.items() if key not in _OF_THE_WRAPPER}
    return gymnasium.make(resolved(env_args)["key"], **{"disable_env_checker": True, **arguments})


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def own_limit(env: str, env_args: Mapping[str, Any]) -> int | None:
    """Steps after which an environment of `gymma` or `smaclite` cuts its episodes itself; None: never, as far as known.

    That is the limit that Gymnasium keeps for its id or is given; of MPE `max_cycles`, of VMAS `max_steps`.
    """
    name = {"gymma": "key", "smaclite": "map_name"}.get(env)
    if name is None or not isinstance(env_args.get(name), str):
        return None
    key = env_args[name].rpartition(":")[2] if env == "gymma" else f"smaclite/{env_args[name]}-v0"
    spec = gymnasium.registry.get(key)
    limits = [env_args.get("max_episode_steps") or (spec and spec.max_episode_steps)]
    limits += [env_args.get("max_cycles", 25)] if key.startswith("pz-mpe-") else []
    limits += [env_args.get("max_steps")] if key.startswith("vmas-") else []
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def load_environment(key: str) -> None:
    """Import the module in front of an id, look the id up, and import the code behind it.

    The module may be the user's own, in the current folder.

    Raises:
        EnvironmentMissingError: one of the three fails; the message says which, and why.
    """
    module, _, name = resolve_key(key).rpartition(":")
    if module:
        if not module.startswith(_PACKAGE):
            add_current_folder()
        import_code(key, module)
    try:
        entry_point = gymnasium.spec(name).entry_point
    except gymnasium.error.Error as error:
        package = module.split(".")[0] or name.split("/")[0].split("-")[0]
        known = f" (is it installed? {INSTALL[package]})" if package in INSTALL and not is_installed(package) else ""
        raise EnvironmentMissingError(
            f"environment {key} does not exist: {error}{known}{module and origin(module)}; check env_args.key, or name "
            "the package that registers it, as in lbforaging:Foraging-8x8-2p-3f-v3"
        ) from None
    if isinstance(entry_point, str):
        import_code(key, *entry_point.partition(":")[::2])


def is_installed(package: str) -> bool:
    """Whether a package can be found; the one of ours that stands in for SMAClite, so that EPyMARL starts, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and not str(spec.origin).startswith(str(_STUBS))
