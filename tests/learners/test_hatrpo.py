"""HATRPO's update against textbook TRPO, against enumeration, and against the trust region it promises.

Shape letters: B episodes, T steps, N agents, A actions, P parameters of one actor.
"""

from __future__ import annotations

import math

import pytest
import torch
from epymarl_trust_region.games.markov import average_out, joint_policy
from epymarl_trust_region.onpolicy.returns import masked_mean
from epymarl_trust_region.onpolicy.rollout import make_rollout
from oracles.exact import N_ACTIONS, WEIGHTS, exact_setting, gain_in_turn
from support import continuous, make_batch, make_learner
from textbook import textbook_trpo

RAGGED = [6, 3, 1, 5]


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, None)


def hatrpo(batch, **overrides):
    return make_learner(batch, "hatrpo", **overrides)


def true_kl(learner, rollout, agent) -> float:
    """mean over valid steps of KL(old || new), from the policies themselves."""
    return masked_mean(rollout.policy(learner.mac, agent).kl(rollout.old_policies[agent]), rollout.mask).item()


def surrogate(learner, rollout, agent, factor) -> float:
    """mean[r M]."""
    return masked_mean(rollout.ratio(learner.mac, agent) * factor * rollout.advantage(agent), rollout.mask).item()


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("kl_threshold", [0.001, 0.5])
@pytest.mark.parametrize("gaussian", [False, True])
def test_one_agent_is_trpo(use_rnn, kl_threshold, gaussian, double_precision):
    """With as many iterations as it takes; the large region makes the line search of a softmax go back."""
    batch = make_batch(B=4, T=6, N=1, lengths=RAGGED)
    batch = continuous(batch) if gaussian else batch
    learner = hatrpo(batch, use_rnn=use_rnn, hidden_dim=4, cg_iters=2000, kl_threshold=kl_threshold)
    actor = learner.mac.agent.agents[0]
    torch.nn.init.normal_(getattr(actor, "network", actor).head.weight, std=0.3)
    rollout = rollout_of(learner, batch)
    expected = textbook_trpo(
        actor, rollout.inputs[0], rollout.actions[0], rollout.advantage(0), rollout.mask, learner.config
    )
    before = learner.mac.agent.vector(0).clone()
    statistics = learner.update_policies(rollout)
    found = learner.mac.agent.vector(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)  # conjugate gradient stops at 1e-5 of the gradient
    assert (found - before).abs().max() > 1e-2
    assert (statistics["agent_0_line_search_step"] > 0) == (kl_threshold == 0.5 and not gaussian)


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("kl_threshold", [1e-4, 0.01, 0.3, 5.0])
def test_no_accepted_step_leaves_the_trust_region(use_rnn, kl_threshold):
    """Ragged episodes and unavailable actions, update after update; what is logged is what happened."""
    seen = set()
    learner = hatrpo(make_batch(B=4), use_rnn=use_rnn, kl_threshold=kl_threshold, hidden_dim=16)
    for seed in range(6):
        rollout = rollout_of(learner, make_batch(seed=seed, lengths=RAGGED, avail=0.7))
        factors = record_factors(learner)
        statistics = learner.update_policies(rollout)
        for agent in range(3):
            taken = statistics[f"agent_{agent}_line_search_step"]
            kl, gain = true_kl(learner, rollout, agent), surrogate(learner, rollout, agent, factors[agent])
            gain -= masked_mean(factors[agent] * rollout.advantage(agent), rollout.mask).item()
            assert kl <= kl_threshold * (1 + 1e-4)
            assert statistics[f"agent_{agent}_improvement"] == pytest.approx(gain, rel=1e-5, abs=1e-6)
            if taken >= 0:
                promised = statistics[f"agent_{agent}_expected_improvement"]
                assert gain >= learner.config.accept_ratio * promised * (1 - 1e-5) - 1e-6 and gain > 0 and kl > 0
            seen.add(taken)
    assert max(seen) >= 0


def record_factors(learner) -> dict[int, torch.Tensor]:
    """The factor that each agent is given in the next update."""
    factors, step = {}, type(learner).trust_region_step

    def trust_region_step(rollout, agent, factor):
        factors[agent] = factor.clone()
        return step(learner, rollout, agent, factor)

    learner.trust_region_step = trust_region_step
    return factors


