"""Masks, terminations and generalised advantage estimation over padded episodes.

Shape letters: B episodes, T steps, K reward columns (1 for a common reward, N for individual ones).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def step_mask(filled: Tensor, terminated: Tensor, truncated: Tensor | None = None) -> Tensor:
    """1 where the step was really taken, [B, T, 1], float: the observation after it is there, and no end before it.

    Args:
        filled: [B, T+1, 1], 1 where the batch holds an observation, that after the last step included. So it shows the
            end of an episode whose last step is not marked at all, as the suite's own runners leave SMAC's limit.
        terminated: [B, T+1, 1], 1 at the last step of an episode.
        truncated: [B, T+1, 1], 1 at the last step of one that a limit cut, terminated or not; None: not known.
    """
    ended = terminated.float()
    if truncated is not None:
        ended = torch.maximum(ended, truncated.float())
    mask = torch.maximum(filled[:, 1:].float(), ended[:, :-1])
    mask[:, 1:] *= 1 - ended[:, :-2]
    return mask


def true_terminations(
    terminated: Tensor, episode_limit: int | None, bootstrap_at_limit: bool, truncated: Tensor | None = None
) -> Tensor:
    """1 where no value follows: [B, T, 1], float.

    The suite's runners store a time limit as `terminated`. `truncated` tells the two apart. Without it a termination in
    the last allowed step is taken for what it nearly always is, the limit, and every other for a true one.

    Args:
        terminated: [B, T, 1].
        episode_limit: steps after which an episode is cut off; None where the environment reports its limit itself.
        bootstrap_at_limit: the suite's key `add_value_last_step`. False: a limit is an end like any other.
        truncated: [B, T, 1], 1 at the last step of an episode that a limit cut; None: the runner does not say.
    """
    done = terminated.float()
    if truncated is not None:
        cut = truncated.float()
        return done * (1 - cut) if bootstrap_at_limit else torch.maximum(done, cut)
    if bootstrap_at_limit and episode_limit is not None and done.shape[1] >= episode_limit:
        done = done.clone()
        done[:, episode_limit - 1] = 0
    return done


def gae(rewards: Tensor, values: Tensor, done: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimates (Schulman et al., 2016), 0 at masked steps.

        d_t = r_t + gamma (1 - done_t) V_{t+1} - V_t
        A_t = m_t [d_t + gamma lambda (1 - done_t) m_{t+1} A_{t+1}]

    Args:
        rewards: [B, T, K].
        values: [B, T+1, K], in returns.
        done: [B, T, 1], 1 at true terminations.
        mask: [B, T, 1].

    Returns:
        [B, T, K].
    """
    alive = gamma * (1 - done)
    deltas = (rewards + alive * values[:, 1:] - values[:, :-1]) * mask
    decay = lam * alive * mask
    if deltas.device.type == "cpu" and not deltas.requires_grad:
        return torch.from_numpy(_summed(deltas.numpy(), decay.numpy()))
    advantage = torch.zeros_like(deltas[:, 0])
    advantages = []
    for delta, discount in zip(reversed(deltas.unbind(1)), reversed(decay.unbind(1)), strict=True):
        advantage = delta + discount * advantage  # a masked next step has advantage 0 already
        advantages.append(advantage)
    return torch.stack(advantages[::-1], dim=1)


def _summed(deltas: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """The same sums [B, T, K], bit for bit: on a few numbers NumPy's operations cost a fraction of PyTorch's."""
    by_time = deltas.swapaxes(0, 1).copy()  # [T, B, K]
    decay_by_time = np.broadcast_to(decay, deltas.shape).swapaxes(0, 1).copy()  # it is written over
    by_time[-1:] += 0.0  # a zero without a sign, as a sum has it
    for t in range(len(by_time) - 2, -1, -1):
        by_time[t] += np.multiply(decay_by_time[t], by_time[t + 1], out=decay_by_time[t])
    return np.ascontiguousarray(by_time.swapaxes(0, 1))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """sum(m x) / sum(m), a scalar; both of the same shape."""
    return (x * mask).sum() / mask.sum()


def standardise(x: Tensor, mask: Tensor, terms: Tensor | None = None, epsilon: float = 1e-8) -> Tensor:
    """(x - mean) / (std + epsilon) per column over valid steps, 0 elsewhere: x [B, T, K], mask [B, T, 1].

    A column that is constant but for rounding becomes 0: divided by its own size, rounding would be a batch of +-1 made
    of nothing. Constant is std <= 1e-5 (1 + max |x|) + 1e-6 max |terms|. In float32 the mean of up to 1e7 equal numbers
    is off by at most 4e-7 of them; the 1 stands for the units a critic computes in, whose values of equal observations
    may differ in their last bits.

    Args:
        terms: numbers of which x is a difference, so that their rounding is in x, [B, T, K]; for advantages, values.
    """
    count = mask.sum()
    mean = (x * mask).sum((0, 1)) / count
    variance = ((x - mean) ** 2 * mask).sum((0, 1)) / count
    std = variance.sqrt()
    rounding = 1e-5 * (1 + _largest(x, mask)) + (0.0 if terms is None else 1e-6 * _largest(terms, mask))
    scaled = (x - mean) / (std + epsilon) * mask
    return torch.where(std <= rounding, 0.0, scaled)  # a NaN is not below anything, and stays


def _largest(x: Tensor, mask: Tensor) -> Tensor:
    """Largest |x| at valid steps, column by column: x [B, T, K], mask [B, T, 1] -> [K]."""
    return torch.where(mask.bool(), x, 0.0).abs().amax((0, 1))
