"""HATRPO/HAPPO's Proposition 2 (limit points are Nash equilibria) and Lemma 8 (divergences add up), exactly."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.games.markov import MarkovGame, average_out, joint_policy, random_policies
from oracles.happo_theory import monotonic_step, penalty_coefficient

ACTIONS = [(2, 2), (3, 2), (2, 2, 2), (3, 3)]


def repeated(payoff: np.ndarray, gamma: float) -> MarkovGame:
    """A one-shot game played for ever: one state, so that the penalty C = 4 gamma eps / (1 - gamma)^2 is not 0."""
    return MarkovGame(np.ones((1, *payoff.shape, 1)), payoff[None], np.ones(1), gamma)


@pytest.mark.parametrize("gamma", [0.1, 0.2])
@pytest.mark.parametrize("seed", range(len(ACTIONS)))
def test_proposition_2_from_inner_policies_it_ends_in_a_nash_equilibrium(seed, gamma):
    """Random games, policies and orders: what any agent could still gain alone falls to nearly nothing."""
    rng = np.random.default_rng(seed)
    game = repeated(rng.uniform(-1, 1, ACTIONS[seed]), gamma)
    policies, returns, gaps = random_policies(rng, 1, game.n_actions), [], []
    for _ in range(80):
        returns.append(game.objective(joint_policy(policies)))
        gaps.append(game.best_response_gap(policies).max())
        policies = monotonic_step(game, policies, rng.permutation(game.n_agents)).policies
    assert np.diff(returns).min() > -1e-10
    assert gaps[0] > 0.1 and gaps[-1] < 0.02 * gaps[0]


def test_proposition_2_is_false_from_the_edge_of_the_simplex():
    """Two agents who never play action 1, which would pay 0.1 more: they stay, although that is no equilibrium.

    KL(pi || pi') is -log(1 - x) in a probability x that was 0: of the first order, and not of the second, as the proof
    takes it to be where nothing is to be gained. So a gain below C is not worth it, now and for ever.
    """
    gamma = 0.5
    game = repeated(np.array([[0.5, 0.0], [0.6, 0.0]]), gamma)
    policies = [np.array([[1.0, 0.0]])] * 2
    advantages = game.advantages(joint_policy(policies))
    gain = average_out(advantages, policies, [0])[0]
    penalty, visits = penalty_coefficient(advantages, gamma), game.visitation(joint_policy(policies))[0]
    x = np.linspace(0, 1, 1001)[1:-1]
    assert (visits * x * gain[1] + penalty * np.log1p(-x) < 0).all()  # the objective of every other policy of agent 0
    assert average_out(advantages, policies, [1])[0].max() == 0  # agent 1 has nothing to gain
    assert game.best_response_gap(policies)[0] == pytest.approx(0.1 / (1 - gamma))
    # From however near the edge it finds the better action all the same: Proposition 2 holds for inner policies.
    near = [np.array([[1 - 1e-6, 1e-6]]), np.array([[1 - 1e-9, 1e-9]])]
    for _ in range(60):
        near = monotonic_step(game, near, [0, 1]).policies
    assert near[0][0, 1] > 1e-5  # by a constant factor per step


def test_lemma_8_divergences_of_product_policies_add_up():
    """State by state they are equal; the largest is at most the sum of each agent's largest, and mostly less."""
    less = 0
    for seed in range(50):
        rng, n_actions = np.random.default_rng(seed), ((2, 3, 2), (4, 2))[seed % 2]
        old, new = (random_policies(rng, 4, n_actions) for _ in range(2))
        p, q = joint_policy(old).reshape(4, -1), joint_policy(new).reshape(4, -1)
        joint = (p * np.log(p / q)).sum(-1)
        single = np.array([(a * np.log(a / b)).sum(-1) for a, b in zip(old, new, strict=True)])
        np.testing.assert_allclose(joint, single.sum(0), rtol=1e-12)
        assert joint.max() <= single.max(1).sum() + 1e-12
        less += joint.max() < single.max(1).sum() - 0.01
    assert less > 25
