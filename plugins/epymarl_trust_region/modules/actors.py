"""Policy networks. Shape letters: B episodes, T steps, N agents, A actions, D inputs, H hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .networks import linear

# A small head keeps the first policy near uniform, so that the first ratios are near 1.
_HEAD_GAIN = 0.01


class Actor(nn.Module):
    """One agent's logits from its inputs: linear, ReLU, then a GRU or a second linear with ReLU, then a linear head."""

    def __init__(self, input_dim: int, n_actions: int, hidden_dim: int, use_rnn: bool) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.body = linear(input_dim, hidden_dim)
        self.rnn = nn.GRU(hidden_dim, hidden_dim, batch_first=True) if use_rnn else None
        self.core = None if use_rnn else linear(hidden_dim, hidden_dim)
        self.head = linear(hidden_dim, n_actions, _HEAD_GAIN)

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            inputs: [B, T, D], a whole sequence at once.
            hidden: [B, H] at the first step (zeros when None); an MLP ignores it.

        Returns:
            logits [B, T, A], and the hidden state after the last step, [B, H] (None for an MLP).
        """
        x = torch.relu(self.body(inputs))
        if self.rnn is None:
            return self.head(torch.relu(self.core(x))), None
        x, last = self.rnn(x, None if hidden is None else hidden.unsqueeze(0))
        return self.head(x), last.squeeze(0)


class ActorSet(nn.Module):
    """The actors of all N agents: N networks, or a single shared one (`share_parameters`)."""

    def __init__(
        self, n_agents: int, input_dim: int, n_actions: int, hidden_dim: int, use_rnn: bool, share_parameters: bool
    ) -> None:
        super().__init__()
        self.n_agents, self.hidden_dim, self.use_rnn = n_agents, hidden_dim, use_rnn
        count = 1 if share_parameters else n_agents
        self.agents = nn.ModuleList(Actor(input_dim, n_actions, hidden_dim, use_rnn) for _ in range(count))

    def actor(self, agent: int) -> Actor:
        """The network that agent `agent` acts with."""
        return self.agents[agent if len(self.agents) > 1 else 0]

    def init_hidden(self, batch_size: int) -> Tensor | None:
        """Zero hidden states [B, N, H]; None for MLPs."""
        weight = self.agents[0].head.weight
        return weight.new_zeros(batch_size, self.n_agents, self.hidden_dim) if self.use_rnn else None

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """One step of all agents: inputs [B, N, D], hidden [B, N, H] or None -> logits [B, N, A], hidden [B, N, H]."""
        outputs = [
            self.actor(i)(inputs[:, i : i + 1], None if hidden is None else hidden[:, i].contiguous())
            for i in range(self.n_agents)
        ]
        logits = torch.cat([logits for logits, _ in outputs], dim=1)
        return logits, torch.stack([h for _, h in outputs], dim=1) if self.use_rnn else None
