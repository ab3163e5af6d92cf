"""Padding that is left out of an update: the same steps, the same update, and nothing where it does not pay."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.onpolicy import learner as learner_module
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import continuous, make_batch, make_learner

ALGORITHMS = ["happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "il", "il_pp", "matrl", "matrl_no_br", "inpg", "ipg",
              "log_linear_ppo"]  # fmt: skip
LENGTHS = [6, 3, 1, 5]  # 15 of 24 steps


def rollouts(batch, learner):
    parts = batch, learner.mac, learner.critic, learner.config, learner.episode_limit
    return make_rollout(*parts), make_rollout(*parts, pack=True)


@pytest.mark.parametrize("real_valued", [False, True])
def test_the_valid_steps_stand_in_a_row_as_they_were(real_valued, double_precision):
    batch = make_batch(lengths=LENGTHS, avail=0.7)
    batch = continuous(batch, dimensions=[4, 2, 1]) if real_valued else batch
    learner = make_learner(batch, "happo", hidden_dim=8)
    whole, packed = rollouts(batch, learner)
    valid = whole.mask.bool()
    assert packed.mask.shape == (1, 15) and packed.mask.all()
    for name in ("inputs", "actions", "old_log_probs"):
        for i in range(whole.n_agents):
            torch.testing.assert_close(getattr(packed, name)[i, 0], getattr(whole, name)[i][valid])
    for name in ("advantages", "returns", "values", "critic_inputs"):
        assert torch.equal(getattr(packed, name)[0], getattr(whole, name)[valid]), name
    assert torch.equal(packed.raw_advantage_std, whole.raw_advantage_std)
    for own, other in zip(packed.avail_actions, whole.avail_actions, strict=True):
        assert (own is None) == (other is None) and (own is None or torch.equal(own[0], other[valid]))


@pytest.mark.parametrize("settings", [{}, {"actor_num_mini_batch": 3, "critic_num_mini_batch": 2}])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_makes_the_update_that_it_made_with_padding(name, settings, double_precision, monkeypatch):
    vectors, logged = [], []
    individual = name in ("il", "il_pp", "matrl", "matrl_no_br", "ipg", "inpg")
    for pack in (True, False):
        batch = make_batch(lengths=LENGTHS, avail=0.7, seed=3)
        if individual:
            batch["reward"] = batch["reward"] * torch.tensor([1.0, -0.5, 2.0])
        learner = make_learner(batch, name, hidden_dim=8, common_reward=not individual, **settings)
        if not pack:
            monkeypatch.setattr(learner_module, "make_rollout", lambda *parts, pack, made=make_rollout: made(*parts))
        torch.manual_seed(5)
        for step in range(2):
            learner.train(batch, step, 0)
        optimisers = (*learner.actor_optimisers, learner.critic_optimiser)
        vectors.append(torch.cat([optimiser.vector.detach().flatten() for optimiser in optimisers]))
        logged.append({key: values[0][1] for key, values in learner.logger.stats.items()})
    torch.testing.assert_close(*vectors, rtol=1e-9, atol=1e-10)
    assert logged[0] == pytest.approx(logged[1], rel=1e-6, abs=1e-9)


def test_what_is_little_or_nothing_or_part_of_a_memory_stays():
    for lengths, settings in (
        ([6, 6, 6, 6], {}),
        ([20, 20, 19], {}),
        (LENGTHS, {"use_rnn": True}),
    ):
        batch = make_batch(B=len(lengths), T=max(lengths), lengths=lengths)
        learner = make_learner(batch, "happo", hidden_dim=8, **settings)
        whole, packed = rollouts(batch, learner)
        assert packed.mask.shape == whole.mask.shape == (len(lengths), max(lengths))
        assert torch.equal(packed.inputs, whole.inputs) and torch.equal(packed.returns, whole.returns)
