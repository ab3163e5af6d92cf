"""The log-linear form against the exact step, on batches without sampling error.

Shapes: S states, A^m actions of agent m, D features, K samples.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.markov import joint_policy, random_game
from epymarl_trust_region.studies.log_linear_exact import (
    as_autoregressive,
    autoregressive_step,
    joint_autoregressive,
    joint_of,
    uniform_autoregressive,
)
from epymarl_trust_region.studies.log_linear_features import (
    log_linear_step,
    log_policies,
    pairwise_features,
    ridge_regression,
    tabular_features,
)
from oracles.exact_batch import exact_batch, rational_policies

DENOMINATOR = 6
N_ACTIONS = (2, 3, 2)


def everything(n_states, n_actions):
    """Every (s, a) once: states [K], actions [K, N]."""
    state, *actions = np.indices((n_states, *n_actions)).reshape(1 + len(n_actions), -1)
    return state, np.array(actions).T


def close(logs, others, atol):
    for one, other in zip(logs, others, strict=True):
        np.testing.assert_allclose(np.exp(one), np.exp(other), rtol=0, atol=atol)


@pytest.mark.parametrize("seed", range(5))
def test_with_tabular_features_an_exact_batch_gives_the_exact_step(seed):
    rng = np.random.default_rng(seed)
    game, old = random_game(rng, 2, N_ACTIONS), rational_policies(rng, 2, N_ACTIONS, DENOMINATOR)
    states, actions = exact_batch(old, DENOMINATOR, state_counts=(1, 2))
    q, beta = game.q_values(joint_policy(old)), 0.5
    features = tabular_features(2, N_ACTIONS)
    start = as_autoregressive([np.log(policy) for policy in old])
    thetas = log_linear_step(features, [t.ravel() for t in start], (states, actions, q[(states, *actions.T)]), beta)
    close(log_policies(features, thetas), autoregressive_step(q, start, beta), atol=1e-10)


def test_thirty_log_linear_steps_are_thirty_exact_ones():
    # Autoregressive policies are not rational for long: the samples are weighted by their probability instead.
    game = random_game(np.random.default_rng(5), 2, N_ACTIONS)
    features, beta = tabular_features(2, N_ACTIONS), 1.0
    states, actions = everything(2, N_ACTIONS)
    exact, thetas = uniform_autoregressive(game), [np.zeros(phi.shape[-1]) for phi in features]
    for _ in range(30):
        joint = joint_of(log_policies(features, thetas))
        samples = (states, actions, game.q_values(joint).ravel())
        thetas = log_linear_step(features, thetas, samples, beta, weights=joint.ravel())
        exact = autoregressive_step(game.q_values(joint_of(exact)), exact, beta)
    close(log_policies(features, thetas), exact, atol=1e-10)
    assert np.exp(exact[0]).max() > 0.9


def test_the_regression_averages_later_agents_under_the_policy_that_made_the_batch():
    rng = np.random.default_rng(1)
    old = rational_policies(rng, 1, (2, 2), DENOMINATOR)
    states, actions = exact_batch(old, DENOMINATOR)
    q = rng.normal(size=(1, 2, 2))
    (first, _) = log_linear_step(
        tabular_features(1, (2, 2)), [np.zeros(2), np.zeros(4)], (states, actions, q[(states, *actions.T)]), 1.0
    )
    np.testing.assert_allclose(first, q[0] @ old[1][0], atol=1e-12)


def test_pairwise_features_are_what_they_say():
    rng = np.random.default_rng(2)
    psi = rng.normal(size=(2, 4))
    features = pairwise_features(psi, N_ACTIONS)
    assert [phi.shape for phi in features] == [(2, 2, 8), (2, 2, 3, (4 + 2) * 3), (2, 2, 3, 2, (4 + 2 + 3) * 2)]
    for s, a, b, c in itertools.product(range(2), range(2), range(3), range(2)):
        context = np.concatenate([psi[s], np.eye(2)[a], np.eye(3)[b]])
        np.testing.assert_array_equal(features[2][s, a, b, c], np.outer(context, np.eye(2)[c]).ravel())


def test_pairwise_features_suffice_for_two_agents_in_one_state_and_not_in_two():
    for n_states, gap in ((1, 0.0), (2, None)):
        rng = np.random.default_rng(3)
        game = random_game(rng, n_states, (2, 3))
        start = uniform_autoregressive(game)
        q = game.q_values(joint_autoregressive([np.exp(table) for table in start]))
        states, actions = everything(n_states, (2, 3))
        features = pairwise_features(np.eye(n_states), (2, 3))
        zeros = [np.zeros(phi.shape[-1]) for phi in features]
        found = log_policies(features, log_linear_step(features, zeros, (states, actions, q.ravel()), 0.5))
        exact = autoregressive_step(q, start, 0.5)
        np.testing.assert_allclose(found[0], exact[0], atol=1e-10)  # the first agent's features are always a table
        off = np.abs(found[1] - exact[1]).max()
        assert off < 1e-10 if gap == 0.0 else off > 0.1


def test_ridge_regression_is_the_minimum_that_it_says():
    rng = np.random.default_rng(4)
    features, targets, weights = rng.normal(size=(20, 3)), rng.normal(size=20), rng.uniform(size=20)
    found = ridge_regression(features, targets, 0.3, weights)
    share = weights / weights.sum()
    gradient = 2 * (share * (features @ found - targets)) @ features + 2 * 0.3 * found
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    # Weights are counts: a sample of weight 2 is there twice.
    twice = ridge_regression(np.concatenate([features, features[:1]]), np.append(targets, targets[0]), 0.3)
    weighted = ridge_regression(features, targets, 0.3, np.append(2.0, np.ones(19)))
    np.testing.assert_allclose(twice, weighted, atol=1e-12)


def test_without_ridge_what_is_not_in_the_batch_does_not_move():
    found = ridge_regression(np.eye(3)[[0, 0, 2]], np.array([1.0, 3.0, 5.0]))
    np.testing.assert_allclose(found, [2, 0, 5], atol=1e-12)


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ValueError, match="ridge must be at least 0"):
        ridge_regression(np.eye(2), np.ones(2), -0.1)
    samples = (np.zeros(1, dtype=int), np.zeros((1, 1), dtype=int), np.ones(1))
    with pytest.raises(ValueError, match="beta must be positive"):
        log_linear_step(tabular_features(1, (2,)), [np.zeros(2)], samples, 0.0)
