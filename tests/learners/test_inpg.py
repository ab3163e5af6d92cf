"""INPG and IPG in the suite's form against their tables, on batches without sampling error and on ordinary ones.

Shape letters: S states, N agents, A actions, D observations.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from epymarl_trust_region.errors import CapabilityError, ConfigError
from epymarl_trust_region.numerics.tabular import natural_direction, observed, project_to_simplex
from epymarl_trust_region.onpolicy.rollout import make_rollout
from epymarl_trust_region.studies.policy_gradient import averaged_advantages, inpg_step, ipg_step
from oracles.exact import N_ACTIONS, WEIGHTS, exact_setting, policies_of
from support import make_batch, make_learner, one_hot_batch

TABLE = {"tabular": True, "gamma": 0.9, "eta": 0.05}
RATE = 0.05 / (1 - 0.9)


@pytest.mark.parametrize("common_reward", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_inpg_on_a_table_is_multiplicative_weights(seed, common_reward):
    """pi_i exp(eta A_i / (1 - gamma)) with A_i averaged over the others, all agents from the same old policies."""
    _, game, old, learner, rollout = exact_setting(seed, "inpg", common_reward, **TABLE)
    learner.update_policies(rollout)
    steps = zip(old, averaged_advantages(game, old), policies_of(learner, rollout), strict=True)
    for before, advantage, after in steps:
        np.testing.assert_allclose(after, inpg_step(before, advantage, RATE), rtol=0, atol=1e-12)
        assert np.abs(after - before).max() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_ipg_on_a_table_is_the_projected_gradient(seed):
    _, game, old, learner, rollout = exact_setting(seed, "ipg", False, **TABLE | {"eta": 0.8})
    learner.update_policies(rollout)
    edge = 0
    steps = zip(old, averaged_advantages(game, old), policies_of(learner, rollout), strict=True)
    for before, advantage, after in steps:
        expected = ipg_step(before, advantage, WEIGHTS, 0.8 / (1 - 0.9))
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12)
        edge += (expected == 0).sum()
    assert edge > 0  # some probabilities were projected to 0


@pytest.mark.parametrize("seed", range(3))
def test_ipg_off_a_table_is_the_softmax_gradient(seed):
    """On the head of a network whose other layers pass a one-hot observation on: d(s) pi A_i / (1 - gamma)."""
    _, game, old, learner, rollout = exact_setting(seed, "ipg", False, **TABLE | {"tabular": False})
    heads = [actor.head.weight.detach().clone() for actor in learner.mac.agent.agents]
    learner.update_policies(rollout)
    for i, (policy, advantage) in enumerate(zip(old, averaged_advantages(game, old), strict=True)):
        moved = (learner.mac.agent.agents[i].head.weight.detach() - heads[i])[: N_ACTIONS[i], :3].numpy().T
        np.testing.assert_allclose(moved, RATE * WEIGHTS[:, None] * policy * advantage, rtol=0, atol=1e-12)
        assert np.abs(moved).max() > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_conjugate_gradient_without_damping_is_the_closed_form(seed, double_precision):
    """Through the general step on a table, on a sampled batch with unavailable actions and ragged episodes."""
    batch = one_hot_batch(seed)
    moved = []
    for closed_form in (True, False):
        learner = make_learner(batch, "inpg", tabular=True, cg_damping=0.0, cg_iters=200, eta=0.01)
        learner.mac.agent.vector(0).normal_(generator=torch.Generator().manual_seed(seed))
        rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
        if not closed_form:
            object.__setattr__(learner.config, "tabular", False)
        learner.update_policies(rollout)
        moved.append(rollout.policy(learner.mac, 0).probs.detach())
    torch.testing.assert_close(*moved, rtol=0, atol=1e-6)
    assert (moved[0] - rollout.old_policies[0].probs).abs().max() > 1e-3


def test_the_closed_form_is_the_pseudo_inverse(double_precision):
    """F^+ g of the dense Fisher matrix over samples; what was not observed does not move."""
    g = torch.Generator().manual_seed(0)
    inputs = torch.eye(4)[torch.randint(3, (40,), generator=g)]  # the fourth observation never
    table, share = torch.randn(3, 4, generator=g), torch.full((40,), 1 / 40)
    probs = torch.softmax(inputs @ table.t(), -1)
    advantage, actions = torch.randn(40, generator=g), torch.multinomial(probs, 1, generator=g).squeeze(-1)
    score = torch.nn.functional.one_hot(actions, 3) - probs
    gradient = (score * (share * advantage).unsqueeze(-1)).t() @ inputs
    visits, policy = observed(inputs, probs, share)
    assert visits[3] == 0 and (policy[:, 3] == 0).all()
    torch.testing.assert_close(policy[:, :3], torch.softmax(table, 0)[:, :3])
    fisher = torch.zeros(12, 12)
    for x, p, w in zip(inputs, probs, share, strict=True):
        fisher += w * torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(x, x))
    expected = (torch.linalg.pinv(fisher) @ gradient.flatten()).view(3, 4)
    found = natural_direction(gradient, visits, policy)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found[:, 3] == 0).all() and found.abs().max() > 0.1


def test_projection_of_columns_is_the_nearest_distribution(double_precision):
    x = torch.tensor([[5.0, 0.2, 1.0], [1.0, 0.8, 1.0], [0.0, 0.0, 9.0]])
    available = torch.tensor([[True, True, True], [True, True, True], [True, True, False]])
    expected = torch.tensor([[1.0, 0.2, 0.5], [0.0, 0.8, 0.5], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(project_to_simplex(x, available), expected)


def kl_of_the_step(learner, rollout, agent: int) -> float:
    kl = rollout.policy(learner.mac, agent).kl(rollout.old_policies[agent])
    return ((kl * rollout.mask).sum() / rollout.mask.sum()).item()


@pytest.mark.parametrize("tabular", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.1, 10.0])
def test_the_predicted_kl_is_that_of_a_small_step(damping, tabular, double_precision):
    """However large the damping: it shortens the step, and is no part of the distance."""
    batch = one_hot_batch(0) if tabular else make_batch(B=16)
    learner = make_learner(batch, "inpg", eta=1e-4 * max(damping, 1), cg_damping=damping, tabular=tabular)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    predicted = learner.update_policies(rollout)["agent_1_predicted_kl"]
    assert predicted == pytest.approx(kl_of_the_step(learner, rollout, 1), rel=0.02) and predicted > 1e-9


@pytest.mark.parametrize("setting", [{"tabular": True}, {"cg_damping": 0.1}, {"cg_damping": 1e-3}])
def test_a_kl_cap_is_reached_and_not_passed(setting):
    """To the model's accuracy: the step that is cut to a cap of 1e-3 has a KL of 1e-3."""
    batch = one_hot_batch(2) if "tabular" in setting else make_batch(B=16)
    learner = make_learner(batch, "inpg", kl_cap=1e-3, eta=1.0, **setting)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    stats = learner.update_policies(rollout)
    for agent in range(3):
        assert stats[f"agent_{agent}_kl_capped"] == 1 and stats[f"agent_{agent}_predicted_kl"] > 0.1
        assert kl_of_the_step(learner, rollout, agent) == pytest.approx(1e-3, rel=0.1)


