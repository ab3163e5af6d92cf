"""Learners with Gaussian policies: against simpler algorithms, autograd and closed forms.

Shape letters: B episodes, T steps, N agents, A action dimensions, K samples.
"""

from __future__ import annotations

import math

import pytest
import torch
from epymarl_trust_region.errors import CapabilityError, NonFiniteError
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import HandMadeBatch, continuous, make_batch, make_learner

ALGORITHMS = ["happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "il", "il_pp", "matrl", "matrl_no_br", "inpg", "ipg"]


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, learner.episode_limit)


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_moves_means_and_deviations_and_padding_has_no_part(name, use_rnn):
    """Agents of 3, 2 and 1 dimensions: what lies in the padding changes nothing."""
    batch = continuous(make_batch(lengths=[6, 3, 1, 5], A=3), dimensions=[3, 2, 1])
    other = batch.copy()
    other["actions"] = other["actions"] + 7 * (1 - other["avail_actions"])
    vectors = []
    for data in (batch, other):
        learner = make_learner(data, name, use_rnn=use_rnn, hidden_dim=8)
        before = [actor.log_std.clone() for actor in learner.mac.agent.agents]
        learner.train(data, 0, 0)
        vectors.append(torch.cat([o.vector.detach() for o in learner.actor_optimisers]))
        for i, (actor, old) in enumerate(zip(learner.mac.agent.agents, before, strict=True)):
            moved = (actor.log_std - old).abs() > 0
            assert moved.tolist() == [k < 3 - i for k in range(3)] or name == "ipg" and not moved[3 - i :].any()
        logged = {key: values[-1][1] for key, values in learner.logger.stats.items()}
        assert all(math.isfinite(value) for value in logged.values())
        assert logged["kl_mean"] > 0 and logged["tv_lower_mean"] <= logged["tv_mean"] <= 1
    assert torch.equal(*vectors)


