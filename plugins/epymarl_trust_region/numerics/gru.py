"""A GRU over whole sequences on the CPU, whose weight gradients are one matrix product each.

`torch.nn.GRU` spends nearly all of its time on bookkeeping where batch and network are small: each step has its own
graph nodes and its own small product for the weights' gradients. Here the loop over time holds only what depends on the
step before, in NumPy, whose calls cost least on small arrays; everything else is done for all steps at once.
Shape letters: T steps, B sequences, H hidden units.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _GRU(torch.autograd.Function):
    """With g = x W_i^T + b_i given, and u = h W_h^T + b_h split into u_r, u_z, u_n (Cho et al., 2014, as in PyTorch):

    r = sigmoid(g_r + u_r), z = sigmoid(g_z + u_z), n = tanh(g_n + r u_n), h' = n + z (h - n).
    """

    @staticmethod
    def forward(ctx, gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        g, b = gates.numpy(), bias.numpy()
        _, steps, size, width = g.shape
        h, u, n = (np.empty(shape, g.dtype) for shape in ((steps + 1, size, width), g.shape, (steps, size, width)))
        h[0] = hidden.numpy()
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: the halves go into weights and gates once.
        half, b = g.dtype.type(0.5), b.reshape(3, 1, width)
        recurrent = np.ascontiguousarray(weight.numpy().reshape(3, width, width).transpose(0, 2, 1))
        recurrent[:2] *= half
        g_rz, g_n, b_n = ((g[:2] + b[:2, None]) * half).swapaxes(0, 1), g[2], b[2]
        u_t = u.swapaxes(0, 1)
        per_step = (h[:-1], h[1:], u_t, u_t[:, :2], *u, n, g_rz, g_n)
        for h0, h1, u_all, rz, r, z, u_n, n_t, g_rz_t, g_n_t in zip(*per_step, strict=True):
            np.matmul(h0, recurrent, out=u_all)
            rz += g_rz_t
            np.tanh(rz, out=rz)
            rz *= half
            rz += half
            u_n += b_n
            np.multiply(r, u_n, out=n_t)
            n_t += g_n_t
            np.tanh(n_t, out=n_t)
            np.subtract(h0, n_t, out=h1)
            h1 *= z
            h1 += n_t
        ctx.saved = h, u, n, weight.numpy()  # arrays, not tensors: nothing that autograd would have to watch
        return torch.from_numpy(h[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        h, (r, z, u_n), n, weight = ctx.saved
        # d h' / d(before each activation), for all steps: what the loop multiplies the gradient of h' with.
        slopes = np.empty((*n.shape[:2], 4, n.shape[2]), n.dtype)
        to_n = (1 - z) * (1 - n * n)
        slopes[:, :, 0] = to_n * u_n * r * (1 - r)
        slopes[:, :, 1] = (h[:-1] - n) * z * (1 - z)
        slopes[:, :, 2] = to_n * r
        slopes[:, :, 3] = to_n
        pulled = np.empty_like(slopes)  # gradients of u_r, u_z, u_n (g_r, g_z the same) and g_n
        recurrent = pulled.reshape(*n.shape[:2], -1)[..., : weight.shape[0]]
        dh = np.zeros(n.shape[1:], n.dtype)
        steps = (gradient.contiguous().numpy(), slopes, pulled, recurrent, z)
        for g_t, slope, pull, du, z_t in zip(*(x[::-1] for x in steps), strict=True):
            dh += g_t
            np.multiply(slope, dh[:, None], out=pull)
            dh *= z_t
            dh += du @ weight
        d_u = torch.from_numpy(recurrent).reshape(-1, weight.shape[0])
        d_gates = torch.from_numpy(pulled).permute(2, 0, 1, 3)[[0, 1, 3]]
        return d_gates, torch.from_numpy(dh), d_u.t() @ torch.from_numpy(h[:-1]).flatten(0, 1), d_u.sum(0)


def gru(gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """All hidden states, differentiable once; equal to `torch.nn.GRU`'s but for rounding.

    Args:
        gates: x W_i^T + b_i for all steps, [3, T, B, H], in PyTorch's order r, z, n; on the CPU.
        hidden: before the first step, [B, H].
        weight: W_h, [3H, H].
        bias: b_h, [3H].

    Returns:
        [T, B, H], after each step.
    """
    return _GRU.apply(gates, hidden, weight, bias)
