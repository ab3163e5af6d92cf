"""Ridge regression, one for each action. Shape letters: M samples, D features, A actions."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_by_action(
    features: Tensor, actions: Tensor, targets: Tensor, weights: Tensor, n_actions: int, ridge: float
) -> Tensor:
    """argmin_w mean[f (w_a . x - G)^2] + ridge |w|^2, which falls apart into a regression for each action a taken.

    Args:
        features: x, [M, D].
        actions: a, [M], int64.
        targets: G, [M].
        weights: f >= 0, [M].
        ridge: at least 0; with 0, the solution of least norm where several fit alike.

    Returns:
        w, [A, D], in double precision; 0 for an action that was never taken.
    """
    x, targets, weights = features.double(), targets.double(), weights.double() / len(features)
    found = x.new_zeros(n_actions, x.shape[1])
    for action in actions.unique().tolist():
        rows = actions == action
        found[action] = _ridge(x[rows], targets[rows], weights[rows], ridge)
    return found


def _ridge(x: Tensor, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """argmin_w sum[f (w . x - G)^2] + ridge |w|^2, [D]."""
    if ridge and len(x) < x.shape[1]:  # X^T (X X^T + ridge I)^-1 G is the same, with a matrix of samples
        root = weights.sqrt()
        scaled = x * root.unsqueeze(-1)
        gram = scaled @ scaled.t()
        gram.diagonal().add_(ridge)
        return scaled.t() @ torch.linalg.solve(gram, targets * root)
    weighted = x * weights.unsqueeze(-1)
    gram, moment = weighted.t() @ x, weighted.t() @ targets
    if ridge:
        gram.diagonal().add_(ridge)
        return torch.linalg.solve(gram, moment)
    return torch.linalg.pinv(gram, hermitian=True) @ moment
