"""`save_episodes=PATH`: what a host's runner has played, on its way to the learner, goes to a recording too.

Any runner with EPyMARL's interface will do, whosever algorithm it plays for.
Shape letters: B episodes, T+1 observations per episode, L steps of one episode, N agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import ConfigError
from ..interfaces import Args, Batch
from .episodes import Episode, EpisodeWriter
from .hdf5 import library
from .layout import check_free


def check_recording(config: Mapping[str, Any]) -> None:
    """Check the keys `save_episodes` and `save_episodes_overwrite` before anything is built.

    Raises:
        ConfigError: a value of the wrong type, or an overwrite of nothing.
        DataError: the place is taken, or h5py is missing.
    """
    path, overwrite = config.get("save_episodes"), config.get("save_episodes_overwrite", False)
    if not isinstance(overwrite, bool):
        raise ConfigError(f"save_episodes_overwrite={overwrite!r} is not True or False; give one of them")
    if path is None:
        if overwrite:
            raise ConfigError("save_episodes_overwrite=True overwrites nothing without save_episodes=PATH; add that")
        return
    if not isinstance(path, str) or not path:
        raise ConfigError(f"save_episodes={path!r} is no path; name a folder, as in save_episodes=data/spread-happo-v0")
    library()
    check_free(path, overwrite)


def record(runner: Any, args: Args) -> Any:
    """Let every training episode of `runner` be written to `args.save_episodes`; returns the runner.

    In a run that only evaluates a checkpoint it is every test episode.

    Args:
        runner: a host's, just made.
        args: the host's arguments.

    Raises:
        DataError: the recording cannot be made; from the runner's `run`, it cannot be written.
    """
    evaluates = bool(args.checkpoint_path) and (args.evaluate or args.save_replay)
    about = {**facts(runner, args), "evaluation": evaluates}
    writer = EpisodeWriter(args.save_episodes, about, args.save_episodes_overwrite)
    run = runner.run

    def run_and_write(test_mode: bool = False) -> Any:
        t_env = runner.t_env
        batch = run(test_mode=test_mode)
        if test_mode == evaluates:
            log_probs = acting_log_probs(runner.mac, batch, greedy=test_mode and getattr(args, "test_greedy", True))
            cut = getattr(runner, "cut", None)
            writer.append(episodes_of(batch, cut, about["episode_limit"], t_env, args.common_reward, log_probs))
        return batch

    runner.run = run_and_write
    return runner


def facts(runner: Any, args: Args) -> dict[str, Any]:
    """What metadata.json says of the run."""
    info = runner.get_env_info()
    plugin = dict(getattr(args, "plugin", None) or {"epymarl_trust_region": __version__})
    keys = ("learner", "runner", "env", "seed", "gamma", "common_reward", "reward_scalarisation", "batch_size_run")
    return {
        "plugin_version": plugin.pop("epymarl_trust_region", __version__),
        **{key: plugin.get(key) for key in ("plugin_commit", "host", "host_commit")},
        "algorithm": args.name,
        **{key: getattr(args, key, None) for key in (*keys, "t_max", "checkpoint_path")},
        "env_args": {key: _plain(value) for key, value in args.env_args.items()},
        "n_agents": int(info["n_agents"]),
        "n_actions": int(info["n_actions"]),
        "obs_dim": int(info["obs_shape"]),
        "state_dim": int(info["state_shape"]),
        "episode_limit": int(info["episode_limit"]),
        **_bounds(info),
        "ends": "reported" if hasattr(runner, "cut") else "inferred",
    }


def _bounds(info: Mapping[str, Any]) -> dict[str, Any]:
    """Of real-valued actions: what they are clipped to, and in which type, when they are played."""
    if "action_low" not in info:
        return {}
    bounds = {key: info[key].tolist() for key in ("action_low", "action_high")}
    return bounds | {"action_dtype": info["action_low"].dtype.name}


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def episodes_of(
    batch: Batch,
    cut: list[bool] | None,
    episode_limit: int,
    t_env: int,
    common_reward: bool,
    log_probs: torch.Tensor | None = None,
) -> list[Episode]:
    """The episodes of a host's EpisodeBatch, without padding.

    Args:
        batch: as a runner gives it, [B, T+1, ...].
        cut: whether a time limit ended each episode, as the environments report it. None: not known. Then an episode
            counts as cut if its last step is not marked as terminated, or is the last that the limit allows: the
            suite's runners mark a time limit like any other end (see onpolicy/returns.py).
        episode_limit: steps that the task allows.
        t_env: training steps before this rollout.
        common_reward: one reward column, instead of one per agent.
        log_probs: [B, T, N].
    """
    keys = ("obs", "state", "avail_actions", "actions", "reward", "terminated", "filled")
    fields = {key: batch[key].cpu().numpy() for key in keys}
    lengths = fields["filled"].sum((1, 2)) - 1
    if fields["actions"].dtype.kind != "f":
        fields["actions"] = fields["actions"][..., 0]
    episodes = []
    for b, L in enumerate(lengths.tolist()):
        marked = bool(fields["terminated"][b, L - 1, 0])
        rewards = fields["reward"][b, :L]
        episodes.append(
            Episode(
                obs=fields["obs"][b, : L + 1],
                state=fields["state"][b, : L + 1],
                avail_actions=(fields["avail_actions"][b, : L + 1] != 0).astype(np.int8),
                actions=fields["actions"][b, :L],
                rewards=rewards[:, 0] if common_reward else rewards,
                truncated=bool(cut[b]) if cut is not None else not marked or L == episode_limit,
                marked=marked,
                t_env=t_env,
                log_probs=None if log_probs is None else log_probs[b, :L].cpu().numpy(),
            )
        )
    return episodes


@torch.no_grad()
def acting_log_probs(mac: Any, batch: Batch, greedy: bool) -> torch.Tensor | None:
    """log pi_i of the actions in `batch`, [B, T, N], under the MAC's present parameters, which have just acted.

    Only this plugin's MAC can say them for whole episodes; None for another. A certain action among real-valued ones
    has no density: None too.

    Args:
        greedy: the likeliest action was taken, with certainty.
    """
    if not hasattr(mac, "evaluate_all") or (greedy and mac.continuous):
        return None
    if greedy:
        return torch.zeros(batch["actions"][:, :-1].shape[:3])
    avail = (batch["avail_actions"][:, :-1] != 0).permute(2, 0, 1, 3)
    # After an episode's end nothing is available, and there is no such distribution; nobody reads those steps.
    avail = avail | ~avail.any(-1, keepdim=True)
    log_probs, _, _ = mac.evaluate_all(mac.build_inputs(batch), list(avail), mac.taken_actions(batch))
    return log_probs.permute(1, 2, 0)
