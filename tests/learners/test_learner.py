"""What all on-policy learners share: the optimiser's guards, what is logged and when, and what a checkpoint refuses."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from epymarl_trust_region import seeding
from epymarl_trust_region.errors import CapabilityError, CheckpointError, ConfigError
from epymarl_trust_region.onpolicy import adam, checkpoint
from epymarl_trust_region.onpolicy.optimiser import Optimiser
from epymarl_trust_region.onpolicy.returns import masked_mean
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import make_batch, make_learner


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, learner.episode_limit)


def test_a_long_gradient_is_cut_to_the_norm_asked_for_and_logged_as_it_was():
    config = make_learner(make_batch(), grad_norm_clip=2.0).config
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = Optimiser("x", [weight], 0.1, config)
    optimiser.gradients[0][:] = torch.tensor([30.0, 40.0])
    optimiser.step()
    assert optimiser.grad_norm == pytest.approx(50)
    moment = optimiser.adam.moments["exp_avg"]  # 0.1 of the first gradient, 0.9 of itself after that
    torch.testing.assert_close(moment, torch.tensor([0.12, 0.16]))
    optimiser.gradients[0][:] = torch.tensor([0.3, 0.4])
    optimiser.step()
    assert optimiser.grad_norm == pytest.approx(0.5)
    torch.testing.assert_close(moment, torch.tensor([0.9 * 0.12 + 0.03, 0.9 * 0.16 + 0.04]))


def test_backward_and_step_descend_like_pytorchs_own_optimiser():
    """Over steps, one of them with a gradient that is not finite: nothing of a gradient is left for the next step."""
    config = make_learner(make_batch(), optim_eps=1e-5, grad_norm_clip=1e9).config
    ours, theirs = ([torch.nn.Parameter(torch.tensor([1.0, -2.0])), torch.nn.Parameter(torch.ones(1))] for _ in "ab")
    optimiser = Optimiser("x", ours, 0.1, config)
    adam = torch.optim.Adam(theirs, lr=0.1, eps=1e-5)
    for scale in (1.0, 3.0, float("nan"), 0.5):
        for weights, step in ((ours, optimiser.step), (theirs, adam.step)):
            adam.zero_grad()
            loss = scale * ((weights[0] - 3) ** 2).sum() + weights[1].exp().sum()
            loss.backward()
            if weights is ours or scale == scale:
                step()
    for mine, plain in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, plain)


def test_without_the_kernel_pytorchs_own_function_is_called(monkeypatch):
    """To the same bits; of gradients that are skipped, too."""
    config, found = make_learner(make_batch()).config, []
    for kernel in (adam._fused, None):
        monkeypatch.setattr(adam, "_fused", kernel)
        one = Optimiser("x", [torch.nn.Parameter(torch.linspace(-1, 1, 5))], 0.1, config)
        for on_host, value in ((True, 1.0), (False, 2.0), (False, float("nan"))):
            one.on_host = on_host
            one.gradients[0][:] = value
            one.step()
        found.append([one.vector.detach(), *one.adam.moments.values()])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("clip", [2.0, 1e9])
def test_a_step_that_the_host_does_not_look_at_is_the_same_step(clip):
    """As on a GPU, here on the CPU: to the same bits, of gradients that are cut, whole, NaN and infinite."""
    config = make_learner(make_batch(), grad_norm_clip=clip).config
    generator, ones = torch.Generator().manual_seed(0), []
    for _ in range(2):
        ones.append(Optimiser("x", [torch.nn.Parameter(torch.linspace(-1, 1, 30))], 0.1, config))
    ones[1].on_host = False
    for update in (["whole", "nan", "whole"], [], ["inf", "nan"], ["huge", "whole"]):
        for kind in update:
            gradient = torch.randn(30, generator=generator)
            gradient[3] = {"nan": float("nan"), "inf": float("inf"), "huge": 1e30}.get(kind, gradient[3])
            for one in ones:
                one.gradients[0][:] = gradient
                one.step()
        assert ones[0].take_skipped() == ones[1].take_skipped() == sum(kind != "whole" for kind in update)
        assert ones[0].grad_norm == ones[1].grad_norm > 0 and ones[0].take_skipped() == ones[1].take_skipped() == 0
        assert torch.equal(ones[0].vector, ones[1].vector) and (ones[1].gradient == 0).all()
        for name, moment in ones[0].adam.moments.items():
            assert torch.equal(moment, ones[1].adam.moments[name]), name


def test_an_update_that_the_host_does_not_look_at_is_the_same_update():
    batch, learners = make_batch(), []
    for on_host in (True, False):
        learner = make_learner(batch, "happo", actor_num_mini_batch=2, grad_norm_clip=0.01)
        for optimiser in (*learner.actor_optimisers, learner.critic_optimiser):
            optimiser.on_host = on_host
        for k in range(3):
            learner.train(batch, k, 0)
        learners.append(learner)
    for one, other in zip(learners[0].mac.parameters(), learners[1].mac.parameters(), strict=True):
        assert torch.equal(one, other)
    assert learners[0].critic_optimiser.grad_norm == learners[1].critic_optimiser.grad_norm > 0.01


def test_moments_go_to_pytorchs_own_optimiser_and_back():
    """What older versions have saved, and what other programs read."""
    config = make_learner(make_batch(), optim_eps=1e-5, grad_norm_clip=1e9).config
    weights = [torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in "abc"]
    first, theirs = Optimiser("x", [weights[0]], 0.1, config), torch.optim.Adam([weights[1]], lr=0.1, eps=1e-5)
    last = Optimiser("x", [weights[2]], 0.7, config)
    assert first.state_dict()["state"] == theirs.state_dict()["state"] == {}

    def step(optimiser, weight, gradient) -> None:
        if weight.grad is None:
            weight.grad = torch.zeros(2)
        weight.grad.copy_(torch.tensor(gradient))
        optimiser.step()

    step(first, weights[0], [0.3, -0.4])
    assert first.state_dict()["param_groups"][0].keys() == theirs.state_dict()["param_groups"][0].keys()
    with torch.no_grad():
        weights[1].copy_(weights[0])
    theirs.load_state_dict(first.state_dict())
    step(theirs, weights[1], [-0.1, 0.2])
    with torch.no_grad():
        weights[2].copy_(weights[1])
    last.load_state_dict(theirs.state_dict())
    step(last, weights[2], [0.5, 0.5])
    unbroken = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimiser = torch.optim.Adam([unbroken], lr=0.1, eps=1e-5, fused=True)
    for gradient in ([0.3, -0.4], [-0.1, 0.2], [0.5, 0.5]):
        step(optimiser, unbroken, gradient)
    torch.testing.assert_close(weights[2], unbroken)
    other = Optimiser("x", [torch.nn.Parameter(torch.zeros(3))], 0.1, config)
    with pytest.raises(ValueError, match="moments of 2 parameters for 3"):
        other.load_state_dict(theirs.state_dict())


def test_step_sizes_and_epsilon_are_the_configurations():
    learner = make_learner(make_batch(), lr=0.25, critic_lr=0.125, optim_eps=0.5)
    adams = [o.adam for o in (*learner.actor_optimisers, learner.critic_optimiser)]
    assert [(adam.lr, adam.eps) for adam in adams] == [(0.25, 0.5)] * 3 + [(0.125, 0.5)]


def test_a_learner_checks_its_configuration_whoever_made_it():
    batch = make_batch()
    with pytest.raises(ConfigError, match="eps_clip"):
        make_learner(batch, eps_clip=-1)
    for setting in ({"share_parameters": True}, {"common_reward": False}):
        with pytest.raises(CapabilityError, match="HAPPO does not support"):
            make_learner(batch, **setting)


def test_the_time_limit_of_the_environment_is_the_one_that_bootstraps():
    batch = make_batch(B=4, T=6)
    returns = {}
    for limit in (None, 6, 7):
        learner = make_learner(batch, env_args={"time_limit": limit})
        assert learner.episode_limit == limit
        seen = []
        learner.update_policies = lambda rollout, seen=seen: seen.append(rollout.returns) or {}
        learner.train(batch, 0, 0)
        returns[limit] = seen[0][:, -1]
    torch.testing.assert_close(returns[None], batch["reward"][:, 5])
    assert torch.equal(returns[7], returns[None])
    assert (returns[6] != returns[None]).all()


def test_statistics_are_logged_at_the_first_update_and_once_per_interval():
    batch = make_batch()
    learner = make_learner(batch, learner_log_interval=100, epochs=1, critic_epochs=1)
    for t_env in (0, 50, 99, 100, 150, 260, 300, 360):
        learner.train(batch, t_env, 0)
    assert [t for t, _ in learner.logger.stats["kl_mean"]] == [0, 100, 260, 360]


def test_what_is_logged_is_what_happened():
    batch = make_batch(lengths=[6, 3, 1, 5])
    learner = make_learner(batch, lr=0.01)
    losses = []
    fit = learner.fit_critic
    learner.fit_critic = lambda rollout: losses.append(fit(rollout)) or losses[-1]
    before = rollout_of(learner, batch)
    learner.train(batch, 7, 0)
    logged = {name: value for name, ((t, value),) in learner.logger.stats.items() if t == 7}
    norms = [optimiser.grad_norm for optimiser in learner.actor_optimisers]
    assert [logged[f"agent_{i}_grad_norm"] for i in range(3)] == norms and all(norms)
    assert logged["agent_grad_norm"] == pytest.approx(sum(norms) / 3)
    assert logged["critic_grad_norm"] == learner.critic_optimiser.grad_norm > 0
    assert logged["critic_loss"] == losses[0] > 0
    assert logged["value_mean"] == pytest.approx(before.values[before.mask.bool()].mean().item(), abs=1e-6)
    assert logged["factor_ess"] < 1
    for i in range(3):
        policy = learner.mac.policy(i, before.inputs[i], before.avail_actions[i])
        kl = masked_mean(policy.kl(before.old_policies[i]), before.mask).item()
        assert logged[f"agent_{i}_kl_mean"] == pytest.approx(kl, abs=1e-6) and kl > 1e-4
    assert len({logged[f"agent_{i}_kl_mean"] for i in range(3)}) == 3
    assert 0 < logged["clip_fraction"] < 1


def test_policy_loss_before_the_first_step_is_the_entropy_bonus_and_the_mean_advantage():
    """Where new and old policy are the same, every ratio is 1 and nothing is clipped."""
    batch = make_batch(N=1, lengths=[6, 3, 1, 5])
    learner = make_learner(batch, epochs=1, entropy_coef=0.5, standardise_advantages=False)
    rollout = rollout_of(learner, batch)
    entropy = masked_mean(rollout.old_policies[0].entropy(), rollout.mask)
    expected = -masked_mean(rollout.advantage(0), rollout.mask) - 0.5 * entropy
    assert learner.update_policies(rollout)["pg_loss"] == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("agent_order, expected", [("random", 6), ("fixed", 1)])
def test_the_order_is_drawn_anew_for_every_update_unless_it_is_fixed(agent_order, expected):
    batch = make_batch(B=1, T=1)
    learner = make_learner(batch, agent_order=agent_order, epochs=1)
    rollout = rollout_of(learner, batch)
    orders, turns, loss = [], [], learner.policy_loss
    learner.policy_loss = lambda rollout, agent, factor: turns.append(agent) or loss(rollout, agent, factor)
    for _ in range(60):
        turns.clear()
        learner.update_policies(rollout)
        orders.append(tuple(turns))
    assert len(set(orders)) == expected and all(sorted(order) == [0, 1, 2] for order in orders)
    assert agent_order == "random" or orders[0] == (0, 1, 2)


def test_factor_statistics_are_of_the_factor_that_the_last_agent_was_given():
    batch = make_batch(N=2)
    learner = make_learner(batch, lr=0.05, agent_order="fixed")
    rollout = rollout_of(learner, batch)
    stats = learner.update_policies(rollout)
    first = learner.mac.policy(0, rollout.inputs[0], rollout.avail_actions[0])
    ratio = (first.log_prob(rollout.actions[0]) - rollout.old_log_probs[0]).exp()
    assert stats["factor_min"] == pytest.approx(ratio.min().item(), abs=1e-5)
    assert stats["factor_max"] == pytest.approx(ratio.max().item(), abs=1e-5)


def test_every_generator_is_put_back():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    np.random.randn()  # leaves the second of a pair of normal numbers behind

    def draw():
        return random.random(), np.random.randn(), np.random.rand(), torch.rand(1).item()

    state = seeding.random_state()
    expected = draw()
    assert draw() != expected
    seeding.restore_random_state(state)
    assert draw() == expected


def test_a_checkpoint_of_another_algorithm_or_critic_is_refused(tmp_path):
    batch = make_batch()
    learner = make_learner(batch)
    learner.save_models(str(tmp_path))
    with pytest.raises(CheckpointError, match="another task or network"):
        make_learner(batch, critic_hidden_dim=32).load_models(str(tmp_path))
    with pytest.raises(CheckpointError, match="another task or network"):
        make_learner(batch, value_norm="popart").load_models(str(tmp_path))
    state = checkpoint.read(str(tmp_path))
    checkpoint.write(str(tmp_path), {**state, "optimisers": state["optimisers"][:-1]})
    with pytest.raises(CheckpointError, match="another task or network"):
        learner.load_models(str(tmp_path))
    checkpoint.write(str(tmp_path), {**state, "algorithm": "HATRPO"})
    with pytest.raises(CheckpointError, match="was written by HATRPO, not HAPPO; use the configuration that wrote it"):
        learner.load_models(str(tmp_path))


def test_the_log_goes_on_where_it_was(tmp_path):
    batch = make_batch()
    learner = make_learner(batch, learner_log_interval=100)
    learner.train(batch, 250, 0)
    learner.save_models(str(tmp_path))
    resumed = make_learner(batch, learner_log_interval=100)
    resumed.load_models(str(tmp_path))
    resumed.train(batch, 300, 0)
    assert resumed.logger.stats == {}
    resumed.train(batch, 350, 0)
    assert [t for t, _ in resumed.logger.stats["kl_mean"]] == [350]


def test_moving_to_a_gpu_moves_actors_and_critic_and_the_optimisers_follow(monkeypatch):
    """`cuda` as a conversion that gives every parameter new memory: the optimisers must step the new one."""
    learner, moved = make_learner(make_batch()), []

    def cuda(module):
        moved.append(module)
        return module._apply(lambda tensor: tensor.clone())

    monkeypatch.setattr(torch.nn.Module, "cuda", cuda)
    learner.cuda()
    assert moved == [learner.mac.agent, learner.critic]
    for optimiser in (*learner.actor_optimisers, learner.critic_optimiser):
        before = [parameter.clone() for parameter in optimiser.parameters]
        optimiser.vector.grad.fill_(1.0)
        optimiser.step()
        assert all((a < b).all() for a, b in zip(optimiser.parameters, before, strict=True))


def test_a_learner_does_without_pytorchs_compiler():
    """Which takes a second of each process, and memory: `torch.optim.Adam` imports it."""
    code = """
import sys
from support import make_batch, make_learner
batch = make_batch()
make_learner(batch).train(batch, 0, 0)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
