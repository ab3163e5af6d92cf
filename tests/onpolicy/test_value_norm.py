"""PopArt: targets are normalised, and what the critic says, in returns, does not move."""

import torch
from epymarl_trust_region.modules.value_norm import PopArtHead, ValueHead


def test_update_changes_no_estimate_in_returns():
    torch.manual_seed(0)
    head, features = PopArtHead(8, 2, beta=0.9).double(), torch.randn(20, 8, dtype=torch.float64)
    for scale in (1.0, 100.0, 0.01):
        before = head.denormalise(head(features))
        head.update(scale * torch.randn(50, 2, dtype=torch.float64) + 7 * scale)
        torch.testing.assert_close(head.denormalise(head(features)), before)


def test_the_first_batch_counts_fully_and_targets_become_standard():
    torch.manual_seed(0)
    head, returns = PopArtHead(8, 2, beta=0.99999).double(), 5 + 3 * torch.randn(500, 2, dtype=torch.float64)
    head.update(returns)
    normalised = head.normalise(returns)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalised.std(0, unbiased=False), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(head.denormalise(normalised), returns)


def test_moments_are_the_debiased_running_means():
    head = PopArtHead(1, 1, beta=0.5)
    head.update(torch.tensor([[2.0], [4.0]]))
    head.update(torch.tensor([[9.0], [9.0]]))
    mean = (0.25 * 3 + 0.5 * 9) / 0.75
    second = (0.25 * 10 + 0.5 * 81) / 0.75
    std = (second - mean**2) ** 0.5
    torch.testing.assert_close(head.denormalise(torch.tensor([[0.0], [1.0]])), torch.tensor([[mean], [mean + std]]))


def test_before_any_batch_and_in_the_plain_head_units_are_returns():
    for head in (PopArtHead(3, 1, beta=0.9), ValueHead(3, 1)):
        x = torch.randn(4, 1)
        assert torch.equal(head.normalise(x), x)
        assert torch.equal(head.denormalise(x), x)


def test_returns_that_do_not_vary_are_divided_by_the_smallest_standard_deviation():
    head = PopArtHead(1, 1, beta=0.9, epsilon=1e-3).double()
    head.update(torch.full((8, 1), 5.0, dtype=torch.float64))
    normalised = head.normalise(torch.tensor([[5.002]], dtype=torch.float64))
    torch.testing.assert_close(normalised, torch.tensor([[2.0]], dtype=torch.float64))
    assert torch.isfinite(head.layer.weight).all()
