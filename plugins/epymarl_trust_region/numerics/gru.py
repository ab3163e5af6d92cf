"""A GRU over whole sequences on the CPU and its derivatives both ways; weight gradients are one matrix product each.

`torch.nn.GRU` spends nearly all of its time on bookkeeping where batch and network are small: each step has its own
graph nodes and its own small product for the weights' gradients. Here the loop over time holds only what depends on the
step before, in NumPy, whose calls cost least on small arrays; everything else is done for all steps at once.
Shape letters: T steps, B sequences, H hidden units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor


@functools.cache
def _blas() -> ThreadpoolController:
    """The libraries in which NumPy multiplies matrices; looked for once, which takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


def _on_one_thread(loop: Callable[..., Any]) -> Callable[..., Any]:
    """A loop of small products, of which each waits for the one before: several threads would spin between them.

    `torch.set_num_threads` does not reach NumPy's, which by themselves are as many as there are cores.
    """

    @functools.wraps(loop)
    def held(*arguments: Any) -> Any:
        with _blas().limit(limits=1):
            return loop(*arguments)

    return held


def gru_linear(
    gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, Callable, Callable]:
    """All hidden states; equal to `torch.nn.GRU`'s but for rounding. To be called under `torch.no_grad`.

    With g = x W_i^T + b_i given, and u = h W_h^T + b_h split into u_r, u_z, u_n (Cho et al., 2014, as in PyTorch):
    r = sigmoid(g_r + u_r), z = sigmoid(g_z + u_z), n = tanh(g_n + r u_n), h' = n + z (h - n).

    Args:
        gates: g for all steps, [3, T, B, H], in PyTorch's order r, z, n; on the CPU.
        hidden: before the first step, [B, H].
        weight: W_h, [3H, H].
        bias: b_h, [3H].
        keep: [T, B, 1], 0 where h = 0 goes into a step instead of what the step before gave; None: nowhere.

    Returns:
        [T, B, H], after each step; `push(dg [3, T, B, H], dW_h, db_h)`, which returns their derivative along it; and
        `pull(gradient [T, B, H], of_weight, of_bias)`, which writes dL/dW_h and dL/db_h and returns dL/dg, [3, T, B, H]
    """
    kept = None if keep is None else keep.numpy()
    h, before, u, n = _recurrence(gates.numpy(), hidden.numpy(), weight.numpy(), bias.numpy(), kept)
    slopes = functools.cache(lambda: _slopes(before, u, n))  # once, however often it is pushed and pulled

    def push(of_gates: Tensor, of_weight: Tensor, of_bias: Tensor) -> Tensor:
        of_u = torch.addmm(of_bias, torch.from_numpy(before).flatten(0, 1), of_weight.t())  # with h held
        shape = (*n.shape[:2], 3, n.shape[2])
        pushed = _forward_in_time(of_gates.numpy(), of_u.view(shape).numpy(), slopes(), u[1], weight.numpy(), kept)
        return torch.from_numpy(pushed)

    def pull(gradient: Tensor, of_weight: Tensor, of_bias: Tensor) -> Tensor:
        pulled = _through_time(gradient.contiguous().numpy(), slopes(), u[1], weight.numpy(), kept)
        of_u = torch.from_numpy(pulled[:, :, :3]).flatten(0, 1).flatten(1)
        torch.mm(of_u.t(), torch.from_numpy(before).flatten(0, 1), out=of_weight)
        torch.sum(of_u, 0, out=of_bias)
        return torch.from_numpy(pulled).permute(2, 0, 1, 3)[[0, 1, 3]]

    return torch.from_numpy(h[1:]), push, pull


