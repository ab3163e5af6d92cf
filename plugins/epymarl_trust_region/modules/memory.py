"""What recurrent policies remember where a batch does not begin with an episode, and where new ones begin inside it.

Shape letters: B streams, T steps, N agents, A actions, D inputs, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """Before the first step, and where it is forgotten."""

    hidden: Tensor  # [B, H], or [N, B, H] of all agents
    begins: Tensor  # [B, T], bool: a new episode's first step

    def of(self, agent: int) -> Memory:
        """One agent's, of all agents'."""
        return Memory(self.hidden[agent], self.begins)

    def pick(self, index: Tensor) -> Memory:
        """Of these streams alone, of all agents'."""
        return Memory(self.hidden[:, index], self.begins[index])


class Carried(NamedTuple):
    """What streams begin a batch with: of an episode that goes on as it was left, of a new one as at any beginning."""

    hidden: Tensor | None  # [B, N, H]; None without memory
    last_actions: Tensor  # [B, N, A]: their indicators, or the draws
    begins: Tensor  # [B], bool: a new one


def stream_mask(batch: Any) -> Tensor | None:
    """`mask` of a batch of streams, [B, T+1, 1], 1 where an action counted; None of whole episodes."""
    fields = batch.data.transition_data if hasattr(batch, "data") else batch
    return fields.get("mask")


def begins_of(mask: Tensor, at_first: Tensor) -> Tensor:
    """[B, T] bool: the step after one whose action did not count is a new episode's first.

    Args:
        mask: [B, T+1, 1].
        at_first: [B], whether the first step is.
    """
    return torch.cat([at_first.unsqueeze(1), mask[:, :-2, 0] == 0], 1)


def unrolled(network: Callable, inputs: Tensor, memory: Memory | None, fresh: Tensor | None) -> Tensor:
    """A network's outputs over whole streams, [B, T, ...], piece by piece between the beginnings of episodes.

    Args:
        network: of inputs [B, T', D] and the hidden state before them; gives outputs and the state after them.
        inputs: [B, T, D].
        memory: one agent's; None: every row is one episode, from its beginning.
        fresh: [B, H], the state at a beginning.
    """
    if memory is None:
        return network(inputs, None)[0]
    cuts = memory.begins.any(0).nonzero().flatten().tolist()
    hidden, outputs = memory.hidden, []
    for first, end in pairwise(sorted({0, *cuts, inputs.shape[1]})):
        if first in cuts:
            assert fresh is not None  # what is cut has a memory
            hidden = torch.where(memory.begins[:, first, None], fresh, hidden)
        part, hidden = network(inputs[:, first:end], hidden)
        outputs.append(part)
    return torch.cat(outputs, 1)
