"""Diagnostics against numbers worked out by hand; whatever masked steps hold must not count.

Two episodes of two steps, the last step of the second one masked; two agents with two actions and old policies (1/2,
1/2). A new policy (1/2 + v, 1/2 - v) has total variation v, ratios 1 +- 2 v and KL(old || new) = -1/2 log(1 - 4 v^2).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from epymarl_trust_region.modules.distributions import MaskedCategorical
from epymarl_trust_region.onpolicy import diagnostics
from epymarl_trust_region.onpolicy.diagnostics import (
    explained_variance,
    factor_statistics,
    policy_statistics,
    quantile,
    value_statistics,
)
from epymarl_trust_region.onpolicy.rollout import Rollout

MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
MOVED = [[[0.1, 0.2], [0.0, 0.49]], [[0.3, 0.0], [0.1, -0.49]]]  # v of agent, episode, step
ACTIONS = torch.tensor([[[0, 1], [0, 1]], [[1, 0], [0, 0]]])  # ratios 1.2 0.6 1 | 0.4 1 1.2


def policy(moved) -> MaskedCategorical:
    v = torch.tensor(moved, dtype=torch.float64)
    return MaskedCategorical(torch.stack([0.5 + v, 0.5 - v], -1).log(), torch.ones(*v.shape, 2))


def make(**fields) -> Rollout:
    old = policy([[0.0, 0.0], [0.0, 0.0]])
    given = dict.fromkeys(Rollout.__dataclass_fields__) | {
        "inputs": torch.zeros(2, 2, 2, 1),
        "actions": ACTIONS,
        "old_policies": (old, old),
        "old_log_probs": torch.stack([old.log_prob(a) for a in ACTIONS]),
        "mask": MASK,
    }
    return Rollout(**given | fields)


def moved_by(eps_clip=None) -> dict[str, float]:
    return policy_statistics(make(), [policy(v) for v in MOVED], eps_clip)


def test_total_variation_of_agents_and_of_the_joint_policy():
    stats = moved_by()
    expected = {
        "tv_mean": 0.7 / 6,
        "tv_p90": 0.25,  # of 0 0 0.1 0.1 0.2 0.3, half way between the last two
        "tv_max": 0.3,
        "joint_tv_sum": 0.2 + 0.3,
        "joint_tv": 1 - 0.9 * 0.7,
        "agent_0_tv_mean": 0.1,
        "agent_0_tv_p90": 0.18,  # of 0 0.1 0.2
        "agent_0_tv_max": 0.2,
        "agent_1_tv_mean": 0.4 / 3,
        "agent_1_tv_p90": 0.26,  # of 0 0.1 0.3
        "agent_1_tv_max": 0.3,
    }
    assert {name: stats[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_kl_is_of_the_old_policy_from_the_new_one():
    kl = {v: -0.5 * math.log(1 - 4 * v * v) for v in (0.0, 0.1, 0.2, 0.3)}
    expected = {
        "kl_mean": (2 * kl[0.1] + kl[0.2] + kl[0.3]) / 6,
        "kl_max": kl[0.3],
        "agent_0_kl_mean": (kl[0.1] + kl[0.2]) / 3,
        "agent_0_kl_max": kl[0.2],
        "agent_1_kl_mean": (kl[0.3] + kl[0.1]) / 3,
        "agent_1_kl_max": kl[0.3],
    }
    stats = moved_by()
    assert {name: stats[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_ratios_of_single_agents_and_their_product():
    stats = moved_by()
    expected = {"ratio_min": 0.4, "ratio_max": 1.2, "joint_ratio_min": 1.2 * 0.4, "joint_ratio_max": 1.2}
    expected |= {"agent_0_ratio_min": 0.6, "agent_0_ratio_max": 1.2, "agent_1_ratio_min": 0.4, "agent_1_ratio_max": 1.2}
    assert {name: stats[name] for name in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("eps_clip, clipped", [(0.1, 4), (0.3, 2), (0.5, 1), (0.7, 0)])
def test_clip_fraction_counts_ratios_outside_the_range_on_both_sides(eps_clip, clipped):
    assert moved_by(eps_clip)["clip_fraction"] == pytest.approx(clipped / 6)


@pytest.mark.parametrize("eps_clip, clipped", [(0.1, 3), (0.3, 2), (0.45, 1), (0.6, 0)])
def test_the_joint_clip_fraction_counts_products(eps_clip, clipped):
    """Products 1.2 * 0.4, 0.6 * 1 and 1 * 1.2."""
    stats = policy_statistics(make(), [policy(v) for v in MOVED], eps_clip, joint=True)
    assert stats["clip_fraction"] == pytest.approx([0, 1, 2, 3][clipped] / 3)


def test_nothing_is_said_of_clipping_where_nothing_is_clipped():
    assert "clip_fraction" not in moved_by()


def test_entropy_is_the_mean_over_agents_and_valid_steps():
    def entropy(v):
        return -sum(p * math.log(p) for p in (0.5 + v, 0.5 - v))

    expected = sum(entropy(v) for v in (0.1, 0.2, 0.0, 0.3, 0.0, 0.1)) / 6
    assert moved_by()["entropy"] == pytest.approx(expected, abs=1e-9)


def test_policies_that_did_not_move_have_no_distance():
    stats = policy_statistics(make(), list(make().old_policies), 0.2)
    for name, value in stats.items():
        expected = math.log(2) if name == "entropy" else 1.0 if "ratio" in name else 0.0
        assert value == pytest.approx(expected, abs=1e-12), name


def test_factor_range_and_effective_sample_size():
    factor = torch.tensor([[1.0, 2.0], [4.0, 1000.0]])
    expected = {"factor_min": 1.0, "factor_max": 4.0, "factor_ess": 7**2 / (3 * 21)}
    assert factor_statistics(factor, MASK) == pytest.approx(expected)
    assert factor_statistics(torch.full((2, 2), 3.0), MASK)["factor_ess"] == pytest.approx(1)
    lonely = torch.tensor([[1e6, 1e-6], [1e-6, 1e6]])
    assert factor_statistics(lonely, MASK)["factor_ess"] == pytest.approx(1 / 3)


RETURNS = torch.tensor([[1.0, 2.0], [6.0, 1000.0]]).unsqueeze(-1)


def values(returns, values, **fields) -> dict[str, float]:
    advantages = torch.tensor([[2.0, 4.0], [-3.0, 500.0]]).unsqueeze(-1).expand_as(returns)
    given = {"advantages": advantages, "raw_advantage_std": torch.tensor(1.5)} | fields
    return value_statistics(make(returns=returns, values=values, **given))


@pytest.mark.parametrize(
    "estimate, explained",
    [
        (RETURNS * MASK.unsqueeze(-1), 1.0),  # a perfect critic
        (torch.full((2, 2, 1), 7.0), 0.0),  # a constant one, whichever the constant
        (0.5 * RETURNS, 0.75),  # half of it: a quarter of the variance is left
        (-RETURNS, -3.0),  # worse than a constant
    ],
)
def test_explained_variance(estimate, explained):
    assert values(RETURNS, estimate)["explained_variance"] == pytest.approx(explained, abs=1e-6)


def test_means_of_returns_values_and_advantages_are_over_valid_steps():
    stats = values(RETURNS, torch.tensor([[3.0, 3.0], [0.0, -1e6]]).unsqueeze(-1))
    assert stats["return_target_mean"] == pytest.approx(3)
    assert stats["value_mean"] == pytest.approx(2)
    assert stats["advantage_mean"] == pytest.approx(1)
    assert stats["advantage_std"] == 1.5


def test_individual_rewards_count_every_column():
    returns = torch.cat([RETURNS, RETURNS + 10], -1)
    stats = values(returns, torch.zeros_like(returns))
    assert stats["return_target_mean"] == pytest.approx(3 + 5)
    assert stats["advantage_mean"] == pytest.approx(1)


def test_constant_returns_leave_the_explained_variance_finite():
    constant = torch.full((2, 2, 1), 4.0)
    assert values(constant, constant)["explained_variance"] == 1.0


def test_a_single_step_is_explained(recwarn):
    """Of one number nothing varies; a variance with one degree of freedom too few would be NaN."""
    assert explained_variance(torch.tensor([3.0]), torch.tensor([-1.0])) == 1.0
    one = torch.zeros_like(MASK)
    one[0, 0] = 1
    stats = values(RETURNS, -RETURNS, mask=one)
    assert stats["explained_variance"] == 1.0 and all(math.isfinite(value) for value in stats.values())
    policies = [policy(v) for v in MOVED]
    assert all(math.isfinite(value) for value in policy_statistics(make(mask=one), policies, 0.1).values())
    assert factor_statistics(torch.full((2, 2), 0.3), one)["factor_ess"] == pytest.approx(1)
    assert not recwarn.list


def test_quantiles_of_few_values_are_torchs_own_bit_for_bit():
    x = torch.rand(3, 101, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quantile(x, 0.9), x.quantile(0.9, dim=-1))


def test_quantiles_of_many_values_are_the_definition(monkeypatch):
    """Linear between the two values next to q (M - 1); by another way than torch's, which has a limit."""
    monkeypatch.setattr(diagnostics, "_MOST_FOR_TORCH", 0)
    monkeypatch.setattr(torch.Tensor, "quantile", None)
    g = torch.Generator().manual_seed(0)
    for M in (1, 2, 3, 10, 11, 1000):
        x = torch.rand(3, M, generator=g, dtype=torch.float64)
        for q in (0.0, 0.5, 0.9, 1.0):
            np.testing.assert_allclose(quantile(x, q), np.quantile(x.numpy(), q, axis=-1), rtol=1e-12)


def test_total_variation_of_more_steps_than_torchs_quantile_takes():
    """17 million of them: 9 in 10 policies did not move, the others by 0.2."""
    steps = 2**24 + 10
    tv = torch.zeros(1, steps)
    tv[0, ::9] = 0.2
    with pytest.raises(RuntimeError, match="too large"):
        tv.quantile(0.9, dim=1)
    assert quantile(tv, 0.9) == pytest.approx(0.2)
