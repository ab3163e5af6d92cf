"""The diagonal Gaussian policy against quadrature, autograd and torch's own."""

import math

import numpy as np
import pytest
import torch
from epymarl_trust_region.modules.gaussian import DiagonalGaussian

REAL = torch.tensor([True, True, False])


def some_policy(seed: int, shape=(4, 3), real=None) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn((*shape[:-1], 2 * shape[-1]), generator=generator, dtype=torch.float64)
    draws[..., shape[-1] :] *= 0.7
    return DiagonalGaussian(draws, None if real is None else real.expand(shape))


def torchs(policy: DiagonalGaussian) -> torch.distributions.Distribution:
    return torch.distributions.Independent(torch.distributions.Normal(policy.mean, policy.log_std.exp()), 1)


def outputs_of(policy: DiagonalGaussian) -> torch.Tensor:
    return torch.cat([policy.mean, policy.log_std], -1)


def test_log_prob_entropy_and_kl_are_those_of_torchs_distributions():
    new, old = some_policy(0), some_policy(1)
    actions = some_policy(2).mean
    torch.testing.assert_close(new.log_prob(actions), torchs(new).log_prob(actions))
    torch.testing.assert_close(new.entropy(), torchs(new).entropy())
    torch.testing.assert_close(new.kl(old), torch.distributions.kl_divergence(torchs(old), torchs(new)))


def test_kl_and_entropy_are_integrals():
    new, old = some_policy(0, (1, 1)), some_policy(1, (1, 1))
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64).unsqueeze(-1)
    log_new, log_old = new.log_prob(x), old.log_prob(x)
    dx = (x[1] - x[0]).item()
    kl = (log_old.exp() * (log_old - log_new)).sum() * dx
    torch.testing.assert_close(new.kl(old)[0], kl, atol=1e-9, rtol=0)
    torch.testing.assert_close(new.entropy()[0], -(log_new.exp() * log_new).sum() * dx, atol=1e-9, rtol=0)


def test_kl_of_policies_that_hardly_differ_keeps_its_digits_in_single_precision():
    outputs = torch.tensor([0.3, -0.5], dtype=torch.float32)
    moved = outputs + torch.tensor([0.0, 1e-3])
    kl = DiagonalGaussian(moved, None).kl(DiagonalGaussian(outputs, None)).item()
    assert kl == pytest.approx(1e-6, rel=2e-3)  # 1/2 F d^2 with F = 2, up to the third order


@pytest.mark.parametrize("real", [None, REAL])
def test_score_and_slopes_are_the_gradients_of_autograd(real):
    new, old = some_policy(0, real=real), some_policy(1, real=real)
    actions, dimensions = some_policy(2).mean, None if real is None else real.expand(4, 3)
    outputs = outputs_of(new).requires_grad_()

    def gradient(of) -> torch.Tensor:
        return torch.autograd.grad(of(DiagonalGaussian(outputs, dimensions)).sum(), outputs)[0]

    torch.testing.assert_close(new.score(actions), gradient(lambda p: p.log_prob(actions)))
    torch.testing.assert_close(new.kl_slope(old), gradient(lambda p: p.kl(old)))
    log_prob, entropy, pull = DiagonalGaussian.evaluate(outputs.detach(), dimensions, actions)
    torch.testing.assert_close(log_prob, new.log_prob(actions))
    torch.testing.assert_close(entropy, new.entropy())
    weights = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    both = gradient(lambda p: weights[0] * p.log_prob(actions) + weights[1] * p.entropy())
    torch.testing.assert_close(pull(*weights), both)


def test_fisher_matrix_is_the_hessian_of_the_kl_and_the_scores_second_moment():
    policy = some_policy(0, (3,))
    outputs = outputs_of(policy)
    hessian = torch.autograd.functional.hessian(lambda x: DiagonalGaussian(x, None).kl(policy), outputs)
    fisher = torch.stack([policy.fisher_product(unit) for unit in torch.eye(6, dtype=torch.float64)])
    torch.testing.assert_close(fisher, hessian)
    # E[score score^T] by Gauss-Hermite quadrature, exact for these polynomials; dimensions are independent.
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    z, w = torch.from_numpy(nodes), torch.from_numpy(weights / math.sqrt(2 * math.pi))
    scores = policy.score(policy.mean + z.unsqueeze(-1) * policy.log_std.exp())
    for k in range(3):
        own = scores[:, [k, 3 + k]]
        torch.testing.assert_close((own * w.unsqueeze(-1)).T @ own, fisher[[k, 3 + k]][:, [k, 3 + k]])


