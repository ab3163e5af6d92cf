"""Agents that take turns, on given ratios: the factor is the product of those before, clipped on both sides."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from epymarl_trust_region.onpolicy.turns import agent_sequence, turns

RATIOS = torch.tensor([[[0.5, 1.0, 1.1, 1.0]], [[0.5, 0.9, 1.5, 1.0]], [[9.0, 9.0, 9.0, 9.0]]])  # [N, B, T]


def factors(width: float | None) -> torch.Tensor:
    """[N, B, T] with the agents in the order of their indices; the ratio of an agent counts once its turn is over."""
    rollout = SimpleNamespace(n_agents=3, mask=torch.ones(1, 4), ratio=lambda mac, agent: RATIOS[agent])
    config = SimpleNamespace(agent_order="fixed", factor_clip=width)
    agents, found = zip(*turns(rollout, None, config), strict=True)
    assert agents == (0, 1, 2)
    return torch.stack(found)


def test_the_factor_is_the_product_of_the_ratios_before():
    expected = torch.tensor([[[1.0] * 4], [[0.5, 1.0, 1.1, 1.0]], [[0.25, 0.9, 1.65, 1.0]]])
    torch.testing.assert_close(factors(None), expected)


@pytest.mark.parametrize("width", [0.2, 0.05, 0.7])
def test_factor_clip_holds_what_agents_get_within_its_width_on_both_sides(width):
    """What they get, and not the product itself, which goes on unclipped."""
    expected = torch.tensor([[[1.0] * 4], [[0.5, 1.0, 1.1, 1.0]], [[0.25, 0.9, 1.65, 1.0]]])
    expected = torch.minimum(torch.maximum(expected, torch.tensor(1 - width)), torch.tensor(1 + width))
    torch.testing.assert_close(factors(width), expected)


def test_a_sequence_is_a_permutation_drawn_at_random_or_the_indices():
    torch.manual_seed(0)
    drawn = [agent_sequence(3, "random") for _ in range(100)]
    assert len({tuple(order) for order in drawn}) == 6 and all(sorted(order) == [0, 1, 2] for order in drawn)
    assert agent_sequence(3, "fixed") == [0, 1, 2]
