"""The fused networks against PyTorch's own layers and autograd, and flat parameters against loose ones."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from epymarl_trust_region.modules.actors import Actor, ActorSet
from epymarl_trust_region.modules.critics import make_critic
from epymarl_trust_region.modules.distributions import MaskedCategorical
from epymarl_trust_region.numerics import gru
from epymarl_trust_region.numerics.autograd import autograd_linear, autograd_vjp
from epymarl_trust_region.numerics.flat import flatten, views
from epymarl_trust_region.numerics.gru import gru_linear
from epymarl_trust_region.numerics.mlp import ACTIVATIONS, mlp_linear
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import make_batch, make_learner
from threadpoolctl import ThreadpoolController, threadpool_limits
from torch import nn


def perturbed(module: nn.Module) -> nn.Module:
    """All parameters random, biases included, in double precision unless they lie in one matrix."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def assert_same(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
        assert a.abs().max() > 0


def derivative_along(function, parameters, direction):
    """d/de of function(parameters + e direction) at e = 0, by forward-mode automatic differentiation."""
    return torch.func.jvp(function, (tuple(parameters),), (tuple(direction),))[1]


def directions(parameters):
    """A direction in which every parameter moves."""
    return [torch.randn_like(parameter) for parameter in parameters]


def pulled(pull, gradient, parameters):
    """What `pull` writes, into memory that held something else."""
    out = [torch.full_like(parameter, 7.0) for parameter in parameters]
    pull(gradient, out)
    return out


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(5, 3), (5, 8, 3), (5, 8, 6, 3), (5, 8, 6, 4, 1)])
def test_mlp_is_its_layers(sizes, activation):
    torch.manual_seed(0)
    layers = [nn.Linear(a, b).double() for a, b in zip(sizes, sizes[1:], strict=False)]
    functions = {"relu": nn.ReLU, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU}
    parts = [part for layer in layers for part in (layer, functions[activation]())][:-1]
    plain = perturbed(nn.Sequential(*parts))
    x, weights = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, sizes[-1], dtype=torch.float64)
    parameters, expected = list(plain.parameters()), plain(x)
    direction, names = directions(parameters), [name for name, _ in plain.named_parameters()]
    with torch.no_grad():
        y, push, pull = mlp_linear(x, parameters, ACTIVATIONS[activation])
        found, pushed = pulled(pull, weights, parameters), push(direction)
    assert_same([y], [expected])
    along = derivative_along(
        lambda p: torch.func.functional_call(plain, dict(zip(names, p, strict=True)), (x,)), parameters, direction
    )
    assert_same([pushed], [along])
    assert_same(found, torch.autograd.grad(expected, parameters, weights))


@pytest.mark.parametrize("steps, size", [(1, 4), (9, 4), (30, 1)])
def test_gru_is_pytorchs(steps, size):
    torch.manual_seed(1)
    plain = perturbed(nn.GRU(3, 5).double())
    x, hidden = torch.randn(steps, size, 3, dtype=torch.float64), torch.randn(size, 5, dtype=torch.float64)
    weights = torch.randn(steps, size, 5, dtype=torch.float64)
    weight_x, weight_h, bias_x, bias_h = plain.parameters()
    expected, _ = plain(x, hidden[None])
    with torch.no_grad():
        gates = (x @ weight_x.t() + bias_x).view(steps, size, 3, 5).permute(2, 0, 1, 3)
        found, push, pull = gru_linear(gates, hidden, weight_h, bias_h)
        of_weight, of_bias = torch.empty_like(weight_h), torch.empty_like(bias_h)
        of_gates = pull(weights, of_weight, of_bias)
        direction = directions([gates, weight_h, bias_h])
        pushed = push(*direction)
    assert_same([found], [expected])
    # Forward differences of our own (already held to PyTorch's above): 1e-6 apart, so good to about 1e-9.
    moved = [x + 5e-7 * d for x, d in zip((gates, weight_h, bias_h), direction, strict=True)]
    back = [x - 5e-7 * d for x, d in zip((gates, weight_h, bias_h), direction, strict=True)]
    with torch.no_grad():
        difference = gru_linear(moved[0], hidden, *moved[1:])[0] - gru_linear(back[0], hidden, *back[1:])[0]
    assert_same([pushed], [difference * 1e6], tolerance=1e-7)
    by_hand = of_gates.permute(1, 2, 0, 3).flatten(0, 1).flatten(1)  # [T B, 3H]: on to the input's weights
    ours = [by_hand.t() @ x.flatten(0, 1), of_weight, by_hand.sum(0), of_bias]
    assert_same(ours, torch.autograd.grad(expected, list(plain.parameters()), weights))


