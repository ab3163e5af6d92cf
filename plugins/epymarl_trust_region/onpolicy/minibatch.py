"""Passes over a rollout in parts: steps where networks have no memory, whole sequences where they have one.

Shape letters: B sequences, T steps, N agents, M steps of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from ..modules.memory import Memory
from .controller import Controller
from .rollout import Rollout


class Minibatch:
    """Some of a rollout's sequences, or of its valid steps as one sequence [1, M]: a Rollout as far as losses read it.

    What it holds of single agents is picked when it is asked for: an agent's turn reads its own inputs alone.
    """

    def __init__(self, rollout: Rollout, index: Tensor) -> None:
        """
        Args:
            index: of sequences, in [0, B), if the rollout is recurrent; else of steps, in [0, B T).
        """
        self.rollout, self.index = rollout, index
        self.n_agents = rollout.n_agents

    def pick(self, x: Tensor) -> Tensor:
        """Of a tensor [B, T, ...]."""
        if self.rollout.recurrent:
            return x[self.index]
        return x.flatten(0, 1).index_select(0, self.index).unsqueeze(0)

    def pick_all(self, x: Tensor) -> Tensor:
        """Of a tensor [N, B, T, ...]."""
        return self.pick(x.movedim(0, 2)).movedim(2, 0).contiguous()

    @cached_property
    def mask(self) -> Tensor:
        mask = self.rollout.mask
        return self.pick(mask) if self.rollout.recurrent else mask.new_ones(1, len(self.index))  # valid steps alone

    @cached_property
    def old_log_probs(self) -> Tensor:
        return self.pick_all(self.rollout.old_log_probs)

    @cached_property
    def memory(self) -> Memory | None:
        return self.rollout.memory and self.rollout.memory.pick(self.index)

    def advantage(self, agent: int) -> Tensor:
        """As `Rollout.advantage`."""
        return self.pick(self.rollout.advantage(agent))

    def old_log_prob(self, agent: int) -> Tensor:
        """As `Rollout.old_log_prob`."""
        return self.pick(self.rollout.old_log_prob(agent))

    def _available(self, agent: int) -> Tensor | None:
        avail = self.rollout.avail_actions[agent]
        return None if avail is None else self.pick(avail)

    def evaluate(self, mac: Controller, agent: int) -> tuple[Tensor, Tensor, Callable]:
        """As `Rollout.evaluate`."""
        inputs, actions = self.pick(self.rollout.inputs[agent]), self.pick(self.rollout.actions[agent])
        return mac.evaluate(agent, inputs, self._available(agent), actions, self.memory and self.memory.of(agent))

    def evaluate_all(self, mac: Controller) -> tuple[Tensor, Tensor, Callable]:
        """As `Rollout.evaluate_all`."""
        avail = [self._available(agent) for agent in range(self.n_agents)]
        inputs, actions = self.pick_all(self.rollout.inputs), self.pick_all(self.rollout.actions)
        return mac.evaluate_all(inputs, avail, actions, self.memory)


def minibatches(rollout: Rollout, epochs: int, count: int) -> Iterator[Rollout | Minibatch]:
    """`epochs` passes over the rollout, each in `count` parts of about the same size, drawn anew.

    One part is the rollout itself, padding and all; parts of steps leave the padding out.
    """
    if count == 1:
        yield from (rollout for _ in range(epochs))
        return
    of_sequences = rollout.mask.any(1) if rollout.recurrent else rollout.mask.flatten().bool()
    valid = of_sequences.nonzero().flatten()
    for _ in range(epochs):
        yield from (Minibatch(rollout, index) for index in shuffled(valid, count))


def shuffled(index: Tensor, count: int) -> tuple[Tensor, ...]:
    """[M] in a random order, by torch's global generator, in `count` parts; fewer if M is less."""
    order = index[torch.randperm(len(index), device=index.device)]
    return order.tensor_split(min(count, len(index)))
