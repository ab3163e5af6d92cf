"""Fixed features psi of an observation or a state, for log-linear policies, and those of all agents and their actions.

Shape letters: D inputs, P features, M samples, N agents, A actions.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor, nn

from ..interfaces import Args


class RawFeatures(nn.Module):
    """The input itself and a constant 1; with one-hot inputs, a table."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.size = input_dim + 1

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D + 1]."""
        return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)


class FourierFeatures(nn.Module):
    """sqrt(2 / P) cos(x W + b), W normal with deviation 1 / width, b uniform on a circle: the inner product of two is
    about exp(-|x - y|^2 / (2 width^2)) (Rahimi and Recht, "Random features for large-scale kernel machines", 2007).

    In torch and not by scikit-learn's RBFSampler, which has no place on the way of every single step.
    """

    directions: Tensor
    phases: Tensor

    def __init__(self, input_dim: int, size: int, width: float) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("directions", torch.randn(input_dim, size) / width)
        self.register_buffer("phases", 2 * math.pi * torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., P]."""
        return torch.cos(x @ self.directions + self.phases) * math.sqrt(2 / self.size)


class JointFeatures:
    """psi_m x onehot(a^m) for all m, then onehot(a^j) x onehot(a^m) for j < m; N agents, D joint features."""

    def __init__(self, n_agents: int, n_features: int, n_actions: int) -> None:
        self.n_agents, self.n_features, self.n_actions = n_agents, n_features, n_actions
        self.pairs = list(combinations(range(n_agents), 2))
        self.size = n_agents * n_features * n_actions + len(self.pairs) * n_actions**2

    def __call__(self, psi: Tensor, actions: Tensor) -> Tensor:
        """psi [M, N, P], actions [M, N] -> [M, D], in psi's precision."""
        onehot = nn.functional.one_hot(actions, self.n_actions).to(psi.dtype)
        parts = [(psi.unsqueeze(-1) * onehot.unsqueeze(-2)).flatten(1)]
        parts += [(onehot[:, j, :, None] * onehot[:, m, None, :]).flatten(1) for j, m in self.pairs]
        return torch.cat(parts, 1)

    def parts(self, omega: Tensor) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
        """W [N, P, A], and U_jm [A, A] for j < m, of weights [D]."""
        N, P, A = self.n_agents, self.n_features, self.n_actions
        own, rest = omega[: N * P * A].view(N, P, A), omega[N * P * A :].split(A * A)
        return own, {pair: part.view(A, A) for pair, part in zip(self.pairs, rest, strict=True)}


def make_features(input_dim: int, args: Args) -> RawFeatures | FourierFeatures:
    """`features: raw`, or `fourier` with `fourier_features` of them and `fourier_width`."""
    if args.features == "raw":
        return RawFeatures(input_dim)
    return FourierFeatures(input_dim, args.fourier_features, args.fourier_width)
