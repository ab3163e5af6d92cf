"""PopArt: targets are normalised, and what the critic says, in returns, does not move."""

import pytest
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


@pytest.mark.parametrize("mean, std", [(1e4, 1.0), (-1e4, 0.1), (1e5, 1.0), (1e6, 10.0), (1e6, 3.0), (30.0, 10.0)])
def test_a_mean_that_dwarfs_the_standard_deviation_does_not_swallow_it(mean, std):
    """Over many small batches of float32 returns, whose own rounding is not PopArt's fault."""
    g, head, seen = torch.Generator().manual_seed(0), PopArtHead(1, 1, beta=0.99), []
    for _ in range(300):
        seen.append((mean + std * torch.randn(50, 1, generator=g, dtype=torch.float64)).float())
        head.update(seen[-1])
    weights = torch.tensor([0.99**age for age in range(300)], dtype=torch.float64).flip(0)
    moments = [sum(w * (x.double() ** k).mean() for w, x in zip(weights, seen, strict=True)) for k in (1, 2)]
    m, square = (x / weights.sum() for x in moments)
    expected = ((square - m**2) ** 0.5).item()
    found = (head.denormalise(torch.ones(1)).double() - head.denormalise(torch.zeros(1)).double()).item()
    assert expected == pytest.approx(std, rel=0.05)
    assert found == pytest.approx(expected, abs=1e-4 * std + 2e-7 * abs(mean))
    x = torch.tensor([[mean]], dtype=torch.float64).float() + torch.tensor([[2.0], [-1.0]]) * std
    torch.testing.assert_close(head.normalise(x), (x.double() - m).float() / std, rtol=0.06, atol=0.06)


def test_normalised_targets_are_of_the_returns_precision():
    for dtype in (torch.float32, torch.float64):
        head = PopArtHead(4, 1, beta=0.9).to(dtype)
        head.update(torch.tensor([[1.0], [3.0]], dtype=dtype))
        x = torch.ones(2, 1, dtype=dtype)
        units = head(torch.ones(2, 4, dtype=dtype))
        assert units.dtype == head.normalise(x).dtype == head.denormalise(x).dtype == dtype


def test_moments_that_were_saved_in_float32_load_and_go_on():
    """Checkpoints written before the moments were float64."""
    head, old = PopArtHead(3, 2, beta=0.5), PopArtHead(3, 2, beta=0.5)
    for x in (head, old):
        x.load_state_dict(head.state_dict())
    returns = [torch.tensor([[2.0, 7.0], [4.0, 9.0]]), torch.tensor([[1.0, 0.0], [5.0, 2.0]])]
    old.update(returns[0])
    saved = {name: value.float() for name, value in old.state_dict().items()}
    head.load_state_dict(saved)
    assert head.first_moment.dtype == torch.float64
    for x in (head, old):
        x.update(returns[1])
    for name, value in old.state_dict().items():
        torch.testing.assert_close(head.state_dict()[name], value)