def test_a_grus_loops_keep_numpys_products_to_one_thread(monkeypatch):
    """NumPy's own threads, of which PyTorch's number is none, would wait for each other at each step."""
    controller, multiply, counts = ThreadpoolController().select(user_api="blas"), np.multiply, []
    numpys = {library["filepath"] for library in gru._blas().info()}  # others may have been loaded since, as SciPy's

    def threads() -> set[int]:
        return {library["num_threads"] for library in controller.info() if library["filepath"] in numpys}

    def spy(*arguments, **keywords):
        counts.append(threads())
        return multiply(*arguments, **keywords)

    gates, weight, bias = torch.randn(3, 2, 4, 5), torch.randn(15, 5), torch.randn(15)
    monkeypatch.setattr(np, "multiply", spy)
    with torch.no_grad(), threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("NumPy's library here cannot be told")
        found, push, pull = gru_linear(gates, torch.zeros(4, 5), weight, bias)
        calls = [len(counts)]
        push(gates, weight, bias)
        calls.append(len(counts))
        pull(torch.ones_like(found), torch.empty_like(weight), torch.empty_like(bias))
        assert threads() == {2}
    assert 0 < calls[0] < calls[1] < len(counts) and counts == [{1}] * len(counts)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("use_rnn", [False, True])
