"""What learners ask of a controller, as a type: `TrustRegionMAC` has it.

Shape letters: B episodes, T steps, N agents, A actions (or the dimensions of one), D actor inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..interfaces import Batch
from ..modules.actors import ActorSet
from ..modules.memory import Memory
from ..modules.policy import Policy
from ..numerics.mlp import Pull, Push


class Controller(Protocol):
    """A MAC whose agents can be evaluated over whole sequences, one by one."""

    agent: ActorSet
    continuous: bool  # whether actions are real-valued
    n_actions: int
    step_size_keys: str

    @property
    def recurrent(self) -> bool:
        """Whether policies depend on the steps before."""

    def build_inputs(self, ep_batch: Batch, /) -> Tensor:
        """[N, B, T, D]."""

    def taken_actions(self, ep_batch: Batch, /) -> Tensor:
        """[N, B, T] or, real-valued, [N, B, T, A]."""

    def memory(self, ep_batch: Batch, /) -> Memory | None:
        """All agents', of a batch of streams."""

    def take_in(self, ep_batch: Batch, /) -> None:
        """Let the batch have its part in the normalisation of inputs."""

    def policy(self, agent: int, inputs: Tensor, avail_actions: Tensor | None, memory: Memory | None, /) -> Policy:
        """pi_i over [B, T]."""

    def evaluate(
        self, agent: int, inputs: Tensor, avail_actions: Tensor | None, actions: Tensor, memory: Memory | None, /
    ) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor, Sequence[Tensor]], None]]:
        """log pi_i(a) and the entropy of pi_i, [B, T], and `pull`."""

    def evaluate_all(
        self,
        inputs: Tensor,
        avail_actions: Sequence[Tensor | None],
        actions: Tensor,
        memory: Memory | None,
        /,
    ) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor, Sequence[Sequence[Tensor]]], None]]:
        """`evaluate` for all agents at once, [N, B, T]."""

    def linearise(
        self, agent: int, inputs: Tensor, avail_actions: Tensor | None, memory: Memory | None, /
    ) -> tuple[Policy, Push, Pull]:
        """pi_i, and the derivatives of its outputs both ways."""

    def agent_parameters(self, agent: int, /) -> list[torch.nn.Parameter]:
        """Those that an agent acts with."""

    def cuda(self) -> None:
        """Move to the GPU."""

    def save_models(self, path: str, /) -> None:
        """Write the actors."""

    def load_models(self, path: str, /) -> None:
        """Read them."""


class LogLinearController(Controller, Protocol):
    """A controller of log-linear policies."""

    def width(self, agent: int, /) -> int:
        """How many of the D inputs an agent can see."""
