"""The suite's batch scheme: what a host's `run` makes of an environment's sizes, for whoever builds without that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..interfaces import Scheme


def batch_scheme(
    info: Mapping[str, int], common_reward: bool, one_hot: type
) -> tuple[Scheme, dict[str, int], dict[str, tuple[str, list[Any]]]]:
    """Scheme, groups and preprocessing, before a runner extends them.

    Args:
        info: the sizes N, A, O and S, as `get_env_info()` names them.
        common_reward: one reward for the team; else N.
        one_hot: the host's class.
    """
    n_agents, n_actions = info["n_agents"], info["n_actions"]
    scheme: Scheme = {
        "state": {"vshape": info["state_shape"]},
        "obs": {"vshape": info["obs_shape"], "group": "agents"},
        "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
        "avail_actions": {"vshape": (n_actions,), "group": "agents", "dtype": torch.int},
        "terminated": {"vshape": (1,), "dtype": torch.uint8},
        "reward": {"vshape": (1 if common_reward else n_agents,)},
    }
    return scheme, {"agents": n_agents}, {"actions": ("actions_onehot", [one_hot(out_dim=n_actions)])}
