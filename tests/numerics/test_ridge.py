"""Ridge regressions, one for each action, against the normal equations of the whole and against their optimality."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.numerics.ridge import ridge_by_action


@pytest.mark.parametrize("ridge, width", [(0.0, 4), (0.1, 4), (0.1, 66), (0.1, 300), (1e-3, 300)])
def test_it_is_the_minimum_of_the_whole_objective(ridge, width):
    """By gradient: 0 there, in all coordinates of all actions at once; about 66 samples have each of the actions."""
    torch.manual_seed(0)
    x, a, g, f = torch.randn(200, width).double(), torch.randint(3, (200,)), torch.randn(200).double(), torch.rand(200)
    w = ridge_by_action(x, a, g, f, 3, ridge).requires_grad_()
    loss = (f * ((x * w[a]).sum(-1) - g) ** 2).mean() + ridge * (w**2).sum()
    loss.backward()
    assert w.grad.abs().max() < 1e-12


def test_an_exact_fit_is_found_and_weights_do_not_matter_then():
    torch.manual_seed(0)
    truth, x, a = torch.randn(2, 3).double(), torch.randn(50, 3).double(), torch.randint(2, (50,))
    targets = (x * truth[a]).sum(-1)
    for weights in (torch.ones(50), torch.rand(50)):
        torch.testing.assert_close(ridge_by_action(x, a, targets, weights, 2, 0.0), truth)


def test_actions_not_taken_and_features_not_seen_get_nothing():
    x, a = torch.eye(3)[torch.tensor([0, 0, 1, 1])], torch.tensor([0, 0, 2, 2])
    w = ridge_by_action(x, a, torch.tensor([1.0, 3.0, 5.0, 5.0]), torch.ones(4), 3, 0.0)
    torch.testing.assert_close(w, torch.tensor([[2.0, 0, 0], [0, 0, 0], [0, 5.0, 0]]).double())
