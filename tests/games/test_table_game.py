"""Games with opponents: best responses against enumeration, values against published ones and Shapley's iteration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games import competitive
from epymarl_trust_region.games.table_game import TableGame
from scipy.optimize import linprog

HEADS, TAILS, HALF = [[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]
THIRDS = [[1 / 3, 1 / 3, 1 / 3]]
ROCK = [[1.0, 0.0, 0.0]]

# payoffs, first player's and second player's policy, what each wins, what each would gain by a best response
KNOWN = [
    (competitive.matching_pennies(), HALF, HALF, [0, 0], [0, 0]),
    (competitive.matching_pennies(), HEADS, HEADS, [1, -1], [0, 2]),
    (competitive.matching_pennies(), HEADS, TAILS, [-1, 1], [2, 0]),
    (competitive.matching_pennies(), [[0.8, 0.2]], HALF, [0, 0], [0, 0.6]),
    (competitive.matching_pennies(3.0), [[1 / 3, 2 / 3]], [[1 / 3, 2 / 3]], [1 / 3, -1 / 3], [0, 0]),
    (competitive.matching_pennies(3.0), HALF, HALF, [0.5, -0.5], [0.5, 0.5]),
    (competitive.rock_paper_scissors(), THIRDS, THIRDS, [0, 0], [0, 0]),
    (competitive.rock_paper_scissors(), ROCK, THIRDS, [0, 0], [0, 1]),
    (competitive.rock_paper_scissors(), ROCK, ROCK, [0, 0], [1, 1]),
    (competitive.prisoners_dilemma(), TAILS, TAILS, [2, 2], [0, 0]),
    (competitive.prisoners_dilemma(), HEADS, HEADS, [3, 3], [1, 1]),
    (competitive.chicken(), HALF, HALF, [2.5, 2.5], [0, 0]),
    (competitive.chicken(), HEADS, TAILS, [2, 4], [0, 0]),
    (competitive.chicken(), HEADS, HEADS, [3, 3], [1, 1]),
    (competitive.chicken(), TAILS, TAILS, [1, 1], [1, 1]),
]


@pytest.mark.parametrize("payoff, first, second, wins, gains", KNOWN)
def test_what_policies_of_a_matrix_are_worth(payoff, first, second, wins, gains):
    policies = [np.array(first), np.array(second)]
    for plays in (1, 3):  # nothing is seen of the plays before, so that each is worth the same
        game = competitive.played_blindly(payoff, plays)
        np.testing.assert_allclose(game.expected_returns(policies), plays * np.array(wins), atol=1e-12)
        np.testing.assert_allclose(game.best_response_gains(policies), plays * np.array(gains), atol=1e-12)


def matrix_value(payoff: np.ndarray) -> tuple[float, np.ndarray]:
    """What the row player of a zero-sum matrix wins, and its policy: von Neumann's linear program."""
    rows, columns = payoff.shape
    found = linprog(
        [*np.zeros(rows), -1.0], np.column_stack([-payoff.T, np.ones(columns)]), np.zeros(columns),
        [[*np.ones(rows), 0.0]], [1.0], [(0, 1)] * rows + [(None, None)],
    )  # fmt: skip
    return -found.fun, found.x[:-1]


def shapley(game: TableGame) -> tuple[float, list[np.ndarray]]:
    """Value and equilibrium policies, by the iteration of Shapley (1953): each state is a matrix of what follows it.

    The policies are those of the last iteration: with as many steps to go as there are, or more.
    """
    value, (rows, columns) = np.zeros(game.n_states + 1), game.masks
    policies = [np.zeros_like(mask, float) for mask in game.masks]
    for _ in range(game.horizon):
        before = value.copy()
        for s in range(game.n_states):
            there = np.ix_(rows[s], columns[s])
            matrix = (game.reward[0, s] + before[game.next_state[s]])[there]
            value[s], policies[0][s, rows[s]] = matrix_value(matrix)
            policies[1][s, columns[s]] = matrix_value(-matrix.T)[1]
    return value[0], policies


