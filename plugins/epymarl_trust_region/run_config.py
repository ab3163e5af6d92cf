"""Keys that a host's run loop and runners read, whosever algorithm it is: their types and ranges, and what they need.

What they mean stands beside their defaults: in the host's default.yaml (configs/lite/default.yaml comments each) and in
configs/run.yaml.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .config import LoopConfig, check_name, check_place, check_read, checked, key, kinds
from .errors import ConfigError

#: Of the host's defaults those that nothing reads and that anyone may set: they are kept with the run, for its user.
LABELS = ("repeat_id", "label", "hypergroup")

# The families whose environments pay one reward to the team.
_TEAM_REWARD = ("sc2", "sc2v2", "smaclite", "smax")


@dataclass(frozen=True, kw_only=True)
class RunConfig(LoopConfig):
    """The keys, beside `env_args` and LABELS."""

    env: str = key()
    common_reward: bool = key()
    reward_scalarisation: str = key(choices=("sum", "mean"))
    seed: int = key(ge=0, le=2**32 - 1, why="NumPy takes no others")

    test_nepisode: int = key(ge=1)
    test_interval: int = key(gt=0, steps=True)
    log_interval: int = key(ge=0, steps=True)
    runner_log_interval: int = key(ge=0, steps=True)

    use_cuda: bool = key()
    learner_device: str | None = key(optional=True)
    torch_threads: int = key(ge=1, auto=True)
    buffer_cpu_only: bool = key()
    env_processes: int | None = key(ge=1, optional=True)
    batched_envs: str = key(choices=("exact", "any", "none"))
    env_timeout: int | None = key(ge=1, optional=True)

    use_tensorboard: bool = key()
    use_wandb: bool = key()
    wandb_team: str | None = key(optional=True)
    wandb_project: str | None = key(optional=True)
    wandb_mode: str = key(choices=("offline", "online"))
    wandb_save_model: bool = key()

    save_model: bool = key()
    save_model_interval: int = key(ge=0, steps=True)
    checkpoint_path: str = key(empty=True)
    load_step: int = key(ge=0, steps=True)
    evaluate: bool = key()
    render: bool = key()
    save_replay: bool = key()
    local_results_path: str = key()


def check_run(config: Mapping[str, Any], before: Mapping[str, Any], where: str = "the configuration") -> None:
    """Check the keys that are there: hosts of other versions may have fewer.

    Args:
        before: their values as the yaml files set them.

    Raises:
        ConfigError: a key of the wrong type or out of range, one that does nothing beside the values of others, or a
            name or place that leads out of the results.
    """
    for f in dataclasses.fields(RunConfig):
        if f.name in config:
            checked(f, kinds(RunConfig)[f.name], config[f.name])
    if "name" in config:
        check_name("name", config["name"])
    if "local_results_path" in config:
        check_place("local_results_path", config["local_results_path"])
    env_args = config.get("env_args", {})
    if not isinstance(env_args, Mapping):
        raise ConfigError(f"env_args={env_args!r} is no group of keys; set them one by one, as in env_args.key=NAME")
    check_read(config, before, unread(config), where)


def unread(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys that do nothing beside these values of the others -> which others, and why."""
    found: dict[str, str] = {}
    if not config.get("save_model"):
        found |= dict.fromkeys(("save_model_interval", "wandb_save_model"), "save_model=False saves no model")
    if not config.get("use_wandb"):
        names = [f.name for f in dataclasses.fields(RunConfig) if f.name.startswith("wandb_")]
        found |= dict.fromkeys(names, "use_wandb=False sends nothing there")
    if not config.get("checkpoint_path"):
        found["load_step"] = "there is no checkpoint_path to load from"
    if config.get("runner") == "episode":
        found["env_timeout"] = "runner=episode has no worker processes"
    if config.get("env") in _TEAM_REWARD:
        found["reward_scalarisation"] = f"env={config['env']} pays one reward to the team"
    elif not config.get("common_reward", True):
        found["reward_scalarisation"] = "common_reward=False leaves each agent its own reward"
    return found
