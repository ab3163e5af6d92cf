"""Pessimistic evaluation and offline improvement: exact identities, a numerical minimum, and one data set with holes.

Shapes: S states, A^m actions of agent m, D features, K samples.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from epymarl_trust_region.games.markov import MarkovGame, joint_policy, random_game, random_policies
from epymarl_trust_region.numerics.pessimistic import Evaluation, confident_lam, lstd, noise_scale, pessimistic
from epymarl_trust_region.studies.log_linear_exact import (
    autoregressive_step,
    joint_autoregressive,
    joint_of,
    learn,
    optimal_values,
    uniform_autoregressive,
)
from epymarl_trust_region.studies.log_linear_features import tabular_features
from epymarl_trust_region.studies.offline_improvement import (
    Transitions,
    evaluate,
    evaluate_exactly,
    improve,
    sample_transitions,
)

N_ACTIONS = (2, 3)
LAMS = (0.3, 3.0, 30.0)


def made(seed=0, n_features=None, n_states=2):
    """A game, data weights of full support, features (a table, or random ones) and a random joint policy."""
    rng = np.random.default_rng(seed)
    game = random_game(rng, n_states, N_ACTIONS, gamma=0.8)
    weights = rng.dirichlet(np.full(n_states * 6, 5.0)).reshape(n_states, *N_ACTIONS)
    table = tabular_features(n_states, N_ACTIONS)[-1]
    features = table if n_features is None else rng.normal(size=(n_states, *N_ACTIONS, n_features))
    return game, weights, features, joint_policy(random_policies(rng, n_states, N_ACTIONS))


def target(problem, lam, omega):
    """What the pessimistic omega minimises, from its definition."""
    off = problem.c @ omega - problem.b
    return problem.initial @ omega + lam * off @ np.linalg.solve(problem.sigma, off)


# Moments and LSTD -----------------------------------------------------------------------------------------------


def test_moments_are_means_over_the_samples():
    game, weights, features, joint = made(n_features=4)
    data = sample_transitions(game, weights, 30, np.random.default_rng(1))
    problem = evaluate(data, features, joint, game.initial, game.gamma, ridge=0.01)
    sigma, c, b = 0.01 * np.eye(4), 0.01 * np.eye(4), np.zeros(4)
    for s, a, r, after in zip(*data, strict=True):
        phi = features[s, a[0], a[1]]
        mean = sum(joint[after, i, j] * features[after, i, j] for i in range(2) for j in range(3))
        sigma += np.outer(phi, phi) / 30
        c += np.outer(phi, phi - game.gamma * mean) / 30
        b += phi * r / 30
    for found, expected in ((problem.sigma, sigma), (problem.c, c), (problem.b, b)):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    first = sum(
        game.initial[s] * joint[s, i, j] * features[s, i, j] for s in range(2) for i in range(2) for j in range(3)
    )
    np.testing.assert_allclose(problem.initial, first, atol=1e-12)


def test_samples_are_of_the_game():
    game, weights, features, joint = made(1)
    data = sample_transitions(game, weights, 60_000, np.random.default_rng(2))
    assert (data.rewards == game.reward[(data.states, *data.actions.T)]).all()
    counts = np.zeros((2, *N_ACTIONS, 2))
    np.add.at(counts, (data.states, *data.actions.T, data.next_states), 1 / 60_000)
    np.testing.assert_allclose(counts, weights[..., None] * game.transition, atol=0.01)  # 5 standard errors


def test_sampled_moments_are_the_exact_ones_when_the_data_are():
    game, _, features, joint = made(2, n_features=5)
    sure = MarkovGame(np.round(game.transition), game.reward, game.initial, game.gamma)  # two states: one is likelier
    states, *actions = np.indices((2, *N_ACTIONS)).reshape(3, -1)
    after = sure.transition[(states, *actions)].argmax(-1)
    data = Transitions(states, np.array(actions).T, sure.reward[(states, *actions)], after)
    sampled = evaluate(data, features, joint, sure.initial, sure.gamma)
    exact = evaluate_exactly(sure, np.full((2, *N_ACTIONS), 1 / 12), features, joint)
    for name in ("sigma", "c", "b", "initial"):
        np.testing.assert_allclose(getattr(sampled, name), getattr(exact, name), atol=1e-12, err_msg=name)


def test_lstd_is_exact_where_the_data_cover_everything():
    for seed in range(5):
        game, weights, features, joint = made(seed)
        problem = evaluate_exactly(game, weights, features, joint)
        np.testing.assert_allclose(lstd(problem), game.q_values(joint).ravel(), atol=1e-10)
        assert problem.estimate(lstd(problem)) == pytest.approx(game.objective(joint), abs=1e-10)


def test_a_ridge_is_pessimistic_for_positive_rewards_and_optimistic_for_negative_ones():
    game, weights, features, joint = made(3)
    for reward in (np.abs(game.reward), -np.abs(game.reward)):
        signed = MarkovGame(game.transition, reward, game.initial, game.gamma)
        problem = evaluate_exactly(signed, weights, features, joint, ridge=0.01)
        assert abs(problem.estimate(lstd(problem))) < 0.9 * abs(signed.objective(joint))


# The pessimistic omega ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("ridge", [0.0, 0.02])
def test_the_pessimistic_omega_is_the_minimum(lam, ridge):
    game, weights, features, joint = made(4, n_features=5)
    problem = evaluate_exactly(game, weights, features, joint, ridge)
    omega = pessimistic(problem, lam)
    inverse = np.linalg.inv(problem.c.T @ np.linalg.inv(problem.sigma) @ problem.c)
    closed = np.linalg.inv(problem.c) @ problem.b - inverse @ problem.initial / (2 * lam)
    np.testing.assert_allclose(omega, closed, rtol=1e-9)
    step = 1e-4 * np.eye(5)
    gradient = [(target(problem, lam, omega + d) - target(problem, lam, omega - d)) / 2e-4 for d in step]
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    # Newton's method on differences of the target, from zero: a quadratic is solved in one step.
    at = partial(target, problem, lam)
    slope = np.array([(at(d) - at(-d)) / 2e-4 for d in step])
    second = [[(at(d + e) - at(d - e) - at(e - d) + at(-d - e)) / 4e-8 for e in step] for d in step]
    np.testing.assert_allclose(-np.linalg.solve(second, slope), omega, rtol=1e-3, atol=1e-3)
    rng = np.random.default_rng(0)
    assert all(at(omega + rng.normal(size=5)) > at(omega) for _ in range(100))


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_below_lstds_in_proportion_to_one_over_lam(seed):
    game, weights, features, joint = made(seed, n_features=5)
    data = sample_transitions(game, weights, 100, np.random.default_rng(seed))
    problem = evaluate(data, features, joint, game.initial, game.gamma)
    plain = problem.estimate(lstd(problem))
    gaps = [lam * (plain - problem.estimate(pessimistic(problem, lam))) for lam in LAMS]
    assert gaps[0] > 0
    np.testing.assert_allclose(gaps, problem.doubt / 2, rtol=1e-9)
    inverse = np.linalg.inv(problem.c.T @ np.linalg.inv(problem.sigma) @ problem.c)
    assert problem.doubt == pytest.approx(problem.initial @ inverse @ problem.initial, rel=1e-9)
    for lam in LAMS:
        assert problem.bellman_error(pessimistic(problem, lam)) == pytest.approx(problem.doubt / (4 * lam**2), rel=1e-9)


def test_it_is_lstd_with_the_reward_lowered_by_the_visitation_ratio():
    game, weights, features, joint = made(6)
    problem = evaluate_exactly(game, weights, features, joint)
    ratio = game.visitation(joint)[:, None, None] * joint / weights
    np.testing.assert_allclose((features @ problem.ratio), ratio, rtol=1e-9)
    lowered = MarkovGame(game.transition, game.reward - ratio / (2 * 3.0), game.initial, game.gamma)
    np.testing.assert_allclose(pessimistic(problem, 3.0), lowered.q_values(joint).ravel(), atol=1e-9)


def test_improvement_follows_the_gradient_of_what_evaluation_minimises():
    game, weights, features, joint = made(7)
    lam, way = 3.0, np.random.default_rng(1).normal(size=(2, *N_ACTIONS))

    def minimum(step):
        tilted = joint * np.exp(step * way)
        problem = evaluate_exactly(game, weights, features, tilted / tilted.sum((1, 2), keepdims=True))
        return target(problem, lam, pessimistic(problem, lam))

    q = (features @ pessimistic(evaluate_exactly(game, weights, features, joint), lam)).reshape(2, *N_ACTIONS)
    advantage = q - (joint * q).sum((1, 2), keepdims=True)
    slope = (game.visitation(joint)[:, None, None] * joint * advantage * way).sum()
    assert (minimum(1e-5) - minimum(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("shrink", [0.9, 0.3])
def test_the_bound_on_omega_is_kept_and_its_minimum_found(shrink):
    game, weights, features, joint = made(8, n_features=5)
    problem = evaluate_exactly(game, weights, features, joint)
    rng = np.random.default_rng(0)
    for lam, free in ((0.5, pessimistic(problem, 0.5)), (None, lstd(problem))):
        radius = shrink * np.linalg.norm(free)
        omega = lstd(problem, radius) if lam is None else pessimistic(problem, lam, radius)
        worth = problem.bellman_error if lam is None else partial(target, problem, lam)
        assert np.linalg.norm(omega) == pytest.approx(radius, rel=1e-9)
        for _ in range(300):
            other = omega + 0.1 * rng.normal(size=5) * radius
            other *= min(1, radius / np.linalg.norm(other))
            assert worth(other) >= worth(omega) - 1e-12
    np.testing.assert_array_equal(pessimistic(problem, 0.5, 1e6), pessimistic(problem, 0.5))


def test_a_bounded_pessimist_promises_no_more_than_a_bounded_lstd():
    game, weights, features, joint = made(9, n_features=5)
    problem = evaluate_exactly(game, weights, features, joint)
    for radius in (0.1, 0.5, 1.0, 5.0):
        plain = problem.estimate(lstd(problem, radius))
        assert all(problem.estimate(pessimistic(problem, lam, radius)) <= plain + 1e-9 for lam in LAMS)


def test_confident_lam_puts_the_estimate_z_standard_errors_below():
    game, weights, features, joint = made(10, n_features=3)
    data = sample_transitions(game, weights, 80, np.random.default_rng(3))
    problem = evaluate(data, features, joint, game.initial, game.gamma)
    for z in (0.5, 2.0):
        omega = pessimistic(problem, confident_lam(problem, z, noise=0.7))
        below = problem.estimate(lstd(problem)) - problem.estimate(omega)
        assert below == pytest.approx(z * 0.7 * np.sqrt(problem.doubt / 80), rel=1e-9)


def test_the_standard_error_is_that_of_repeated_data():
    # Noise of 0.7 on the rewards of the same (s, a, s'): how far the estimates spread by it.
    game, weights, features, joint = made(11)
    data = sample_transitions(game, weights, 400, np.random.default_rng(4))
    problem = evaluate(data, features, joint, game.initial, game.gamma)
    rng, found = np.random.default_rng(5), []
    for _ in range(2000):
        noisy = data._replace(rewards=data.rewards + 0.7 * rng.normal(size=400))
        found.append(problem.ratio @ evaluate(noisy, features, joint, game.initial, game.gamma).b)
    assert np.std(found) == pytest.approx(0.7 * np.sqrt(problem.doubt / 400), rel=0.06)


# Improvement ----------------------------------------------------------------------------------------------------


def test_with_full_data_and_lstd_the_offline_loop_is_the_exact_one():
    game, weights, features, _ = made(12)
    found = improve(
        lambda joint: evaluate_exactly(game, weights, features, joint),
        features,
        uniform_autoregressive(game),
        lstd,
        beta=0.5,
        iterations=15,
    )
    run = learn(game, uniform_autoregressive(game), autoregressive_step, 0.5, 15)
    np.testing.assert_allclose([one.estimate for one in found], run.values @ game.initial, atol=1e-9)
    for one, other in zip(found[-1].log_policies, run.log_policies, strict=True):
        np.testing.assert_allclose(np.exp(one), np.exp(other), atol=1e-9)
    np.testing.assert_allclose(joint_of(found[0].log_policies), np.full((2, *N_ACTIONS), 1 / 6))


def test_pessimism_wins_where_the_data_have_holes():
    # Rewards in [-1, 0]: LSTD takes what it does not know for 0, the best there is, and goes there.
    for seed in range(3):
        rng = np.random.default_rng(seed)
        made = random_game(rng, 3, (3, 3), gamma=0.8)
        game = MarkovGame(made.transition, (made.reward - 1) / 2, made.initial, 0.8)
        best = (game.reward + 0.8 * game.transition @ optimal_values(game)).reshape(3, 9).argmax(-1)
        kept = rng.random((3, 9)) < 0.3
        kept[np.arange(3), best] = True
        weights = (kept / kept.sum(-1, keepdims=True) / 3).reshape(3, 3, 3)
        features, data = tabular_features(3, (3, 3))[-1], sample_transitions(game, weights, 200, rng)

        def problem(joint, data=data, game=game, features=features):
            return evaluate(data, features, joint, game.initial, 0.8, ridge=1e-3)

        start, noise = uniform_autoregressive(game), noise_scale(data.rewards, 0.8)
        careful = partial(_confident, z=2.0, noise=noise)
        plain, wary = (improve(problem, features, start, solve, 2.0, 100)[-1] for solve in (lstd, careful))
        true_plain, true_wary = (game.objective(joint_of(one.log_policies)) for one in (plain, wary))
        assert plain.estimate > true_plain + 1  # LSTD promises what is not there
        assert wary.estimate < true_wary
        assert true_wary > true_plain + 0.5


def _confident(problem, z, noise):
    return pessimistic(problem, confident_lam(problem, z, noise))


# What is refused ------------------------------------------------------------------------------------------------


def test_what_has_no_meaning_is_refused():
    game, weights, features, joint = made()
    problem = evaluate_exactly(game, weights, features, joint)
    with pytest.raises(ValueError, match="lam must be positive"):
        pessimistic(problem, 0.0)
    with pytest.raises(ValueError, match="z and noise must be positive"):
        confident_lam(problem, 1.0, 0.0)
    with pytest.raises(ValueError, match="ridge must be at least 0"):
        Evaluation(problem.phi, problem.change, problem.rewards, problem.initial, problem.weights, -1.0)


def test_features_without_data_need_a_ridge():
    game, weights, features, joint = made()
    weights = np.where(np.arange(12).reshape(weights.shape) == 3, 0, weights)
    weights /= weights.sum()
    with pytest.raises(ValueError, match="use ridge > 0"):
        lstd(evaluate_exactly(game, weights, features, joint))
    assert np.isfinite(lstd(evaluate_exactly(game, weights, features, joint, ridge=1e-3))).all()


def test_noise_scale_is_the_spread_of_rewards_over_the_horizon():
    assert noise_scale(np.array([0.0, 2.0]), 0.75) == 4.0
    assert noise_scale(np.array([0.0, 2.0]), 0.5, steps=3) == 1.75


def test_autoregressive_policies_are_evaluated_too():
    game, weights, features, _ = made(13)
    rng = np.random.default_rng(0)
    joint = joint_autoregressive([rng.dirichlet(np.ones(2), 2), rng.dirichlet(np.ones(3), (2, 2))])
    problem = evaluate_exactly(game, weights, features, joint)
    assert problem.estimate(lstd(problem)) == pytest.approx(game.objective(joint), abs=1e-10)