def test_damping_has_no_part_in_a_table():
    batch, found = one_hot_batch(3), []
    for damping in (0.0, 0.1, 5.0):
        learner = make_learner(batch, "inpg", tabular=True, cg_damping=damping, kl_cap=1e-3, eta=0.5)
        rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
        found.append((learner.update_policies(rollout), learner.mac.agent.vector(0).clone()))
    for stats, vector in found[1:]:
        assert stats == found[0][0] and torch.equal(vector, found[0][1])


def test_a_kl_cap_shortens_the_step_and_says_so():
    batch, steps = make_batch(B=16), {}
    for cap, capped in ((None, 0.0), (1e9, 0.0), (1e-4, 1.0)):
        learner = make_learner(batch, "inpg", kl_cap=cap, eta=0.01, cg_damping=0.01)
        rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
        before = learner.mac.agent.vector(0).clone()
        assert learner.update_policies(rollout)["agent_0_kl_capped"] == capped
        kl = kl_of_the_step(learner, rollout, 0)
        assert (kl <= 1.1e-4) == bool(capped) and kl > 1e-6
        steps[cap] = learner.mac.agent.vector(0) - before
    assert torch.equal(steps[None], steps[1e9])
    shrunk = steps[1e-4].norm() / steps[None].norm()
    torch.testing.assert_close(steps[1e-4], shrunk * steps[None], rtol=1e-3, atol=1e-7)  # the same direction
    assert shrunk < 0.5


@pytest.mark.parametrize("algorithm", ["inpg", "ipg", "wolf"])
def test_unvisited_observations_of_a_table_do_not_move(algorithm):
    batch = one_hot_batch(0)
    batch["obs"][:, :, 0][batch["obs"][:, :, 0, 3] == 1] = torch.eye(5)[0]  # agent 0 never sees the fourth
    learner = make_learner(batch, algorithm, tabular=True)
    learner.train(batch, 0, 0)
    table = learner.mac.agent.agents[0].table
    assert (table[:, 3] == 0).all() and (table[:, 0] != 0).any()
    assert all(parameter.isfinite().all() for parameter in learner.mac.parameters())


