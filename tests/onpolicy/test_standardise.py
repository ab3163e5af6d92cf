"""Equal advantages are nothing to learn from: standardised they are 0, and no policy moves. All others are as ever.

Shape letters: B episodes, T steps, K columns.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from epymarl_trust_region.onpolicy.returns import standardise
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import make_batch, make_learner

ALGORITHMS = ("happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "inpg", "ipg", "matrl", "il", "log_linear_ppo")


def mask_of(B: int, T: int, seed: int = 0):
    mask = (torch.rand(B, T, 1, generator=torch.Generator().manual_seed(seed)) < 0.8).float()
    mask[0, 0] = 1
    return mask


def by_definition(x, mask):
    """In the same operations, so that all bits have to agree."""
    mean = (x * mask).sum((0, 1)) / mask.sum()
    std = (((x - mean) ** 2 * mask).sum((0, 1)) / mask.sum()).sqrt()
    return (x - mean) / (std + 1e-8) * mask


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 1), (10, 1), (13, 50), (100, 1000)])
def test_a_constant_batch_is_zero(size, columns):
    mask, rounded = mask_of(*size), 0.0
    for value in (0.1, -1 / 3, 0.54840600490, 7 / 9, 1e-3, 1000.1, -1e6 / 3, 1e8 / 3):
        x = torch.full((*size, columns), value)
        assert (standardise(x, mask) == 0).all()
        rounded = max(rounded, by_definition(x, mask).abs().max().item())
    assert rounded > 0.5 or size[0] * size[1] < 7  # what there would be without the guard


def test_one_column_may_be_constant_and_another_not():
    x = torch.stack([torch.full((7, 1), 0.5484060049), torch.arange(7.0).view(7, 1)], -1)
    found, mask = standardise(x, torch.ones(7, 1, 1)), torch.ones(7, 1, 1)
    assert (found[..., 0] == 0).all()
    assert torch.equal(found[..., 1], by_definition(x, mask)[..., 1]) and found[..., 1].abs().max() == 1.5


@pytest.mark.parametrize("offset, size", [(0.0, 1.0), (0.0, 1e-4), (1.0, 1e-3), (-50.0, 0.05), (1e4, 10.0), (0.0, 1e9)])
def test_what_differs_by_more_than_rounding_keeps_every_bit(offset, size):
    x = offset + size * torch.randn(20, 25, 2, generator=torch.Generator().manual_seed(1))
    mask, terms = mask_of(20, 25), torch.full((20, 25, 2), 10 * (abs(offset) + size))
    assert torch.equal(standardise(x, mask), by_definition(x, mask))
    assert torch.equal(standardise(x, mask, terms), by_definition(x, mask))
    squares = (standardise(x, mask) ** 2 * mask).sum((0, 1)) / mask.sum()
    torch.testing.assert_close(squares, torch.ones(2), rtol=0, atol=1e-3)


def test_garbage_at_masked_steps_hides_no_signal():
    x, mask = torch.tensor([[1.0, 2.0, 1e30], [6.0, float("inf"), 0.0]]).unsqueeze(-1), torch.ones(2, 3, 1)
    mask[0, 2] = mask[1, 1:] = 0
    x = torch.where(mask.bool(), x, 1e9)
    assert torch.equal(standardise(x, mask, x), by_definition(x, mask)) and standardise(x, mask).abs().max() > 1


def test_a_nan_is_not_taken_for_a_constant():
    x = torch.tensor([1.0, float("nan"), 1.0]).view(3, 1, 1)
    assert standardise(x, torch.ones(3, 1, 1)).isnan().all()


def rollout_with_values(values, reward: float):
    """Seven plays of one step, each paid `reward`, and a critic that says `values`, [7]."""
    batch = make_batch(B=7, T=1, N=2)
    batch["reward"][:, 0] = reward
    learner = make_learner(batch)
    said = values.view(7, 1, 1).expand(7, 2, 1)
    critic = SimpleNamespace(
        inputs=lambda batch: batch["state"], vjp=lambda inputs: (said, None), denormalise=lambda values: values
    )
    return make_rollout(batch, learner.mac, critic, learner.config, None)


def test_the_rounding_of_values_is_no_advantage():
    """A critic may give equal observations values that differ in their last bits, however large they are."""
    for scale in (1.0, 1e4, 1e6):
        ulp = torch.finfo(torch.float32).eps * scale
        values = scale + ulp * torch.tensor([0.0, 1.0, 0.0, -1.0, 2.0, 0.0, 0.0])
        rollout = rollout_with_values(values, scale)
        assert (rollout.returns - rollout.values).abs().max() > 0 and rollout.raw_advantage_std > 0
        assert (rollout.advantages == 0).all()
        rollout = rollout_with_values(values + 1e-3 * scale * torch.arange(7.0), scale)
        assert rollout.advantages.abs().max() == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("reward", [1.0, 0.1])
def test_no_policy_moves_on_equal_advantages(algorithm, reward):
    """Plays of one step that all see the same and are all paid the same."""
    batch = make_batch(B=7, T=1, N=4, A=2)
    batch["obs"][:], batch["state"][:], batch["reward"][:, 0] = 1.0, 1.0, reward
    settings = {"standardise_advantages": True, "entropy_coef": 0.0, "learner_log_interval": 0}
    if algorithm == "log_linear_ppo":
        settings["target"] = "advantage"
    learner = make_learner(batch, algorithm, **settings)
    for t in range(30):  # the critic moves, and with it what is rounded
        before = [optimiser.vector.detach().clone() for optimiser in learner.actor_optimisers]
        learner.train(batch, t, 0)
        for vector, optimiser in zip(before, learner.actor_optimisers, strict=True):
            assert torch.equal(optimiser.vector, vector)
    assert max(value for _, value in learner.logger.stats["kl_max"]) < 1e-6


@pytest.mark.parametrize("seed", range(2))
def test_who_has_found_how_to_anti_coordinate_stays_there(seed):
    """HATRPO, 4 agents, seven plays an update: once all plays pay the same there is no step, and so no way back."""
    batch, paid = make_batch(B=7, T=1, N=4, A=2, obs_dim=1), []
    batch["obs"][:], batch["state"][:] = 1.0, 1.0
    learner = make_learner(batch, "hatrpo", seed=seed, kl_threshold=0.05)
    for t in range(100):
        actions = learner.mac.select_actions(batch, 0, t)
        batch["actions"][:, 0, :, 0] = actions
        first, second = actions[:, :2], actions[:, 2:]
        batch["reward"][:, 0, 0] = ((first == first[:, :1]).all(1) & (second == 1 - first[:, :1]).all(1)).float()
        learner.train(batch, t, 0)
        zero = learner.mac.forward(batch, 0)[0, :, 0].double()
        one = 1 - zero
        paid.append((zero[0] * zero[1] * one[2] * one[3] + one[0] * one[1] * zero[2] * zero[3]).item())
    there = next(t for t, payoff in enumerate(paid) if payoff > 0.99)
    assert there < 50 and min(paid[there:]) > 0.99
