"""Log-linear PPO against enumeration on exact games; its controller against the chain rule.

Shape letters: B episodes, T steps, N agents, A actions, K samples.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from epymarl_trust_region.errors import CapabilityError, ConfigError
from epymarl_trust_region.onpolicy.rollout import make_rollout
from oracles.exact_batch import exact_batch, rational_policies
from support import HandMadeBatch, make_batch, make_learner

RAGGED = [6, 3, 1, 5]
M = 6  # probabilities are multiples of 1 / M


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, None)


def one_shot(payoff: np.ndarray, policies: list[np.ndarray], **overrides):
    """A double-precision learner that plays `policies`, on a batch of one state without sampling error, A = payoff."""
    n, A = payoff.ndim, payoff.shape[0]
    _, actions = exact_batch([p[None] for p in policies], M)
    K = len(actions)
    onehot = torch.eye(A, dtype=torch.float64)[torch.from_numpy(actions)]
    batch = HandMadeBatch(
        obs=torch.ones(K, 2, n, 1, dtype=torch.float64),
        state=torch.ones(K, 2, 1, dtype=torch.float64),
        actions=torch.from_numpy(actions)[:, None, :, None].expand(K, 2, n, 1).contiguous(),
        actions_onehot=onehot[:, None].expand(K, 2, n, A).contiguous(),
        avail_actions=torch.ones(K, 2, n, A, dtype=torch.int32),
        reward=torch.zeros(K, 2, 1, dtype=torch.float64),
        terminated=torch.tensor([1, 0], dtype=torch.uint8).view(1, 2, 1).expand(K, 2, 1),
        filled=torch.ones(K, 2, 1, dtype=torch.long),
    )
    learner = make_learner(batch, "log_linear_ppo", ridge=0.0, **overrides)
    learner.mac.agent.double()
    learner.critic.double()
    learner._make_optimisers()
    for actor, policy in zip(learner.mac.agent.agents, policies, strict=True):
        actor.table.data.zero_()
        actor.table.data[:, 1] = torch.from_numpy(np.log(policy))  # the constant feature
    values = torch.from_numpy(payoff[tuple(actions.T)]).view(K, 1, 1)
    rollout = dataclasses.replace(rollout_of(learner, batch), advantages=values, returns=values)
    return learner, dataclasses.replace(rollout, mask=rollout.mask.double())


def conditional(learner, agent: int, earlier: tuple[int, ...]) -> np.ndarray:
    """pi^m(. | a^{1:m-1}) of the one state."""
    table = learner.mac.agent.actor(agent).table.detach()
    x = torch.zeros(table.shape[1], dtype=table.dtype)
    x[: learner.mac.features.size] = learner.mac.features(torch.ones(1, dtype=table.dtype))
    if learner.mac.autoregressive:
        for j, action in enumerate(earlier):
            x[learner.mac.features.size + j * learner.mac.n_actions + action] = 1
    return torch.softmax(table @ x, -1).numpy()


def step(policy: np.ndarray, values: np.ndarray, beta: float) -> np.ndarray:
    new = policy * np.exp(values / beta)
    return new / new.sum()


@pytest.mark.parametrize("target", ["advantage", "return"])
@pytest.mark.parametrize("seed", range(3))
def test_two_autoregressive_agents_take_the_exact_step_on_every_prefix(seed, target):
    """pi_{k+1}^m proportional to pi_k^m exp(Q^{1:m} / beta), Q^1 averaged over the second agent's old policy."""
    rng = np.random.default_rng(seed)
    policies = [p[0] for p in rational_policies(rng, 1, (3, 3), M)]
    payoff = rng.normal(size=(3, 3))
    learner, rollout = one_shot(payoff, policies, beta=0.7, target=target)
    learner.update_policies(rollout)
    np.testing.assert_allclose(conditional(learner, 0, ()), step(policies[0], payoff @ policies[1], 0.7), atol=1e-10)
    for a in range(3):
        np.testing.assert_allclose(conditional(learner, 1, (a,)), step(policies[1], payoff[a], 0.7), atol=1e-10)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_product_agents_average_earlier_ones_over_their_new_policies(order, monkeypatch):
    rng = np.random.default_rng(1)
    policies = [p[0] for p in rational_policies(rng, 1, (2, 2, 2), M)]
    payoff = rng.normal(size=(2, 2, 2))
    learner, rollout = one_shot(payoff, policies, beta=0.5, conditioning="product")
    monkeypatch.setattr("epymarl_trust_region.onpolicy.turns.agent_sequence", lambda *_: list(order))
    learner.update_policies(rollout)
    now = list(policies)
    for m in order:
        axes = [now[j] if j != m else None for j in range(3)]
        values = payoff
        for j in reversed(range(3)):
            if j != m:
                values = np.tensordot(values, axes[j], axes=(j, 0))
        now[m] = step(policies[m], values, 0.5)
        np.testing.assert_allclose(conditional(learner, m, ()), now[m], atol=1e-10)


