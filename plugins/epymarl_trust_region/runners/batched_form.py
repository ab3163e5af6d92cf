"""All environments of a rollout as one, where that gives the same results: chosen here, checked here.

Shape letters: B environments, N agents.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..environments import batched_games, batched_mpe, batched_vmas
from ..environments.batched import BatchedEnv, Seen
from ..environments.batched_games import BatchedGame
from ..environments.batched_mpe import BatchedMPE
from ..environments.batched_smax import BatchedSMAX
from ..errors import CapabilityError
from ..interfaces import Args
from .env_group import MakeEnv

_OWN_KEYS = {"key", "time_limit", "seed", "pretrained_wrapper"}  # of env_args; the rest is the environment's
_log = logging.getLogger(__name__)


def make_batched(args: Args, make_env: MakeEnv, streams: bool = False) -> tuple[BatchedEnv, Callable] | None:
    """The environments 0..B-1 as one, and what turns its rewards into the run's; None where each is stepped by itself.

    Args:
        args: of the run; read are env, env_args, batch_size_run, common_reward, reward_scalarisation and render, and
            batched_envs where it is there: "exact" (the default) takes a form only if it gives the same numbers, "any"
            also takes one whose random starts differ, "none" takes none.
        make_env: makes environment i by itself.
        streams: only where a copy may begin its next episode while others are in the midst of theirs, or all end
            together.

    Raises:
        CapabilityError: SMAX is to be rendered.
    """
    allowed = getattr(args, "batched_envs", "exact")
    make = {"gymma": _gymma, "smax": _smax}.get(args.env)
    if args.render and args.env == "smax":
        raise CapabilityError("SMAX cannot be drawn while it trains; set render=False")
    if args.render or allowed == "none" or make is None:
        return None
    arguments = {key: value for key, value in args.env_args.items() if key not in _OWN_KEYS}
    seeds = [args.env_args["seed"] + i for i in range(args.batch_size_run)]
    reward = functools.partial(
        wanted_rewards, common_reward=args.common_reward, scalarisation=args.reward_scalarisation
    )
    env = make(args, seeds, arguments, make_env, reward, allowed, streams)
    if isinstance(env, BatchedGame):
        reward = functools.partial(reward, add_up=_sum)
    return None if env is None else (env, reward)


def _gymma(
    args: Args,
    seeds: list[int],
    arguments: dict[str, Any],
    make_env: MakeEnv,
    reward: Callable,
    allowed: str,
    streams: bool,
) -> BatchedEnv | None:
    key = args.env_args.get("key")
    if not isinstance(key, str) or args.env_args.get("pretrained_wrapper"):  # missing; or it changes what is played
        return None
    if not streams and (game := batched_games.find(key, arguments)):
        return BatchedGame(game(**arguments), len(seeds))
    if form := batched_mpe.find(key, arguments):
        with contextlib.closing(make_env(0)) as single:
            same = _same(form(seeds[:1], **arguments), single, reward)
        if same:
            return form(seeds, **arguments)
        _log.warning("the installed mpe2 plays otherwise than its batched form: stepping it one by one")
    if make := batched_vmas.find(key, arguments, streams):
        as_one = "the same game, but all its starts are drawn from one stream"
        if allowed == "any":
            _log.warning(f"{key} as one (batched_envs=any): {as_one}")
            return make(seeds, **arguments)
        _log.warning(f"{key} is stepped copy by copy; batched_envs=any steps all as one, much faster: {as_one}")
    return None


def _smax(args: Args, seeds: list[int], arguments: dict[str, Any], *_: Any) -> BatchedEnv | None:
    if not args.common_reward:  # the single environment says why not
        return None
    return BatchedSMAX(seeds, **arguments, time_limit=args.env_args["time_limit"])


def _in_order(rewards: np.ndarray) -> np.ndarray:
    """[B, N] added up to [B] as `sum` adds up N of NumPy's numbers."""
    return functools.reduce(operator.add, rewards.T)


def _sum(rewards: np.ndarray) -> np.ndarray:
    """[B, N] added up to [B] as `sum` adds up N floats: from Python 3.12 on they are rounded otherwise."""
    return np.array([sum(row) for row in rewards.tolist()])


def wanted_rewards(
    rewards: np.ndarray, common_reward: bool, scalarisation: str, add_up: Callable = _in_order
) -> np.ndarray:
    """Rewards [B, N] or [B] as the run wants them: [B, N], or [B] added up as the suite's wrapper does it."""
    if not common_reward or rewards.ndim == 1:  # the team is paid already
        return rewards
    total = add_up(rewards)
    return total / rewards.shape[1] if scalarisation == "mean" else total


def _draws(moves: np.ndarray, width: int, t: int) -> np.ndarray:
    """Moves [B, N] as real-valued actions [B, N, width], some beyond the bounds, with something in every dimension."""
    drawn = 0.4 * np.sin(t + np.arange(width)) + 0.3 + 0.8 * (np.arange(width) == moves[..., None])
    return drawn.astype(np.float32)


def _same(batched: BatchedMPE, single: Any, reward: Callable) -> bool:
    """Whether both play the same episode, bit for bit, in which all who move meet, and say all that can be said."""
    seen, _ = batched.reset(), single.reset()
    last_action = np.sum(single.get_avail_actions(), axis=1) - 1
    for t in range(min(batched.max_cycles, single.episode_limit)):
        if not _same_sight(seen, single):
            return False
        messages = np.maximum((last_action + 1) // 5, 1)  # five moves for each of them
        actions = np.minimum(batched.meeting_actions(), last_action) + 5 * (t % messages)
        if batched.continuous:
            actions = _draws(batched.meeting_actions(), len(single.get_avail_actions()[0]), t)
        played = batched.step(actions)
        _, paid, *ends, _ = single.step(actions[0])
        limited = t + 1 == single.episode_limit  # where the single one is under a limit of the run, too
        if ends != [played.terminated[0], limited or played.truncated[0]]:
            return False
        if not np.array_equal(reward(played.rewards)[0], paid):
            return False
        seen = played.seen
    same_actions = np.array_equal(seen.avail_actions[0], single.get_avail_actions())
    return same_actions and _same_sight(seen, single)


def _same_sight(seen: Seen, single: Any) -> bool:
    return np.array_equal(seen.obs[0], single.get_obs()) and np.array_equal(seen.state[0], single.get_state())