@pytest.mark.parametrize("use_rnn", [False, True])
def test_without_damping_the_quadratic_of_the_full_step_is_the_radius(use_rnn, double_precision):
    """x.Fx beta^2 / 2 = delta exactly; the true KL of a small step is close to it."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner = hatrpo(batch, use_rnn=use_rnn, cg_damping=0.0, kl_threshold=1e-6, accept_ratio=0.01, hidden_dim=8)
    torch.nn.init.normal_(learner.mac.agent.agents[1].head.weight)
    rollout = rollout_of(learner, batch)
    policy, push, _ = rollout.linearise(learner.mac, 1)
    before = learner.mac.agent.vector(1).clone()
    statistics = learner.trust_region_step(rollout, 1, torch.ones_like(rollout.mask))
    assert statistics["line_search_step"] in (0, 1)
    kl = true_kl(learner, rollout, 1)
    step = (learner.mac.agent.vector(1) - before) / learner.config.backtrack_coef ** statistics["line_search_step"]
    parameters = learner.mac.agent_parameters(1)
    parts = [x.view(p.shape) for x, p in zip(step.split([p.numel() for p in parameters]), parameters, strict=True)]
    learner.mac.agent.vector(1).copy_(before)  # where the linearisation holds
    u = push(parts)
    quadratic = masked_mean((u * policy.fisher_product(u)).sum(-1), rollout.mask).item() / 2
    assert quadratic == pytest.approx(1e-6, rel=1e-9)
    shorter = learner.config.backtrack_coef ** (2 * statistics["line_search_step"])
    assert kl == pytest.approx(shorter * 1e-6, rel=0.05)


def test_damping_shortens_the_step():
    batch, steps = make_batch(B=16), []
    for damping in (0.0, 0.1, 10.0):
        learner = hatrpo(batch, cg_damping=damping, kl_threshold=1e-4)
        rollout = rollout_of(learner, batch)
        learner.trust_region_step(rollout, 0, torch.ones_like(rollout.mask))
        steps.append(true_kl(learner, rollout, 0))
    assert steps[0] > steps[1] > steps[2] > 0


def test_a_rejected_step_leaves_every_bit_as_it_was():
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner = hatrpo(batch, kl_threshold=1e4, line_search_steps=0)  # a step so long that it cannot gain enough
    rollout = rollout_of(learner, batch)
    before = [learner.mac.agent.vector(i).clone() for i in range(3)]
    statistics = learner.update_policies(rollout)
    for i in range(3):
        assert statistics[f"agent_{i}_line_search_step"] == -1 and statistics[f"agent_{i}_improvement"] == 0
        assert torch.equal(learner.mac.agent.vector(i), before[i])
    assert statistics["factor_min"] == statistics["factor_max"] == 1


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("order", ["random", "fixed"])
def test_factor_is_the_product_of_the_ratios_of_the_agents_before(use_rnn, order):
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner = hatrpo(batch, use_rnn=use_rnn, kl_threshold=0.05, agent_order=order)
    factors, rollout = record_factors(learner), rollout_of(learner, batch)
    learner.update_policies(rollout)
    assert sorted(factors) == [0, 1, 2]
    product = torch.ones_like(rollout.mask)
    for agent, factor in factors.items():
        torch.testing.assert_close(factor, product)
        log_prob = rollout.policy(learner.mac, agent).log_prob(rollout.actions[agent])
        ratio = (log_prob - rollout.old_log_probs[agent]).exp()
        product = product * torch.where(rollout.mask.bool(), ratio, 1.0)
    assert (product - 1).abs().max() > 0.05


def test_only_the_agent_whose_turn_it_is_moves():
    batch = make_batch()
    learner = hatrpo(batch)
    before = [learner.mac.agent.vector(i).clone() for i in range(3)]
    rollout = rollout_of(learner, batch)
    learner.trust_region_step(rollout, 1, torch.ones_like(rollout.mask))
    assert [torch.equal(learner.mac.agent.vector(i), before[i]) for i in range(3)] == [True, False, True]


@pytest.mark.parametrize("use_rnn", [False, True])
def test_an_agent_with_a_single_action_all_along_stays_where_it_is(use_rnn):
    """Dead for the whole batch: gradient and Fisher matrix are zero, and nothing becomes NaN."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    batch["avail_actions"][:, :, 1] = torch.tensor([1, 0, 0, 0])
    batch["actions"][:, :, 1] = 0
    learner = hatrpo(batch, use_rnn=use_rnn)
    rollout, before = rollout_of(learner, batch), [learner.mac.agent.vector(i).clone() for i in range(3)]
    statistics = learner.update_policies(rollout)
    assert torch.equal(learner.mac.agent.vector(1), before[1])
    assert statistics["agent_1_line_search_step"] == -1 and statistics["agent_1_cg_iterations"] == 0
    for i in (0, 2):
        assert not torch.equal(learner.mac.agent.vector(i), before[i])
    assert all(math.isfinite(value) for value in statistics.values())
    learner.train(batch, 0, 0)
    assert all(parameter.isfinite().all() for parameter in learner.mac.parameters())


