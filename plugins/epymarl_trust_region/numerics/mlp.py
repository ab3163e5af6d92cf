"""A multilayer perceptron and its derivatives both ways, without autograd's bookkeeping.

On the small networks and batches of this field the bookkeeping takes longer than the arithmetic. Shape letters: M
samples, D inputs, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Writes the gradient of the parameters, given that of the output, into tensors of their shapes.
Pull = Callable[[Tensor, Sequence[Tensor]], None]
#: The derivative of the output along a direction in the parameters, given as tensors of their shapes.
Push = Callable[[Sequence[Tensor]], Tensor]


class Activation(NamedTuple):
    """f of every element, and what derivatives need: its Jacobian is diagonal, and a function of f's own output."""

    apply: Callable[[Tensor], Tensor]  # x -> f(x), in place
    pull: Callable[[Tensor, Tensor], Tensor]  # dL/dy and y -> dL/dx, in place; pushing is the same
    module: Callable[[], nn.Module]  # PyTorch's own, for autograd


# Looked up once: on small tensors to find an operation takes as long as to do it.
_threshold_backward = torch.ops.aten.threshold_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def _relu_pull(gradient: Tensor, output: Tensor) -> Tensor:
    return _threshold_backward(gradient, output, 0, grad_input=gradient)


def _tanh_pull(gradient: Tensor, output: Tensor) -> Tensor:
    return _tanh_backward(gradient, output, grad_input=gradient)


_LEAK = 0.01  # PyTorch's own


def _leaky_pull(gradient: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward.grad_input(gradient, output, _LEAK, True, grad_input=gradient)


#: By the name that a yaml file gives them in its key `activation`, which is also PyTorch's name for their initial gain.
ACTIVATIONS = {
    "relu": Activation(Tensor.relu_, _relu_pull, nn.ReLU),
    "tanh": Activation(Tensor.tanh_, _tanh_pull, nn.Tanh),
    "leaky_relu": Activation(lambda x: nn.functional.leaky_relu_(x, _LEAK), _leaky_pull, nn.LeakyReLU),
}
RELU = ACTIVATIONS["relu"]


def mlp_linear(x: Tensor, parameters: Sequence[Tensor], activation: Activation = RELU) -> tuple[Tensor, Push, Pull]:
    """y_0 = x, y_l = f(y_{l-1} W_l^T + b_l), no f after the last; to be called under `torch.no_grad`.

    Args:
        x: [M, D].
        parameters: W_1, b_1, ..., W_L, b_L with W_l [out, in] and b_l [out], as in `torch.nn.Linear`.
        activation: f.

    Returns:
        y_L [M, K]; `push` (Jacobian-vector product): of dW_1, db_1, ..., db_L it returns dy_L [M, K]; `pull`
        (vector-Jacobian product): of dL/dy_L [M, K] it writes dL/dW_1, dL/db_1, ..., dL/db_L.
    """
    weights, biases = parameters[::2], parameters[1::2]
    activations = [x]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        activations.append(activation.apply(torch.addmm(bias, activations[-1], weight.t())))
    y = torch.addmm(biases[-1], activations[-1], weights[-1].t())

    def push(direction: Sequence[Tensor]) -> Tensor:
        tangent: Tensor | None = None
        for layer, weight in enumerate(weights):
            of_weight, of_bias = direction[2 * layer : 2 * layer + 2]
            pushed = affine_push(activations[layer], of_weight, of_bias)
            if tangent is not None:
                pushed.addmm_(activation.pull(tangent, activations[layer]), weight.t())
            tangent = pushed
        assert tangent is not None  # there is a layer
        return tangent

    def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
        for layer in reversed(range(len(weights))):
            affine_pull(gradient, activations[layer], *out[2 * layer : 2 * layer + 2])
            if layer:
                gradient = activation.pull(gradient @ weights[layer], activations[layer])

    return y, push, pull


def mlp_vjp(x: Tensor, parameters: Sequence[Tensor], activation: Activation = RELU) -> tuple[Tensor, Pull]:
    """`mlp_linear` for those who only pull."""
    y, _, pull = mlp_linear(x, parameters, activation)
    return y, pull


def affine_push(x: Tensor, of_weight: Tensor, of_bias: Tensor) -> Tensor:
    """For y = x W^T + b with x held: dy [M, K], of dW and db."""
    return torch.addmm(of_bias, x, of_weight.t())


def affine_pull(gradient: Tensor, x: Tensor, of_weight: Tensor, of_bias: Tensor) -> None:
    """For y = x W^T + b write dL/dW and dL/db, of dL/dy [M, K] and x [M, D]."""
    torch.mm(gradient.t(), x, out=of_weight)
    torch.sum(gradient, 0, out=of_bias)