def test_actor_is_its_layers(use_rnn, activation):
    torch.manual_seed(2)
    actor = perturbed(Actor(4, 3, 8, use_rnn, activation)).double()
    inputs, weights = torch.randn(5, 6, 4).double(), torch.randn(5, 6, 3).double()
    expected, _ = actor(inputs)
    parameters = list(actor.parameters())
    for vjp in (actor.vjp, lambda x: autograd_vjp(lambda: actor(x)[0], actor.in_order)):
        with torch.no_grad():
            logits, pull = vjp(inputs)
            assert not logits.requires_grad
            found = pulled(pull, weights, parameters)
        assert_same([logits], [expected])
        assert_same(found, torch.autograd.grad(expected, parameters, weights, retain_graph=True))


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_derivatives_of_an_actor_are_autograds(use_rnn, activation):
    """Ours against autograd's graph, which serves GPUs, and the latter's push against its pull: u.(J v) = (J^T u).v."""
    torch.manual_seed(2)
    actor = perturbed(Actor(4, 3, 8, use_rnn, activation)).double()
    inputs, weights = torch.randn(5, 6, 4).double(), torch.randn(5, 6, 3).double()
    parameters, results = list(actor.parameters()), []
    direction = directions(parameters)
    for linearise in (actor.linearise, lambda x: autograd_linear(lambda: actor(x)[0], actor.in_order)):
        with torch.no_grad():
            logits, push, pull = linearise(inputs)
            for _ in range(2):  # as often as wanted
                found = [logits, push(direction), *pulled(pull, weights, parameters)]
        assert not any(x.requires_grad for x in found[:1])
        results.append(found)
        along = sum((d * g).sum() for d, g in zip(direction, found[2:], strict=True))
        torch.testing.assert_close((weights * found[1]).sum(), along, rtol=1e-12, atol=1e-12)
    assert_same(*results)


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_all_agents_at_once_are_agents_one_by_one(use_rnn, shared, double_precision):
    """Logits, log-probabilities, entropies and gradients, with and without unavailable actions."""
    batch = make_batch(lengths=[6, 3, 1, 5], avail=0.7)
    batch["avail_actions"][:, :, 1] = 1  # one agent has all of its actions
    batch["actions"][:, :-1, 1, 0] = torch.randint(4, (4, 6))
    learner = make_learner(batch, "ir_mappo", use_rnn=use_rnn, share_parameters=shared, hidden_dim=8)
    perturbed(learner.mac.agent)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    assert [own is None for own in rollout.avail_actions] == [False, True, False]
    weights = torch.randn(2, 3, 4, 6)
    log_probs, entropies, pull = rollout.evaluate_all(learner.mac)
    pull(*weights, [o.gradients for o in learner.actor_optimisers])
    expected = [torch.zeros_like(o.vector) for o in learner.actor_optimisers]
    for i in range(3):
        log_prob, entropy, pull_one = rollout.evaluate(learner.mac, i)
        assert_same([log_probs[i], entropies[i]], [log_prob, entropy])
        network = 0 if shared else i
        out = [torch.empty_like(p) for p in learner.mac.agent_parameters(i)]
        pull_one(weights[0, i], weights[1, i], out)
        expected[network] += torch.cat([x.flatten() for x in out])
    assert len(expected) == (1 if shared else 3)
    assert_same([o.vector.grad for o in learner.actor_optimisers], expected)


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_acting_together_is_acting_one_by_one(use_rnn, shared):
    """Step by step with all agents in one product, against whole sequences agent by agent: float32, 1e-5."""
    torch.manual_seed(3)
    actors = perturbed(ActorSet(3, lambda: Actor(4, 5, 8, use_rnn), shared))
    inputs = torch.randn(6, 7, 3, 4)  # [B, T, N, D]
    hidden, steps = actors.init_hidden(6), []
    for t in range(7):
        logits, hidden = actors(inputs[:, t], hidden)
        steps.append(logits)
    together = torch.stack(steps, 1)
    for i in range(3):
        logits, last = actors.actor(i)(inputs[:, :, i])
        torch.testing.assert_close(together[:, :, i], logits, rtol=1e-5, atol=1e-5)
        if use_rnn:
            torch.testing.assert_close(hidden[:, i], last, rtol=1e-5, atol=1e-5)
    assert len({tuple(row.flatten().tolist()) for row in together.transpose(0, 2)}) == 3


@pytest.mark.parametrize("kind", ["central", "individual"])
def test_critic_is_its_layers(kind):
    torch.manual_seed(4)
    args = SimpleNamespace(
        critic=kind, common_reward=False, n_agents=3, obs_individual_obs=False, critic_hidden_dim=8,
        value_norm="popart", value_norm_beta=0.9, activation="relu", critic_network=None, critic_args={},
        normalise_inputs=False,
    )  # fmt: skip
    critic = perturbed(make_critic({"state": {"vshape": 4}, "obs": {"vshape": 4}}, args)).double()
    inputs = torch.randn(*((2, 5, 4) if kind == "central" else (2, 5, 3, 4))).double()
    weights, parameters = torch.randn(2, 5, 3).double(), list(critic.parameters())
    expected = critic(inputs)
    with torch.no_grad():
        values, pull = critic.vjp(inputs)
        found = pulled(pull, weights, parameters)
    assert_same([values], [expected])
    assert_same(found, torch.autograd.grad(expected, parameters, weights))


