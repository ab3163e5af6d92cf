"""Running normalisation of what networks read. Shape letters: M samples, D inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CLIP = 10.0  # standard deviations


class RunningNorm(nn.Module):
    """(x - mean) / std over all that has been seen, clipped to +-10; the identity before anything has.

    The moments move only when `update` is called, between an update and the next rollout: what acts, what learns from
    it, and tests all read the same numbers. They are in float64, by Chan, Golub and LeVeque's (1983) formula for two
    sets, and belong to the checkpoint.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        """
        Args:
            shape: of one sample, such as D or (N, D).
        """
        super().__init__()
        shape = (shape,) if isinstance(shape, int) else shape
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(shape, dtype=torch.float64))  # sum of squared distances to the mean

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in samples [M, ...]."""
        x, new = x.double(), len(x)
        if not new:
            return
        mean = x.mean(0)
        total, distance = self.count + new, mean - self.mean
        self.squares += ((x - mean) ** 2).sum(0) + distance**2 * (self.count * new / total)
        self.mean += distance * (new / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """[..., *shape], in x's own precision. A dimension that never moved stays 0."""
        if self.count == 0:
            return x
        std = (self.squares / self.count).sqrt()
        scale = torch.where(std > 1e-6, 1 / std, 1.0).to(x.dtype)
        return ((x - self.mean.to(x.dtype)) * scale).clamp(-_CLIP, _CLIP)
