"""Passes in parts: every valid step once, the same losses, and nothing of it where there is one part."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.onpolicy.minibatch import minibatches
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import continuous, make_batch, make_learner

LENGTHS = [6, 3, 1, 5]


def made(name="happo", real_valued=False, **settings):
    batch = make_batch(lengths=LENGTHS, avail=0.7)
    batch = continuous(batch, dimensions=[4, 2, 1]) if real_valued else batch
    learner = make_learner(batch, name, hidden_dim=8, **settings)
    return learner, batch, make_rollout(batch, learner.mac, learner.critic, learner.config, None)


def test_one_part_is_the_rollout_itself_and_draws_nothing():
    _, _, rollout = made()
    state = torch.get_rng_state()
    assert list(minibatches(rollout, 3, 1)) == [rollout] * 3
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("real_valued", [False, True])
@pytest.mark.parametrize("use_rnn", [False, True])
def test_the_parts_of_a_pass_are_all_valid_steps_once(use_rnn, real_valued):
    learner, _, rollout = made(use_rnn=use_rnn, real_valued=real_valued)
    number = torch.arange(24).view(4, 6)  # of each step
    expected = number[rollout.mask.bool()].tolist()
    orders = []
    for _ in range(2):
        parts = list(minibatches(rollout, 1, 3))
        assert len(parts) == 3
        seen = [part.pick(number)[part.mask.bool()] for part in parts]
        orders.append(torch.cat(seen).tolist())
        assert sorted(orders[-1]) == expected
        for part, numbers in zip(parts, seen, strict=True):
            whole = rollout.evaluate_all(learner.mac)[0]
            for i in range(3):
                rows = [(int(n) // 6, int(n) % 6) for n in numbers]
                expected_log_probs = torch.stack([whole[i][row] for row in rows])
                for found in (part.evaluate(learner.mac, i)[0], part.evaluate_all(learner.mac)[0][i]):
                    torch.testing.assert_close(found[part.mask.bool()], expected_log_probs)
                for found in (part.old_log_prob(i), part.old_log_probs[i], part.pick_all(rollout.old_log_probs)[i]):
                    assert torch.equal(
                        found[part.mask.bool()], torch.stack([rollout.old_log_probs[i][r] for r in rows])
                    )
                assert torch.equal(
                    part.advantage(i)[part.mask.bool()], torch.stack([rollout.advantage(i)[r] for r in rows])
                )
        if not use_rnn:
            assert {len(numbers) for numbers in seen} == {5}
    assert orders[0] != orders[1]


@pytest.mark.parametrize("use_rnn", [False, True])
def test_more_parts_than_there_are_steps_are_as_many_as_there_are(use_rnn):
    _, _, rollout = made(use_rnn=use_rnn)
    assert len(list(minibatches(rollout, 1, 100))) == (4 if use_rnn else 15)


@pytest.mark.parametrize("name", ["happo", "jr_ppo", "ir_ippo", "matrl"])
def test_a_pass_takes_as_many_steps_as_it_has_parts(name):
    learner, batch, _ = made(name, epochs=2, actor_num_mini_batch=3, critic_epochs=4, critic_num_mini_batch=5)
    learner.train(batch, 0, 0)
    assert {int(o.adam.moments["step"]) for o in learner.actor_optimisers} in ({6}, {12})
    assert learner.critic_optimiser.adam.moments["step"] == 20
    if name != "matrl":
        assert int(learner.actor_optimisers[0].adam.moments["step"]) == 6


def test_with_a_step_that_is_tiny_parts_add_up_to_the_whole_gradient(double_precision):
    """The mean of the parts' gradients is the whole batch's: 15 valid steps in 3 parts of 5."""
    learner, _, rollout = made()
    factor = torch.rand(4, 6) + 0.5
    learner.policy_loss(rollout, 1, factor)
    whole = learner.actor_optimisers[1].vector.grad.clone()
    parts = []
    for part in minibatches(rollout, 1, 3):
        learner.policy_loss(part, 1, part.pick(factor))
        parts.append(learner.actor_optimisers[1].vector.grad.clone())
    torch.testing.assert_close(torch.stack(parts).mean(0), whole, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(parts[0], whole)
