"""The losses, case by case and against autograd."""

import pytest
import torch
from epymarl_trust_region.onpolicy.losses import clipped_loss, kl_penalty, value_loss


def surrogate(ratio, advantage, mask=(1.0,)):
    log_ratio, advantage, mask = (torch.tensor([list(x)]) for x in (ratio, advantage, mask))
    old = torch.full_like(log_ratio, -1.5)
    loss, *_ = clipped_loss(log_ratio.log() + old, torch.full_like(old, 9.0), old, advantage, mask, 0.2, 0.0)
    return -loss


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
    log_ratio = torch.tensor([[1.5, 1.5, 1.1, 1.1]]).log()
    advantage, mask = torch.tensor([[1.0, -1.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    nothing = torch.zeros_like(advantage)
    _, slope, _ = clipped_loss(log_ratio, nothing, nothing, advantage, mask, 0.2, 0.0)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.5, -1.1 / 3, 0.0]]))


@pytest.mark.parametrize("eps_clip", [0.3, None])
@pytest.mark.parametrize("seed", range(5))
def test_value_and_slopes_are_those_of_autograd(seed, eps_clip):
    g = torch.Generator().manual_seed(seed)
    log_prob, entropy, old, advantage = torch.randn(4, 6, 7, generator=g, dtype=torch.float64)
    mask = (torch.rand(6, 7, generator=g) < 0.7).double()
    loss, *slopes = clipped_loss(log_prob, entropy, old, advantage, mask, eps_clip, 0.05)
    log_prob.requires_grad_(), entropy.requires_grad_()
    ratio = ((log_prob - old) * mask).exp()
    gain = ratio * advantage
    gain = gain if eps_clip is None else torch.min(gain, ratio.clamp(0.7, 1.3) * advantage)
    steps = gain + 0.05 * entropy
    plain = -(steps * mask).sum() / mask.sum()
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-13, atol=0)
    for ours, theirs in zip(slopes, torch.autograd.grad(plain, [log_prob, entropy]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
        assert (ours != 0).any()


def test_the_penalty_of_a_batch_without_sampling_error_is_the_divergence():
    """Every action as often as the old policy takes it: value and gradient in the logits are KL(old || new)'s."""
    old = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    actions = torch.tensor([[0] * 4 + [1] * 2 + [2] + [3] + [0]])  # the last one is padding
    mask = torch.tensor([[1.0] * 8 + [0.0]], dtype=torch.float64)
    logits = torch.tensor([0.3, -0.7, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    log_prob = torch.log_softmax(logits, 0)
    kl = (old * (old.log() - log_prob)).sum()
    penalty, slope = kl_penalty(log_prob.detach()[actions], old.log()[actions], mask)
    torch.testing.assert_close(penalty, kl.detach(), rtol=1e-13, atol=0)
    gradient = torch.autograd.grad((log_prob[actions] * slope).sum(), logits, retain_graph=True)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(kl, logits)[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_the_penalty_is_never_negative_and_its_slope_is_autograds(seed):
    g = torch.Generator().manual_seed(seed)
    log_prob, old = torch.randn(2, 3, 6, 7, generator=g, dtype=torch.float64)
    mask = (torch.rand(6, 7, generator=g) < 0.7).double()
    penalty, slope = kl_penalty(log_prob, old, mask)
    log_prob.requires_grad_()
    difference = log_prob - old
    plain = ((difference.exp() - 1 - difference) * mask).sum() / mask.sum()
    torch.testing.assert_close(penalty, plain.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, torch.autograd.grad(plain, log_prob)[0], rtol=1e-12, atol=1e-15)
    assert penalty > 0 and kl_penalty(old, old, mask)[0] == 0 == kl_penalty(old, old, mask)[1].abs().max()


@pytest.mark.parametrize("huber_delta", [None, 0.7])
@pytest.mark.parametrize("columns", [1, 3])
def test_value_loss_is_pytorchs_own_over_valid_steps(huber_delta, columns):
    g = torch.Generator().manual_seed(0)
    values = torch.randn(6, 7, 3, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(6, 7, columns, generator=g, dtype=torch.float64)
    mask = (torch.rand(6, 7, 1, generator=g) < 0.7).double()
    valid = [x.expand(6, 7, 3)[mask.bool().expand(6, 7, 3)] for x in (values, targets)]
    plain = torch.nn.functional.huber_loss(*valid, delta=huber_delta or 1e9)  # never reached: half the squared error
    loss, slope = value_loss(values.detach(), targets, mask, huber_delta)
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(slope, torch.autograd.grad(plain, values)[0], rtol=1e-12, atol=1e-16)


def test_huber_is_half_the_square_below_its_threshold_and_a_line_above():
    errors, one = torch.tensor([0.0, 1.0, -2.0, 3.0, -5.0]), torch.ones(1, 1, 1)
    losses = [value_loss(error.view(1, 1, 1), torch.zeros(1, 1, 1), one, 2.0)[0].item() for error in errors]
    assert losses == [0.0, 0.5, 2.0, 4.0, 8.0]
    assert value_loss(errors[4].view(1, 1, 1), torch.zeros(1, 1, 1), one, None)[0] == 12.5


def test_padding_may_hold_anything_finite():
    """A ratio that overflows at a masked step must not turn 0 * inf into NaN."""
    log_prob, mask = torch.tensor([[-1.0, 900.0]]), torch.tensor([[1.0, 0.0]])
    loss, *slopes = clipped_loss(log_prob, torch.ones(1, 2), torch.full((1, 2), -1.0), mask, mask, 0.2, 0.1)
    assert loss == -1.1
    assert [slope.tolist() for slope in slopes] == [[[-1.0, 0.0]], [[pytest.approx(-0.1), 0.0]]]
