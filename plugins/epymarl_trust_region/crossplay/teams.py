"""Who plays: checkpoints of one task, loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import flatdim

from ..config import flatten
from ..errors import CapabilityError, ConfigError
from ..experiments.report.naming import told_apart
from ..suite import pretrained
from ..suite.lite.run import player
from ..suite.same_run import plain
from ..watch.chosen import Chosen, to_be_played
from ..watch.play import core_of

LOG = logging.getLogger("epymarl-tr crossplay")
# They place or draw an environment, and change nothing that is played.
_ASIDE = ("env_args.seed", "env_args.render_mode")
#: In the place of a checkpoint: EPyMARL's own opponents.
PRETRAINED = "pretrained"


class Team(NamedTuple):
    """A checkpoint's policies, for all agents of its task."""

    name: str  # the algorithm's, with the settings in which others of its name differ
    seed: int | None  # it was trained with, as far as known
    step: int | None  # of training
    folder: Path
    mac: Any
    gains: np.ndarray | None  # by a best response to its own other agents, [N], where they are known exactly


class Table(NamedTuple):
    """What the teams meet in."""

    config: dict[str, Any]
    task: str
    n_agents: int
    names: list[str] | None  # the agents'
    sizes: list[int]  # lengths of their observations
    own: dict[str, Any] | None = None  # the configuration of the checkpoint that is alone


def gather(
    checkpoints: Sequence[str], updates: Mapping[str, Any], greedy: bool | None, seed: int, episodes: int
) -> tuple[list[Team], Table]:
    """Load the checkpoints, which are of one task.

    Args:
        checkpoints: each as in `epymarl-tr watch`, or PRETRAINED, who come last.
        updates: flat keys of the command line.
        greedy: take the likeliest actions, or sample; None: as each run's own tests.
        seed: of the environments.
        episodes: for each pair.

    Raises:
        ConfigError: fewer than two; a setting that changes nothing; or they are of different tasks.
        CapabilityError: their task has no opponents.
        CheckpointError: there is none, it is damaged, or does not know its configuration.
    """
    if len(checkpoints) < 2:
        raise ConfigError(f"{checkpoints[0]} alone has no opponent; name two checkpoints or more")
    own = [checkpoint for checkpoint in checkpoints if checkpoint != PRETRAINED]
    if not own:
        raise ConfigError(f"{PRETRAINED} says no task; name a checkpoint, too")
    chosen = [to_be_played(checkpoint, 0, None, updates, greedy, "crossplay") for checkpoint in own]
    _check_opponents(chosen)
    _check_whole(chosen)
    _check_same_task(chosen)
    rows = min([episodes, *(one.config["batch_size_run"] for one in chosen)])
    LOG.setLevel(logging.WARNING)
    found = [_loaded(one, _staged(one.config, seed, rows, episodes)) for one in chosen]
    names = told_apart([team.name for team, _ in found], [one.config for one in chosen])
    teams, table = [team._replace(name=name) for (team, _), name in zip(found, names, strict=True)], found[0][1]
    return teams + ([_pretrained(table)] if PRETRAINED in checkpoints else []), table


def gather_one(
    checkpoint: str, updates: Mapping[str, Any], greedy: bool | None, seed: int, episodes: int
) -> tuple[Team, Table]:
    """Load one checkpoint of a task with opponents.

    Args, and raises: as `gather`.
    """
    chosen = to_be_played(checkpoint, 0, None, updates, greedy, "best-response")
    _check_opponents([chosen])
    _check_whole([chosen])
    LOG.setLevel(logging.WARNING)
    rows = min(episodes, chosen.config["batch_size_run"])
    team, table = _loaded(chosen, _staged(chosen.config, seed, rows, episodes))
    return team, table._replace(own=chosen.config)


def _loaded(chosen: Chosen, config: dict[str, Any]) -> tuple[Team, Table]:
    with player(config, LOG) as runner:
        core, gains = core_of(runner.own.envs[0]), runner.best_response_gains()
        names, spaces = getattr(core, "agent_names", None), getattr(core, "observation_space", ())
        table = Table(config, chosen.task, runner.env_info["n_agents"], names, [flatdim(space) for space in spaces])
        trained = chosen.config["seed"]
        return Team(config["name"], trained, chosen.step, chosen.folder, runner.mac, gains), table


def _pretrained(table: Table) -> Team:
    mac, file = pretrained.load(table.task, table.sizes)
    return Team(PRETRAINED, None, None, file, mac, None)


def _staged(config: dict[str, Any], seed: int, rows: int, episodes: int) -> dict[str, Any]:
    """For the runner: so many environments, whole episodes, and no logs of its own."""
    counts = dict.fromkeys(("batch_size_run", "batch_size", "buffer_size"), rows)
    staged = {**config, **counts, "test_nepisode": 2 * (episodes + rows), "seed": seed, "batched_envs": "exact"}
    staged["env_args"] = {**config["env_args"], "seed": seed}
    if "rollout_steps" in staged:
        staged["rollout_steps"] = None
    return staged


def _check_opponents(chosen: Sequence[Chosen]) -> None:
    for one in chosen:
        if one.config["common_reward"]:
            raise CapabilityError(
                f"{shown(one.folder)} was trained with one reward for all agents (common_reward=True), who have no "
                "opponents then; train with common_reward=False, where agents are paid differently"
            )


def _check_whole(chosen: Sequence[Chosen]) -> None:
    for one in chosen:
        if wrapper := one.config["env_args"].get("pretrained_wrapper"):
            raise CapabilityError(
                f"{shown(one.folder)} was trained with env_args.pretrained_wrapper={wrapper}, and has the agents of "
                "one side alone; test it with `epymarl-tr run --suite=epymarl ... with evaluate=True`, or train both"
            )


def _check_same_task(chosen: Sequence[Chosen]) -> None:
    first, tasks = chosen[0], [_task_of(one.config) for one in chosen]
    for one, task in zip(chosen, tasks, strict=True):
        for key in sorted({*task, *tasks[0]}):
            here, there = tasks[0].get(key), task.get(key)
            if here != there:
                raise ConfigError(
                    f"{shown(one.folder)} was trained on another task than {shown(first.folder)}: {key}={there}, and "
                    f"not {here}; name checkpoints of one task, or set {key} for all of them after `with`"
                )


def _task_of(config: Mapping[str, Any]) -> dict[str, Any]:
    flat = flatten({"env": config["env"], "env_args": config["env_args"]})
    found = {key: plain(value) for key, value in flat.items() if key not in _ASIDE and value is not None}
    key = found.get("env_args.key")
    return found | ({"env_args.key": key.rpartition(":")[2]} if isinstance(key, str) else {})


def shown(folder: Path) -> str:
    """As the user may have named it."""
    return os.path.relpath(folder)
