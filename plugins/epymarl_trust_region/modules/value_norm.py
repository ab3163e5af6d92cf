"""Linear value head, plain or with PopArt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .networks import linear


class ValueHead(nn.Module):
    """K value estimates from features. Without normalisation its units are returns, and `normalise` is the identity."""

    def __init__(self, features: int, n_values: int) -> None:
        super().__init__()
        self.layer = linear(features, n_values, gain=1.0)

    def forward(self, features: Tensor) -> Tensor:
        """features [..., F] -> values [..., K], in the units of `normalise`."""
        return self.layer(features)

    def normalise(self, returns: Tensor) -> Tensor:
        """Returns to the head's units, [..., K]."""
        return returns

    def denormalise(self, values: Tensor) -> Tensor:
        """The head's units to returns, [..., K]."""
        return values

    def update(self, returns: Tensor) -> None:
        """Take in one batch of valid returns [M, K]."""


class PopArtHead(ValueHead):
    """Normalises targets by running moments and rescales the layer so that its outputs, in returns, do not move.

    With mu, sigma -> mu', sigma' the layer becomes w' = w sigma / sigma', b' = (sigma b + mu - mu') / sigma'
    (van Hasselt et al., 2016, "Learning values across many orders of magnitude", eq. 7). Without this rescaling the
    same normaliser makes the bootstrapped targets chase themselves and diverge.
    """

    first_moment: Tensor
    second_moment: Tensor
    weight: Tensor

    def __init__(self, features: int, n_values: int, beta: float, epsilon: float = 1e-4) -> None:
        """
        Args:
            beta: weight of the old moments in the running mean, in [0, 1); debiased, so the first batch counts fully.
            epsilon: lower bound of the standard deviation, in returns.
        """
        super().__init__(features, n_values)
        self.beta, self.epsilon = beta, epsilon
        # In float64: the variance is a difference of the two, and in float32 nothing of it is left at a mean of 1e4.
        self.register_buffer("first_moment", torch.zeros(n_values, dtype=torch.float64))
        self.register_buffer("second_moment", torch.zeros(n_values, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, [K], in the layer's precision."""
        if self.weight == 0:  # nothing seen yet: the identity
            zeros = torch.zeros_like(self.layer.bias)
            return zeros, zeros + 1
        mean = self.first_moment / self.weight
        variance = self.second_moment / self.weight - mean**2
        return mean.to(self.layer.bias), variance.clamp_min(self.epsilon**2).sqrt().to(self.layer.bias)

    def normalise(self, returns: Tensor) -> Tensor:
        mean, std = self._moments()
        return (returns - mean) / std

    def denormalise(self, values: Tensor) -> Tensor:
        mean, std = self._moments()
        return values * std + mean

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        old_mean, old_std = self._moments()
        returns = returns.to(self.first_moment)
        self.first_moment.lerp_(returns.mean(0), 1 - self.beta)
        self.second_moment.lerp_((returns**2).mean(0), 1 - self.beta)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.beta)
        mean, std = self._moments()
        self.layer.weight.mul_((old_std / std).unsqueeze(-1))
        self.layer.bias.mul_(old_std).add_(old_mean - mean).div_(std)


def make_value_head(features: int, n_values: int, value_norm: str, beta: float) -> ValueHead:
    """The head named by the key `value_norm`: `none` or `popart`."""
    return PopArtHead(features, n_values, beta) if value_norm == "popart" else ValueHead(features, n_values)
