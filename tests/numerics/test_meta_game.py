"""MATRL's meta-game on a batch, held to the 2^N table written out, and its equilibria, held to best responses."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from epymarl_trust_region.games.markov import joint_policy, random_game, random_policies
from epymarl_trust_region.numerics.equilibrium import (
    best_responses,
    extragradient,
    levenberg_marquardt,
    solve,
    two_player_equilibria,
)
from epymarl_trust_region.numerics.logit_homotopy import logit_homotopy
from epymarl_trust_region.numerics.meta_game import BatchGame, TableGame, deviation_gains
from oracles.exact_batch import exact_batch, rational_policies


def random_batch(rng, n: int, samples: int = 40) -> BatchGame:
    return BatchGame(np.exp(rng.normal(0, 0.5, (n, samples))), rng.normal(size=(n, samples)))


def profiles(rng, n: int) -> list[np.ndarray]:
    """Inside, on a face, and two corners."""
    return [rng.random(n), np.r_[1.0, rng.random(n - 1)], np.zeros(n), np.ones(n), rng.integers(0, 2, n).astype(float)]


# The batch is the table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 9))
def test_batch_form_is_the_table_of_all_pure_profiles(n: int) -> None:
    rng = np.random.default_rng(n)
    game = random_batch(rng, n)
    table = np.empty((n, *(2,) * n))
    for b in itertools.product((0, 1), repeat=n):  # by the definition: predicted policies where b is 1
        table[(slice(None), *b)] = (game.advantages * np.prod(game.ratios ** np.array(b)[:, None], axis=0)).mean(1)
    written_out = TableGame(table)
    for rho in profiles(rng, n):
        weights = np.array([1.0])
        for x in rho:
            weights = np.outer(weights, [x, 1 - x]).ravel()
        by_definition = table.reshape(n, -1) @ weights
        slopes = np.array([one_up - one_down for one_up, one_down in _ends(written_out, rho)])
        np.testing.assert_allclose(game.payoffs(rho), by_definition, atol=1e-12)
        np.testing.assert_allclose(written_out.payoffs(rho), by_definition, atol=1e-12)
        np.testing.assert_allclose(game.derivatives(rho), slopes, atol=1e-12)
        np.testing.assert_allclose(written_out.derivatives(rho), slopes, atol=1e-12)
        np.testing.assert_allclose(game.jacobian(rho), written_out.jacobian(rho), atol=1e-12)
    np.testing.assert_allclose(game.table().table, table, atol=1e-12)


def _ends(game, rho):
    """G_i at rho_i = 1 and at rho_i = 0."""
    for i in range(len(rho)):
        up, down = rho.copy(), rho.copy()
        up[i], down[i] = 1.0, 0.0
        yield game.payoffs(up)[i], game.payoffs(down)[i]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_jacobian_is_the_finite_difference_of_the_derivatives(n: int) -> None:
    rng = np.random.default_rng(n)
    game, rho, step = random_batch(rng, n), rng.uniform(0.2, 0.8, n), 1e-3
    differences = [
        (game.derivatives(rho + step * e) - game.derivatives(rho - step * e)) / (2 * step) for e in np.eye(n)
    ]
    np.testing.assert_allclose(game.jacobian(rho), np.array(differences).T, atol=1e-10)
    assert np.diag(game.jacobian(rho)) == pytest.approx(np.zeros(n), abs=1e-14)


def test_a_ratio_of_zero_needs_no_division() -> None:
    game = BatchGame(np.array([[0.0, 2.0], [0.5, 0.0], [0.0, 1.0]]), np.array([[1.0, -2.0]] * 3))
    np.testing.assert_allclose(game.others(np.zeros(3)), [[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(game.jacobian(np.zeros(3)), game.table().jacobian(np.zeros(3)), atol=1e-12)


def test_standard_error_is_that_of_the_mean_over_samples() -> None:
    rng = np.random.default_rng(0)
    game, rho = random_batch(rng, 3, samples=50), np.array([0.3, 1.0, 0.0])
    w = rho[:, None] + (1 - rho[:, None]) * game.ratios
    terms = (1 - game.ratios[1]) * w[0] * w[2] * game.advantages[1]
    assert game.derivatives(rho)[1] == pytest.approx(terms.mean(), abs=1e-14)
    assert game.standard_errors(rho)[1] == pytest.approx(terms.std(ddof=1) / 50**0.5, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_payoffs_on_a_batch_without_sampling_error_are_exact_expectations(seed: int) -> None:
    """G_i(rho) = E_{d^pi, pibar}[A_i] with pibar_j = rho_j pi_j + (1 - rho_j) pi^_j, by enumeration."""
    rng = np.random.default_rng(seed)
    game = random_game(rng, common_reward=False)
    old = rational_policies(rng, 3, (2, 3, 2), 6)
    new = random_policies(rng, 3, (2, 3, 2))
    states, actions = exact_batch(old, 6)
    advantages = game.advantages(joint_policy(old))
    ratios = np.array([(new[i] / old[i])[states, actions[:, i]] for i in range(3)])
    batch = BatchGame(ratios, advantages[(slice(None), states, *actions.T)])
    for rho in profiles(rng, 3):
        mixed = [x * p + (1 - x) * q for x, p, q in zip(rho, old, new, strict=True)]
        expected = (joint_policy(mixed) * advantages).sum(axis=(2, 3, 4)).mean(1)
        np.testing.assert_allclose(batch.payoffs(rho), expected, atol=1e-12)
    assert batch.payoffs(np.ones(3)) == pytest.approx(np.zeros(3), abs=1e-12)


# Equilibria ---------------------------------------------------------------------------------------------------------


def game_of(rng, n: int, kind: str) -> TableGame:
    table = rng.normal(size=(n, *(2,) * n))
    if kind == "common":
        table[:] = table[0]
    elif kind == "zero-sum":
        table -= table.mean(0)
    elif kind == "cyclic":  # player i wants to do as i + 1 does, but for the first, who wants the opposite
        sign = 1 - 2 * np.indices((2,) * n)
        for i in range(n):
            table[i] = (-1 if i == 0 else 1) * sign[i] * sign[(i + 1) % n] * rng.uniform(1, 1.3) + 0.2 * table[i]
    return TableGame(table)


def largest_gain(table: np.ndarray, rho: np.ndarray) -> float:
    """By the table alone: payoff of each pure deviation less that of staying."""
    gains = []
    for i, own in enumerate(table):
        payoff = own
        for j in reversed(range(len(rho))):
            if j != i:
                payoff = np.take(payoff, 0, j) * rho[j] + np.take(payoff, 1, j) * (1 - rho[j])
        gains.append(payoff.max() - (rho[i] * payoff[0] + (1 - rho[i]) * payoff[1]))
    return max(gains)


@pytest.mark.parametrize("kind", ["random", "common", "zero-sum", "cyclic"])
@pytest.mark.parametrize(("n", "games"), [(1, 20), (2, 100), (3, 20), (4, 10), (5, 5), (6, 3), (8, 1)])
def test_answers_hold_against_every_deviation(n: int, games: int, kind: str) -> None:
    rng = np.random.default_rng(100 * n)
    for _ in range(games):
        game = game_of(rng, n, kind)
        answer = solve(game, rng)
        span = np.ptp(game.table.reshape(n, -1), axis=1).max()
        assert answer.solver != "none"
        assert ((answer.rho >= 0) & (answer.rho <= 1)).all()
        gain = largest_gain(game.table, answer.rho)
        assert gain == pytest.approx(answer.gain, abs=1e-12)
        assert gain <= 1e-3 * span


@pytest.mark.slow
@pytest.mark.parametrize(
    "n, games",
    [(2, 1000), (3, 1000), (4, 100), (5, 50), (6, 50)]
    + [pytest.param(n, 1000, marks=pytest.mark.thorough) for n in (4, 5, 6)],
)
def test_random_games_of_each_size(n: int, games: int) -> None:
    rng = np.random.default_rng(7)
    for _ in range(games):
        game = game_of(rng, n, "random")
        assert largest_gain(game.table, solve(game, rng).rho) <= 1e-3 * np.ptp(game.table.reshape(n, -1), axis=1).max()


def pure_search(table: np.ndarray) -> set[tuple[int, ...]]:
    """All pure equilibria, as rho."""
    n = len(table)
    stable = np.all([own >= own.max(axis=i, keepdims=True) for i, own in enumerate(table)], axis=0)
    return {tuple(1 - b for b in np.unravel_index(k, (2,) * n)) for k in np.flatnonzero(stable)}


@pytest.mark.parametrize("kind", ["random", "common", "zero-sum", "cyclic"])
def test_two_players_get_all_equilibria(kind: str) -> None:
    """A generic 2 x 2 game has one pure equilibrium, or two and an interior one, or an interior one alone."""
    rng, counts = np.random.default_rng(3), Counter()
    for _ in range(100):
        game = game_of(rng, 2, kind)
        found = two_player_equilibria(game)
        assert all(largest_gain(game.table, rho) < 1e-12 for rho in found)
        pure = {tuple(rho.astype(int)) for rho in found if set(rho) <= {0.0, 1.0}}
        assert pure == pure_search(game.table)
        counts[len(pure), len(found)] += 1
    assert set(counts) <= {(1, 1), (2, 3), (0, 1)}
    assert len(counts) > 1 or kind == "cyclic"


def test_matching_pennies_is_mixed_half_and_half() -> None:
    payoff = np.array([[1.0, -1.0], [-1.0, 1.0]])
    answer = solve(TableGame(np.stack([payoff, -payoff])), np.random.default_rng(0))
    np.testing.assert_allclose(answer.rho, [0.5, 0.5])


def test_selection_by_welfare_takes_the_best_and_random_takes_any() -> None:
    stag_hunt = np.array([[4.0, 0.0], [3.0, 2.0]])
    game, rng = TableGame(np.stack([stag_hunt, stag_hunt.T])), np.random.default_rng(0)
    assert {tuple(solve(game, rng, "welfare").rho) for _ in range(20)} == {(1.0, 1.0)}
    assert {tuple(np.round(solve(game, rng).rho, 6)) for _ in range(60)} == {(0, 0), (1, 1), (0.666667, 0.666667)}
    three = np.zeros((3, 2, 2, 2))
    three[:, 0, 0, 0], three[:, 1, 1, 1] = 1.0, 2.0  # all must agree; all predicted is best
    assert {tuple(solve(TableGame(three), rng, "welfare").rho) for _ in range(20)} == {(0.0, 0.0, 0.0)}
    assert len({tuple(solve(TableGame(three), rng).rho) for _ in range(60)}) > 1


@pytest.mark.parametrize("n", [2, 3, 4])
def test_permuting_players_permutes_a_unique_equilibrium(n: int) -> None:
    """Strictly dominant choices make it unique; so does a cycle of matching pennies."""
    rng = np.random.default_rng(n)
    order = rng.permutation(n)
    cyclic = game_of(rng, n, "cyclic").table
    dominant = 0.1 * rng.normal(size=cyclic.shape)
    dominant += np.array([s * (1 - np.indices((2,) * n)[i]) for i, s in enumerate(rng.choice([-1, 1], n))])
    for table in (dominant, cyclic):
        permuted = table[order].transpose(0, *(1 + order))
        before, after = (solve(TableGame(t), np.random.default_rng(0)).rho for t in (table, permuted))
        np.testing.assert_allclose(after, before[order], atol=2e-3)


@pytest.mark.parametrize("method", [extragradient, levenberg_marquardt])
def test_each_method_finds_the_middle_of_matching_pennies(method) -> None:
    payoff = np.array([[1.0, -2.0], [-1.0, 1.0]])
    game = TableGame(np.stack([payoff, -payoff]))
    (expected,) = two_player_equilibria(game)
    np.testing.assert_allclose(method(game, np.array([0.5, 0.5]), 5.0, 1e-6, iterations=400), expected, atol=1e-5)


@pytest.mark.parametrize("choice", [0, 1])
def test_levenberg_marquardt_takes_a_player_to_its_bound_and_mixes_the_others(choice) -> None:
    """The first player has a dominant choice; matching pennies between the other two depend on it.

    Where F_1 points out of the box the residual is rho_1 less its bound, whose derivative is 1 and not that of F_1,
    which is 0: without it the first player would stay where it was.
    """
    pennies = np.array([[[1.0, -2.0], [-1.0, 1.0]], [[3.0, -1.0], [-1.0, 1.0]]])  # as the first player chooses
    table = np.zeros((3, 2, 2, 2))
    table[0, choice] = 4.0
    table[1], table[2] = pennies, -pennies
    game = TableGame(table)
    found = levenberg_marquardt(game, np.array([0.4, 0.3, 0.6]), 5.0, 1e-7)
    (mixed,) = two_player_equilibria(TableGame(table[1:, choice]))
    np.testing.assert_allclose(found, [1.0 - choice, *mixed], atol=1e-6)
    assert deviation_gains(found, game.derivatives(found)).max() <= 1e-7


@pytest.mark.parametrize("kind", ["random", "common", "cyclic"])
@pytest.mark.parametrize(("n", "games"), [(2, 5), (3, 5), (5, 30)])
def test_the_homotopy_alone_solves_games(n: int, games: int, kind: str) -> None:
    """Among the larger ones are paths that turn back in t: the tangent must go on as it went before."""
    rng = np.random.default_rng(n)
    for _ in range(games):
        game = game_of(rng, n, kind)
        (rho,) = logit_homotopy(game, np.zeros(n), 2.0, [1e-2])
        assert deviation_gains(rho, game.derivatives(rho)).max() <= 1e-2


def test_where_a_choice_does_not_matter_the_homotopy_stays_at_its_offset() -> None:
    table = np.zeros((2, 2, 2))
    table[1, :, 0] = 1.0  # the second player has a dominant choice, the first has none
    (rho,) = logit_homotopy(TableGame(table), np.array([0.7, -0.4]), 1.0, [1e-6])
    np.testing.assert_allclose(rho, [1 / (1 + np.exp(-0.7)), 1.0], atol=1e-5)


def test_the_homotopy_starts_at_the_quantal_response_equilibrium_without_rationality() -> None:
    game = game_of(np.random.default_rng(0), 3, "random")
    (rho,) = logit_homotopy(game, np.array([0.0, 1.0, -1.0]), 1.0, [np.inf])
    np.testing.assert_allclose(rho, 1 / (1 + np.exp([0, -1, 1])))


def test_best_responses_end_in_a_potential_game_and_give_up_on_a_cycle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        game = game_of(rng, 5, "common")
        rho = best_responses(game, rng.integers(0, 2, 5).astype(float))
        assert tuple(rho.astype(int)) in pure_search(game.table)
    payoff = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert best_responses(TableGame(np.stack([payoff, -payoff])), np.ones(2)) is None


@pytest.mark.parametrize("n", [2, 3])
def test_a_game_without_numbers_is_refused(n: int) -> None:
    game = BatchGame(np.full((n, 4), np.nan), np.ones((n, 4)))
    with pytest.raises(ValueError, match="not finite"):
        solve(game, np.random.default_rng(0))


def test_a_game_in_which_nothing_matters_is_at_rest_anywhere() -> None:
    for n in (2, 3):
        assert solve(BatchGame(np.ones((n, 4)), np.ones((n, 4))), np.random.default_rng(0)).gain == 0


@pytest.mark.parametrize("n", [16, 27])
def test_many_players_with_strong_interactions(n: int) -> None:
    """What the 2^27 entries of a table could not hold."""
    rng = np.random.default_rng(n)
    game = BatchGame(np.exp(rng.normal(0, 0.15, (n, 500))), rng.normal(size=(n, 500)))
    answer = solve(game, rng)
    assert answer.solver != "none"
    assert deviation_gains(answer.rho, game.derivatives(answer.rho)).max() == pytest.approx(answer.gain, abs=1e-15)
    corner = np.abs(game.derivatives(np.zeros(n))).max()
    assert answer.gain <= 1e-2 * corner
