"""A multilayer perceptron with ReLU as one step of the graph: what autograd would do, with a third of its bookkeeping.

Shape letters: M samples, D inputs, K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _MLP(torch.autograd.Function):
    """y_0 = x, y_l = relu(y_{l-1} W_l^T + b_l), no ReLU after the last; gradients of W and b, none of x."""

    @staticmethod
    def forward(ctx, x: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        activations = [x]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            activations.append(torch.addmm(bias, activations[-1], weight.t()).relu_())
        ctx.save_for_backward(*activations, *weights[1:])
        return torch.addmm(biases[-1], activations[-1], weights[-1].t())

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        depth = (len(ctx.saved_tensors) + 1) // 2
        activations, weights = ctx.saved_tensors[:depth], ctx.saved_tensors[depth:]
        gradients: list[Tensor] = []
        for layer in reversed(range(depth)):
            gradients = [gradient.t() @ activations[layer], gradient.sum(0), *gradients]
            if layer:  # through the ReLU whose output this layer read: it is 0 where the ReLU was shut
                gradient = gradient @ weights[layer - 1]
                torch.ops.aten.threshold_backward.grad_input(gradient, activations[layer], 0, grad_input=gradient)
        return None, *gradients


def mlp(x: Tensor, *parameters: Tensor) -> Tensor:
    """The network's output, differentiable once, and in its parameters only.

    Args:
        x: [..., D].
        parameters: W_1, b_1, ..., W_L, b_L with W_l [out, in] and b_l [out], as in `torch.nn.Linear`.

    Returns:
        [..., K].
    """
    return _MLP.apply(x.reshape(-1, x.shape[-1]), *parameters).view(*x.shape[:-1], -1)
