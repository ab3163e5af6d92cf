"""Conjugate gradient for symmetric positive semi-definite systems of which only the product with a vector is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """What `conjugate_gradient` found for A x = b."""

    x: Tensor  # [P]
    residual: Tensor  # b - A x, [P]
    relative_residual: float  # |b - A x| / |b|; 0 for b = 0
    iterations: int  # products made


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-10
) -> Solution:
    """Solve A x = b approximately, from x = 0 (Hestenes and Stiefel, 1952).

    Args:
        product: v -> A v, [P] -> [P], A symmetric positive semi-definite.
        b: [P]. For b = 0, and where b is not finite, x is 0.
        iterations: at most so many products.
        tolerance: stop as soon as |b - A x|^2 <= tolerance |b|^2. Relative, because the direction that a natural
            gradient takes does not depend on how large the gradient is.

    Returns:
        The solution so far if a direction p of no curvature is met (p A p <= 0, which rounding alone can make).
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    size = start = torch.dot(b, b).item()
    made = 0
    while made < iterations and size > tolerance * start:
        image = product(direction)
        made += 1
        curvature = torch.dot(direction, image).item()
        if not curvature > 0:
            break
        x.add_(direction, alpha=size / curvature)
        residual.sub_(image, alpha=size / curvature)
        size, before = torch.dot(residual, residual).item(), size
        direction.mul_(size / before).add_(residual)
    return Solution(x, residual, (size / start) ** 0.5 if start > 0 else 0.0, made)
