"""What a configuration asks for beside training, and whether it can be had, before anything is built."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium

from ..errors import CapabilityError, ConfigError
from ..runners.vector import cannot_draw
from .algorithms import schema_of
from .apart import apart
from .environments import resolve_key
from .robot_check import check_drawn_robot

# Families of environments that keep no replays: `save_replay` of their wrappers does nothing, or fails.
_WITHOUT_REPLAYS = ("gymma", "smaclite", "smax", "mamujoco")

# Of `env_args`, what the host's wrapper takes; the rest is the environment's own.
_OF_THE_WRAPPER = ("key", "time_limit", "pretrained_wrapper", "seed")

# MPE's games of two sides. VMAS has some of them, under the same names with underscores.
_TWO_SIDES = ("simple-adversary", "simple-crypto", "simple-push", "simple-tag", "simple-world-comm")


def check_feasible(config: Mapping[str, Any], continuous: bool = False) -> None:
    """Refuse what would be left undone without a word, or would end a run that has begun.

    Args:
        continuous: whether the environment's actions are real-valued.

    Raises:
        ConfigError: `evaluate`, `save_replay`, `render`, `use_tensorboard` or `use_wandb` lacks what it needs.
        CapabilityError: the environment cannot be drawn, or keeps no replays; or its actions are continuous, and
            something that is asked for knows discrete ones alone.
    """
    _check_evaluation(config)
    if continuous:
        _check_continuous(config)
    if config.get("render"):
        check_drawing(config.get("env"), config.get("env_args", {}))
    if config.get("use_tensorboard"):
        _check_tensorboard()
    if config.get("use_wandb"):
        _check_wandb(config)


def _check_continuous(config: Mapping[str, Any]) -> None:
    """Refuse what has no Gaussian policies, does not carry float actions, or keeps only actions that are numbered."""
    name, env_args = config.get("name"), config.get("env_args", {})
    task = f"env_args.key={env_args['key']}" if config["env"] == "gymma" else f"env={config['env']}"
    schema = schema_of(config.get("learner"))
    if schema is None:
        raise CapabilityError(
            f"{task} has continuous actions, and {name} chooses among discrete ones; use an algorithm with Gaussian "
            "policies, such as --config=happo"
        )
    schema.from_mapping(config).check_continuous()
    if config.get("runner") != "vector":
        raise CapabilityError(
            f"{task} has continuous actions, which runner={config['runner']} cannot carry; set runner=vector"
        )


def _check_evaluation(config: Mapping[str, Any]) -> None:
    for key in ("evaluate", "save_replay"):
        if config.get(key) and not config.get("checkpoint_path"):
            raise ConfigError(
                f"{key}=True needs a model: add checkpoint_path=FOLDER, as the summary of a run with save_model=True "
                f"prints it; or set {key}=False to train"
            )
    if config.get("save_replay") and config.get("env") in _WITHOUT_REPLAYS:
        raise CapabilityError(
            f"save_replay=True: environments of env={config['env']} keep no replays; use evaluate=True, with "
            "save_episodes=PATH to keep what is played"
        )


def check_drawing(env: str | None, env_args: Mapping[str, Any]) -> None:
    """Refuse `render=True` where nothing would be seen. Of families other than `gymma`, `smax` and `mamujoco`
    the host knows best.

    Raises:
        CapabilityError: the environment cannot be drawn on a screen.
        ConfigError: it has to be made for it.
    """
    if env == "smax":
        raise CapabilityError("render=True: SMAX battles cannot be drawn; set render=False")
    if env == "mamujoco":
        check_drawn_robot(env_args)
    if env != "gymma":
        return
    key, made = env_args["key"], resolve_key(env_args["key"])
    spec = gymnasium.registry.get(made.rpartition(":")[2])
    if spec and str(spec.entry_point).startswith("envs.vmas_wrapper:"):
        raise CapabilityError(
            f"render=True: EPyMARL's wrapper cannot draw {key}; use --suite=lite, or set render=False"
        )
    arguments = {name: value for name, value in env_args.items() if name not in _OF_THE_WRAPPER}
    try:
        modes, mode = apart(functools.partial(_draw_once, made, arguments))
    except ChildProcessError as error:  # some packages for windows end the process where there is no screen
        raise CapabilityError(cannot_draw(key, error)) from error
    if "human" not in modes:
        draws = ", ".join(modes) or "nothing"
        raise CapabilityError(f"render=True: {key} cannot be drawn on a screen (it draws {draws}); set render=False")
    if mode != "human":
        raise ConfigError(
            f"render=True shows {key} only where it was made for a screen: add env_args.render_mode=human, or set "
            "render=False"
        )


def _draw_once(key: str, arguments: dict[str, Any]) -> tuple[list[str], str | None]:
    """How an environment can be drawn, and how it is. For a screen it is drawn once, to see whether there is one."""
    with contextlib.closing(gymnasium.make(key, disable_env_checker=True, **arguments)) as environment:
        modes, mode = environment.metadata.get("render_modes", []), environment.unwrapped.render_mode
        try:
            if mode == "human":
                environment.reset(seed=0)
                environment.render()
        except Exception as error:  # whatever a package for windows raises
            raise CapabilityError(cannot_draw(key, error)) from error
    return modes, mode


def _check_tensorboard() -> None:
    _import("torch.utils.tensorboard", "use_tensorboard", "SummaryWriter")


def _check_wandb(config: Mapping[str, Any]) -> None:
    missing = [key for key in ("wandb_team", "wandb_project") if not config.get(key)]
    if missing:
        raise ConfigError(f"use_wandb=True needs {' and '.join(missing)}; name what the runs are to be filed under")
    wandb = _import("wandb", "use_wandb", "init")
    if config.get("wandb_mode") == "online" and not wandb.login(prompt=False):
        raise ConfigError(
            "wandb_mode=online needs an account: type `wandb login`, or set wandb_mode=offline, whose files "
            "`wandb sync` sends later"
        )


def _import(module: str, key: str, needed: str) -> Any:
    """A module, with `needed` in it: a mere folder `wandb`, of earlier runs, imports as an empty package too."""
    package = module.rpartition(".")[2]
    try:
        found = importlib.import_module(module)
        getattr(found, needed)
    except (ImportError, AttributeError):
        raise ConfigError(f"{key}=True needs the package {package}: pip install {package}") from None
    except Exception as error:  # of its own, with other versions of what it needs
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{key}=True: the package {package} cannot be imported ({reason}); pip install -U {package}"
        ) from error
    return found


def shared_reward_warning(config: Mapping[str, Any]) -> str | None:
    """What to say of adversaries that learn from one reward with those they play against; None: there are none.

    EPyMARL's `pretrained_wrapper` plays one side itself.
    """
    env_args = config.get("env_args", {})
    name = str(env_args.get("key")).rpartition(":")[2].replace("_", "-")
    two_sides = name.startswith(tuple(f"{prefix}{game}" for prefix in ("pz-mpe-", "vmas-") for game in _TWO_SIDES))
    if config.get("env") != "gymma" or not config.get("common_reward") or not two_sides:
        return None
    if env_args.get("pretrained_wrapper"):
        return None
    return (
        f"{env_args['key']} has two sides, and common_reward=True pays both the {config.get('reward_scalarisation')} "
        "of what they win from each other: neither learns to win. Set common_reward=False with an algorithm that takes "
        "individual rewards, such as ir_ippo"
    )
