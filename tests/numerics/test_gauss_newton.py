"""Fisher products: against closed forms, against the dense Fisher matrix, and against autograd's Hessian of the KL.

Shape letters: B episodes, T steps, A actions, P parameters.
"""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.modules.actors import Actor
from epymarl_trust_region.modules.distributions import MaskedCategorical
from epymarl_trust_region.numerics.autograd import autograd_linear
from epymarl_trust_region.numerics.conjugate_gradient import conjugate_gradient
from epymarl_trust_region.numerics.gauss_newton import gauss_newton_product
from torch import nn


@pytest.fixture(autouse=True)
def _double(double_precision):
    torch.manual_seed(0)


def softmax_table(states: int, actions: int) -> torch.Tensor:
    return torch.randn(states, actions)


def tabular_product(logits: torch.Tensor, damping: float = 0.0):
    """The Fisher product of a table of logits, each state weighted alike: J is the identity."""
    policy, table = MaskedCategorical(logits, None), nn.Parameter(logits)

    def pull(gradient, out):
        out[0].copy_(gradient)

    share = 1 / len(logits)
    return gauss_newton_product(
        lambda v: v[0], lambda u: share * policy.fisher_product(u), pull, [table], damping
    ), policy.probs


def test_one_state_is_diag_p_minus_p_p():
    product, p = tabular_product(softmax_table(1, 6))
    fisher = torch.diag(p[0]) - torch.outer(p[0], p[0])
    for v in torch.randn(5, 6):
        torch.testing.assert_close(product(v), fisher @ v, rtol=0, atol=1e-16)


def test_one_state_natural_gradient_is_the_centred_advantage():
    """F^+ grad J = A - mean_a A, whatever the policy (the INPG direction)."""
    product, p = tabular_product(softmax_table(1, 6))
    advantage = torch.randn(6)
    gradient = p[0] * (advantage - p[0] @ advantage)
    found = conjugate_gradient(product, gradient, 50, tolerance=1e-30)
    torch.testing.assert_close(found.x, advantage - advantage.mean(), rtol=0, atol=1e-13)
    fisher = torch.diag(p[0]) - torch.outer(p[0], p[0])
    torch.testing.assert_close(found.x, torch.linalg.pinv(fisher) @ gradient, rtol=0, atol=1e-13)


def test_states_are_blocks_and_damping_is_added():
    product, p = tabular_product(softmax_table(3, 4), damping=0.25)
    blocks = torch.block_diag(*((torch.diag(row) - torch.outer(row, row)) / 3 for row in p)) + 0.25 * torch.eye(12)
    dense = torch.stack([product(column) for column in torch.eye(12)], 1)
    torch.testing.assert_close(dense, blocks, rtol=0, atol=1e-15)


def network(use_rnn: bool):
    """A small actor, inputs, ragged weights and available actions (some steps have a single one, padding has none)."""
    actor = Actor(3, 4, 5, use_rnn)
    for parameter in actor.parameters():
        nn.init.normal_(parameter, std=0.7)
    avail = torch.rand(3, 5, 4) < 0.7
    avail[..., 1] = True
    avail[0, 2] = torch.tensor([False, True, False, False])
    mask = torch.ones(3, 5)
    mask[1, 3:] = 0
    avail[1, 3:] = False
    return actor, torch.randn(3, 5, 3), avail, mask / mask.sum()


def product_of(actor, inputs, avail, share, linearise=None):
    with torch.no_grad():
        logits, push, pull = (linearise or actor.linearise)(inputs)
    policy = MaskedCategorical(logits, avail)
    metric = lambda u: policy.fisher_product(u) * share.unsqueeze(-1)  # noqa: E731
    return gauss_newton_product(push, metric, pull, actor.in_order)


def dense(product, P: int) -> torch.Tensor:
    return torch.stack([product(column) for column in torch.eye(P)], 1)


@pytest.mark.parametrize("use_rnn", [False, True])
def test_it_is_the_dense_fisher_matrix_by_its_definition(use_rnn):
    """sum over steps and available actions of share pi(a) grad log pi(a) grad log pi(a)^T, one by one."""
    actor, inputs, avail, share = network(use_rnn)
    parameters = list(actor.parameters())
    policy = MaskedCategorical(actor(inputs)[0], avail)
    P = sum(parameter.numel() for parameter in parameters)
    fisher = torch.zeros(P, P)
    for b, t, a in avail.nonzero().tolist():
        score = torch.autograd.grad(policy.log_probs[b, t, a], parameters, retain_graph=True)
        score = torch.cat([part.flatten() for part in score])
        fisher += share[b, t] * policy.probs[b, t, a].detach() * torch.outer(score, score)
    found = dense(product_of(actor, inputs, avail, share), P)
    torch.testing.assert_close(found, fisher, rtol=0, atol=1e-13)
    assert torch.linalg.matrix_rank(found) > 10


@pytest.mark.parametrize("use_rnn", [False, True])
def test_it_is_autograds_hessian_of_the_true_kl(use_rnn):
    """Double backward through PyTorch's own layers, and the two ways of linearising."""
    actor, inputs, avail, share = network(use_rnn)
    parameters = list(actor.parameters())
    policy = MaskedCategorical(actor(inputs)[0], avail)
    kl = (policy.kl(policy.detach()) * share).sum()
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(kl, parameters, create_graph=True)])
    v = torch.randn(len(slope))
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(slope @ v, parameters)])
    by_graph = product_of(actor, inputs, avail, share, lambda x: autograd_linear(lambda: actor(x)[0], actor.in_order))
    assert expected.abs().max() > 1e-3
    for product in (product_of(actor, inputs, avail, share), by_graph):
        torch.testing.assert_close(product(v), expected, rtol=1e-10, atol=1e-13)
        assert (slope == 0).all() or slope.abs().max() < 1e-14  # the KL's own gradient vanishes here


def test_the_score_and_the_fisher_product_belong_to_each_other():
    """E_{a ~ pi}[score(a) (score(a).u)] = F u, and scores average to nothing; 0 at unavailable actions."""
    logits, avail = torch.randn(7, 5), torch.rand(7, 5) < 0.6
    avail[:, 0] = True
    policy, u = MaskedCategorical(logits, avail), torch.randn(7, 5)
    mean, product = torch.zeros(7, 5), torch.zeros(7, 5)
    for a in range(5):
        score = policy.score(torch.full((7,), a))
        weight = policy.probs[:, a : a + 1]
        mean += weight * score
        product += weight * score * (score * u).sum(-1, keepdim=True)
    torch.testing.assert_close(mean, torch.zeros(7, 5), rtol=0, atol=1e-15)
    torch.testing.assert_close(policy.fisher_product(u), product, rtol=0, atol=1e-15)
    assert (policy.fisher_product(u)[~avail] == 0).all()


def test_the_score_is_autograds():
    logits = torch.randn(3, 4, requires_grad=True)
    policy, actions = MaskedCategorical(logits, None), torch.tensor([0, 3, 1])
    expected = torch.autograd.grad(policy.log_prob(actions).sum(), logits)[0]
    torch.testing.assert_close(MaskedCategorical(logits.detach(), None).score(actions), expected, rtol=0, atol=1e-15)
