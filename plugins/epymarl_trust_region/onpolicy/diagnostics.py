"""What every on-policy learner reports of an update, from the final policies.

Shape letters: B episodes, T steps, N agents, K reward columns. All statistics are over valid steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..modules.policy import Policy
from .returns import masked_mean
from .rollout import Rollout

_MOST_FOR_TORCH = 2**24  # values along a dimension that torch.quantile takes


def policy_statistics(
    rollout: Rollout, policies: Sequence[Policy], eps_clip: float | None = None, joint: bool = False
) -> dict[str, float]:
    """How far the policies moved in one update.

    Args:
        policies: the N agents' distributions after the update, over [B, T].
        eps_clip: clip range, for the share of clipped ratios; None where nothing is clipped.
        joint: whether it is the product of all agents' ratios that is clipped.

    Returns:
        Per agent i: `agent_i_kl_mean`, `agent_i_kl_max` (KL(old || new), nats), `agent_i_tv_mean`, `agent_i_tv_p90`,
        `agent_i_tv_max` (total variation), `agent_i_ratio_min`, `agent_i_ratio_max`. Over agents: `kl_mean`, `kl_max`,
        `tv_mean`, `tv_p90`, `tv_max`; the joint total variation as the sum of the agents' largest (`joint_tv_sum`, an
        upper bound) and as the largest 1 - prod_i (1 - tv_i) of a step (`joint_tv`, a tighter one); `ratio_min`,
        `ratio_max` of single agents, `joint_ratio_min`, `joint_ratio_max` of their product; `clip_fraction`;
        `entropy` (nats, mean over agents). Where the total variation has no simple form (Gaussians of several
        dimensions) these are upper bounds, and `tv_lower_mean` is the mean of lower ones.
    """
    valid = rollout.mask.flatten().nonzero().flatten()
    pairs = list(zip(policies, rollout.old_policies, strict=True))
    kl = torch.stack([_at(new.kl(old), valid) for new, old in pairs])
    lower, tv = (torch.stack(bound) for bound in zip(*(_tv_bounds(new, old, valid) for new, old in pairs), strict=True))
    log_ratio = torch.stack(
        [_at(rollout.log_ratio(i, p.log_prob(rollout.actions[i])), valid) for i, p in enumerate(policies)]
    )
    ratio, joint_ratio = log_ratio.exp(), log_ratio.sum(0).exp()
    stats = {
        "kl_mean": kl.mean(),
        "kl_max": kl.max(),
        "tv_mean": tv.mean(),
        "tv_p90": quantile(tv.flatten(), 0.9),
        "tv_max": tv.max(),
        "joint_tv_sum": tv.max(1).values.sum(),
        "joint_tv": (1 - (1 - tv).prod(0)).max(),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "joint_ratio_min": joint_ratio.min(),
        "joint_ratio_max": joint_ratio.max(),
        "entropy": torch.stack([_at(p.entropy(), valid).mean() for p in policies]).mean(),
    }
    if not torch.equal(lower, tv):
        stats["tv_lower_mean"] = lower.mean()
    if eps_clip is not None:
        clipped = joint_ratio if joint else ratio
        stats["clip_fraction"] = ((clipped - 1).abs() > eps_clip).float().mean()
    return _numbers(stats) | _by_agent(kl, tv, ratio)


def _at(x: Tensor, steps: Tensor) -> Tensor:
    """Of a tensor [B, T] what belongs to these of its B T steps, [M]."""
    return x.flatten().index_select(0, steps)


def _numbers(found: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers, all read at once: on a GPU to read is to wait."""
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def _tv_bounds(new: Policy, old: Policy, valid: Tensor) -> tuple[Tensor, ...]:
    return tuple(_at(bound, valid) for bound in new.total_variation_bounds(old))


def _by_agent(kl: Tensor, tv: Tensor, ratio: Tensor) -> dict[str, float]:
    """The statistics of single agents; each argument is [N, M] over M valid steps."""
    columns = {
        "kl_mean": kl.mean(1),
        "kl_max": kl.max(1).values,
        "tv_mean": tv.mean(1),
        "tv_p90": quantile(tv, 0.9),
        "tv_max": tv.max(1).values,
        "ratio_min": ratio.min(1).values,
        "ratio_max": ratio.max(1).values,
    }
    rows = torch.stack(list(columns.values())).tolist()
    return {f"agent_{i}_{name}": x for name, row in zip(columns, rows, strict=True) for i, x in enumerate(row)}


def factor_statistics(factor: Tensor, mask: Tensor) -> dict[str, float]:
    """Range and effective sample size of the last agent's factor, [B, T].

    `factor_ess` is (sum f)^2 / (M sum f^2) over the M valid steps, in (0, 1]: 1 while all weights are equal.
    """
    weights = factor[mask.bool()]
    ess = weights.sum() ** 2 / (len(weights) * (weights**2).sum())
    return _numbers({"factor_min": weights.min(), "factor_max": weights.max(), "factor_ess": ess})


def value_statistics(rollout: Rollout) -> dict[str, float]:
    """How good the critic was before this update.

    `explained_variance` is that of R by V; `advantage_std` is the advantages' standard deviation before they
    were standardised, `advantage_mean` their mean as used; `return_target_mean` and `value_mean` are in returns.
    """
    mask = rollout.mask.unsqueeze(-1).expand_as(rollout.returns)
    valid = mask.flatten().nonzero().flatten()
    returns, values = _at(rollout.returns, valid), _at(rollout.values, valid)
    found = {
        "advantage_std": rollout.raw_advantage_std,
        "advantage_mean": masked_mean(rollout.advantages, mask),
        "return_target_mean": returns.mean(),
        "value_mean": values.mean(),
    }
    return {"explained_variance": explained_variance(returns, values), **_numbers(found)}


def explained_variance(targets: Tensor, estimates: Tensor) -> float:
    """1 - Var[G - estimate] / Var[G], at most 1, of [M] samples; 1 for a single one, of which neither varies."""
    if len(targets) < 2:
        return 1.0
    return (1 - (targets - estimates).var() / targets.var().clamp_min(1e-12)).item()


def quantile(x: Tensor, q: float) -> Tensor:
    """`x.quantile(q, dim=-1)`, of any number of values: x [..., M] -> [...]."""
    if x.shape[-1] <= _MOST_FOR_TORCH:
        return x.quantile(q, dim=-1)
    place = q * (x.shape[-1] - 1)
    low = math.floor(place)
    high = min(low + 1, x.shape[-1] - 1)
    below, above = (x.kthvalue(k + 1, dim=-1).values for k in (low, high))
    return below.lerp(above, place - low)
