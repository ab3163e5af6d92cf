"""Policies as distributions over one agent's actions; `DiagonalGaussian` (gaussian.py) is the other one.

A learner uses `log_prob`, `score`, `entropy`, `kl`, `kl_slope`, `fisher_product`, `total_variation` and `mixed_with`,
and never asks what kind of distribution it holds.
Shape letters: A actions; a leading `...` stands for any batch shape, such as [B, T].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Far below any logit, yet small enough that a difference of two stays finite: exp of it is exactly 0 in float32 and
# float64, and 0 * (it - it) is 0 rather than NaN.
_UNAVAILABLE = -1e10


class MaskedCategorical:
    """Softmax over the available actions: pi(a) = exp(logit_a) / sum over available b of exp(logit_b).

    Unavailable actions have probability exactly 0 and receive no gradient. Where no action at all is available (padded
    steps) the policy is uniform, so that every quantity stays finite; such steps carry mask 0.
    """

    def __init__(self, logits: Tensor, avail_actions: Tensor | None) -> None:
        """
        Args:
            logits: [..., A].
            avail_actions: [..., A], non-zero where the action is available; None: all are.
        """
        if avail_actions is not None:
            logits = torch.where(avail_actions.bool(), logits, _UNAVAILABLE)
        self.log_probs = torch.log_softmax(logits, dim=-1)

    @staticmethod
    def evaluate(logits: Tensor, avail_actions: Tensor | None, actions: Tensor) -> tuple[Tensor, Tensor, Callable]:
        """`log_prob(actions)` and `entropy()` of such a policy with their vector-Jacobian product.

        With p = softmax(logits): d log pi(a) / d logit_b = [a = b] - p_b and dH / d logit_b = -p_b (log p_b + H).

        Args:
            logits: [..., A].
            avail_actions: [..., A], or None.
            actions: [...], int64.

        Returns:
            log pi(a) and H, each [...], and `pull(gradient of log pi(a), gradient of H)`, the gradient of the logits.
        """
        # Actions first, in memory too: sums over a short last dimension are slow.
        logits = logits.movedim(-1, 0).contiguous()
        if avail_actions is not None:
            logits = logits.masked_fill(avail_actions.movedim(-1, 0) == 0, _UNAVAILABLE)
        log_probs, index = torch.log_softmax(logits, dim=0), actions.unsqueeze(0)
        probs = log_probs.exp()
        entropy = (probs * log_probs).sum(0).neg_()

        def pull(of_log_prob: Tensor, of_entropy: Tensor) -> Tensor:
            gradient = (log_probs + entropy).mul_(of_entropy).add_(of_log_prob).mul_(probs).neg_()
            return gradient.scatter_add_(0, index, of_log_prob.unsqueeze(0)).movedim(0, -1)

        return log_probs.gather(0, index).squeeze(0), entropy, pull

    @property
    def probs(self) -> Tensor:
        """Action probabilities, [..., A]."""
        return self.log_probs.exp()

    def log_prob(self, actions: Tensor) -> Tensor:
        """log pi(a) of actions [...], as [...]."""
        return self.log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def score(self, actions: Tensor) -> Tensor:
        """d log pi(a) / d logits = onehot(a) - pi, of actions [...]: [..., A], 0 at unavailable actions."""
        probs = self.probs
        return torch.zeros_like(probs).scatter_(-1, actions.unsqueeze(-1), 1.0) - probs

    def entropy(self) -> Tensor:
        """-sum_a pi(a) log pi(a) in nats, [...]."""
        return -(self.probs * self.log_probs).sum(-1)

    def kl(self, old: MaskedCategorical) -> Tensor:
        """KL(old || self) = sum_a old(a) [log old(a) - log self(a)] in nats, [...]: the paper's D_KL(pi_old, pi)."""
        return (old.probs * (old.log_probs - self.log_probs)).sum(-1)

    def fisher_product(self, tangent: Tensor) -> Tensor:
        """F u with F = E_{a ~ pi}[grad log pi(a) grad log pi(a)^T] in the logits: p_a (u_a - sum_b p_b u_b).

        F is also the Hessian of KL(self || other) in the other's logits where the two are equal.

        Args:
            tangent: u, a change of the logits, [..., A].

        Returns:
            [..., A], 0 at unavailable actions.
        """
        weighted = self.probs * tangent
        return weighted - self.probs * weighted.sum(-1, keepdim=True)

    def is_finite(self) -> Tensor:
        """Whether all probabilities are numbers, [...]."""
        return self.probs.isfinite().all(-1)

    def total_variation(self, old: MaskedCategorical) -> Tensor:
        """0.5 sum_a |self(a) - old(a)|, in [0, 1], [...]."""
        return 0.5 * (self.probs - old.probs).abs().sum(-1)

    def total_variation_bounds(self, old: MaskedCategorical) -> tuple[Tensor, Tensor]:
        """A lower and an upper bound of `total_variation`, each [...]: here it itself."""
        exact = self.total_variation(old)
        return exact, exact

    def mixed_with(self, other: MaskedCategorical, weight: float) -> MaskedCategorical:
        """weight self + (1 - weight) other, action by action."""
        mixture = object.__new__(MaskedCategorical)
        mixture.log_probs = (weight * self.probs + (1 - weight) * other.probs).log().clamp_min(_UNAVAILABLE)
        return mixture

    def kl_slope(self, target: MaskedCategorical) -> Tensor:
        """d KL(target || self) / d logits of self = self - target, [..., A], 0 at unavailable actions."""
        return self.probs - target.probs

    def sample(self) -> Tensor:
        """Actions drawn from the policy with torch's global generator, [...], int64."""
        probs = self.probs.detach()
        if probs.is_cuda:  # where to look is to wait
            return torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1).view(probs.shape[:-1])
        if not math.isfinite(probs.sum()):
            raise RuntimeError("a probability is NaN")
        # As `torch.multinomial` draws one, number for number; it looks three times more for what a softmax never is.
        noise = torch.empty_like(probs, memory_format=torch.contiguous_format).exponential_(1)
        return torch.div(probs, noise, out=noise).argmax(-1)

    def mode(self) -> Tensor:
        """The most likely action (the first of several), [...], int64."""
        return self.log_probs.argmax(-1)

    def detach(self) -> MaskedCategorical:
        """The same distribution, cut off from the graph."""
        copy = object.__new__(MaskedCategorical)
        copy.log_probs = self.log_probs.detach()
        return copy
