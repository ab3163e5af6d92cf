"""Published payoffs and their equilibria, verified by best response."""

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.markov import joint_policy
from epymarl_trust_region.games.normal_form import (
    climbing_game,
    one_shot,
    penalty_game,
    proposition_1_game,
    pure_equilibria,
)


def pure(joint, n_actions):
    return [np.eye(count)[[action]] for action, count in zip(joint, n_actions, strict=True)]


def equilibria_by_best_response(payoff):
    game = one_shot(payoff)
    joints = itertools.product(*map(range, payoff.shape))
    return [joint for joint in joints if (game.best_response_gap(pure(joint, payoff.shape)) <= 0).all()]


def test_climbing_game():
    #      b0   b1  b2
    # a0   11  -30   0
    # a1  -30    7   0
    # a2    0    6   5
    payoff = climbing_game()
    assert {payoff[0, 0], payoff[1, 1], payoff[2, 2]} == {11, 7, 5}
    assert payoff[0, 1] == payoff[1, 0] == -30 and payoff[2, 1] == 6
    assert payoff[0, 2] == payoff[1, 2] == payoff[2, 0] == 0
    assert pure_equilibria(payoff) == [(0, 0), (1, 1)] == equilibria_by_best_response(payoff)
    # Why it is hard: against a uniform partner the best row is the last, which is in no equilibrium.
    assert payoff.mean(axis=1).argmax() == 2


@pytest.mark.parametrize("k", [0.0, -1.0, -100.0])
def test_penalty_game(k):
    #      b0  b1  b2
    # a0   10   0   k
    # a1    0   2   0
    # a2    k   0  10
    payoff = penalty_game(k)
    assert payoff[0, 0] == payoff[2, 2] == 10 and payoff[1, 1] == 2
    assert payoff[0, 2] == payoff[2, 0] == k
    assert payoff[0, 1] == payoff[1, 0] == payoff[1, 2] == payoff[2, 1] == 0
    np.testing.assert_array_equal(penalty_game(), penalty_game(-100.0))  # unless another is asked for
    assert pure_equilibria(payoff) == [(0, 0), (1, 1), (2, 2)] == equilibria_by_best_response(payoff)
    # Below -8 the safe action is the best one against a uniform partner: 10 + k < 2.
    assert (payoff.mean(axis=1).argmax() == 1) == (k < -8)


@pytest.mark.parametrize("k", [0.1, np.nan, -np.inf])
def test_a_penalty_that_is_none_is_refused(k):
    with pytest.raises(ValueError, match="penalty must be finite and at most 0"):
        penalty_game(k)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_proposition_1_needs_an_even_number_of_agents(n):
    with pytest.raises(ValueError, match="n_agents must be even and positive"):
        proposition_1_game(n)


def test_individual_payoffs():
    # Prisoner's dilemma: action 1 (defect) dominates. Matching pennies has no pure equilibrium.
    dilemma = np.array([[[3.0, 0.0], [5.0, 1.0]], [[3.0, 5.0], [0.0, 1.0]]])
    assert pure_equilibria(dilemma, common_reward=False) == [(1, 1)]
    pennies = np.array([[[1.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]])
    assert pure_equilibria(pennies, common_reward=False) == []
    game = one_shot(pennies, common_reward=False)
    half = np.full((1, 2), 0.5)
    np.testing.assert_allclose(game.best_response_gap([half, half]), 0, atol=1e-15)
    first = joint_policy([half, np.array([[0.75, 0.25]])])
    np.testing.assert_allclose(game.objective(first), 0, atol=1e-15)
    # The second agent leans to 0, so the first gains 3/4 - 1/4 by always playing 0; the second gains nothing.
    np.testing.assert_allclose(game.best_response_gap([half, np.array([[0.75, 0.25]])]), [0.5, 0], atol=1e-15)
