"""The order in which agents are updated."""

from __future__ import annotations

import torch


def agent_sequence(n_agents: int, agent_order: str) -> list[int]:
    """A permutation i_1 .. i_n of the agents: drawn with torch's global generator ("random"), or 0 .. N-1 ("fixed")."""
    return torch.randperm(n_agents).tolist() if agent_order == "random" else list(range(n_agents))
