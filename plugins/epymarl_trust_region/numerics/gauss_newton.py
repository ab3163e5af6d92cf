"""Products with a Gauss-Newton matrix J^T M J, of which neither J nor the product is ever formed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .flat import views
from .mlp import Pull, Push


def gauss_newton_product(
    push: Push, metric: Callable[[Tensor], Tensor], pull: Pull, parameters: Sequence[Tensor], damping: float = 0.0
) -> Callable[[Tensor], Tensor]:
    """v -> J^T M J v + damping v, [P] -> [P], J the Jacobian of a network's output in its parameters.

    With M the Fisher matrix of the distribution that the output stands for, it is the Fisher matrix of the parameters,
    and the Hessian of the KL divergence from the present distribution, exactly: where the two are equal the output's
    own second derivatives have weight 0.

    Args:
        push: J v, as a network's `linearise` gives it.
        pull: J^T u, as the same gives it.
        metric: u -> M u, of the output's shape; symmetric, and with the weights of a mean over samples in it.
        parameters: in the order of `push` and `pull`; only their shapes are read.
    """
    direction, product = (parameters[0].new_empty(sum(p.numel() for p in parameters)) for _ in range(2))
    direction_parts, product_parts = views(direction, parameters), views(product, parameters)

    @torch.no_grad()
    def apply(vector: Tensor) -> Tensor:
        direction.copy_(vector)
        pull(metric(push(direction_parts)), product_parts)
        return torch.add(product, vector, alpha=damping)

    return apply
