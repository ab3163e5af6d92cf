"""All environments of a rollout as one, where that gives the same results: chosen here, checked here.

Shapes: B environments, N agents.
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable

import numpy as np

from epymarl_trust_region.runners.batched_mpe import BatchedMPE, find
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

_OWN_KEYS = {"key", "time_limit", "seed", "pretrained_wrapper"}  # of env_args; the rest is the environment's


def make_batched(args, make_env: Callable[[int], GymmaEnv]) -> BatchedMPE | None:
    """The environments 0..B-1 as one; None where there is no such form, or (with a warning) where it plays otherwise.

    Args:
        args: of the run; read are batch_size_run, env_args, common_reward, reward_scalarisation and render.
        make_env: makes environment i by itself.
    """
    arguments = {key: value for key, value in args.env_args.items() if key not in _OWN_KEYS}
    form = find(args.env_args["key"], arguments)
    if args.render or form is None:
        return None
    seeds = [args.env_args["seed"] + i for i in range(args.batch_size_run)]
    if not _same(form(seeds[:1], **arguments), make_env(0), args):
        logging.getLogger(__name__).warning(
            "the installed mpe2 plays otherwise than its batched form: stepping it one by one"
        )
        return None
    return form(seeds, **arguments)


def share(rewards: np.ndarray, args) -> np.ndarray:
    """Agents' rewards [B, N] as the run wants them: [B, N], or [B] added up in the order in which `sum` does it."""
    if not args.common_reward:
        return rewards
    total = functools.reduce(operator.add, rewards.T)
    return total / rewards.shape[1] if args.reward_scalarisation == "mean" else total


def _same(batched: BatchedMPE, single: GymmaEnv, args) -> bool:
    """Whether both play the same episode, bit for bit, under actions that drive all who move into one corner."""
    obs, _ = batched.reset(), single.reset()
    last_action = np.sum(single.get_avail_actions(), axis=1) - 1
    for t in range(min(batched.max_cycles, single.episode_limit)):
        if not np.array_equal(obs[0], single.get_obs()):
            return False
        actions = np.minimum(1 + 2 * (t % 2), last_action)[None]  # left, down, left, ...
        obs, rewards, ended = batched.step(actions)
        _, reward, terminated, _, _ = single.step(actions[0])
        if ended != terminated or not np.array_equal(share(rewards, args)[0], reward):
            return False
    return np.array_equal(obs[0], single.get_obs())
