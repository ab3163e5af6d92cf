"""Networks as a user would write them: the built-in layers by PyTorch's own modules."""

from __future__ import annotations

import torch
from epymarl_trust_region.modules.networks import linear
from torch import nn


class TwoLayers(nn.Sequential):
    """The built-in actor without memory."""

    def __init__(self, input_dim: int, output_dim: int, width: int) -> None:
        layers = linear(input_dim, width), nn.ReLU(), linear(width, width), nn.ReLU(), linear(width, output_dim, 0.01)
        super().__init__(*layers)


class Recurrent(nn.Module):
    """The built-in actor with a GRU."""

    def __init__(self, input_dim: int, output_dim: int, width: int) -> None:
        super().__init__()
        self.body, self.rnn = linear(input_dim, width), nn.GRU(width, width, batch_first=True)
        self.head = linear(width, output_dim, 0.01)
        self.width = width

    def init_hidden(self, batch_size: int) -> torch.Tensor:
        return self.head.weight.new_zeros(batch_size, self.width)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, last = self.rnn(torch.relu(self.body(x)), hidden.unsqueeze(0))
        return self.head(x), last.squeeze(0)


class Features(nn.Sequential):
    """The built-in critic's layers below its head."""

    def __init__(self, input_dim: int, width: int) -> None:
        super().__init__(linear(input_dim, width), nn.ReLU(), linear(width, width), nn.ReLU())


class OneNumber(nn.Module):
    """The same output whatever the input."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(output_dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value.expand(*x.shape[:-1], -1)


class Matrix(nn.Linear):
    """A linear map."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__(input_dim, output_dim, bias=False)


def not_a_network(input_dim: int, output_dim: int) -> int:
    return 3
