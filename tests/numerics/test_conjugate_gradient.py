"""Conjugate gradient against linear algebra, and its guards, in both forms. Shape letter: P unknowns."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.numerics.conjugate_gradient import conjugate_gradient, unread


@pytest.fixture(params=[conjugate_gradient, unread], ids=["read", "unread"])
def solve(request):
    """The form of a CPU, which looks at its numbers, and that of a GPU."""
    return request.param


def system(P: int, rank: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(P, rank, generator=g, dtype=torch.float64)
    return root @ root.T, torch.randn(P, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("P", [1, 2, 7, 20])
def test_a_definite_system_is_solved_in_as_many_iterations_as_unknowns(solve, P):
    A, b = system(P, P)
    A += torch.eye(P, dtype=torch.float64)
    found = solve(A.mv, b, 100, tolerance=1e-24)
    torch.testing.assert_close(found.x, torch.linalg.solve(A, b), rtol=0, atol=1e-10)
    assert found.iterations <= P + 5 and found.relative_residual < 1e-11


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_a_singular_system_gives_the_shortest_solution(solve, rank):
    """b in the range of A: x = A^+ b, as started from zero x never leaves the range."""
    A, b = system(8, rank)
    b = A @ b
    found = solve(A.mv, b, 100, tolerance=1e-24)
    torch.testing.assert_close(found.x, torch.linalg.pinv(A) @ b, rtol=0, atol=1e-9)


def test_the_residual_is_that_of_the_solution_however_early_it_stops(solve):
    A, b = system(20, 20)
    for iterations in range(1, 8):
        found = solve(A.mv, b, iterations)
        assert found.iterations == iterations
        torch.testing.assert_close(found.residual, b - A @ found.x, rtol=0, atol=1e-10)
        expected = (torch.linalg.vector_norm(b - A @ found.x) / torch.linalg.vector_norm(b)).item()
        assert found.relative_residual == pytest.approx(expected, abs=1e-12) and expected > 1e-3


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_it_stops_early_at_a_relative_tolerance(solve, scale):
    """Two distinct eigenvalues: two iterations, whatever the scale of b."""
    A = torch.diag(torch.tensor([1.0, 1.0, 5.0, 5.0, 5.0], dtype=torch.float64))
    b = scale * torch.arange(1.0, 6.0, dtype=torch.float64)
    found = solve(A.mv, b, 10)
    assert found.iterations == 2
    torch.testing.assert_close(found.x, b / A.diagonal(), rtol=1e-10, atol=0)


def test_nothing_to_solve_is_zero_and_asks_for_no_product(solve):
    def never(_):
        raise AssertionError("a product was made")

    for b in (torch.zeros(3), torch.tensor([1.0, float("nan"), 0.0]), torch.tensor([float("inf"), 0.0, 0.0])):
        found = solve(never if solve is conjugate_gradient and not b.isinf().any() else lambda v: v, b, 10)
        assert (found.x == 0).all() and found.iterations <= 1


@pytest.mark.parametrize("A", [-torch.eye(3), torch.zeros(3, 3), torch.full((3, 3), float("nan"))])
def test_a_direction_without_curvature_ends_it(solve, A):
    found = solve(A.mv, torch.ones(3), 10)
    assert (found.x == 0).all() and found.iterations == 1 and torch.equal(found.residual, torch.ones(3))


def test_arguments_are_left_alone(solve):
    A, b = system(4, 4)
    before = b.clone()
    solve(A.mv, b, 4)
    assert torch.equal(b, before)


def test_both_forms_make_the_same_steps():
    for seed in range(5):
        A, b = system(12, 12, seed)
        read, other = conjugate_gradient(A.mv, b, 6), unread(A.mv, b, 6)
        assert read.iterations == other.iterations == 6
        torch.testing.assert_close(other.x, read.x, rtol=0, atol=1e-12 * float(read.x.abs().max()))
        assert other.relative_residual == pytest.approx(read.relative_residual, rel=1e-9)


def test_a_product_that_is_not_finite_is_no_solution(solve):
    found = solve(lambda v: torch.tensor([float("inf"), 0.0]), torch.ones(2), 5)
    assert found.relative_residual != found.relative_residual