def test_one_agent_alone_is_the_exponential_weights_step():
    policy, payoff = np.array([0.5, 1 / 3, 1 / 6]), np.array([1.0, -0.5, 2.0])
    for conditioning in ("autoregressive", "product"):
        learner, rollout = one_shot(payoff, [policy], beta=2.0, conditioning=conditioning)
        learner.update_policies(rollout)
        np.testing.assert_allclose(conditional(learner, 0, ()), step(policy, payoff, 2.0), atol=1e-10)


def test_the_fit_is_the_share_of_the_targets_variance_that_the_prefix_explains():
    payoff = np.array([[1.0, -4.0], [0.5, 2.0]])
    learner, rollout = one_shot(payoff, [np.ones(2) / 2] * 2, beta=2.0)
    stats = learner.update_policies(rollout)
    assert stats["agent_0_fit"] == pytest.approx(payoff.mean(1).var() / payoff.var())
    assert stats["agent_1_fit"] == pytest.approx(1.0)


def test_the_betas_of_the_theory_and_the_users():
    learner, rollout = one_shot(np.array([[1.0, -4.0], [0.5, 2.0]]), [np.ones(2) / 2] * 2, t_max=720)
    stats = learner.update_policies(rollout)
    updates = 720 / rollout.mask.sum().item()
    assert stats["beta"] == pytest.approx(4.0 * np.sqrt(updates / (2 * np.log(2)))) and stats["target_max"] == 4.0
    learner.update_policies(dataclasses.replace(rollout, advantages=rollout.advantages / 10))
    assert learner.largest_target == 4.0  # the largest so far
    fixed, rollout = one_shot(np.eye(2), [np.ones(2) / 2] * 2, beta=3.0)
    assert fixed.update_policies(rollout)["beta"] == 3.0


@pytest.mark.parametrize("features", ["raw", "fourier"])
@pytest.mark.parametrize("policy_input", ["obs", "state"])
@pytest.mark.parametrize("conditioning", ["autoregressive", "product"])
def test_what_acts_is_what_is_evaluated(features, policy_input, conditioning):
    """log pi over whole sequences, read off `build_inputs`, against the logits of one step of `select_actions`."""
    batch = make_batch(avail=0.7, N=3, A=4)
    learner = make_learner(
        batch, "log_linear_ppo", features=features, policy_input=policy_input, conditioning=conditioning
    )
    mac = learner.mac
    for actor in mac.agent.agents:
        torch.nn.init.normal_(actor.table)
    rollout = rollout_of(learner, batch)
    seen = []
    mac._choose = lambda policy, test_mode, first=0: (
        seen.append(policy) or (batch["actions"][:, 2, first : first + policy.log_probs.shape[1], 0].clone())
    )
    mac.init_hidden(4)
    actions = mac.select_actions(batch, t_ep=2, t_env=0)
    assert torch.equal(actions, batch["actions"][:, 2, :, 0])
    acted = torch.cat([policy.log_probs for policy in seen], dim=1)  # [B, N, A]
    for i in range(3):
        expected = rollout.policy(mac, i).log_probs[:, 2].detach()
        torch.testing.assert_close(acted[:, i], expected, rtol=1e-5, atol=1e-5)
    parts = 3 if conditioning == "autoregressive" else 1
    assert len(seen) == parts


def test_later_agents_see_earlier_actions_and_nothing_else():
    batch = make_batch(N=3, A=4)
    learner = make_learner(batch, "log_linear_ppo")
    inputs, size = learner.mac.build_inputs(batch), learner.mac.features.size
    onehot = batch["actions_onehot"][:, :-1]
    for i in range(3):
        assert torch.equal(inputs[i][..., :size], learner.mac.features(batch["obs"][:, :-1, i]))
        for j in range(3):
            block = inputs[i][..., size + 4 * j : size + 4 * (j + 1)]
            assert torch.equal(block, onehot[:, :, j] if j < i else torch.zeros_like(block))
        assert learner.mac.width(i) == size + 4 * i


def test_sampled_actions_follow_the_conditional_policies():
    torch.manual_seed(0)
    batch = make_batch(B=4000, T=1, N=2, A=2)
    batch["obs"][:] = 0.5
    learner = make_learner(batch, "log_linear_ppo")
    first, second = (actor.table.data for actor in learner.mac.agent.agents)
    size = learner.mac.features.size
    first[1, size - 1], second[0, size], second[1, size + 1] = 0.4, 3.0, 3.0  # the second does as the first
    learner.mac.init_hidden(4000)
    a, b = learner.mac.select_actions(batch, 0, 0).T
    assert (a == 1).float().mean().item() == pytest.approx(torch.sigmoid(torch.tensor(0.4)).item(), abs=0.03)
    for value in (0, 1):
        share = (b[a == value] == value).float().mean().item()
        assert share == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item(), abs=0.02)


