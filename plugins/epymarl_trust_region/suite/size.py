"""What a run will take of memory, before any of it is taken: its episodes, its networks, its worker processes.

Lower bounds of what is certain to be there at once, so that what is refused could not have run. Shape letters: B
episodes, T steps, N agents, A actions, O observation, S state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..memory import does_not_fit

_FLOAT, _ACTION = 4, 8  # bytes of a number, and of a discrete action, in the hosts' batches
_COPIES = 4  # of each weight: itself, its gradient, Adam's two moments
_PROCESS = 30 * 2**20  # bytes of a worker of the host's runner `parallel` that it shares with no other
# Families in which each agent sees where each other is, and how `env_args` name the number of agents.
_ALL_SEE_ALL = {"pz-mpe-simple-spread": "N", "pz-mpe-simple-tag": "num_adversaries", "vmas-": "n_agents"}
_POSITION = 2


@dataclass(frozen=True)
class Sizes:
    """Of one environment, as far as its spaces tell; the least that is possible where nothing is known."""

    n_agents: int = 1
    n_actions: int = 1
    obs_dim: int = 0
    state_dim: int = 0


def check_size(config: Mapping[str, Any], sizes: Sizes | None = None) -> None:
    """Refuse a run that cannot fit in the memory that is free.

    Args:
        config: complete and checked.
        sizes: of its environment; None: not known.

    Raises:
        ConfigError: how much is needed, how much there is, and the key to lower.
    """
    sizes = sizes or Sizes()
    parts = {
        "the episodes": (_episodes(config, sizes), _of_episodes(config)),
        "the actors' networks": (_actors(config, sizes), ("hidden_dim",)),
        "the critic's network": (_critic(config, sizes), ("critic_hidden_dim",)),
        "the worker processes": (_processes(config), ("batch_size_run",)),
    }
    total = sum(size for size, _ in parts.values())
    if too_much := does_not_fit(total):
        what, (_, keys) = max(parts.items(), key=lambda item: item[1][0])
        raise ConfigError(f"{_shown(config, keys)}: this run {too_much}, most of it for {what}; lower {keys[0]}")


def check_agents(env_args: Mapping[str, Any], batch_size_run: int = 1) -> None:
    """Refuse numbers of agents that see each other and cannot fit, before an environment is made of them.

    Raises:
        ConfigError: see `check_size`.
    """
    key = str(env_args.get("key")).rpartition(":")[2]
    for prefix, name in _ALL_SEE_ALL.items():
        count = env_args.get(name)
        if key.startswith(prefix) and isinstance(count, int) and count > 0:
            seen = count * count * _POSITION * _FLOAT
            if too_much := does_not_fit(2 * batch_size_run * seen):
                raise ConfigError(
                    f"env_args.{name}={count}: what {count} agents see of each other {too_much}, at the first step of "
                    f"batch_size_run={batch_size_run} episodes; lower env_args.{name}"
                )


def _episodes(config: Mapping[str, Any], sizes: Sizes) -> int:
    """The runner's batch, and a buffer of more than that: B episodes of T+1 places each."""
    N, A = sizes.n_agents, sizes.n_actions
    numbers = N * sizes.obs_dim + sizes.state_dim + 2 * N * A + 1  # with availability and one-hot actions; a reward
    place = _FLOAT * numbers + _ACTION * (N + 1) + 1
    run, kept = _whole(config, "batch_size_run"), _whole(config, "buffer_size")
    if kept != run or _whole(config, "batch_size") != run:  # else the built-in suite hands the runner's on
        run += min(kept, _whole(config, "t_max", 2**62))
    return run * (_steps(config) + 1) * place


def _steps(config: Mapping[str, Any]) -> int:
    limit = dict(config.get("env_args") or {}).get("time_limit")
    return _whole(config, "rollout_steps", 0) or (limit if type(limit) is int else 1)


def _of_episodes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that make them many or long, the largest first; an environment's own may be any whole number."""
    own = {f"env_args.{key}": value for key, value in dict(config.get("env_args") or {}).items() if key != "seed"}
    values = {**own, **{key: config.get(key) for key in ("batch_size_run", "buffer_size", "rollout_steps")}}
    whole = {key: value for key, value in values.items() if type(value) is int}
    return tuple(sorted(whole, key=lambda key: -whole[key])[:2]) or ("batch_size_run",)


def _actors(config: Mapping[str, Any], sizes: Sizes) -> int:
    width = _whole(config, "hidden_dim", 0)
    if config.get("actor_network") or config.get("mac") == "log_linear_mac":
        return 0
    core = width * width * (6 if config.get("use_rnn") is True else 1)
    networks = 1 if config.get("share_parameters") else sizes.n_agents
    return networks * (width * (sizes.obs_dim + sizes.n_actions) + core) * _FLOAT * _COPIES


def _critic(config: Mapping[str, Any], sizes: Sizes) -> int:
    width = _whole(config, "critic_hidden_dim", 0)
    if config.get("critic_network"):
        return 0
    inputs = sizes.state_dim if config.get("critic") == "central" else sizes.obs_dim
    return width * (inputs + width) * _FLOAT * _COPIES


def _processes(config: Mapping[str, Any]) -> int:
    return _whole(config, "batch_size_run") * _PROCESS if config.get("runner") == "parallel" else 0


def _whole(config: Mapping[str, Any], key: str, otherwise: int = 1) -> int:
    value = config.get(key)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _shown(config: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    flat = {**config, **{f"env_args.{key}": value for key, value in dict(config.get("env_args") or {}).items()}}
    return ", ".join(f"{key}={flat.get(key)}" for key in keys)
