"""The objectives that learners share. Shape letters: B episodes, T steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _ClippedObjective(torch.autograd.Function):
    """Of sum_m w_m [min(r A, clip(r) A) + c H]: the derivative in log pi is w r A, or 0 where the clip is chosen."""

    @staticmethod
    def forward(ctx, log_prob, entropy, old_log_prob, advantage, mask, eps_clip, entropy_coef) -> Tensor:
        weight = mask / mask.sum()
        ratio = (log_prob - old_log_prob).mul_(mask).exp_()
        plain = ratio * advantage
        clipped = ratio.clamp_(1 - eps_clip, 1 + eps_clip).mul_(advantage)
        ctx.save_for_backward(plain, clipped, weight)
        ctx.entropy_coef = entropy_coef
        return torch.min(plain, clipped).add_(entropy, alpha=entropy_coef).mul_(weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        plain, clipped, weight = ctx.saved_tensors
        weight = weight * gradient
        return (plain <= clipped) * plain * weight, ctx.entropy_coef * weight, *5 * (None,)


def clipped_objective(
    log_prob: Tensor,
    entropy: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    mask: Tensor,
    eps_clip: float,
    entropy_coef: float,
) -> Tensor:
    """mean_m [min(r A, clip(r, 1 - eps, 1 + eps) A) + c H], a scalar to be maximised (Schulman et al., 2017, eq. 7, 9).

    Differentiable once, in `log_prob` and `entropy`; one node of the graph, where autograd would need fifteen.

    Args:
        log_prob: log pi_new of the actions taken, [B, T]; r = pi_new / pi_old.
        entropy: H, [B, T], in nats.
        old_log_prob: log pi_old, [B, T].
        advantage: A, [B, T]; in a sequence, M^m = factor * A.
        mask: [B, T]; the mean is over steps where it is 1.
    """
    return _ClippedObjective.apply(log_prob, entropy, old_log_prob, advantage, mask, eps_clip, entropy_coef)
