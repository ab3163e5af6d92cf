"""The losses, case by case and against autograd."""

import pytest
import torch
from epymarl_trust_region.onpolicy.losses import clipped_loss, value_loss


def surrogate(ratio, advantage, mask=(1.0,)):
    log_ratio, advantage, mask = (torch.tensor([list(x)]) for x in (ratio, advantage, mask))
    old = torch.full_like(log_ratio, -1.5)
    return -clipped_loss(log_ratio.log() + old, torch.full_like(old, 9.0), old, advantage, mask, 0.2, 0.0)


def test_only_what_would_gain_is_clipped():
    for ratio, advantage, expected in (
        (1.1, 2.0, 2.2),
        (1.5, 2.0, 2.4),  # clipped at 1.2
        (0.5, 2.0, 1.0),  # a loss counts in full
        (0.5, -2.0, -1.6),  # clipped at 0.8
        (1.5, -2.0, -3.0),
        (0.9, -2.0, -1.8),
    ):
        torch.testing.assert_close(surrogate([ratio], [advantage]), torch.tensor(expected))


def test_the_mean_is_over_valid_steps():
    value = surrogate([1.0, 1.0, 1.1], [1.0, 4.0, 1000.0], [1.0, 1.0, 0.0])
    torch.testing.assert_close(value, torch.tensor(2.5))


def test_clipped_steps_and_masked_ones_give_no_gradient():
    log_ratio = torch.tensor([[1.5, 1.5, 1.1, 1.1]]).log().requires_grad_()
    advantage, mask = torch.tensor([[1.0, -1.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    nothing = torch.zeros_like(advantage)
    clipped_loss(log_ratio, nothing, nothing, advantage, mask, 0.2, 0.0).backward()
    torch.testing.assert_close(log_ratio.grad, torch.tensor([[0.0, 0.5, -1.1 / 3, 0.0]]))


@pytest.mark.parametrize("seed", range(5))
def test_value_and_gradient_are_those_of_autograd(seed):
    g = torch.Generator().manual_seed(seed)
    log_prob, entropy, old, advantage = torch.randn(4, 6, 7, generator=g, dtype=torch.float64)
    mask = (torch.rand(6, 7, generator=g) < 0.7).double()
    log_prob.requires_grad_(), entropy.requires_grad_()
    fused = -3 * clipped_loss(log_prob, entropy, old, advantage, mask, 0.3, 0.05)
    ratio = ((log_prob - old) * mask).exp()
    steps = torch.min(ratio * advantage, ratio.clamp(0.7, 1.3) * advantage) + 0.05 * entropy
    plain = 3 * (steps * mask).sum() / mask.sum()
    torch.testing.assert_close(fused, plain, rtol=1e-13, atol=0)
    for ours, theirs in zip(*(torch.autograd.grad(x, [log_prob, entropy]) for x in (fused, plain)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
        assert (ours != 0).any()


@pytest.mark.parametrize("huber_delta", [None, 0.7])
@pytest.mark.parametrize("columns", [1, 3])
def test_value_loss_is_pytorchs_own_over_valid_steps(huber_delta, columns):
    g = torch.Generator().manual_seed(0)
    values = torch.randn(6, 7, 3, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(6, 7, columns, generator=g, dtype=torch.float64)
    mask = (torch.rand(6, 7, 1, generator=g) < 0.7).double()
    valid = [x.expand(6, 7, 3)[mask.bool().expand(6, 7, 3)] for x in (values, targets)]
    plain = torch.nn.functional.huber_loss(*valid, delta=huber_delta or 1e9)  # never reached: half the squared error
    fused = value_loss(values, targets, mask, huber_delta)
    torch.testing.assert_close(fused, plain, rtol=1e-13, atol=0)
    ours, theirs = (torch.autograd.grad(2 * x, values)[0] for x in (fused, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-16)


def test_huber_is_half_the_square_below_its_threshold_and_a_line_above():
    errors, one = torch.tensor([0.0, 1.0, -2.0, 3.0, -5.0]), torch.ones(1, 1, 1)
    losses = [value_loss(error.view(1, 1, 1), torch.zeros(1, 1, 1), one, 2.0).item() for error in errors]
    assert losses == [0.0, 0.5, 2.0, 4.0, 8.0]
    assert value_loss(errors[4].view(1, 1, 1), torch.zeros(1, 1, 1), one, None) == 12.5
