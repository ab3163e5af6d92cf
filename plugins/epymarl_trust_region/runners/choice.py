"""All environments of a rollout as one, where that gives the same results: chosen here, checked here.

Shape letters: B environments, N agents.
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable

import numpy as np

from .batched import BatchedEnv
from .batched_mpe import find
from .share import MakeEnv

_OWN_KEYS = {"key", "time_limit", "seed", "pretrained_wrapper"}  # of env_args; the rest is the environment's
_log = logging.getLogger(__name__)


def make_batched(args, make_env: MakeEnv) -> tuple[BatchedEnv, Callable] | None:
    """The environments 0..B-1 as one, and what turns its rewards into the run's; None where each is stepped by itself.

    Args:
        args: of the run; read are env, env_args, batch_size_run, common_reward, reward_scalarisation and render, and
            batched_envs where it is there: "exact" (the default) takes a form only if it gives the same numbers.
        make_env: makes environment i by itself.
    """
    if args.render or getattr(args, "batched_envs", "exact") == "none" or not isinstance(args.env_args.get("key"), str):
        return None
    reward = functools.partial(share, common_reward=args.common_reward, scalarisation=args.reward_scalarisation)
    arguments = {key: value for key, value in args.env_args.items() if key not in _OWN_KEYS}
    form = find(args.env_args["key"], arguments)
    if form is None or args.env_args.get("pretrained_wrapper"):
        return None
    seeds = [args.env_args["seed"] + i for i in range(args.batch_size_run)]
    if not _same(form(seeds[:1], **arguments), make_env(0), reward):
        _log.warning("the installed mpe2 plays otherwise than its batched form: stepping it one by one")
        return None
    return form(seeds, **arguments), reward


def share(rewards: np.ndarray, common_reward: bool, scalarisation: str) -> np.ndarray:
    """Agents' rewards [B, N] as the run wants them: [B, N], or [B] added up in the order in which `sum` does it."""
    if not common_reward:
        return rewards
    total = functools.reduce(operator.add, rewards.T)
    return total / rewards.shape[1] if scalarisation == "mean" else total


def _same(batched, single, reward: Callable) -> bool:
    """Whether both play the same episode, bit for bit, under actions that drive all who move into one corner."""
    seen, _ = batched.reset(), single.reset()
    last_action = np.sum(single.get_avail_actions(), axis=1) - 1
    for t in range(min(batched.max_cycles, single.episode_limit)):
        if not np.array_equal(seen.obs[0], single.get_obs()):
            return False
        actions = np.minimum(1 + 2 * (t % 2), last_action)[None]  # left, down, left, ...
        played = batched.step(actions)
        _, paid, terminated, _, _ = single.step(actions[0])
        if played.terminated[0] != terminated or not np.array_equal(reward(played.rewards)[0], paid):
            return False
        seen = played.seen
    same_actions = np.array_equal(np.broadcast_to(seen.avail_actions, (1, *np.shape(single.get_avail_actions())))[0],
                                  single.get_avail_actions())  # fmt: skip
    return same_actions and np.array_equal(seen.obs[0], single.get_obs())
