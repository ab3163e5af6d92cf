"""The losses that learners share. Shape letters: B episodes, T steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _ClippedLoss(torch.autograd.Function):
    """Of -sum_m w_m [min(r A, clip(r) A) + c H]: the derivative in log pi is -w r A, or 0 where the clip is chosen."""

    @staticmethod
    def forward(ctx, log_prob, entropy, old_log_prob, advantage, mask, eps_clip, entropy_coef) -> Tensor:
        weight = mask / -mask.sum()
        ratio = (log_prob - old_log_prob).mul_(mask).exp_()
        plain = ratio * advantage
        clipped = ratio.clamp_(1 - eps_clip, 1 + eps_clip).mul_(advantage)
        ctx.saved = plain, clipped, weight, entropy_coef
        objective = torch.min(plain, clipped).add_(entropy, alpha=entropy_coef)
        return torch.dot(objective.flatten(), weight.flatten())

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        plain, clipped, weight, entropy_coef = ctx.saved
        weight = weight * gradient
        return (plain <= clipped) * plain * weight, entropy_coef * weight, *5 * (None,)


def clipped_loss(
    log_prob: Tensor,
    entropy: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    mask: Tensor,
    eps_clip: float,
    entropy_coef: float,
) -> Tensor:
    """-mean_m [min(r A, clip(r, 1 - eps, 1 + eps) A) + c H], a scalar (Schulman et al., 2017, equations 7 and 9).

    Differentiable once, in `log_prob` and `entropy`; one node of the graph, where autograd would need fifteen.

    Args:
        log_prob: log pi_new of the actions taken, [B, T]; r = pi_new / pi_old.
        entropy: H, [B, T], in nats.
        old_log_prob: log pi_old, [B, T].
        advantage: A, [B, T]; in a sequence, M^m = factor * A.
        mask: [B, T]; the mean is over steps where it is 1.
    """
    return _ClippedLoss.apply(log_prob, entropy, old_log_prob, advantage, mask, eps_clip, entropy_coef)


class _ValueLoss(torch.autograd.Function):
    """Of sum_m w_m l(V - R): with c the error clipped to +-delta, l = c (e - c / 2) and its derivative is c."""

    @staticmethod
    def forward(ctx, values: Tensor, targets: Tensor, mask: Tensor, huber_delta: float | None) -> Tensor:
        error = values - targets
        clipped = error if huber_delta is None else error.clamp(-huber_delta, huber_delta)
        weight = mask / (mask.sum() * values.shape[-1])
        ctx.gradient = clipped * weight
        return torch.dot(ctx.gradient.flatten(), (error - 0.5 * clipped).flatten())

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        return ctx.gradient * gradient, None, None, None


def value_loss(values: Tensor, targets: Tensor, mask: Tensor, huber_delta: float | None) -> Tensor:
    """Mean over valid steps and columns of half the squared error, or of Huber's loss with the threshold `huber_delta`.

    Differentiable once, in `values`.

    Args:
        values: [B, T, K], in the critic's units.
        targets: [B, T, K or 1].
        mask: [B, T, 1].
    """
    return _ValueLoss.apply(values, targets, mask, huber_delta)
