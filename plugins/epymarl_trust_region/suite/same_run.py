"""Whether two runs are the same one: their configurations compared, but for what changes no number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..config import flatten

# They say where and how much is written, and by whom; and how it is computed, with the same results.
ASIDE = frozenset(
    "plugin local_results_path save_model save_model_interval save_episodes save_episodes_overwrite use_tensorboard "
    "use_wandb wandb_team wandb_project wandb_mode wandb_save_model env_processes env_timeout resumed".split()
)
#: Which code it was; another one is a reason for a warning.
COMMIT = "plugin.plugin_commit"
# Groups whose keys the command line may bring along: one that has gone is a change, too.
_OPEN = ("env_args.", "actor_args.", "critic_args.")


def configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """What stands with a checkpoint: the flat keys of a run's configuration that make it the run that it is.

    A run that goes on with `--resume` is the one that it goes on from, which had no checkpoint to start from.
    """
    config = dict(config)
    if config.get("resumed"):
        config |= {"checkpoint_path": "", "load_step": 0}
    made_up = {"env_args.seed"} | ({"env_args.map_name"} if config.get("env") == "mamujoco" else set())  # by our `run`
    flat = flatten(config)
    kept = [key for key in flat if key.partition(".")[0] not in ASIDE and key not in made_up]
    return {key: plain(flat[key]) for key in (*kept, *({COMMIT} & flat.keys()))}


def differences(
    saved: Mapping[str, Any], values: Mapping[str, Any], given: Iterable[str], aside: Iterable[str] = ASIDE
) -> list[str]:
    """Lines `lr=0.1, and now 0.2`, of the keys in which a saved flat configuration differs from `values`.

    Keys that one of the two does not have count where a user has given them, or may.

    Args:
        given: keys that a user has set.
        aside: names that make no difference.
    """
    aside = set(aside)
    wanted = {key for key in values if key in saved} | set(given)
    wanted |= {key for key in saved if key.startswith(_OPEN) and saved[key] is not None}
    kept = sorted(key for key in wanted if key.partition(".")[0] not in aside and key not in aside)
    pairs = {key: (plain(saved.get(key)), plain(values.get(key))) for key in kept}
    return [f"{key}={old}, and now {new}" for key, (old, new) in pairs.items() if old != new]


def is_begun_by(saved: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether a run to the `t_max` of `values` begins with the one to the `t_max` that was saved, all else being equal.

    With a larger one it does, unless what is learnt depends on how far there is to go.
    """
    before, now = saved.get("t_max"), values.get("t_max")
    if not isinstance(before, int | float) or not isinstance(now, int | float) or now <= before:
        return False
    return not values.get("use_linear_lr_decay") and values.get("beta") != "auto"


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
