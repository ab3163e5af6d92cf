"""Fixed features psi of an observation or a state, for log-linear policies. Shape letters: D inputs, P features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RawFeatures(nn.Module):
    """The input itself and a constant 1; with one-hot inputs, a table."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.size = input_dim + 1

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D + 1]."""
        return torch.cat([x, torch.ones_like(x[..., :1])], -1)


class FourierFeatures(nn.Module):
    """sqrt(2 / P) cos(x W + b), W normal with deviation 1 / width, b uniform on a circle: the inner product of two is
    about exp(-|x - y|^2 / (2 width^2)) (Rahimi and Recht, "Random features for large-scale kernel machines", 2007).

    In torch and not by scikit-learn's RBFSampler, which has no place on the way of every single step.
    """

    def __init__(self, input_dim: int, size: int, width: float) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("directions", torch.randn(input_dim, size) / width)
        self.register_buffer("phases", 2 * math.pi * torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., P]."""
        return torch.cos(x @ self.directions + self.phases) * math.sqrt(2 / self.size)


def make_features(input_dim: int, args) -> RawFeatures | FourierFeatures:
    """`features: raw`, or `fourier` with `fourier_features` of them and `fourier_width`."""
    if args.features == "raw":
        return RawFeatures(input_dim)
    return FourierFeatures(input_dim, args.fourier_features, args.fourier_width)
