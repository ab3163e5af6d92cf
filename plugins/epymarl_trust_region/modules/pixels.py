"""A small convolutional network for pictures, by the hook for networks of one's own (docs/networks.md)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError


class PixelNetwork(nn.Module):
    """Three convolutions and a layer of units, for inputs [..., stack * side * side] of pictures in a row.

    What is beside the pictures in the inputs, such as an agent's index, goes past the convolutions.

    Args:
        input_dim: D.
        output_dim: of the last layer.
        stack: pictures.
        side: pixels of a picture's side, at least 22.
        channels: of the convolutions.
        hidden_dim: units of the layer.

    Raises:
        ConfigError: so many inputs do not hold the pictures.
    """

    def __init__(
        self, input_dim: int, output_dim: int, stack: int = 2, side: int = 42, channels: int = 16, hidden_dim: int = 128
    ) -> None:
        super().__init__()
        self._shape, beside = (stack, side, side), input_dim - stack * side**2
        if beside < 0:
            raise ConfigError(
                f"{stack} pictures of {side} x {side} are {stack * side**2} inputs, and there are {input_dim}; correct "
                "stack and side in actor_args and critic_args"
            )
        self.convolutions = nn.Sequential(
            nn.Conv2d(stack, channels, 4, 2), nn.ReLU(),
            nn.Conv2d(channels, channels, 4, 2), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 2), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        for kernel, stride in ((4, 2), (4, 2), (3, 2)):
            side = (side - kernel) // stride + 1
        self.head = nn.Sequential(
            nn.Linear(channels * side**2 + beside, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, output_dim)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., D] to [..., output_dim]."""
        flat = inputs.reshape(-1, inputs.shape[-1])
        size = self._shape[0] * self._shape[1] * self._shape[2]
        pictures, beside = flat[:, :size].reshape(-1, *self._shape), flat[:, size:]
        outputs = self.head(torch.cat([self.convolutions(pictures), beside], -1))
        return outputs.reshape(*inputs.shape[:-1], -1)
