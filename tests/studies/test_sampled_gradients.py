"""The sampled estimator of the INPG paper against exact games, and what its two methods make of it.

Shapes: R runs, N agents, S states, A actions.
"""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.games import congestion
from epymarl_trust_region.games.congestion import congestion_game
from epymarl_trust_region.games.distancing import distancing_game
from epymarl_trust_region.games.markov import average_out, joint_policy
from epymarl_trust_region.studies.sampled_gradients import (
    Estimator,
    l1_accuracy,
    learn,
    sampled_congestion,
    sampled_distancing,
    stopped_at,
)


def random_policies(game, runs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    policies = game.uniform(runs) * rng.uniform(0.2, 1, size=(runs, *game.available.shape))
    return policies / policies.sum(-1, keepdims=True)


@pytest.mark.parametrize("n_agents", [1, 2, 3])
def test_the_congestion_game_steps_as_the_exact_one(n_agents):
    game, exact = sampled_congestion(n_agents, reward_scale=2.0), congestion_game(n_agents, reward_scale=2.0)
    for state in range(exact.n_states):
        for actions in np.ndindex(*(2,) * n_agents):
            after, rewards = game.step(np.array([state]), np.array([actions]))
            assert exact.transition[(state, *actions, int(after[0]))] == 1
            assert rewards[0].tolist() == exact.reward[(slice(None), state, *actions)].tolist()
    assert game.end == exact.n_states - 1
    vertices = congestion.configurations(n_agents)
    assert game.available[0].tolist() == congestion.available(vertices[:, 0]).tolist()


@pytest.mark.parametrize("name", ["congestion", "distancing"])
def test_sampled_values_are_unbiased(name):
    """Means over many samples against the exact Q_i averaged over the others, and the exact visitation."""
    if name == "congestion":
        game, exact, steps, gamma = sampled_congestion(2), congestion_game(2, gamma=0.9), 5, 0.9
    else:
        game, exact, steps, gamma = sampled_distancing(4), distancing_game(4, gamma=0.5), 40, 0.5
    policies = random_policies(game, 1, 0)
    single = list(policies[0])
    joint = joint_policy(single)
    estimator = Estimator(samples=20_000, steps=steps, gamma=gamma, scale="sum")
    q = estimator.q_values(np.random.default_rng(1), game, policies)[0]
    for i in range(exact.n_agents):
        expected = average_out(exact.q_values(joint)[i], single, [i])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(q[i], expected, rtol=0, atol=0.02 * scale)
    visits = estimator.visitation(np.random.default_rng(2), game, policies)[0]
    expected = exact.visitation(joint)
    if game.end is not None:
        visits, expected = visits[:-1], expected[:-1]  # nothing is counted where nothing happens
    np.testing.assert_allclose(visits, expected, rtol=0, atol=0.02)
    plain, mean, share = (
        Estimator(100, steps, gamma, scale).visitation(np.random.default_rng(2), game, policies)
        for scale in ("sum", "mean", "distribution")
    )
    np.testing.assert_allclose(mean * steps, plain)
    np.testing.assert_allclose(share, plain / plain.sum(1, keepdims=True))


@pytest.mark.parametrize("method, eta", [("inpg", 0.05), ("ipg", 2.0)])
def test_runs_end_where_no_agent_could_gain(method, eta):
    """By exact best response from the start. A sampling error can decide a near tie early on, for good."""
    game, exact = sampled_congestion(3), congestion_game(3)
    policies = learn(game, method, eta, runs=4, iterations=400, seed=0, estimator=Estimator())
    assert len(policies) < 401  # it stopped by itself
    for final in policies[-1]:
        assert exact.best_response_gap(list(final)).max() < 0.05  # of a value of about 2
    accuracy, stopped = l1_accuracy(policies), stopped_at(policies)
    assert (accuracy[-1] == 0).all() and (accuracy[0] > 1).all()
    for run, k in enumerate(stopped):
        assert accuracy[k, run] == 0 and accuracy[k - 1, run] > 0
    assert len({tuple(final.round().ravel()) for final in policies[-1]}) > 1  # runs are independent


def test_policies_stay_distributions_over_available_actions():
    game = sampled_congestion(2)
    for method in ("inpg", "ipg"):
        for policy in learn(game, method, 0.1, 2, 30, 0, Estimator()):
            np.testing.assert_allclose(policy.sum(-1), 1, atol=1e-12)
            assert (policy[:, game.available == 0] == 0).all()


def test_the_same_seed_gives_the_same_runs():
    first, second, other = (learn(sampled_distancing(4), "inpg", 1e-4, 2, 5, seed, Estimator()) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[-1], other[-1])
