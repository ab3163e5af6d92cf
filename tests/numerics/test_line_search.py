"""The backtracking line search on functions of known shape."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.numerics.line_search import Outcome, backtrack


def search(gain, distance=lambda x: 0.0, at=0.3, step=8.0, slope=1.0, **changes) -> tuple[Outcome, float, list[float]]:
    """Along a line: the outcome, where the parameter is afterwards, and the steps that were tried."""
    vector, tried = torch.tensor([at]), []

    def measure():
        moved = (vector - at).item()
        tried.append(moved)
        return gain(moved), distance(moved)

    options = {"radius": 1.0, "accept_ratio": 0.5, "coef": 0.5, "steps": 5} | changes
    outcome = backtrack(vector, torch.tensor([step]), torch.tensor([slope]), measure, **options)
    return outcome, vector.item(), tried


def test_the_full_step_is_taken_if_it_is_good_enough():
    assert search(lambda x: x) == (Outcome(0, 8.0, 8.0), pytest.approx(8.3), [pytest.approx(8.0)])


def test_the_longest_step_inside_the_region_is_taken():
    outcome, at, tried = search(lambda x: x, distance=lambda x: x / 2.1)
    assert tried == [pytest.approx(x) for x in (8, 4, 2)]
    assert outcome.index == 2 and at == pytest.approx(2.3) and outcome.expected == pytest.approx(2.0)


def test_a_distance_equal_to_the_radius_is_inside():
    assert search(lambda x: x, distance=lambda x: 1.0)[0].index == 0


@pytest.mark.parametrize("ratio, index", [(0.1, 0), (0.4, 1), (0.7, 2), (0.85, 3)])
def test_a_step_has_to_gain_its_share_of_what_the_slope_promises(ratio, index):
    """Gain x - x^2 / 10 along 8, 4, 2, 1: 0.2, 0.6, 0.8, 0.9 of the promise."""
    outcome, _, _ = search(lambda x: x - x * x / 10, accept_ratio=ratio)
    assert outcome.index == index
    assert outcome.gain == pytest.approx(8 / 2**index - (8 / 2**index) ** 2 / 10, abs=1e-5)


def test_a_gain_of_nothing_is_no_gain():
    assert search(lambda x: 0.0, slope=0.0)[0].index == -1
    assert search(lambda x: -1.0, slope=-1.0)[0].index == -1  # better than promised, and still a loss


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_what_is_not_a_number_is_not_taken(bad):
    assert search(lambda x: bad)[0].index == -1
    assert search(lambda x: x, distance=lambda x: float("nan"))[0].index == -1


@pytest.mark.parametrize("steps", [0, 3])
def test_nothing_accepted_leaves_every_bit_as_it_was(steps):
    g = torch.Generator().manual_seed(0)
    vector, step = torch.randn(2, 1000, generator=g)
    before = vector.clone()
    outcome = backtrack(vector, step, step, lambda: (-1.0, 0.0), 1.0, 0.5, 0.8, steps)
    assert torch.equal(vector, before) and outcome.index == -1 and outcome.gain == 0
    assert outcome.expected == pytest.approx(torch.dot(step, step).item())


@pytest.mark.parametrize("steps, tries", [(0, 1), (3, 4)])
def test_powers_go_from_zero_to_steps(steps, tries):
    _, at, tried = search(lambda x: -1.0, steps=steps)
    assert len(tried) == tries and at == pytest.approx(0.3)
    assert tried == [pytest.approx(8 * 0.5**j, rel=1e-5) for j in range(tries)]
