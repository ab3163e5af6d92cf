"""Running normalisation: the moments of everything seen, and the same numbers for whoever reads them."""

from __future__ import annotations

import copy

import pytest
import torch
from epymarl_trust_region.modules.input_norm import RunningNorm
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import make_batch, make_learner


def test_batches_one_after_the_other_are_all_of_them_at_once():
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5 + 1e5
    norm = RunningNorm(3)
    assert torch.equal(norm(x), x)
    for part in x.split([1, 400, 0, 599]):
        norm.update(part)
    expected = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(norm(x), expected, rtol=1e-9, atol=1e-9)


def test_far_values_are_clipped_and_a_dimension_that_never_moves_is_zero():
    norm = RunningNorm(2)
    norm.update(torch.tensor([[0.0, 3.0], [2.0, 3.0]]))
    assert norm(torch.tensor([[1e6, 3.0], [-1e6, 3.0], [2.0, 3.0]])).tolist() == [[10.0, 0.0], [-10.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("how", ["not at all", "updated", "loaded", "replaced", "copied"])
def test_moments_that_have_changed_are_read_anew(how):
    """What is kept from call to call is that of the present moments, in the precision that is asked for."""
    g = torch.Generator().manual_seed(0)
    first, more, x = (torch.randn(50, 3, generator=g) * 4 + shift for shift in (1, 7, 2))
    norm, fresh = RunningNorm(3), RunningNorm(3)
    norm.update(first)
    with torch.inference_mode():  # as runners do
        norm(x)
    fresh.update(first)
    if how != "not at all":
        fresh.update(more)
    if how == "updated":
        norm.update(more)
    elif how == "loaded":
        norm.load_state_dict(fresh.state_dict())
    elif how == "replaced":  # as a move to another device does; changed as often as those that were there
        norm.mean, norm.squares, norm.count = (one.clone().add_(0) for one in (fresh.mean, fresh.squares, fresh.count))
    elif how == "copied":
        norm = copy.deepcopy(norm)
        norm.update(more)
    x.requires_grad_()
    norm(x).sum().backward()  # which saves what was made in a rollout
    std = (fresh.squares / fresh.count).sqrt()
    torch.testing.assert_close(x.grad, (1 / std).float().expand_as(x))
    assert torch.equal(norm(x), fresh(x))
    torch.testing.assert_close(norm(x.double()), (x.double() - fresh.mean) / std, rtol=0, atol=1e-12)
    assert norm(x).dtype == torch.float32


@pytest.mark.parametrize("critic", ["central", "individual"])
def test_an_update_reads_what_the_rollout_read_and_the_next_one_the_new_moments(critic):
    batch = make_batch(lengths=[6, 3, 1, 5])
    learner = make_learner(batch, "ir_mappo", normalise_inputs=True, critic=critic, share_parameters=False)
    first, inputs = learner.mac.build_inputs(batch), learner.critic.inputs(batch)
    learner.train(batch, 0, 0)
    valid = batch["filled"].squeeze(-1).bool()
    assert valid.sum() == 19  # the observations after the last steps too
    obs = batch["obs"][valid].double()
    torch.testing.assert_close(learner.mac.agent.input_norm.mean, obs.mean(0))
    after = learner.mac.build_inputs(batch)
    normalised = ((batch["obs"] - obs.mean(0)) / obs.std(0, correction=0)).float()[:, :-1].permute(2, 0, 1, 3)
    torch.testing.assert_close(after[..., :5], normalised, rtol=1e-4, atol=1e-4)
    assert torch.equal(first[..., :5], batch["obs"][:, :-1].permute(2, 0, 1, 3))
    assert not torch.equal(learner.critic.inputs(batch), inputs)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    torch.testing.assert_close(rollout.ratio(learner.mac, 0), torch.ones(4, 6))


def test_the_moments_belong_to_the_checkpoint(tmp_path):
    batch = make_batch()
    learner, other = (make_learner(batch, seed=seed, normalise_inputs=True) for seed in (0, 1))
    learner.train(batch, 0, 0)
    learner.save_models(str(tmp_path))
    other.load_models(str(tmp_path))
    for _ in range(2):
        for one in (learner, other):
            torch.manual_seed(0)
            one.train(batch, 0, 0)
    for a, b in zip(learner.mac.agent.state_dict().values(), other.mac.agent.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(learner.critic.state_dict().values(), other.critic.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["happo", "hatrpo"])
def test_step_sizes_fall_in_a_straight_line(name):
    batch = make_batch()
    settings = {"lr": 0.1} if name == "happo" else {}
    learner = make_learner(batch, name, t_max=1000, critic_lr=0.2, use_linear_lr_decay=True, **settings)
    for t_env, share in ((0, 1.0), (250, 0.75), (900, 0.1), (1100, 0.0)):
        learner.train(batch, t_env, 0)
        assert learner.critic_optimiser.adam.lr == pytest.approx(0.2 * share)
        if name == "happo":
            assert learner.actor_optimisers[0].adam.lr == pytest.approx(0.1 * share)
