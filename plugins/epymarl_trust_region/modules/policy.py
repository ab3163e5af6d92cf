"""What learners ask of a policy, as a type: `MaskedCategorical` and `DiagonalGaussian` have it.

Shape letters: A actions, or the dimensions of one; a leading `...` stands for any batch shape, such as [B, T]. Outputs
are what a network gives: logits, or means and log standard deviations.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Policy(Protocol):
    """A distribution over one agent's actions. `old`, `other` and `target` are of the same kind as itself."""

    def log_prob(self, actions: Tensor, /) -> Tensor:
        """log pi(a), [...]."""

    def score(self, actions: Tensor, /) -> Tensor:
        """d log pi(a) / d outputs, of the outputs' shape."""

    def entropy(self) -> Tensor:
        """In nats, [...]."""

    def kl(self, old: Any, /) -> Tensor:
        """KL(old || self) in nats, [...]."""

    def kl_slope(self, target: Any, /) -> Tensor:
        """d KL(target || self) / d outputs of self."""

    def fisher_product(self, tangent: Tensor, /) -> Tensor:
        """F u with F the Fisher matrix in the outputs, and u a change of them."""

    def total_variation(self, old: Any, /) -> Tensor:
        """Or an upper bound of it, in [0, 1], [...]."""

    def total_variation_bounds(self, old: Any, /) -> tuple[Tensor, Tensor]:
        """A lower and an upper bound, each [...]."""

    def mixed_with(self, other: Any, weight: float, /) -> Policy:
        """weight self + (1 - weight) other, or what is nearest to it."""

    def sample(self) -> Tensor:
        """Actions, drawn with torch's global generator."""

    def is_finite(self) -> Tensor:
        """Whether what it is made of are numbers, [...]."""

    def mode(self) -> Tensor:
        """The most likely actions."""
