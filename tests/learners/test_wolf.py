"""WoLF on tables: its step by enumeration, its averages, and the equilibrium that steps of one size go round."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from epymarl_trust_region.errors import CapabilityError, ConfigError
from epymarl_trust_region.games.competitive import matching_pennies
from epymarl_trust_region.onpolicy.rollout import make_rollout
from epymarl_trust_region.studies.policy_gradient import averaged_advantages, project_to_simplex
from oracles.exact import N_ACTIONS, exact_setting, policies_of
from support import continuous, make_batch, make_learner, one_hot_batch

ETA, WINNING, GAMMA = 0.03, 0.01, 0.9
TABLE = {"tabular": True, "gamma": GAMMA, "eta": ETA, "eta_winning": WINNING}


def nearest(x: np.ndarray, exploration: float) -> np.ndarray:
    """The nearest distribution with at least exploration / A everywhere, by bisection of the threshold, a row each."""
    least, found = exploration / x.shape[-1], []
    for row in x:
        low, high = row.min() - 1, row.max()
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(row - middle, least).sum() > 1 else (low, middle)
        found.append(np.maximum(row - low, least))
    return np.array(found)


@pytest.mark.parametrize("exploration", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_the_step_by_enumeration(seed, exploration):
    """Small where the policy is worth more than the average of what was and what is, large where it is worth less."""
    rng, game, old, learner, rollout = exact_setting(seed, "wolf", False, **TABLE, exploration=exploration)
    before = [rng.dirichlet(np.ones(count), 3) for count in N_ACTIONS]
    for i, policy in enumerate(before):
        learner.averages[i][: N_ACTIONS[i], :3] = torch.from_numpy(policy.T)
        learner.counts[i][:3] = 1
    stats = learner.update_policies(rollout)
    seen, wins = policies_of(learner, rollout), []
    for i, (policy, advantage) in enumerate(zip(old, averaged_advantages(game, old), strict=True)):
        average = (before[i] + policy) / 2
        wins.append(((policy - average) * advantage).sum(-1) > 0)
        rate = np.where(wins[i], WINNING, ETA)[:, None] / (1 - GAMMA)
        np.testing.assert_allclose(seen[i], nearest(policy + rate * advantage, exploration), rtol=0, atol=1e-12)
        assert stats[f"agent_{i}_winning"] == pytest.approx((wins[i] * [1, 2, 1]).sum() / 4)
    assert 0 < np.mean(wins) < 1


def test_the_first_step_is_that_of_a_loser():
    """Nothing has been averaged yet but the policy itself."""
    _, game, old, learner, rollout = exact_setting(0, "wolf", False, **TABLE, exploration=0.0)
    learner.update_policies(rollout)
    steps = zip(old, averaged_advantages(game, old), policies_of(learner, rollout), strict=True)
    for policy, advantage, after in steps:
        expected = project_to_simplex(policy + ETA / (1 - GAMMA) * advantage)
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12)


def test_averages_are_of_the_policies_that_came_to_an_observation():
    """Updates without one leave its average as it is."""
    learner = make_learner(one_hot_batch(0), "wolf", eta=0.02, eta_winning=0.02)
    met = [[] for _ in range(5)]
    for k in range(6):
        batch = one_hot_batch(k)
        missed = k % 5
        batch["obs"][:, :, 0][batch["obs"][:, :, 0, missed] == 1] = torch.eye(5)[2 if missed == 0 else 0]
        if missed != 0:
            batch["avail_actions"][:, :, 0][batch["obs"][:, :, 0, 0] == 1] = 1
        policy = learner.mac.agent.agents[0].table.detach().clone()
        valid = (batch["filled"].bool() & (batch["terminated"].cumsum(1) - batch["terminated"] == 0))[:, :-1, 0]
        for o in range(5):
            here = valid & (batch["obs"][:, :-1, 0, o] == 1)
            if here.any():
                may = batch["avail_actions"][:, :-1, 0][here][0].bool()
                met[o].append(torch.softmax(torch.where(may, policy[:, o], -torch.inf), 0))
        learner.train(batch, 0, 0)
    assert learner.counts[0].tolist() == [len(of) for of in met] and min(map(len, met)) < 6
    for o, policies in enumerate(met):
        torch.testing.assert_close(learner.averages[0][:, o], torch.stack(policies).mean(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("eta_winning, near", [(WINNING, True), (ETA, False)])
def test_matching_pennies(eta_winning, near):
    """Steps of two sizes find the equilibrium; those of one go round it.

    Each step from a batch that holds every joint action as often as its probability says, in weights of the mask.
    """
    payoff = matching_pennies()
    batch = make_batch(B=4, T=1, N=2, A=2)
    batch["obs"], batch["state"] = torch.ones(4, 2, 2, 1), torch.ones(4, 2, 1)
    joint = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    batch["actions"] = joint[:, None, :, None].expand(4, 2, 2, 1).contiguous()
    batch["avail_actions"] = torch.ones(4, 2, 2, 2, dtype=torch.int32)
    batch["reward"] = torch.zeros(4, 2, 2)
    learner = make_learner(
        batch, "wolf", common_reward=False, obs_agent_id=False, **TABLE | {"eta_winning": eta_winning, "eta": ETA}
    )
    with torch.no_grad():
        for i, start in enumerate((0.8, 0.3)):
            learner.mac.agent.agents[i].table[:, 0] = torch.tensor([start, 1 - start]).log()
    far = []
    for _ in range(400):
        p, q = (torch.softmax(agent.table[:, 0], 0).detach() for agent in learner.mac.agent.agents)
        far.append(float((p[0] - 0.5) ** 2 + (q[0] - 0.5) ** 2) ** 0.5)
        learner.update_policies(rollout_of(learner, batch, (p[:, None] * q).flatten(), payoff))
    assert (max(far[-50:]) < 0.05) == near and (min(far[-50:]) > 0.3) == (not near)


def rollout_of(learner, batch, weights, payoff):
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    advantages = torch.from_numpy(payoff.reshape(2, 4).T).float()
    advantages = advantages - weights @ advantages
    return dataclasses.replace(rollout, advantages=advantages[:, None], mask=weights[:, None])


def test_a_checkpoint_keeps_the_averages(tmp_path):
    batch = one_hot_batch(0)
    learner = make_learner(batch, "wolf")
    learner.train(batch, 0, 0)
    learner.save_models(str(tmp_path))
    other = make_learner(batch, "wolf")
    other.load_models(str(tmp_path))
    assert all(map(torch.equal, other.averages + other.counts, learner.averages + learner.counts))
    assert learner.counts[0].sum() > 0


def test_refusals():
    batch = make_batch()
    with pytest.raises(CapabilityError, match="which it can do in tables alone; set tabular=True"):
        make_learner(batch, "wolf", tabular=False)
    with pytest.raises(CapabilityError, match="eta_winning=0.5 is above eta=0.1: .*; set eta_winning to at most eta"):
        make_learner(batch, "wolf", eta=0.1, eta_winning=0.5)
    with pytest.raises(ConfigError, match="exploration=1.0 is out of range"):
        make_learner(batch, "wolf", exploration=1.0)
    with pytest.raises(CapabilityError, match="has no memory; set use_rnn=False, or use another algorithm"):
        make_learner(batch, "wolf", use_rnn=True)
    with pytest.raises(CapabilityError, match="has no continuous actions; use another algorithm, as --config=inpg$"):
        make_learner(continuous(batch), "wolf")
    with pytest.raises(CapabilityError, match="WoLF does not support share_parameters=True"):
        make_learner(batch, "wolf", share_parameters=True)