@_on_one_thread
def _recurrence(
    g: np.ndarray, h_0: np.ndarray, weight: np.ndarray, bias: np.ndarray, keep: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """h [T+1, B, H], of which the first is h_0; what goes into the steps [T, B, H]; r, z and u_n [3, T, B, H]; n."""
    _, steps, size, width = g.shape
    h, u, n = (np.empty(shape, g.dtype) for shape in ((steps + 1, size, width), g.shape, (steps, size, width)))
    h[0] = h_0
    before = h[:-1] if keep is None else np.empty_like(n)
    # sigmoid(x) = (1 + tanh(x / 2)) / 2: the halves go into weights and gates once.
    half, b = g.dtype.type(0.5), bias.reshape(3, 1, width)
    recurrent = np.ascontiguousarray(weight.reshape(3, width, width).transpose(0, 2, 1))
    recurrent[:2] *= half
    g_rz, g_n, b_n = ((g[:2] + b[:2, None]) * half).swapaxes(0, 1), g[2], b[2]
    u_t = u.swapaxes(0, 1)
    per_step = (h[:-1], before, keep if keep is not None else h[:-1], h[1:], u_t, u_t[:, :2], *u, n, g_rz, g_n)
    for last, h0, kept, h1, u_all, rz, r, z, u_n, n_t, g_rz_t, g_n_t in zip(*per_step, strict=True):
        if keep is not None:
            np.multiply(last, kept, out=h0)
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
    return h, before, u, n


def _slopes(before: np.ndarray, u: np.ndarray, n: np.ndarray) -> np.ndarray:
    """d h' over d(u_r or g_r), d(u_z or g_z), d u_n, d g_n with h held: [T, B, 4, H], for all steps."""
    r, z, u_n = u
    slopes = np.empty((*n.shape[:2], 4, n.shape[2]), n.dtype)
    to_n = (1 - z) * (1 - n * n)
    slopes[:, :, 0] = to_n * u_n * r * (1 - r)
    slopes[:, :, 1] = (before - n) * z * (1 - z)
    slopes[:, :, 2] = to_n * r
    slopes[:, :, 3] = to_n
    return slopes


@_on_one_thread
def _forward_in_time(
    of_g: np.ndarray,
    of_u: np.ndarray,
    slopes: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray,
    keep: np.ndarray | None,
) -> np.ndarray:
    """dh [T, B, H] of dg [3, T, B, H] and of that part of du [T, B, 3, H] that does not come through h."""
    of_u[:, :, :2] += of_g[:2].transpose(1, 2, 0, 3)
    pushed = np.einsum("tbkh,tbkh->tbh", of_u, slopes[:, :, :3])
    pushed += of_g[2] * slopes[:, :, 3]
    steps, size, width = pushed.shape
    through_h, back = np.empty((size, 3, width), pushed.dtype), np.ascontiguousarray(weight.T)
    flat, dh = through_h.reshape(size, -1), np.zeros((size, width), pushed.dtype)
    r_part, z_part, n_part = through_h.swapaxes(0, 1)
    for dh1, slope, z_t, kept in zip(pushed, slopes[:, :, :3], z, z if keep is None else keep, strict=True):
        if keep is not None:
            dh = dh * kept
        np.matmul(dh, back, out=flat)
        np.multiply(through_h, slope, out=through_h)
        dh1 += r_part
        dh1 += z_part
        dh1 += n_part
        dh1 += z_t * dh
        dh = dh1
    return pushed


@_on_one_thread
def _through_time(
    gradient: np.ndarray, slopes: np.ndarray, z: np.ndarray, weight: np.ndarray, keep: np.ndarray | None
) -> np.ndarray:
    """Gradients of u_r (and g_r), u_z (and g_z), u_n and g_n for all steps, [T, B, 4, H], of that of the outputs."""
    pulled = np.empty_like(slopes)
    recurrent = pulled.reshape(*gradient.shape[:2], -1)[..., : weight.shape[0]]
    dh = np.zeros(gradient.shape[1:], gradient.dtype)
    per_step = (gradient, slopes, pulled, recurrent, z, z if keep is None else keep)
    for g_t, slope, pull, du, z_t, kept in zip(*(x[::-1] for x in per_step), strict=True):
        dh += g_t
        np.multiply(slope, dh[:, None], out=pull)
        dh *= z_t
        dh += du @ weight
        if keep is not None:
            dh *= kept
    return pulled
