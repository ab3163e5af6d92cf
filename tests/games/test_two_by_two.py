"""Equilibria of 2x2 games against published answers, best responses and enumeration; the classes of random games."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.normal_form import pure_equilibria
from epymarl_trust_region.games.two_by_two import deviation_gain, equilibria, gains_of, gradient, select, values
from epymarl_trust_region.games.two_by_two_classes import CLASSES, is_of_class, normal_games, structured_games

GENERATORS = [structured_games, normal_games]


def game(row, column):
    return np.array([row, column], dtype=float)


PENNIES = game([[1, -1], [-1, 1]], [[-1, 1], [1, -1]])
SEXES = game([[2, 0], [0, 1]], [[1, 0], [0, 2]])  # battle of the sexes: the mixed one is (2/3, 1/3)
DILEMMA = game([[3, 0], [5, 1]], [[3, 5], [0, 1]])  # prisoner's dilemma: action 1, defecting, dominates
TIE = game([[2, 1], [0, 1]], [[1, 0], [0, 3]])  # the row player is indifferent if q = 0: all p <= 3/4 are equilibria
NOTHING = np.zeros((2, 2, 2))


def listed(payoff):
    found = equilibria(gains_of(payoff))
    return [tuple(point) for point in found[~np.isnan(found[:, 0])].tolist()]


def gain_by_best_response(payoff, profile):
    """Largest gain of either player by a pure deviation: [...], from the payoffs alone."""
    pure = np.moveaxis(np.array([[1.0, 0.0]]), -1, 0)  # [2 actions, 1]
    now, best = values(payoff, profile), []
    for player in (0, 1):
        options = np.repeat(profile[None], 2, axis=0)
        options[..., player] = pure.reshape(2, *[1] * (profile.ndim - 1))
        best.append(values(payoff, options)[..., player].max(0) - now[..., player])
    return np.max(best, axis=0)


@pytest.mark.parametrize(
    ("payoff", "expected"),
    [
        (PENNIES, [(0.5, 0.5)]),
        (SEXES, [(1, 1), (0, 0), (2 / 3, 1 / 3)]),
        (DILEMMA, [(0, 0)]),
        (TIE, [(1, 1), (0, 0), (0.75, 0)]),
        (NOTHING, [(1, 1), (1, 0), (0, 1), (0, 0)]),
    ],
)
def test_known_games(payoff, expected):
    np.testing.assert_allclose(listed(payoff), expected, rtol=0, atol=1e-15)


def by_enumeration(payoff):
    """Pure equilibria by comparing cells, the mixed one by solving each player's indifference as a linear system."""
    points = [(1.0 - i, 1.0 - j) for i, j in pure_equilibria(payoff, common_reward=False)]
    row, column = payoff
    q, p = (
        np.linalg.solve([m[0] - m[1], [1.0, 1.0]], [0.0, 1.0])[0] for m in (row, column.T)
    )  # m[0] - m[1] against the other's (x, 1 - x) is nothing
    return [*points, (p, q)] if 0 < p < 1 and 0 < q < 1 else points


def test_random_games_by_enumeration():
    payoffs = np.random.default_rng(0).standard_normal((500, 2, 2, 2))
    together = equilibria(gains_of(payoffs))
    assert together.shape == (500, 9, 2)
    for payoff, found in zip(payoffs, together, strict=True):
        expected = by_enumeration(payoff)
        assert len(expected) in (1, 3)
        np.testing.assert_allclose(found[~np.isnan(found[:, 0])], expected, rtol=0, atol=1e-10)


def test_no_player_of_an_equilibrium_can_gain():
    payoffs = np.random.default_rng(1).standard_normal((5000, 2, 2, 2))
    found = equilibria(gains_of(payoffs))
    gain = gain_by_best_response(payoffs[:, None], np.nan_to_num(found))
    there = ~np.isnan(found[..., 0])
    assert there.any(-1).all()
    assert np.abs(gain[there]).max() < 1e-12
    assert np.abs(deviation_gain(gains_of(payoffs)[:, None], np.nan_to_num(found)).max(-1) - gain).max() < 1e-12


def test_every_game_with_ties_has_its_pure_equilibria_and_no_false_one():
    tables = np.array(list(itertools.product([0.0, 1.0], repeat=8))).reshape(-1, 2, 2, 2)
    for payoff in tables:
        points = listed(payoff)
        pure = [(1.0 - i, 1.0 - j) for i, j in pure_equilibria(payoff, common_reward=False)]
        assert points and [point for point in points if set(point) <= {0.0, 1.0}] == pure
        assert all(gain_by_best_response(payoff, np.array(point)) <= 0 for point in points)


