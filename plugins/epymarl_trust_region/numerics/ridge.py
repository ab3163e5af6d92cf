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
        weighted = x[rows] * weights[rows].unsqueeze(-1)
        gram, moment = weighted.t() @ x[rows], weighted.t() @ targets[rows]
        if ridge:
            gram.diagonal().add_(ridge)
            found[action] = torch.linalg.solve(gram, moment)
        else:
            found[action] = torch.linalg.pinv(gram, hermitian=True) @ moment
    return found
