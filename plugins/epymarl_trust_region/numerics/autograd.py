"""Derivatives of any network both ways, by autograd: for those without a form of their own, and for GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .mlp import Pull, Push


def _grad(output: Any, parameters: Sequence[Tensor], gradient: Any, **graph: bool) -> tuple[Tensor, ...]:
    """A parameter that the output does not depend on has the gradient 0: networks have layers that they do not use."""
    return torch.autograd.grad(output, parameters, gradient, materialize_grads=True, **graph)


def autograd_vjp(function: Callable[[], Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, Pull]:
    """The output of `function` and its vector-Jacobian product, by autograd."""
    with torch.enable_grad():
        output = function()

    def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
        for place, value in zip(out, _grad(output, parameters, gradient), strict=True):
            place.copy_(value)

    return output.detach(), pull


def autograd_linear(function: Callable[[], Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, Push, Pull]:
    """The output of `function` and its derivatives both ways, by autograd on a graph that is kept.

    The gradient for u pulled back is linear in u, and its derivative in u pushes. cuDNN has no second derivative.
    """
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        output = function()
        u = torch.zeros_like(output, requires_grad=True)
        pulled = _grad(output, parameters, u, create_graph=True)

    def push(direction: Sequence[Tensor]) -> Tensor:
        return _grad(pulled, (u,), direction, retain_graph=True)[0]

    def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
        for place, value in zip(out, _grad(output, parameters, gradient, retain_graph=True), strict=True):
            place.copy_(value)

    return output.detach(), push, pull