def test_states_with_a_single_action_say_nothing(double_precision):
    """They add 0 to the gradient and to the KL, and count in the mean of both: the step is that of the other states
    with a region as much wider as they are fewer."""
    batch = make_batch(B=8, T=2, N=1)
    single = batch.copy()
    single["avail_actions"][:, 1] = torch.tensor([1, 0, 0, 0])
    single["actions"][:, 1] = 0
    only = batch.copy()
    only["filled"][:, 2] = only["filled"][:, 1] = 0  # the first step alone
    only["terminated"][:, 0] = 1
    steps = []
    for data, radius in ((single, 0.005), (only, 0.01)):
        learner = hatrpo(data, cg_damping=0.0, kl_threshold=radius, hidden_dim=4, cg_iters=500, accept_ratio=0.01)
        rollout = rollout_of(learner, data)
        object.__setattr__(rollout, "advantages", torch.sin(torch.arange(16.0)).view(8, 2, 1))
        before = learner.mac.agent.vector(0).clone()
        learner.update_policies(rollout)
        steps.append(learner.mac.agent.vector(0) - before)
    assert steps[0].abs().max() > 1e-3
    torch.testing.assert_close(*steps, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_each_agents_step_and_its_gain_are_exact_ones(seed, order):
    """On a batch without sampling error: the gradient is that of the exact gain in turn (Proposition 3), and what the
    steps are logged to gain adds up to the joint advantage of the new policies (Lemma 1)."""
    rng, game, old, learner, rollout = exact_setting(seed, "hatrpo", kl_threshold=0.02)
    new, factor, total = list(old), torch.ones_like(rollout.mask), 0.0
    for m, agent in enumerate(order):
        head = learner.mac.agent.agents[agent].head
        statistics = learner.trust_region_step(rollout, agent, factor)
        names = dict(
            zip(learner.mac.agent.agents[agent].in_order, learner.actor_optimisers[agent].gradients, strict=True)
        )
        gain, p = gain_in_turn(game, old, new, order, m), old[agent]
        expected = WEIGHTS[:, None] * p * (gain - (p * gain).sum(-1, keepdims=True))
        found = names[head.weight][: N_ACTIONS[agent], :3].numpy().T
        assert abs(found - expected).max() < 1e-12 and abs(expected).max() > 1e-3
        probs = rollout.policy(learner.mac, agent).probs[:, 0].detach()
        first = [int((rollout.inputs[agent][:, 0, s] == 1).nonzero()[0]) for s in range(3)]
        new[agent] = probs[first].numpy()[:, : N_ACTIONS[agent]]
        improvement = WEIGHTS @ (gain * (new[agent] - old[agent])).sum(-1)
        assert statistics["improvement"] == pytest.approx(improvement, abs=1e-12) and improvement > 1e-4
        total += improvement
        factor = factor * rollout.ratio(learner.mac, agent)
    joint = WEIGHTS @ average_out(game.advantages(joint_policy(old)), new, [])
    assert total == pytest.approx(joint, abs=1e-12)
