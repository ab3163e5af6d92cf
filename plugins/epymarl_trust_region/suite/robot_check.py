"""Whether a task of multi-agent MuJoCo can be played, and drawn, before anything is built: it is tried.

In a process of its own, for MuJoCo ends the one it is in where it meets what it does not expect.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..environments import mamujoco_tasks
from ..errors import CapabilityError, ConfigError, TrustRegionError
from ..runners.vector import cannot_draw
from .apart import apart
from .size import Sizes

# Of env_args, what names the task; the rest is what may be wrong with it.
_NAMES = ("scenario", "partition", "key", "map_name", "seed", "time_limit", "obs", "obsk", "render_mode")


def check_robot(env_args: Mapping[str, Any]) -> Sizes:
    """Refuse arguments with which a robot cannot be made or cannot move; gives its sizes.

    Raises:
        ConfigError: see `mamujoco_tasks.check`; or the simulator fails with these arguments.
        EnvironmentMissingError: a package is not installed.
    """
    mamujoco_tasks.check(**env_args)
    own = ", ".join(f"env_args.{name}={value}" for name, value in env_args.items() if name not in _NAMES)
    task = f"env_args.scenario={env_args['scenario']} env_args.partition={env_args['partition']}"
    with_what = f"{task} with {own}" if own else task
    try:
        return apart(functools.partial(_played_once, dict(env_args)))
    except TrustRegionError:
        raise
    except Exception as error:  # of many kinds: the simulator's, and NumPy's in it
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{with_what} cannot be played ({reason}); correct env_args") from error


def check_drawn_robot(env_args: Mapping[str, Any]) -> None:
    """Refuse `render=True` where no robot would be seen.

    Raises:
        ConfigError: it has to be made for a screen.
        CapabilityError: there is none.
    """
    if env_args.get("render_mode") != "human":
        raise ConfigError(
            "render=True shows a robot only where it was made for a screen: add env_args.render_mode=human, or set "
            "render=False"
        )
    try:
        apart(functools.partial(_drawn_once, dict(env_args)))
    except ChildProcessError as error:  # what the robot itself says of it has its remedy
        raise CapabilityError(cannot_draw(str(env_args["scenario"]), error)) from error


def _played_once(env_args: dict[str, Any]) -> Sizes:
    def play(env: Any) -> Sizes:
        info = env.get_env_info()
        env.step(np.clip(0, info["action_low"], info["action_high"]))
        return Sizes(info["n_agents"], info["n_actions"], info["obs_shape"], info["state_shape"])

    return _in_one({**env_args, "render_mode": None}, play)


def _drawn_once(env_args: dict[str, Any]) -> None:
    _in_one(env_args, lambda env: env.render())


def _in_one(env_args: dict[str, Any], task: Callable[[Any], Any]) -> Any:
    from ..environments.mamujoco import MaMuJoCoEnv

    made = {**env_args, "seed": 0, "common_reward": True, "reward_scalarisation": "sum"}
    with contextlib.closing(MaMuJoCoEnv(**made)) as env:
        env.reset()
        return task(env)
