"""JR-PPO and independent ratios against PPO, against each other, and against what they must not depend on.

Shape letters: B episodes, T steps, N agents, A actions.
"""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.games.markov import average_out, joint_policy
from epymarl_trust_region.onpolicy.rollout import make_rollout
from oracles.exact import WEIGHTS, exact_setting, gain_in_turn
from support import make_batch, make_learner
from textbook import textbook_ppo

RAGGED = [6, 3, 1, 5]
SEPARATE = {"share_parameters": False, "obs_agent_id": False}
CONFIGS = ("jr_ppo", "ir_mappo", "ir_ippo")


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, None)


def parameters(learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in [*learner.mac.parameters(), *learner.critic.parameters()]]


def gradients(learner) -> torch.Tensor:
    return torch.cat([o.vector.grad for o in learner.actor_optimisers]).clone()


@pytest.mark.parametrize("config", ["jr_ppo", "ir_mappo"])
@pytest.mark.parametrize("sharing", [{}, SEPARATE], ids=["shared", "separate"])
def test_one_agent_is_ppo(config, sharing, double_precision):
    batch = make_batch(B=4, T=8, N=1)
    ours, ppo = (make_learner(batch, config, **{**sharing, "obs_agent_id": False}) for _ in range(2))
    start = parameters(ours)
    ours.train(batch, 0, 0)
    textbook_ppo(ppo, batch, ours.config, standardise=True)
    for a, b, before in zip(parameters(ours), parameters(ppo), start, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
        assert not torch.equal(a, before)


@pytest.mark.parametrize("common", [True, False])
def test_separate_ippo_is_ppo_once_per_agent(common, double_precision):
    """With individual critics and no sharing nothing couples the agents, whether their rewards are one or many."""
    batch = make_batch(B=4, T=8, N=3)
    if not common:
        batch["reward"] = torch.randn(4, 9, 3)
    ours, ppo = (make_learner(batch, "ir_ippo", common_reward=common, **SEPARATE) for _ in range(2))
    ours.train(batch, 0, 0)
    for agent in range(3):
        textbook_ppo(ppo, batch, ours.config, standardise=True, agent=agent)
    for a, b in zip(ours.mac.parameters(), ppo.mac.parameters(), strict=True):  # critics share one optimiser
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("sharing", [{}, SEPARATE], ids=["shared", "separate"])
@pytest.mark.parametrize("use_rnn", [False, True])
def test_at_the_old_policy_the_joint_gradient_is_the_sum_of_the_independent_ones(sharing, use_rnn, double_precision):
    """All ratios are 1 there: d prod_k r_k = sum_k d r_k, and the joint policy's entropy is the sum of the agents'."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    found = []
    for config in ("jr_ppo", "ir_mappo"):
        learner = make_learner(batch, config, use_rnn=use_rnn, hidden_dim=16, **sharing)
        learner.policy_loss(rollout_of(learner, batch))
        found.append(gradients(learner))
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=0, atol=1e-15)


def moved_away(learner, scale: float) -> None:
    """Other policies than the old ones, so that ratios differ from 1."""
    with torch.no_grad():
        for parameter in learner.mac.parameters():
            parameter.add_(scale * torch.randn_like(parameter))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("sharing", [{}, SEPARATE], ids=["shared", "separate"])
def test_loss_and_gradient_are_those_of_the_written_objective(config, sharing, double_precision):
    """By PyTorch's autograd, away from the old policy, where some ratios are clipped."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner = make_learner(batch, config, hidden_dim=8, entropy_coef=0.1, eps_clip=0.1, **sharing)
    rollout = rollout_of(learner, batch)
    moved_away(learner, 0.2)
    loss = learner.policy_loss(rollout)
    ours = gradients(learner)
    policies = [rollout.policy(learner.mac, i) for i in range(3)]
    ratios = [
        (p.log_prob(a) - o).exp() for p, a, o in zip(policies, rollout.actions, rollout.old_log_probs, strict=True)
    ]
    products = [torch.stack(ratios).prod(0)] if config == "jr_ppo" else ratios
    steps = 0.1 * sum(policy.entropy() for policy in policies)
    for i, ratio in enumerate(products):
        advantage, inside = rollout.advantage(i), ratio.clamp(0.9, 1.1)
        steps = steps + torch.min(ratio * advantage, inside * advantage)
        assert ((ratio - 1).abs() > 0.1).any() and ((ratio - 1).abs() < 0.1).any()
    plain = -(steps * rollout.mask).sum() / rollout.mask.sum()
    networks = [list(actor.parameters()) for actor in learner.mac.agent.agents]
    expected = torch.autograd.grad(plain, [p for network in networks for p in network])
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours, torch.cat([g.flatten() for g in expected]), rtol=1e-10, atol=1e-13)


def test_the_product_is_clipped_and_not_its_factors():
    """Ratios 1.5 and 1 / 1.5 make 1: inside every range, so both agents have a gradient. One clipped step has none."""
    batch = make_batch(B=1, T=2, N=2, A=2)
    learner = make_learner(batch, "jr_ppo", entropy_coef=0.0, **SEPARATE)
    rollout = rollout_of(learner, batch)
    object.__setattr__(rollout, "advantages", torch.ones(1, 2, 1))
    log_probs = rollout.old_log_probs + torch.tensor([[1.5, 1.5], [1 / 1.5, 1.0]]).log().view(2, 1, 2)
    loss, slope, _ = learner.loss(rollout, log_probs, torch.zeros(2, 1, 2))
    assert loss.item() == pytest.approx(-(1 + 1.2) / 2, abs=1e-6)
    assert slope.tolist() == [[pytest.approx(-0.5, abs=1e-6), 0.0]]


