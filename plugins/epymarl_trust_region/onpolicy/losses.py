"""The surrogates that learners share. Shape letters: B episodes, T steps."""

from __future__ import annotations

import torch
from torch import Tensor

from .returns import masked_mean


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, mask: Tensor, eps_clip: float) -> Tensor:
    """mean_m min(r A, clip(r, 1 - eps, 1 + eps) A), a scalar to be maximised (Schulman et al., 2017, eq. 7).

    Args:
        log_ratio: log r, [B, T].
        advantage: [B, T]; in a sequence, M^m = factor * A.
        mask: [B, T].
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - eps_clip, 1 + eps_clip)
    return masked_mean(torch.min(ratio * advantage, clipped * advantage), mask)
