"""Closed forms for policies that are tables: one logit per observation and action, observations one-hot.

Shape letters: M samples, D observations, A actions. Tables are [A, D], as the parameters lie in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LARGE = 100.0  # policies moved by steps of a usual size are far below


def observed(inputs: Tensor, probs: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """How often each observation was made, and the policy there.

    Args:
        inputs: one-hot, [M, D].
        probs: the policy at each sample, [M, A].
        share: weights of a mean over samples, [M], sum 1.

    Returns:
        d, [D], and pi [A, D]; both 0 at observations that were not made.
    """
    visits = share @ inputs
    policy = (probs * share.unsqueeze(-1)).t() @ inputs
    return visits, torch.where(visits > 0, policy / visits, 0.0)


def seen_available(inputs: Tensor, available: Tensor, share: Tensor) -> Tensor:
    """Which actions were available at each observation: [A, D], bool, of masks [M, A]; see `observed` for the rest."""
    return available.to(inputs.dtype).t() @ (inputs * share.unsqueeze(-1)) > 0


def natural_direction(gradient: Tensor, visits: Tensor, policy: Tensor) -> Tensor:
    """F^+ g for the softmax of a table, observation by observation: g / (d pi), less its mean over available actions.

    F has a block d (diag pi - pi pi^T) per observation, whose null space are equal changes of all logits.

    Args:
        gradient: g, [A, D]; sums to 0 over actions.
        visits: d, [D].
        policy: pi, [A, D].
    """
    possible = (policy > 0) & (visits > 0)
    direction = torch.where(possible, gradient / (visits * policy), 0.0)
    mean = direction.sum(0) / possible.sum(0).clamp_min(1)
    return torch.where(possible, direction - mean, 0.0)


def project_to_simplex(x: Tensor, available: Tensor) -> Tensor:
    """The nearest distribution over available actions to each column of x (Held, Wolfe and Crowder, 1974).

    Args:
        x: [A, D].
        available: [A, D], bool, at least one action per column.

    Returns:
        max(x - tau, 0) with one tau per column, 0 at unavailable actions: [A, D].
    """
    top = torch.where(available, x, -torch.inf).amax(0)
    x = torch.where(top.abs() > _LARGE, x - top, x)  # the same distribution, of numbers from which 1 can be taken
    ordered = torch.where(available, x, -torch.inf).sort(0, descending=True).values
    ranks = torch.arange(1, len(x) + 1, device=x.device, dtype=x.dtype).unsqueeze(-1)
    excess = (torch.where(ordered.isfinite(), ordered, 0.0).cumsum(0) - 1) / ranks
    used = (ordered > excess).sum(0, keepdim=True)
    return torch.where(available, (x - excess.gather(0, used - 1)).clamp_min(0.0), 0.0)