def test_a_huge_joint_ratio_is_cut_off_but_keeps_its_slope():
    batch = make_batch(B=1, T=1, N=2)
    learner = make_learner(batch, "jr_ppo", entropy_coef=0.0, **SEPARATE)
    rollout = rollout_of(learner, batch)
    object.__setattr__(rollout, "advantages", -torch.ones(1, 1, 1))
    loss, slope, _ = learner.loss(rollout, rollout.old_log_probs + 60, torch.zeros(2, 1, 1))
    assert loss.item() == pytest.approx(torch.tensor(20.0).exp().item(), rel=1e-6)
    assert 0 < slope.item() < float("inf")


@pytest.mark.parametrize("N", [1, 2, 5])
def test_a_clip_range_per_agent_is_the_range_over_the_number_of_agents(N):
    batch, results = make_batch(N=N), []
    for overrides in ({"eps_clip": 0.6, "clip_scaling": "per_agent"}, {"eps_clip": 0.6 / N, "clip_scaling": "none"}):
        learner = make_learner(batch, "ir_mappo", lr=0.05, **overrides)
        learner.train(batch, 0, 0)
        results.append((parameters(learner), learner.logger.stats["clip_fraction"]))
    assert all(torch.equal(a, b) for a, b in zip(results[0][0], results[1][0], strict=True))
    assert results[0][1] == results[1][1]


def test_the_logged_clip_fraction_is_of_the_ratio_that_is_clipped():
    batch = make_batch(B=16)
    for config in ("jr_ppo", "ir_mappo"):
        learner = make_learner(batch, config, lr=0.01, eps_clip=0.1)
        rollout = rollout_of(learner, batch)
        learner.train(batch, 0, 0)
        ratios = torch.stack([rollout.ratio(learner.mac, i) for i in range(3)])
        clipped = ratios.prod(0) if config == "jr_ppo" else ratios
        expected = ((clipped - 1).abs() > 0.1).float().mean().item()
        assert learner.logger.stats["clip_fraction"] == [(0, pytest.approx(expected))] and expected > 0


@pytest.mark.parametrize("config", ["jr_ppo", "ir_mappo", "ir_ippo", "happo", "il", "matrl"])
def test_without_a_clip_range_nothing_is_clipped(config):
    """Small steps are those within any range, bit for bit; large ones go beyond; no share of clipped ones is logged."""
    batch, beyond = make_batch(B=8), []
    for lr, eps_clip in ((1e-4, None), (1e-4, 0.9), (0.05, None), (0.05, 0.2)):
        learner = make_learner(batch, config, lr=lr, eps_clip=eps_clip)
        learner.train(batch, 0, 0)
        beyond.append(parameters(learner))
        assert ("clip_fraction" in learner.logger.stats) == (eps_clip is not None)
    assert all(torch.equal(a, b) for a, b in zip(*beyond[:2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(*beyond[2:], strict=True))


def test_with_separate_actors_independent_ratios_are_happo_without_its_sequence():
    """Each agent's update is that of HAPPO's first agent."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    simultaneous = make_learner(batch, "ir_mappo", **SEPARATE)
    happo = make_learner(batch, "happo", agent_order="fixed")
    rollout = rollout_of(happo, batch)
    simultaneous.update_policies(rollout_of(simultaneous, batch))
    for agent in range(3):
        for _ in range(happo.config.epochs):
            happo.policy_loss(rollout, agent, torch.ones_like(rollout.mask))
            happo.actor_optimisers[agent].step()
        torch.testing.assert_close(
            happo.mac.agent.vector(agent), simultaneous.mac.agent.vector(agent), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("critic, config", [("central", "ir_mappo"), ("individual", "ir_ippo")])
def test_the_critic_decides_whose_advantage_it_is(critic, config):
    batch = make_batch(lengths=RAGGED)
    learner = make_learner(batch, config)
    assert learner.config.critic == critic
    rollout = rollout_of(learner, batch)
    own = [rollout.advantage(i) for i in range(3)]
    assert torch.equal(own[0], own[1]) == (critic == "central")
    joint = rollout_of(make_learner(batch, "jr_ppo", critic=critic), batch)
    assert joint.advantages.shape[-1] == 1


@pytest.mark.parametrize("seed", range(2))
def test_the_joint_surrogate_is_the_exact_joint_advantage_and_the_independent_one_is_not(seed):
    """On a batch without sampling error: mean[l A] = E over new policies of A; sum_k mean[l_k A] = sum_k L_k."""
    values = {}
    for config in ("jr_ppo", "ir_mappo"):
        rng, game, old, learner, rollout = exact_setting(seed, config, eps_clip=1.0, entropy_coef=0.0)
        moved_away(learner, 0.05)
        first = [int((rollout.inputs[0][:, 0, s] == 1).nonzero()[0]) for s in range(3)]
        new = [rollout.policy(learner.mac, i).probs[first, 0].detach().numpy()[:, : old[i].shape[1]] for i in range(3)]
        values[config] = -learner.policy_loss(rollout).item()
    joint = WEIGHTS @ average_out(game.advantages(joint_policy(old)), new, [])
    alone = sum(WEIGHTS @ (gain_in_turn(game, old, new, (k,), 0) * new[k]).sum(-1) for k in range(3))
    assert values["jr_ppo"] == pytest.approx(joint, abs=1e-12)
    assert values["ir_mappo"] == pytest.approx(alone, abs=1e-12)
    assert abs(joint - alone) > 1e-5
