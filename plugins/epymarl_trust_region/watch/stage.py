"""One environment, made so that it can be drawn: told to draw itself where it does, and with something to draw with."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from ..errors import CapabilityError
from ..suite.apart import apart
from ..suite.environments import load_environment, make_bare, task_name
from .drawings import ITSELF, drawing_of

_ONE = dict.fromkeys(("batch_size_run", "batch_size", "buffer_size"), 1)


def to_be_drawn(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of one environment with its seed, as `run` hands it on.

    Raises:
        CapabilityError: it cannot be drawn here.
    """
    config = {**config, **_ONE, "env_args": {**config["env_args"], "seed": config["seed"]}}
    if "rollout_steps" in config:
        config["rollout_steps"] = None
    env_args = config["env_args"]
    if env_args.get("render_mode"):  # a window, say
        del env_args["render_mode"]
    if config["env"] == "mamujoco":
        env_args |= {"map_name": task_name("mamujoco", env_args), "render_mode": ITSELF}
        let_mujoco_draw()
    elif config["env"] == "gymma" and apart(functools.partial(_draws_itself, dict(env_args))):
        env_args["render_mode"] = ITSELF
    return config


def _draws_itself(env_args: dict[str, Any]) -> bool:
    load_environment(env_args["key"])
    env = make_bare(env_args)
    drawn = drawing_of(env.unwrapped, env_args["key"].rpartition(":")[2])
    env.close()
    return drawn.sketch is None


def let_mujoco_draw() -> None:
    """MuJoCo reads MUJOCO_GL when it is imported: without a screen it needs a library that draws none.

    Raises:
        CapabilityError: there is none.
    """
    if os.environ.get("DISPLAY") or os.environ.get("MUJOCO_GL"):
        return
    reasons = []
    for library in ("egl", "osmesa"):
        try:
            apart(functools.partial(_make_canvas, library))
        except Exception as error:  # whatever is missing
            reasons.append(f"{library}: {' '.join(str(error).split()) or type(error).__name__}")
        else:
            os.environ["MUJOCO_GL"] = library
            return
    raise CapabilityError(
        f"MuJoCo cannot draw without a screen here ({'; '.join(reasons)}); install a library that does, as in "
        "apt-get install libegl1, or libosmesa6"
    )


def _make_canvas(library: str) -> None:
    os.environ["MUJOCO_GL"] = library
    try:
        importlib.import_module(f"mujoco.{library}").GLContext(16, 16).free()
    finally:
        del os.environ["MUJOCO_GL"]