@pytest.mark.parametrize(
    "algorithm, tabular", [("inpg", True), ("inpg", False), ("ipg", True), ("ipg", False), ("wolf", True)]
)
def test_padding_changes_nothing(algorithm, tabular):
    batch = one_hot_batch(1)
    garbage = batch.copy()
    after_end = (batch["terminated"].cumsum(1) - batch["terminated"]).squeeze(-1).bool()
    garbage["reward"][after_end] = 1e3
    garbage["actions"][after_end] = 0
    garbage["obs"][after_end] = torch.eye(5)[2]
    found = []
    for data in (batch, garbage):
        learner = make_learner(data, algorithm, tabular=tabular)
        learner.train(data, 0, 0)
        found.append(torch.cat([learner.mac.agent.vector(i) for i in range(3)]).clone())
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["inpg", "ipg"])
def test_without_a_discount_the_horizon_stands_for_the_discounted_number_of_steps(algorithm):
    """Logits move by eta times the number of steps times what gamma < 1 multiplies by eta / (1 - gamma)."""
    moved = []
    for settings in ({"gamma": 1, "env_args": {"time_limit": 7}}, {"gamma": 0.9}):
        _, _, old, learner, rollout = exact_setting(0, algorithm, False, **TABLE | settings | {"tabular": False})
        heads = [actor.head.weight.detach().clone() for actor in learner.mac.agent.agents]
        learner.update_policies(rollout)
        moved.append([a.head.weight.detach() - b for a, b in zip(learner.mac.agent.agents, heads, strict=True)])
    for finite, discounted in zip(*moved, strict=True):
        torch.testing.assert_close(finite, discounted * (7 / 10), rtol=1e-9, atol=1e-15)
        assert finite.abs().max() > 1e-4


@pytest.mark.parametrize("rollout_steps", [None, 12])
def test_a_run_without_a_discount(rollout_steps):
    """Of the congestion game, whose episodes are three steps long, in whole episodes and in streams."""
    batch = make_batch(B=2, T=6)
    learner = make_learner(batch, "inpg", gamma=1, env_args={"time_limit": 3}, rollout_steps=rollout_steps)
    assert learner.per_return(learner.config.eta) == learner.config.eta * 3
    learner.train(batch, 0, 0)


def test_refusals():
    batch = make_batch()
    with pytest.raises(CapabilityError, match="INPG does not support share_parameters=True: .* set share_parameters=F"):
        make_learner(batch, "inpg", share_parameters=True)
    with pytest.raises(CapabilityError, match="a table .* has no memory; set use_rnn=False"):
        make_learner(batch, "ipg", tabular=True, use_rnn=True)
    for name in ("obs_agent_id", "obs_last_action", "normalise_inputs"):
        for algorithm in ("inpg", "ipg", "wolf"):
            with pytest.raises(CapabilityError, match=f"one-hot, and with {name}=True .* that; set {name}=False, or "):
                make_learner(batch, algorithm, tabular=True, **{name: True})
    for where in ({}, {"env_args": {"time_limit": None}}, {"env_args": {}}):
        with pytest.raises(ConfigError, match="^gamma=1.0 needs a horizon, .*: set env_args.time_limit, or gamma"):
            make_learner(batch, "inpg", gamma=1, **where)
    with pytest.raises(ConfigError, match="gamma=1.5 is out of range"):
        make_learner(batch, "ipg", gamma=1.5)
    with pytest.raises(ConfigError, match="eta=0.0 is out of range"):
        make_learner(batch, "ipg", eta=0)


@pytest.mark.parametrize("algorithm", ["inpg", "ipg", "wolf"])
@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, 1.0])
def test_observations_that_are_no_columns_of_a_table_are_refused(algorithm, value):
    """At the first update: no space says that they are one-hot. Those of zeros alone pass, and padding."""
    batch = one_hot_batch(0)
    other = "use another algorithm" if algorithm == "wolf" else "set tabular=False"
    learner = make_learner(batch, algorithm, tabular=True, env="gymma", env_args={"key": "some-env", "time_limit": 6})
    batch["obs"][3, 0, 1] = 0
    batch["obs"][1, 4, 2] = value  # after the end
    learner.train(batch, 0, 0)
    before = learner.mac.agent.vector(1).clone()
    batch["obs"][3, 0, 1, :2] = value
    with pytest.raises(CapabilityError, match=f"one-hot, and agent 1 of some-env sees others; {other}"):
        learner.train(batch, 0, 0)
    assert torch.equal(before, learner.mac.agent.vector(1))


def test_numbers_from_which_one_cannot_be_taken_are_projected_too():
    x = torch.tensor([[1e7, 1e9, -3e8], [0.0, 1e9 - 64, -3e8], [1e7 - 0.0, -5.0, -4e8]])
    expected = torch.tensor([[0.5, 1.0, 0.5], [0.0, 0.0, 0.5], [0.5, 0.0, 0.0]])
    torch.testing.assert_close(project_to_simplex(x, torch.ones_like(x, dtype=torch.bool)), expected)
    masked = torch.tensor([[True], [False], [True]])
    found = project_to_simplex(torch.tensor([[-1e8], [1e8], [-2e8]]), masked)
    torch.testing.assert_close(found, torch.tensor([[1.0], [0.0], [0.0]]))