@pytest.mark.parametrize("use_rnn", [False, True])
def test_an_agents_whole_gradient_is_autograds(use_rnn, double_precision):
    batch = continuous(make_batch(lengths=[6, 3, 1, 5]), dimensions=[4, 2, 4])
    learner = make_learner(batch, use_rnn=use_rnn, entropy_coef=0.1, hidden_dim=8)
    rollout = rollout_of(learner, batch)
    for parameter in learner.mac.agent.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    factor = torch.rand(4, 6) + 0.5
    loss = learner.policy_loss(rollout, 1, factor)
    policy = learner.mac.policy(1, rollout.inputs[1], rollout.avail_actions[1])
    assert policy.mean.requires_grad
    ratio = rollout.log_ratio(1, policy.log_prob(rollout.actions[1])).exp()
    advantage = factor * rollout.advantage(1)
    steps = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) + 0.1 * policy.entropy()
    plain = -(steps * rollout.mask).sum() / rollout.mask.sum()
    torch.testing.assert_close(loss, plain)
    for ours, theirs in zip(
        learner.actor_optimisers[1].gradients, torch.autograd.grad(plain, learner.mac.agent_parameters(1)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_one_agent_is_ppo_under_every_name():
    """HAPPO, JR-PPO and independent ratios are the same thing for a single agent."""
    batch = continuous(make_batch(N=1, lengths=[6, 3, 1, 5]))
    same = dict(
        obs_agent_id=False, share_parameters=False, lr=1e-3, epochs=4, eps_clip=0.1, entropy_coef=0.02, gamma=0.9
    )
    vectors = []
    for name in ("happo", "jr_ppo", "ir_mappo"):
        learner = make_learner(batch, name, **same)
        learner.train(batch, 0, 0)
        vectors.append(learner.actor_optimisers[0].vector.detach())
    for other in vectors[1:]:
        torch.testing.assert_close(other, vectors[0], rtol=0, atol=1e-6)


def test_hatrpo_keeps_to_its_region():
    batch = continuous(make_batch(B=40, lengths=[6] * 40))
    learner = make_learner(batch, "hatrpo", kl_threshold=0.01)
    rollout = rollout_of(learner, batch)
    learner.train(batch, 0, 0)
    for i in range(3):
        new = rollout.policy(learner.mac, i)
        kl = ((new.kl(rollout.old_policies[i]) * rollout.mask).sum() / rollout.mask.sum()).item()
        assert 0.002 < kl <= 0.01


def product_game(means: tuple[float, ...], K: int) -> HandMadeBatch:
    """One-step episodes of r = a_1 a_2, drawn from unit Gaussians: pairs +-z, so that first moments are exact."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(K // 4, 2, generator=g, dtype=torch.float64)
    z = torch.cat([z, -z, z * torch.tensor([1, -1]), z * torch.tensor([-1, 1])])
    actions = torch.zeros(K, 2, 2, 1, dtype=torch.float64)
    actions[:, 0, :, 0] = torch.tensor(means, dtype=torch.float64) + z
    one = torch.ones(K, 2, 2, 1, dtype=torch.float64)
    ended = torch.zeros(K, 2, 1, dtype=torch.uint8)
    ended[:, 0] = 1
    reward = torch.zeros(K, 2, 1, dtype=torch.float64)
    reward[:, 0, 0] = actions[:, 0].prod(1).squeeze(-1)
    return HandMadeBatch(
        obs=one, state=one[:, :, 0], actions=actions, avail_actions=one.int(), reward=reward, terminated=ended,
        filled=torch.ones(K, 2, 1, dtype=torch.int64),
    )  # fmt: skip


@torch.no_grad()
def valueless(batch: HandMadeBatch, name: str, **settings):
    """A learner whose critic says 0 everywhere, so that rewards are advantages."""
    learner = make_learner(batch, name, **settings)
    for parameter in learner.critic.parameters():
        parameter.zero_()
    return learner


def figure_1(agent_order: str | None, K: int = 400_000) -> tuple[float, float]:
    """Means after HATRPO's update with a KL radius of 1/2 from (-0.25, 0.25), deviations held at 1.

    In sequence ("fixed": agent 1 first), or each agent by itself (None).
    """
    batch = product_game((-0.25, 0.25), K)
    settings = dict(
        kl_threshold=0.5, cg_damping=0.0, accept_ratio=0.01, standardise_advantages=False, log_std_init=0.0,
        log_std_min=0.0, log_std_max=0.0, actor_network="my_networks:OneNumber", agent_order=agent_order or "fixed",
        line_search_steps=0,
    )  # fmt: skip
    learner = valueless(batch, "hatrpo", **settings)
    for actor, mean in zip(learner.mac.agent.agents, (-0.25, 0.25), strict=True):
        actor.network.network.value.fill_(mean)
    rollout = rollout_of(learner, batch)
    if agent_order:
        learner.update_policies(rollout)
    else:
        for agent in range(2):
            learner.trust_region_step(rollout, agent, torch.ones_like(rollout.mask))
    return tuple(actor.network.network.value.item() for actor in learner.mac.agent.agents)


@torch.no_grad()
def test_figure_1_simultaneous_steps_fall_and_sequential_ones_rise(double_precision):
    """J = mu_1 mu_2 is -0.0625 at first: to -0.5625 if both move at once, to 0.9375 in sequence."""
    both = figure_1(None)
    assert both == pytest.approx((0.75, -0.75), abs=1e-2)
    assert both[0] * both[1] == pytest.approx(-0.5625, abs=2e-2)
    in_turn = figure_1("fixed")
    assert in_turn == pytest.approx((0.75, 1.25), abs=1e-2)
    assert in_turn[0] * in_turn[1] == pytest.approx(0.9375, abs=2e-2)


@torch.no_grad()
def test_the_natural_gradient_of_a_quadratic_problem_is_its_closed_form(double_precision):
    """r = -(a - c)^2 in one dimension: g = (-2 (mu - c), -2 sigma^2) in (mu, log sigma), F = diag(1 / sigma^2, 2)."""
    c, mu, sigma, eta = 1.0, 0.2, 0.5, 0.01
    nodes = torch.tensor([-1.0, 1.0]) * math.sqrt(3)  # with weights 1/6, 4/6, 1/6: exact up to the fifth power
    z = torch.cat([nodes, torch.zeros(4)])
    batch = product_game((0.0, 0.0), 8)
    batch = HandMadeBatch({key: value[:6, :, :1] if value.dim() == 4 else value[:6] for key, value in batch.items()})
    batch["actions"][:, 0, 0, 0] = mu + sigma * z
    batch["reward"][:, 0, 0] = -((mu + sigma * z - c) ** 2)
    learner = valueless(
        batch, "inpg", eta=eta, gamma=0.5, cg_damping=0.0, kl_cap=None, standardise_advantages=False,
        log_std_init=math.log(sigma), actor_network="my_networks:OneNumber",
    )  # fmt: skip
    actor = learner.mac.agent.agents[0]
    actor.network.network.value.fill_(mu)
    learner.update_policies(rollout_of(learner, batch))
    rate = eta / (1 - 0.5)
    assert actor.network.network.value.item() == pytest.approx(mu - rate * sigma**2 * 2 * (mu - c), rel=1e-9)
    assert actor.log_std.item() == pytest.approx(math.log(sigma) - rate * sigma**2, rel=1e-9)


def linear_quadratic(weight: torch.Tensor, best: torch.Tensor, sigma: float) -> tuple[HandMadeBatch, torch.Tensor]:
    """One-step episodes of r = -|a - best s|^2 with a = weight s + sigma z, s in R^3, a in R^2; and mean[s s'].

    Each dimension of z has three values, -sqrt(3), 0, sqrt(3), with weights 1/6, 4/6, 1/6, so that means over the batch
    are those over Gaussians up to the fifth power.
    """
    states = torch.tensor([[1.0, 0.5, -0.3], [0.2, -1.0, 0.4], [-0.6, 0.3, 0.9], [0.8, 0.8, 0.1]])
    nodes = torch.tensor([-math.sqrt(3), 0, 0, 0, 0, math.sqrt(3)])
    z = torch.cartesian_prod(nodes, nodes)
    s, z = states.repeat_interleave(len(z), 0), z.repeat(len(states), 1)
    actions, K = s @ weight.T + sigma * z, len(s)

    def first(x: torch.Tensor) -> torch.Tensor:  # of two slots
        return torch.stack([x, torch.zeros_like(x)], 1)

    reward, one = -(sigma * z + s @ (weight - best).T).square().sum(-1, keepdim=True), torch.ones(K, 1)
    batch = HandMadeBatch(
        obs=first(s).unsqueeze(2), state=first(s), actions=first(actions).unsqueeze(2), reward=first(reward),
        avail_actions=torch.ones(K, 2, 1, 2, dtype=torch.int32), terminated=first(one).to(torch.uint8),
        filled=torch.ones(K, 2, 1, dtype=torch.int64),
    )  # fmt: skip
    return batch, states.T @ states / len(states)


@pytest.mark.parametrize("damping", [0.0, 0.1])
@torch.no_grad()
def test_a_trust_region_step_on_a_linear_quadratic_problem_is_its_closed_form(damping, double_precision):
    """mu = W s, J = -E|(W - W*) s|^2 - 2 sigma^2: with S = E[s s'] and D = W - W*, in (W, log sigma)

    g = (-2 D S, -2 sigma^2), F = (S / sigma^2, 2), x = (F + damping I)^-1 g, and the step is sqrt(2 delta / x.g) x.
    Without damping x is (-2 sigma^2 D, -sigma^2): straight to W*, whatever the states.
    """
    weight = torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]])
    best, sigma, delta = torch.tensor([[-0.4, 0.7, 0.2], [0.9, -0.1, 0.3]]), 0.5, 1e-3
    batch, moments = linear_quadratic(weight, best, sigma)
    learner = valueless(
        batch, "hatrpo", kl_threshold=delta, cg_damping=damping, cg_iters=1000, standardise_advantages=False,
        log_std_init=math.log(sigma), actor_network="my_networks:Matrix",
    )  # fmt: skip
    actor = learner.mac.agent.agents[0]
    actor.network.network.weight.copy_(weight)
    statistics = learner.update_policies(rollout_of(learner, batch))
    of_weight, of_log_std = -2 * (weight - best) @ moments, -2 * sigma**2
    fisher = moments / sigma**2 + damping * torch.eye(3)
    x_weight, x_log_std = torch.linalg.solve(fisher, of_weight.T).T, of_log_std / (2 + damping)
    curvature = (x_weight * of_weight).sum() + 2 * x_log_std * of_log_std  # x.g, of two deviations
    length = math.sqrt(2 * delta / curvature) * learner.config.backtrack_coef ** statistics["agent_0_line_search_step"]
    torch.testing.assert_close(actor.network.network.weight, weight + length * x_weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(actor.log_std, torch.full((2,), math.log(sigma) + length * x_log_std), rtol=0, atol=1e-6)
    assert statistics["agent_0_line_search_step"] in (0, 1) and length * x_weight.abs().max() > 0.01
    if not damping:
        torch.testing.assert_close(x_weight, -2 * sigma**2 * (weight - best))


def test_acting_and_evaluating_agree_and_tests_take_the_mean():
    batch = continuous(make_batch(B=200), dimensions=[4, 2, 1])
    learner = make_learner(batch, test_greedy=True)
    mac = learner.mac
    mac.init_hidden(200)
    drawn = mac.select_actions(batch, 2, 0)
    assert drawn.shape == (200, 3, 4) and drawn.dtype == torch.float32
    assert (drawn[:, 1, 2:] == 0).all() and (drawn[:, 2, 1:] == 0).all() and (drawn[:, 0] != 0).all()
    inputs = mac.build_inputs(batch)
    for i in range(3):
        policy = mac.policy(i, inputs[i], batch["avail_actions"][:, :-1, i])
        expected = policy.mode()[:, 2]
        torch.testing.assert_close(mac.select_actions(batch, 2, 0, test_mode=True)[:, i], expected.detach())


@pytest.mark.parametrize("real", [True, False])
def test_all_rows_in_a_list_draw_what_rows_by_index_draw(real):
    """Noise is drawn in the order of the memory, and a seed's numbers stay what they are."""
    batch = continuous(make_batch(B=5)) if real else make_batch(B=5)
    mac, rows = make_learner(batch).mac, list(range(5))
    mac.init_hidden(5)
    torch.manual_seed(0)
    drawn = mac.select_actions(batch, 2, 0, bs=rows)
    torch.manual_seed(0)
    outputs, avail = mac._step(batch, 2)
    assert torch.equal(drawn, mac.policy_class(outputs[rows], avail[rows]).sample())


def test_the_last_action_is_the_one_drawn():
    batch = continuous(make_batch())
    learner = make_learner(batch, obs_last_action=True)
    last = learner.mac.build_inputs(batch)[..., 5:]
    assert (last[:, :, 0] == 0).all()
    assert torch.equal(last[:, :, 1:], batch["actions"][:, :-2].permute(2, 0, 1, 3))


def test_a_network_that_has_overflowed_is_named():
    batch = continuous(make_batch())
    learner = make_learner(batch)
    learner.mac.agent.agents[1].network.head.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="agent 1"):
        learner.mac.select_actions(batch, 0, 0)


@pytest.mark.parametrize(("name", "settings"), [("log_linear_ppo", {}), ("inpg", {"tabular": True})])
def test_algorithms_without_real_valued_actions_say_so(name, settings):
    learner = make_learner(make_batch(), name, **settings)
    with pytest.raises(CapabilityError, match="continuous actions"):
        learner.config.check_continuous()
    with pytest.raises(CapabilityError, match="continuous actions"):
        make_learner(continuous(make_batch()), name, **settings)
