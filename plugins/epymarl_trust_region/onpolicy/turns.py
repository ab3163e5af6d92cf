"""Agents that take turns: their order, and what the turns before mean for the next one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..config import SequentialConfig
from .controller import Controller
from .rollout import Rollout


def agent_sequence(n_agents: int, agent_order: str) -> list[int]:
    """A permutation i_1 .. i_n of the agents: drawn with torch's global generator ("random"), or 0 .. N-1 ("fixed")."""
    return torch.randperm(n_agents).tolist() if agent_order == "random" else list(range(n_agents))


def turns(rollout: Rollout, mac: Controller, config: SequentialConfig) -> Iterator[tuple[int, Tensor]]:
    """Agents in turn, each with the product of the ratios of those before it (HATRPO/HAPPO, Proposition 3):

        M^{i_1} = A,   M^{i_1:m+1} = M^{i_1:m} pi_new^{i_m}(a^{i_m} | o^{i_m}) / pi_old^{i_m}(a^{i_m} | o^{i_m})

    An agent's ratio is read off the MAC when the next one is asked for, so its turn has to be over by then.

    Yields:
        i_m and M^{i_1:m} / A, [B, T], 1 at masked steps. `factor_clip` trades bias for variance where many agents make
        the product's range large; not in the paper.
    """
    factor, before, width = torch.ones_like(rollout.mask), None, config.factor_clip
    for agent in agent_sequence(rollout.n_agents, config.agent_order):
        if before is not None:
            factor = factor * rollout.ratio(mac, before)
        yield agent, factor if width is None else factor.clamp(1 - width, 1 + width)
        before = agent
