"""The policies that EPyMARL's pretrained opponents (`pretrained_wrapper`) were saved with: those of all agents.

EPyMARL plays one of a file's policies, as a part of the environment. A file has all of them, so that they can play any
side here. They are read from its checkout, as numbers alone; no code of its is run. Shape letters: B episodes, N
agents, A actions, O observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from ..modules import files
from . import epymarl

# Task -> its file below the checkout's src/envs/pretrained.
_FILES = {"pz-mpe-simple-tag-v3": "prey_params.pt", "pz-mpe-simple-adversary-v3": "adv_params.pt"}


class Pretrained:
    """A controller of fixed policies, which take the likeliest action."""

    def __init__(self, policies: list[nn.Sequential]) -> None:
        self._policies = policies

    def init_hidden(self, batch_size: int) -> None:
        """They have no memory."""

    @torch.no_grad()
    def select_actions(
        self, ep_batch: Any, t_ep: int, t_env: int, bs: Any = slice(None), test_mode: bool = False
    ) -> Tensor:
        """[len(bs), N]; observations are cut to the length that each policy knows."""
        seen = ep_batch["obs"][bs, t_ep]
        return torch.stack([one(seen[:, i, : _size(one)]).argmax(-1) for i, one in enumerate(self._policies)], -1)


def load(task: str, sizes: list[int]) -> tuple[Pretrained, Path]:
    """The policies for a task, and their file.

    Args:
        sizes: O of each agent.

    Raises:
        ConfigError: there are none for this task, or for tasks of other sizes.
        CheckpointError: there is no checkout, or the file is not as at the tested commit.
    """
    if task not in _FILES:
        raise ConfigError(f"EPyMARL has no pretrained opponents for {task}, but for {' and '.join(_FILES)}")
    found = epymarl.find()
    if found is None:
        raise CheckpointError("pretrained opponents are files of EPyMARL's: get it with `epymarl-tr suite fetch`")
    file = found[0] / "src" / "envs" / "pretrained" / _FILES[task]
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)["agent_params"]
        policies = [_policy(one["policy"]) for one in saved]
    except (OSError, *files.DO_NOT_FIT) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file} holds no pretrained opponents ({reason}); fetch EPyMARL again") from error
    known = [_size(policy) for policy in policies]
    if known != sizes:
        raise ConfigError(
            f"EPyMARL's pretrained opponents know {task} with observations of lengths {known}, not {sizes}; leave "
            "its env_args as they are by default"
        )
    return Pretrained(policies), file


def _size(policy: nn.Sequential) -> int:
    return int(cast(nn.BatchNorm1d, policy[0]).num_features)


def _policy(state: Mapping[str, Tensor]) -> nn.Sequential:
    """Inputs normalised by their moments, then two layers of units and one of logits."""
    (width, size), n_actions = state["fc1.weight"].shape, len(state["fc3.bias"])
    layers = {"in_fn": 0, "fc1": 1, "fc2": 3, "fc3": 5}
    network = nn.Sequential(
        nn.BatchNorm1d(size), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, n_actions),
    )  # fmt: skip
    named = {key.partition("."): value for key, value in state.items()}
    network.load_state_dict({f"{layers[name]}.{rest}": value for (name, _, rest), value in named.items()})
    return network.eval()
