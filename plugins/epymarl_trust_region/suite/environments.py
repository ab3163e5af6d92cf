"""Environment ids: where they are registered, and whether they exist, before anything is built."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from ..errors import ConfigError, EnvironmentMissingError

# Prefix of an id -> the module whose import registers it. The module goes in front of the id when an environment is
# made, so that worker processes which share nothing with this one (start method "spawn") find it too.
_PACKAGE = "epymarl_trust_region."
_REGISTERED_BY = {
    "pz-mpe-": "epymarl_trust_region.suite.mpe",
    "trust-region-": "epymarl_trust_region.games",
    "vmas-": "epymarl_trust_region.suite.vmas",
}
_STUBS = Path(__file__).resolve().parent / "stubs"
_INSTALL = {
    "lbforaging": "pip install lbforaging",
    "rware": "pip install rware",
    "matrixgames": "pip install git+https://github.com/uoe-agents/matrix-games.git",
    "smaclite": "pip install git+https://github.com/uoe-agents/smaclite.git",
    "vmas": "pip install 'vmas[gymnasium]>=1.5.1'",
}


def resolve_key(key: str) -> str:
    """The id with its module in front: pz-mpe-X -> epymarl_trust_region.suite.mpe:pz-mpe-X; others as they are."""
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
    return copy


def check_environment(config: Mapping[str, Any]) -> None:
    """Refuse a `gymma` or `smaclite` environment that does not exist or has no time limit. Others the host checks.

    Raises:
        ConfigError: `env_args.key`, `env_args.map_name` or `env_args.time_limit` is missing or unusable.
        EnvironmentMissingError: the id is not registered, or the module in front of it is not installed.
    """
    env, env_args = config.get("env"), config.get("env_args", {})
    name = {"gymma": "key", "smaclite": "map_name"}.get(env)
    if name is None:
        return
    if not isinstance(env_args.get(name), str):
        example = {"key": "pz-mpe-simple-spread-v3", "map_name": "2s3z"}[name]
        raise ConfigError(f"env_args.{name} is missing; say which environment, as in `with env_args.{name}={example}`")
    limit = env_args.get("time_limit")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigError(
            f"env_args.time_limit={limit!r} is missing or not a positive number of steps; every episode needs a limit, "
            "as in `with env_args.time_limit=25`"
        )
    _check_registered(env_args["key"] if env == "gymma" else f"smaclite:smaclite/{env_args['map_name']}-v0")


def _check_registered(key: str) -> None:
    module, _, name = resolve_key(key).rpartition(":")
    try:
        if module:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentMissingError(_not_installed(key, module.split(".")[0], str(error))) from None
    try:
        gymnasium.spec(name)
    except gymnasium.error.Error as error:
        package = module.split(".")[0] or name.split("/")[0].split("-")[0]
        known = f" (is it installed? {_INSTALL[package]})" if package in _INSTALL and not is_installed(package) else ""
        raise EnvironmentMissingError(
            f"environment {key} does not exist: {error}{known}; check env_args.key, or name the package that registers "
            "it, as in lbforaging:Foraging-8x8-2p-3f-v3"
        ) from None


def is_installed(package: str) -> bool:
    """Whether a package can be found; the one of ours that stands in for SMAClite, so that EPyMARL starts, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and not str(spec.origin).startswith(str(_STUBS))


def _not_installed(key: str, package: str, reason: str) -> str:
    command = _INSTALL.get(package, f"pip install {package}")
    return f"environment {key} needs the package {package} ({reason}); {command}"
