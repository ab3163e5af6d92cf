"""The masked softmax policy against numbers worked out by hand and by autograd."""

import math

import pytest
import torch
from epymarl_trust_region.modules.distributions import MaskedCategorical


def three_of_four():
    logits = torch.tensor([0.0, math.log(2.0), 5.0, math.log(1.0)], requires_grad=True)
    return logits, MaskedCategorical(logits, torch.tensor([1, 1, 0, 1]))


def test_unavailable_actions_have_probability_zero_and_the_rest_are_the_softmax():
    _, policy = three_of_four()
    torch.testing.assert_close(policy.probs, torch.tensor([0.25, 0.5, 0.0, 0.25]))
    assert policy.probs[2] == 0.0


def test_unavailable_actions_get_no_gradient():
    for quantity in (
        lambda p: p.log_prob(torch.tensor(1)),
        lambda p: p.entropy(),
        lambda p: p.kl(MaskedCategorical(torch.zeros(4), torch.tensor([1, 1, 0, 1]))),
    ):
        logits, policy = three_of_four()
        quantity(policy).backward()
        assert logits.grad[2] == 0.0
        assert logits.grad.abs().sum() > 0.01
        assert torch.isfinite(logits.grad).all()


def test_entropy_kl_and_total_variation_by_hand():
    _, policy = three_of_four()
    old = MaskedCategorical(torch.zeros(4), torch.tensor([1, 1, 0, 1]))
    torch.testing.assert_close(policy.entropy(), torch.tensor(1.5 * math.log(2)))
    kl = (math.log(4 / 3) + math.log(2 / 3) + math.log(4 / 3)) / 3  # sum of 1/3 log((1/3)/p)
    torch.testing.assert_close(policy.kl(old), torch.tensor(kl))
    torch.testing.assert_close(policy.total_variation(old), torch.tensor(0.5 * (1 / 12 + 1 / 6 + 1 / 12)))


def test_kl_is_weighted_by_the_old_policy_and_has_the_fisher_matrix_as_its_hessian():
    logits = torch.randn(5, dtype=torch.float64)
    avail = torch.ones(5)
    old = MaskedCategorical(logits, avail)
    hessian = torch.autograd.functional.hessian(lambda x: MaskedCategorical(x, avail).kl(old), logits)
    p = old.probs
    torch.testing.assert_close(hessian, torch.diag(p) - torch.outer(p, p))


def test_a_state_with_no_action_stays_finite():
    logits = torch.randn(4, requires_grad=True)
    policy = MaskedCategorical(logits, torch.zeros(4))
    (policy.entropy() + policy.kl(policy.detach()) + policy.log_prob(torch.tensor(0))).backward()
    torch.testing.assert_close(policy.probs, torch.full((4,), 0.25))
    assert (logits.grad == 0).all()


def test_samples_follow_the_policy_and_never_leave_the_available_actions():
    torch.manual_seed(0)
    policy = MaskedCategorical(
        torch.tensor([0.0, math.log(2.0), 5.0, 0.0]).expand(40_000, 4), torch.tensor([1, 1, 0, 1])
    )
    share = torch.bincount(policy.sample(), minlength=4) / 40_000
    assert share[2] == 0
    # Three standard deviations of a share of 40,000 draws are at most 0.0075.
    torch.testing.assert_close(share, torch.tensor([0.25, 0.5, 0.0, 0.25]), atol=0.0075, rtol=0)
    assert (policy.mode() == 1).all()


def test_detach_is_the_same_policy_without_a_gradient():
    _, policy = three_of_four()
    copy = policy.detach()
    assert torch.equal(copy.probs, policy.probs)
    assert policy.log_probs.requires_grad and not copy.log_probs.requires_grad


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 3, 5), (7, 11)])
def test_samples_are_those_of_multinomial_number_for_number(shape):
    policy = MaskedCategorical(3 * torch.randn(shape), torch.rand(shape).argsort(-1) < 1 + shape[-1] // 2)
    state = torch.get_rng_state()
    for _ in range(20):
        drawn, after = policy.sample(), torch.get_rng_state()
        torch.set_rng_state(state)
        expected = torch.multinomial(policy.probs.reshape(-1, shape[-1]), 1).view(shape[:-1])
        assert torch.equal(drawn, expected) and torch.equal(after, state := torch.get_rng_state())


def test_to_sample_from_no_numbers_is_an_error():
    with pytest.raises(RuntimeError, match="NaN"):
        MaskedCategorical(torch.tensor([[0.0, float("nan")], [0.0, 1.0]]), None).sample()
