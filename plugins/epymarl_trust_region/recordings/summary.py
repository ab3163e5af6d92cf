"""`epymarl-tr episodes PATH`: what is in a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..command_line import Parser
from ..errors import DataError
from .episodes import damage, episode_length, mend, open_data, rewards, truncations
from .guarded import group, number, plain
from .layout import OURS, is_continuous, read_metadata


def main(argv: list[str]) -> int:
    """Print a summary of the recording that `argv` names."""
    parser = Parser(prog="epymarl-tr episodes", description="What recorded episodes are of.")
    parser.add_argument("path", metavar="PATH", type=Path, help="the folder that save_episodes named")
    parser.add_argument(
        "--mend", action="store_true", help="after a run was killed: take its last, torn rollout out of the file"
    )
    options = parser.parse_args(argv)
    if options.mend:
        mend(options.path)
    print("\n".join(summary(options.path)))
    return 0


def summary(path: str | Path) -> list[str]:
    """Lines for the user.

    Raises:
        DataError: as `read_episodes`.
    """
    metadata = read_metadata(path)
    about, count = metadata[OURS], metadata["total_episodes"]
    if not count:
        raise DataError(f"{path} holds no complete episode: its run ended, or is, before the end of its first rollout")
    lengths, returns, cut, t_env = _tally(path, count, about)
    agents = "" if about["common_reward"] else ", summed over agents"
    commit = f" ({about['plugin_commit']})" if about["plugin_commit"] else ""
    steps = "test episodes of" if about["evaluation"] else f"training steps {t_env[0]} to {t_env[-1]} of"
    lines = {
        "episodes": f"{count}, {lengths.sum()} steps, {lengths.min()} to {lengths.max()} in an episode",
        "return": f"mean {returns.mean():.4g}, min {returns.min():.4g}, max {returns.max():.4g} (undiscounted{agents})",
        "ends": f"{count - cut.sum()} terminated, {cut.sum()} cut by a time limit ({about['ends']})",
        "environment": f"{about['env']}, {_words(about['env_args'])}",
        "algorithm": f"{about['algorithm']}, seed {about['seed']}, {steps} {_whole(about)}",
        "sizes": f"{about['n_agents']} agents, {_actions(about)}, observations of {about['obs_dim']}, "
        f"states of {about['state_dim']}",
        "reward": ("common" if about["common_reward"] else "one per agent") + f", gamma {about['gamma']}",
        "written by": f"epymarl-trust-region {about['plugin_version']}{commit} on {about['host']}, format version "
        f"{about['format_version']}",
    }
    return [f"{name:<12} {plain(text)}" for name, text in lines.items()]


def _whole(about: dict[str, Any]) -> str:
    return about["checkpoint_path"] if about["evaluation"] else f"t_max={about['t_max']}"


def _actions(about: dict[str, Any]) -> str:
    return f"{about['n_actions']} {'action dimensions' if is_continuous(about) else 'actions'}"


def _words(env_args: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in env_args.items() if value is not None)


def _tally(path: str | Path, count: int, about: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Length, return, whether it was cut, and training steps before it, of every episode."""
    rows = []
    with open_data(path) as file:
        for index in range(count):
            place = f"{path}, episode {index}"
            with damage(path, f"episode {index}"):
                episode, L = group(file, f"episode_{index}", place), episode_length(file, path, index)
                total = rewards(episode, L, about, place).sum(dtype=float)
                rows.append((L, total, truncations(episode, L, place).any(), number(episode, "t_env", place)))
    return tuple(np.array(column) for column in zip(*rows, strict=True))
