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
    if b.device.type != "cpu":
        return unread(product, b, iterations, tolerance)
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


def unread(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-10) -> Solution:
    """`conjugate_gradient` where the host would wait for every number that it reads: it reads once, at the end.

    All products are made; those after the end, of which `iterations` does not tell, change nothing.
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    size = start = torch.dot(b, b).double()
    made, goes_on = torch.zeros_like(size), torch.ones_like(size, dtype=torch.bool)
    for _ in range(iterations):
        goes_on = goes_on & (size > tolerance * start)
        image = product(direction)
        made = made + goes_on
        curvature = torch.dot(direction, image).double()
        goes_on = goes_on & (curvature > 0)
        step = (size / curvature).to(b.dtype)
        x = torch.where(goes_on, x + step * direction, x)
        residual = torch.where(goes_on, residual - step * image, residual)
        before, size = size, torch.where(goes_on, torch.dot(residual, residual).double(), size)
        direction = torch.where(goes_on, (size / before).to(b.dtype) * direction + residual, direction)
    first, last, products = torch.stack([start, size, made]).tolist()
    return Solution(x, residual, (last / first) ** 0.5 if first > 0 else 0.0, int(products))
