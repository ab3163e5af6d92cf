"""What a batched environment is: all environments of a rollout stepped as one.

Shape letters: B environments, N agents, A actions, O observation, S state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Seen(NamedTuple):
    """What the agents of all environments see before they act."""

    obs: np.ndarray  # [B, N, O], float32
    state: np.ndarray  # [B, S], float32
    avail_actions: np.ndarray  # [B, N, A] or anything that broadcasts to it, non-zero where available


class Played(NamedTuple):
    """What came of one step."""

    seen: Seen
    rewards: np.ndarray  # [B, N], or [B] where the environment pays the team
    terminated: np.ndarray  # [B], bool: ended by itself
    truncated: np.ndarray  # [B], bool: cut off by the environment's own limit
    infos: Sequence[dict[str, Any]]  # B of them; read only where an episode ends


class BatchedEnv(Protocol):
    """B copies of an environment. Those whose episode has ended go on being stepped; nobody looks at what they give."""

    def reset(self) -> Seen:
        """Start a new episode in every copy."""

    def step(self, actions: np.ndarray) -> Played:
        """Take one step in every copy: actions [B, N], int64; those of ended copies are available or 0.

        Real-valued actions are [B, N, A], float32, as they were drawn: it clips them itself.
        """

    def close(self) -> None:
        """Give back what the environments hold."""


class Restartable(BatchedEnv, Protocol):
    """One whose copies may begin anew while others go on: streams (`rollout_steps`) need it unless all end together.

    A run that is resumed goes on in the midst of the episodes, unless an attribute `resumes_episodes = False` says that
    `state_dict` holds what the next ones depend on alone: then all copies begin anew, and the run says so.
    """

    def restart(self, which: np.ndarray) -> Seen:
        """Start a new episode in the copies `which`, [B], bool, some of them but not all.

        The others stay as they are, and nobody looks at what is given for them.
        """
