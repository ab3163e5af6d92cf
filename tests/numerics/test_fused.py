"""The fused networks against PyTorch's own layers and autograd, and flat parameters against loose ones."""

from __future__ import annotations

import copy

import pytest
import torch
from epymarl_trust_region.modules.actors import Actor, ActorSet
from epymarl_trust_region.modules.critics import _ValueNet
from epymarl_trust_region.modules.distributions import MaskedCategorical
from epymarl_trust_region.numerics.flat import flatten, views
from epymarl_trust_region.numerics.gru import gru
from epymarl_trust_region.numerics.mlp import mlp
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


@pytest.mark.parametrize("sizes", [(5, 3), (5, 8, 3), (5, 8, 6, 3), (5, 8, 6, 4, 1)])
@pytest.mark.parametrize("shape", [(7,), (2, 7)])
def test_mlp_is_its_layers(sizes, shape):
    torch.manual_seed(0)
    layers = [nn.Linear(a, b).double() for a, b in zip(sizes, sizes[1:], strict=False)]
    parts = [part for layer in layers for part in (layer, nn.ReLU())][:-1]
    plain = perturbed(nn.Sequential(*parts))
    x = torch.randn(*shape, 5, dtype=torch.float64)
    weights = torch.randn(*shape, sizes[-1], dtype=torch.float64)
    parameters = list(plain.parameters())
    fused = mlp(x, *parameters)
    assert_same([fused], [plain(x)])
    gradients = (torch.autograd.grad((y * weights).sum(), parameters) for y in (fused, plain(x)))
    assert_same(*gradients)


@pytest.mark.parametrize("steps, size", [(1, 4), (9, 4), (30, 1)])
def test_gru_is_pytorch_s(steps, size):
    torch.manual_seed(1)
    plain = perturbed(nn.GRU(3, 5).double())
    x = torch.randn(steps, size, 3, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(size, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(steps, size, 5, dtype=torch.float64)
    weight_x, weight_h, bias_x, bias_h = plain.parameters()
    gates = (x @ weight_x.t() + bias_x).view(steps, size, 3, 5).permute(2, 0, 1, 3)
    fused, (expected, _) = gru(gates, hidden, weight_h, bias_h), plain(x, hidden[None])
    assert_same([fused], [expected])
    wrt = [x, hidden, *plain.parameters()]
    assert_same(*(torch.autograd.grad((y * weights).sum(), wrt) for y in (fused, expected)))


def written_out(actor: Actor, inputs):
    """The actor by PyTorch's own layers."""
    x = torch.relu(actor.body(inputs))
    return actor.head(torch.relu(actor.core(x)) if actor.rnn is None else actor.rnn(x)[0])


@pytest.mark.parametrize("use_rnn", [False, True])
def test_actor_is_its_layers(use_rnn):
    torch.manual_seed(2)
    actor = perturbed(Actor(4, 3, 8, use_rnn)).double()
    inputs, weights = torch.randn(5, 6, 4).double(), torch.randn(5, 6, 3).double()
    logits, _ = actor(inputs)
    expected = written_out(actor, inputs)
    assert_same([logits], [expected])
    assert_same(*(torch.autograd.grad((y * weights).sum(), actor.parameters()) for y in (logits, expected)))


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_acting_together_is_acting_one_by_one(use_rnn, shared):
    """Step by step with all agents in one product, against whole sequences agent by agent: float32, 1e-5."""
    torch.manual_seed(3)
    actors = perturbed(ActorSet(3, 4, 5, 8, use_rnn, shared))
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


def test_critic_is_its_layers():
    torch.manual_seed(4)
    net = perturbed(_ValueNet(4, 2, 8, "popart", 0.9)).double()
    x = torch.randn(3, 5, 4).double()
    expected = net.head(net.layers(x))
    assert_same([net(x)], [expected])
    assert_same(*(torch.autograd.grad(y.square().sum(), net.parameters()) for y in (net(x), expected)))


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
    plain, fused = (policy.log_prob(actions), policy.entropy()), MaskedCategorical.evaluate(logits, avail, actions)
    assert_same(fused, plain)
    weights = torch.randn(2, 4, 6, generator=g, dtype=torch.float64)
    gradients = [
        torch.autograd.grad(weights[0].mul(lp).sum() + weights[1].mul(h).sum(), logits) for lp, h in (plain, fused)
    ]
    assert_same(*gradients)
    if masked:
        assert (gradients[1][0][avail == 0] == 0).all()


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
    actors = perturbed(ActorSet(3, 4, 5, 8, False, False))
    inputs = torch.randn(2, 3, 4)
    before, _ = actors(inputs)
    actors.vector(1).add_(0.1)
    after, _ = actors(inputs)
    assert [torch.equal(before[:, i], after[:, i]) for i in range(3)] == [True, False, True]
    torch.testing.assert_close(after[:, 1:2], actors.actor(1)(inputs[:, 1:2])[0])


@pytest.mark.parametrize("take_out", [copy.deepcopy, lambda a: a.double().float()], ids=["copy", "conversion"])
def test_parameters_taken_out_of_the_matrix_come_back(take_out):
    actors = take_out(perturbed(ActorSet(2, 4, 5, 8, False, False)))
    inputs = torch.randn(3, 2, 4)
    with torch.no_grad():
        for parameter in actors.parameters():
            parameter.mul_(1.5)
    together, _ = actors(inputs)
    for i in range(2):
        torch.testing.assert_close(together[:, i : i + 1], actors.actor(i)(inputs[:, i : i + 1])[0])
    actors.vector(0).zero_()
    assert (actors.actor(0).body.weight == 0).all() and (actors.actor(1).body.weight != 0).all()