@pytest.mark.parametrize("periods, inspections", [(2, 1), (3, 1), (4, 2), (6, 2), (5, 4)])
def test_the_inspection_game_has_its_published_value(periods, inspections):
    game = competitive.inspection(periods, inspections)
    value, policies = shapley(game)
    assert game.values == pytest.approx((value, -value), abs=1e-9)
    np.testing.assert_allclose(game.expected_returns(policies), [value, -value], atol=1e-9)
    np.testing.assert_allclose(game.best_response_gains(policies), [0, 0], atol=1e-9)
    assert (game.reward.sum(0) == 0).all()


def test_values_of_the_inspection_game_by_hand():
    """Two periods, one inspection: [[1, -1], [-1, 0]], of value -1/3; n = 4, m = 2: -3 / (1 + 4 + 6)."""
    assert competitive.inspection_value(2, 1) == pytest.approx(-1 / 3)
    assert competitive.inspection_value(4, 2) == pytest.approx(-3 / 11)
    assert competitive.inspection_states(4, 2)[:3] == [(4, 2), (3, 2), (3, 1)]
    for periods, inspections in ((2, 0), (2, 2), (1, 1)):
        with pytest.raises(ValueError, match="inspections must be from 1 to"):
            competitive.inspection(periods, inspections)


@pytest.mark.parametrize("name, value", [("matching-pennies", 0), ("rock-paper-scissors", 0)])
def test_repeating_a_zero_sum_game_multiplies_its_value(name, value):
    game = competitive.repeated(competitive.PAYOFFS[name](), 4)
    assert shapley(game)[0] == pytest.approx(4 * value, abs=1e-9)


def test_who_repeats_what_was_seen_is_beaten_at_every_step():
    """The first player shows what the second showed last; the second, who wins by a difference, knows what comes."""
    game = competitive.repeated(competitive.matching_pennies(), 5)
    copies = np.array([HEADS[0], *([HEADS[0], TAILS[0]] * 2)])  # state 1 + 2 a_1 + a_2
    assert game.best_response_return([copies, np.full((5, 2), 0.5)], 1) == 5
    assert game.best_response_return([copies, copies], 0) == 5  # the second repeats itself
    assert game.best_response_return([np.full((5, 2), 0.5), copies], 1) == 0


def enumerated(game: TableGame, policies: list[np.ndarray], agent: int) -> float:
    """The best of all ways to play, each an action for every step and state, by walking all ways that it can go."""
    cells = [(step, s) for step in range(game.horizon) for s in range(game.n_states)]
    options = [np.flatnonzero(game.masks[agent][s]) for _, s in cells]

    def walk(plan: dict, s: int, step: int) -> float:
        if s == game.n_states or step == game.horizon:
            return 0.0
        total = 0.0
        for joint in itertools.product(*(range(count) for count in game.n_actions)):
            chance = float(joint[agent] == plan[step, s])
            for other, policy in enumerate(policies):
                chance *= 1.0 if other == agent else policy[s, joint[other]]
            if chance:
                total += chance * (game.reward[(agent, s, *joint)] + walk(plan, game.next_state[(s, *joint)], step + 1))
        return total

    return max(walk(dict(zip(cells, plan, strict=True)), 0, 0) for plan in itertools.product(*options))


def test_best_responses_are_the_best_of_all_plans():
    rng = np.random.default_rng(3)
    for counts in ((2, 2), (2, 3), (2, 2, 2)):
        shape = (2, *counts)
        masks = tuple(np.array([[True] * count, [True] * (count - 1) + [False]]) for count in counts)
        game = TableGame(rng.normal(size=(len(counts), *shape)), rng.integers(0, 3, shape), masks, 2)
        policies = [mask * rng.random(mask.shape) for mask in masks]
        policies = [policy / policy.sum(-1, keepdims=True) for policy in policies]
        for agent in range(len(counts)):
            assert game.best_response_return(policies, agent) == pytest.approx(enumerated(game, policies, agent))
        assert (game.best_response_gains(policies) > -1e-12).all()


def test_tables_of_other_shapes_are_refused():
    payoff = competitive.chicken()
    with pytest.raises(ValueError, match=r"reward must be \(2, 1, 2, 2\)"):
        TableGame(payoff, np.zeros((1, 2, 2), int), None, 1)
    with pytest.raises(ValueError, match="no action"):
        TableGame(payoff[:, None], np.zeros((1, 2, 2), int), (np.zeros((1, 2), bool), np.ones((1, 2), bool)), 1)
    with pytest.raises(ValueError, match="heads must be"):
        competitive.matching_pennies(-1.0)