def test_selection():
    found = equilibria(gains_of(np.array([SEXES, DILEMMA])))
    np.testing.assert_allclose(select(found, "first"), [[1, 1], [0, 0]])
    np.testing.assert_allclose(select(found, "last"), [[2 / 3, 1 / 3], [0, 0]])
    drawn = select(np.repeat(found, 3000, axis=0), "random", np.random.default_rng(0))
    assert (drawn[3000:] == 0).all()
    share = [np.isclose(drawn[:3000, 0], p).mean() for p in (1, 0, 2 / 3)]
    np.testing.assert_allclose(share, 1 / 3, atol=0.03)


@pytest.mark.parametrize("rule", ["best", "random"])
def test_an_impossible_selection_is_refused(rule):
    with pytest.raises(ValueError, match="selection must be one of"):
        select(equilibria(gains_of(SEXES)), rule)


def test_values_and_gradient():
    profile = np.array([0.75, 0.5])
    np.testing.assert_allclose(values(SEXES, profile), [0.375 * 2 + 0.125, 0.375 + 0.125 * 2])
    rng = np.random.default_rng(2)
    payoffs, profiles = rng.standard_normal((50, 2, 2, 2)), rng.random((50, 2))
    for player in (0, 1):  # V is linear in the player's own probability
        up, down = profiles.copy(), profiles.copy()
        up[:, player], down[:, player] = 1, 0
        slope = (values(payoffs, up) - values(payoffs, down))[:, player]
        np.testing.assert_allclose(gradient(gains_of(payoffs), profiles)[:, player], slope, rtol=0, atol=1e-14)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(("name", "count"), zip(CLASSES, (3, 3, 1), strict=True))
def test_generated_games_are_of_their_class(generator, name, count):
    payoffs = generator(name, 2000, np.random.default_rng(3))
    assert payoffs.shape == (2000, 2, 2, 2)
    (a, b), (c, d) = np.moveaxis(payoffs[:, 0], 0, -1)
    (e, g), (f, h) = np.moveaxis(payoffs[:, 1], 0, -1)
    row, column = (a > c) & (d > b), (e > g) & (h > f)
    row_not, column_not = (a < c) & (d < b), (e < g) & (h < f)
    if name == "coordination":
        assert (row & column).all()
    elif name == "anti-coordination":
        assert (row_not & column_not).all()
    else:
        assert ((row & column_not) | (row_not & column)).all()
        assert 0.45 < row.mean() < 0.55
    found = equilibria(gains_of(payoffs))
    assert ((~np.isnan(found[..., 0])).sum(-1) == count).all()
    assert [is_of_class(gains_of(payoffs), other).all() for other in CLASSES] == [other == name for other in CLASSES]


def test_the_structure_of_structured_games():
    rng = np.random.default_rng(4)
    parts = {name: np.moveaxis(structured_games(name, 4000, rng)[:, 0].reshape(-1, 4), 0, -1) for name in CLASSES}
    a, b, c, d = parts["coordination"]
    for low, high in ((0 * b, b), (b, d), (d, c), (c, a)):
        assert (low < high).all() and (high - low < 1).all() and abs((high - low).mean() - 0.5) < 0.02
    a, b, c, d = parts["anti-coordination"]
    assert ((-2 <= a) & (a <= -1) & (c < 0) & (c - a < 1)).all()
    assert (np.abs(b) < np.abs(a)).all() and (np.abs(d) < np.abs(c)).all()
    near_stake = np.isclose(b, -a, rtol=0, atol=0.1)
    assert 0.45 < near_stake.mean() < 0.55 and (np.abs(d - c)[~near_stake] < 0.1).all()
    just_below = np.minimum(-c, b)[near_stake] - d[near_stake]
    assert ((just_below > 0) & (just_below < 0.1)).all()
    a, b, c, d = parts["cyclic"]
    stake, loss, better, worse = np.where(a > 0, a, c), np.where(a > 0, c, a), np.maximum(b, d), np.minimum(b, d)
    assert ((0.5 <= stake) & (stake < 1.5)).all() and ((d > b) == (a > 0)).all()
    for low, high in ((-stake, loss), (better, -loss), (worse, better)):
        assert (low <= high).all() and (high - low < 0.1).all() and abs((high - low).mean() - 0.05) < 0.002


@pytest.mark.parametrize("generator", GENERATORS)
def test_generators_repeat_themselves_and_refuse_unknown_classes(generator):
    first, second = (generator("cyclic", 5, np.random.default_rng(7)) for _ in range(2))
    assert (first == second).all()
    with pytest.raises(ValueError, match="class must be one of"):
        generator("cycle", 5, np.random.default_rng(7))