def test_data_at_masked_steps_changes_nothing():
    batch = make_batch(lengths=RAGGED, avail=0.7)
    garbled = batch.copy()
    padding = batch["filled"][:, :-1, 0] == 0
    for key in ("obs", "state", "reward", "actions_onehot"):
        garbled[key][:, :-1][padding] = 9.0
    results = []
    for data in (batch, garbled):
        learner = make_learner(data, "log_linear_ppo", policy_input="state")
        learner.train(data, 0, 0)
        results.append([o.vector.clone() for o in learner.actor_optimisers])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert any(vector.abs().max() > 0 for vector in results[0])


def test_targets_are_what_the_key_says_and_padding_is_no_step_of_an_update():
    batch = make_batch(lengths=RAGGED)
    for target in ("advantage", "return"):
        learner = make_learner(batch, "log_linear_ppo", target=target, t_max=150)
        rollout = rollout_of(learner, batch)
        expected = rollout.returns if target == "return" else rollout.advantages
        assert torch.equal(learner.targets(rollout), expected[..., 0])
        assert not torch.equal(rollout.returns, rollout.advantages)
        stats = learner.update_policies(rollout)
        updates = 150 / sum(RAGGED)
        n_actions = learner.mac.n_actions
        assert stats["beta"] == pytest.approx(stats["target_max"] * np.sqrt(updates / (2 * np.log(n_actions))))


def test_an_action_that_was_never_taken_does_not_move():
    batch = make_batch(B=8, A=4)
    batch["avail_actions"][..., 3] = 0
    batch["actions"].clamp_(max=2)
    learner = make_learner(batch, "log_linear_ppo")
    learner.update_policies(rollout_of(learner, batch))
    for actor in learner.mac.agent.agents:
        assert not actor.table[3].any() and actor.table[:3].any()


def test_the_features_belong_to_the_checkpoint(tmp_path):
    batch = make_batch()
    ours, other = (make_learner(batch, "log_linear_ppo", seed=s, features="fourier") for s in (0, 1))
    ours.train(batch, 0, 0)
    assert not torch.equal(ours.mac.features.directions, other.mac.features.directions)
    ours.save_models(str(tmp_path))
    other.load_models(str(tmp_path))
    assert torch.equal(ours.mac.build_inputs(batch), other.mac.build_inputs(batch))
    assert torch.equal(ours.mac.features.directions, other.mac.features.directions)


@pytest.mark.parametrize("width", [1.0, 2.5])
def test_fourier_features_make_the_gaussian_kernel(width):
    torch.manual_seed(0)
    settings = {"features": "fourier", "fourier_features": 15_000, "fourier_width": width}
    features = make_learner(make_batch(), "log_linear_ppo", **settings).mac.features
    x = torch.randn(6, 5)
    y = x + width * torch.linspace(0, 1, 6)[:, None] * torch.randn(6, 5)  # from the same place to far away
    kernel = torch.exp(-((x - y) ** 2).sum(-1) / (2 * width**2))
    torch.testing.assert_close((features(x) * features(y)).sum(-1), kernel, atol=0.03, rtol=0)


def test_the_features_are_of_the_state_or_of_the_own_observation():
    batch = make_batch()
    for policy_input in ("state", "obs"):
        mac = make_learner(batch, "log_linear_ppo", policy_input=policy_input).mac
        psi = mac.features_of(batch, slice(1, 3))
        for agent in range(mac.n_agents):
            of = batch["state"] if policy_input == "state" else batch["obs"][:, :, agent]
            assert torch.equal(psi[:, :, agent], mac.features(of[:, 1:3]))


def test_only_the_environments_that_are_asked_for_act():
    torch.manual_seed(0)
    batch = make_batch(B=5, avail=0.6)
    mac = make_learner(batch, "log_linear_ppo", test_greedy=True).mac
    for actor in mac.agent.agents:
        torch.nn.init.normal_(actor.table, std=3.0)
    chosen = mac.select_actions(batch, 1, 0, test_mode=True)
    assert torch.equal(mac.select_actions(batch, 1, 0, bs=[3, 0], test_mode=True), chosen[[3, 0]])
    assert len({tuple(row) for row in chosen.tolist()}) > 2


def test_too_many_features_are_refused_with_the_number():
    with pytest.raises(ConfigError, match=r"with 30012 features need 6.7 GiB .*fewer fourier_features"):
        make_learner(make_batch(), "log_linear_ppo", features="fourier", fourier_features=30_000)


def test_memory_is_refused():
    with pytest.raises(CapabilityError, match="no memory; set use_rnn=False"):
        make_learner(make_batch(), "log_linear_ppo", use_rnn=True)