def test_padding_has_no_part_in_anything():
    new, old = some_policy(0, real=REAL), some_policy(1, real=REAL)
    narrow_new, narrow_old = (DiagonalGaussian.of(p.mean[:, :2], p.log_std[:, :2], None) for p in (new, old))
    actions = some_policy(2).mean
    actions[:, 2] = float("nan")  # whatever lies there
    torch.testing.assert_close(new.log_prob(actions), narrow_new.log_prob(actions[:, :2]))
    for name in ("kl", "total_variation", "log_affinity"):
        torch.testing.assert_close(getattr(new, name)(old), getattr(narrow_new, name)(narrow_old))
    torch.testing.assert_close(new.entropy(), narrow_new.entropy())
    assert (new.sample()[:, 2] == 0).all() and (new.mode()[:, 2] == 0).all()
    for slopes in (new.score(actions), new.kl_slope(old), new.fisher_product(torch.ones(4, 6, dtype=torch.float64))):
        assert (slopes[:, [2, 5]] == 0).all() and (slopes[:, [0, 1, 3, 4]] != 0).all()


@pytest.mark.parametrize(
    ("means", "stds"),
    [((0.0, 1.3), (1.0, 1.0)), ((0.0, 0.4), (1.0, 2.0)), ((0.2, 0.2), (0.5, 0.8)), ((0.0, -3.0), (0.3, 0.2))],
)
def test_total_variation_in_one_dimension_is_the_integral(means, stds):
    new, old = (
        DiagonalGaussian(torch.tensor([m, math.log(s)], dtype=torch.float64), None)
        for m, s in zip(means, stds, strict=True)
    )
    x = torch.linspace(-15, 15, 1_000_001, dtype=torch.float64).unsqueeze(-1)
    integral = 0.5 * (new.log_prob(x).exp() - old.log_prob(x).exp()).abs().sum() * (x[1] - x[0]).item()
    torch.testing.assert_close(new.total_variation(old), integral, atol=1e-8, rtol=0)
    lower, upper = new.total_variation_bounds(old)
    assert lower == upper


def test_total_variation_of_equal_spreads_is_erf_and_of_the_same_policy_zero():
    one = DiagonalGaussian(torch.tensor([[0.0, 0.1], [0.5, 0.1], [3.0, 0.1]], dtype=torch.float64), None)
    zero = DiagonalGaussian(torch.tensor([0.0, 0.1], dtype=torch.float64), None)
    expected = torch.erf(one.mean.squeeze(-1) / math.exp(0.1) / (2 * math.sqrt(2)))
    torch.testing.assert_close(one.total_variation(zero), expected, atol=1e-12, rtol=0)


def test_total_variation_in_two_dimensions_lies_between_the_bounds():
    axis = torch.linspace(-12, 12, 1501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for seed in range(6):
        new, old = some_policy(seed, (2,)), some_policy(100 + seed, (2,))
        densities = [policy.log_prob(grid).exp() for policy in (new, old)]
        cell = (axis[1] - axis[0]).item() ** 2
        exact = 0.5 * (densities[0] - densities[1]).abs().sum() * cell
        affinity = (densities[0] * densities[1]).sqrt().sum() * cell
        lower, upper = new.total_variation_bounds(old)
        torch.testing.assert_close(new.log_affinity(old).exp(), affinity, atol=1e-6, rtol=0)
        assert lower - 1e-6 <= exact <= upper + 1e-6
        assert lower > 0 and upper < 1


def test_a_mixture_keeps_mean_and_variance():
    new, old = some_policy(0), some_policy(1)
    mixture = new.mixed_with(old, 0.3)
    second = 0.3 * ((2 * new.log_std).exp() + new.mean**2) + 0.7 * ((2 * old.log_std).exp() + old.mean**2)
    mean = 0.3 * new.mean + 0.7 * old.mean
    torch.testing.assert_close(mixture.mean, mean)
    torch.testing.assert_close((2 * mixture.log_std).exp(), second - mean**2)


def test_samples_follow_the_policy():
    torch.manual_seed(0)
    outputs = torch.tensor([0.5, -1.0, math.log(2.0), math.log(0.1)])
    sample = DiagonalGaussian(outputs.expand(40_000, 4), None).sample()
    # Four standard errors of a mean of 40,000 draws.
    torch.testing.assert_close(sample.mean(0), torch.tensor([0.5, -1.0]), atol=0.04, rtol=0)
    torch.testing.assert_close(sample.std(0), torch.tensor([2.0, 0.1]), atol=0.0, rtol=0.02)


def test_detach_is_the_same_policy_without_a_gradient():
    outputs = torch.zeros(4, requires_grad=True)
    policy = DiagonalGaussian(outputs, None)
    copy = policy.detach()
    assert torch.equal(copy.mean, policy.mean) and policy.mean.requires_grad and not copy.mean.requires_grad


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_drawn(bad):
    outputs = torch.zeros(3, 4)
    outputs[1, 0] = bad
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        DiagonalGaussian(outputs, None).sample()
    dimensions = torch.ones(3, 2)
    dimensions[1, 0] = 0  # padding may hold anything
    assert DiagonalGaussian(outputs, dimensions).sample()[1, 0] == 0
    huge = torch.zeros(3, 4)
    huge[:, 0] = 3e38  # each is a number, and their sum is none
    assert DiagonalGaussian(huge, None).sample().isfinite().all()
