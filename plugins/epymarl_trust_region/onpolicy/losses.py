"""The losses that learners share, each with its slopes: the derivatives that a network's `pull` takes.

Shape letters: B episodes, T steps, K values.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_loss(
    log_prob: Tensor,
    entropy: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    mask: Tensor,
    eps_clip: float | None,
    entropy_coef: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """-mean_m [min(r A, clip(r, 1 - eps, 1 + eps) A) + c H] (Schulman et al., 2017, equations 7 and 9).

    Args:
        log_prob: log pi_new of the actions taken, [B, T] or [N, B, T]; r = pi_new / pi_old.
        entropy: H, of the same shape, in nats.
        old_log_prob: log pi_old, of the same shape.
        advantage: A, of the same shape or [B, T]; in a sequence, M^m = factor * A.
        mask: [B, T]; the mean is over steps where it is 1. Over agents it is a sum.
        eps_clip: eps; None: nothing is clipped, and the objective is mean_m [r A + c H].

    Returns:
        The loss, a scalar; its slope in `log_prob`, -r A / M or 0 where the clip is chosen; its slope in `entropy`,
        [B, T].
    """
    weight = mask / -mask.sum()
    ratio = (log_prob - old_log_prob).mul_(mask).exp_()
    plain = ratio * advantage
    clipped = plain if eps_clip is None else ratio.clamp_(1 - eps_clip, 1 + eps_clip).mul_(advantage)
    objective = torch.min(plain, clipped).add_(entropy, alpha=entropy_coef)
    loss = (objective * weight).sum()
    return loss, (plain <= clipped) * plain.mul_(weight), weight.mul_(entropy_coef)


def kl_penalty(log_prob: Tensor, old_log_prob: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """mean_m [r - 1 - log r] over the actions taken, an estimate of KL(pi_old || pi_new) that is never negative.

    Actions are drawn from pi_old, so that r - 1 has the mean 0, and -log r the divergence. The slope has the mean of
    the divergence's, and is 0 action by action where nothing has moved yet.

    Args:
        log_prob: log pi_new of the actions taken, [B, T] or [N, B, T]; r = pi_new / pi_old.
        old_log_prob: log pi_old, of the same shape.
        mask: [B, T]; the mean is over steps where it is 1. Over agents it is a sum.

    Returns:
        The penalty, a scalar, in nats, and its slope in `log_prob`, (r - 1) / M.
    """
    share = mask / mask.sum()
    log_ratio = (log_prob - old_log_prob) * mask
    moved = torch.expm1(log_ratio)
    return ((moved - log_ratio) * share).sum(), moved.mul_(share)


def value_loss(values: Tensor, targets: Tensor, mask: Tensor, huber_delta: float | None) -> tuple[Tensor, Tensor]:
    """Mean over valid steps and columns of half the squared error, or of Huber's loss with the threshold `huber_delta`.

    With c the error clipped to +-delta it is c (error - c / 2), and its derivative is c.

    Args:
        values: [B, T, K], in the critic's units.
        targets: [B, T, K or 1].
        mask: [B, T, 1].

    Returns:
        The loss, a scalar, and its slope in `values`, [B, T, K].
    """
    error = values - targets
    clipped = error if huber_delta is None else error.clamp(-huber_delta, huber_delta)
    slope = clipped * (mask / (mask.sum() * values.shape[-1]))
    return torch.dot(slope.flatten(), (error - 0.5 * clipped).flatten()), slope