@pytest.mark.parametrize("masked", [False, True])
def test_evaluate_is_log_prob_and_entropy(masked):
    g = torch.Generator().manual_seed(5)
    logits = torch.randn(4, 6, 5, generator=g, dtype=torch.float64, requires_grad=True)
    avail = (torch.rand(4, 6, 5, generator=g) < 0.6).int()
    avail[..., 0] = 1
    avail[0, 0] = torch.tensor([1, 0, 0, 0, 0])  # a single action: entropy and gradient 0
    actions = torch.zeros(4, 6, dtype=torch.int64) if masked else torch.randint(5, (4, 6), generator=g)
    avail = avail if masked else None
    policy = MaskedCategorical(logits, avail)
    weights = torch.randn(2, 4, 6, generator=g, dtype=torch.float64)
    *found, pull = MaskedCategorical.evaluate(logits.detach(), avail, actions)
    assert_same(found, (policy.log_prob(actions), policy.entropy()))
    loss = (weights[0] * policy.log_prob(actions) + weights[1] * policy.entropy()).sum()
    gradient = pull(*weights)
    assert_same([gradient], torch.autograd.grad(loss, logits))
    if masked:
        assert (gradient[avail == 0] == 0).all()


@pytest.mark.parametrize("use_rnn", [False, True])
def test_an_agents_whole_gradient_is_autograds(use_rnn, double_precision):
    """From the loss down to the parameters, in the order in which the optimiser has them."""
    batch = make_batch(lengths=[6, 3, 1, 5], avail=0.7)
    learner = make_learner(batch, use_rnn=use_rnn, entropy_coef=0.1, hidden_dim=8)
    perturbed(learner.mac.agent)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    perturbed(learner.mac.agent)  # another policy than the old one, so that some ratios are clipped
    factor = torch.rand(4, 6) + 0.5
    loss = learner.policy_loss(rollout, 1, factor)
    policy = learner.mac.policy(1, rollout.inputs[1], rollout.avail_actions[1])
    ratio = rollout.log_ratio(1, policy.log_prob(rollout.actions[1])).exp()
    advantage = factor * rollout.advantage(1)
    steps = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) + 0.1 * policy.entropy()
    plain = -(steps * rollout.mask).sum() / rollout.mask.sum()
    assert_same([loss], [plain])
    expected = torch.autograd.grad(plain, learner.mac.agent_parameters(1))
    assert_same(learner.actor_optimisers[1].gradients, expected)


def test_flat_parameters_are_views():
    module = perturbed(nn.Linear(3, 2))
    before = copy.deepcopy(module.state_dict())
    objects = list(module.parameters())
    vector = flatten(objects)
    assert [id(p) for p in module.parameters()] == [id(p) for p in objects]
    assert torch.equal(vector, torch.cat([before["weight"].flatten(), before["bias"]]))
    vector.mul_(2)
    assert torch.equal(module.weight, 2 * before["weight"])
    module.load_state_dict(before)
    assert torch.equal(vector[6:], before["bias"])
    weight, bias = views(vector, objects)
    assert weight.shape == (2, 3) and torch.equal(bias, before["bias"])


def test_agents_vectors_are_rows_that_move_only_their_own_agent():
    actors = perturbed(ActorSet(3, lambda: Actor(4, 5, 8, False), False))
    inputs = torch.randn(2, 3, 4)
    before, _ = actors(inputs)
    actors.vector(1).add_(0.1)
    after, _ = actors(inputs)
    assert [torch.equal(before[:, i], after[:, i]) for i in range(3)] == [True, False, True]
    torch.testing.assert_close(after[:, 1:2], actors.actor(1)(inputs[:, 1:2])[0])


@pytest.mark.parametrize("take_out", [copy.deepcopy, lambda a: a.double().float()], ids=["copy", "conversion"])
def test_parameters_taken_out_of_the_matrix_come_back(take_out):
    actors = take_out(perturbed(ActorSet(2, lambda: Actor(4, 5, 8, False), False)))
    inputs = torch.randn(3, 2, 4)
    with torch.no_grad():
        for parameter in actors.parameters():
            parameter.mul_(1.5)
    together, _ = actors(inputs)
    for i in range(2):
        torch.testing.assert_close(together[:, i : i + 1], actors.actor(i)(inputs[:, i : i + 1])[0])
    actors.vector(0).zero_()
    assert (actors.actor(0).body.weight == 0).all() and (actors.actor(1).body.weight != 0).all()
