"""Running normalisation of what networks read. Shape letters: M samples, D inputs."""

from __future__ import annotations

from typing import Any

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
        self._kept: _Kept | None = None

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in samples [M, ...]."""
        x, new = x.to(torch.float64, copy=True), len(x)
        if not new:
            return
        mean = x.mean(0)
        total, distance = self.count + new, mean - self.mean
        self.squares += x.sub_(mean).square_().sum(0) + distance**2 * (self.count * new / total)
        self.mean += distance * (new / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """[..., *shape], in x's own precision. A dimension that never moved stays 0."""
        moments = tuple(self._buffers.values())
        kept = self._kept
        if kept is None or not kept.is_of(moments, x.dtype):
            kept = self._kept = _Kept(moments, x.dtype)
        return x if kept.scale is None else (x - kept.mean).mul_(kept.scale).clamp_(-_CLIP, _CLIP)


class _Kept:
    """The mean and 1 / std of some moments in one precision: at each step of a rollout they are the same."""

    def __init__(self, moments: tuple[Any, ...], dtype: torch.dtype) -> None:
        """
        Args:
            moments: count, mean and squares.
        """
        self.moments, self.dtype, self.versions = moments, dtype, [tensor._version for tensor in moments]
        count, mean, squares = moments
        self.scale: Tensor | None = None
        if count == 0:
            return
        with torch.inference_mode(False):  # what is made in inference mode could not be used outside of it
            std = (squares / count).sqrt()
            self.mean, self.scale = mean.to(dtype), torch.where(std > 1e-6, 1 / std, 1.0).to(dtype)

    def is_of(self, moments: tuple[Any, ...], dtype: torch.dtype) -> bool:
        """Whether these are the same moments, unchanged: not moved to another device, updated or loaded."""
        same = all(one is other for one, other in zip(moments, self.moments, strict=True))
        return same and dtype is self.dtype and self.versions == [tensor._version for tensor in moments]
