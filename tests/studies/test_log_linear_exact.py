"""Log-linear multi-agent PPO on tables: exact identities, the bounds, and what product policies lose.

Shapes: S states, N agents, A^m actions of agent m, K iterations.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.markov import MarkovGame, joint_policy, random_game, random_policies
from epymarl_trust_region.games.normal_form import climbing_game, one_shot
from epymarl_trust_region.games.ratio_game import ratio_game
from epymarl_trust_region.studies.log_linear_exact import (
    as_autoregressive,
    autoregressive_step,
    average_gap_bound,
    beta_schedule,
    exponential_weights,
    fast_gap_bound,
    joint_autoregressive,
    joint_of,
    learn,
    optimal_values,
    prefix_q,
    sequential_step,
    simultaneous_step,
    uniform_autoregressive,
    uniform_product,
)
from epymarl_trust_region.studies.policy_gradient import inpg_step

BETAS = (0.01, 0.1, 1.0, 10.0)
TOLERANCE = 1e-12


def random_autoregressive(rng, n_states, n_actions):
    """pi^m(a^m|s, a^1..a^{m-1}), each row a flat Dirichlet draw."""
    return [rng.dirichlet(np.ones(n), size=(n_states, *n_actions[:m])) for m, n in enumerate(n_actions)]


def made(seed, n_states=2, n_actions=(2, 3, 2), gamma=0.9):
    rng = np.random.default_rng(seed)
    return random_game(rng, n_states, n_actions, gamma), random_autoregressive(rng, n_states, n_actions)


def logs(policies):
    return [np.log(policy) for policy in policies]


def scaled(payoff):
    return (payoff - payoff.min()) / np.ptp(payoff)


# Policies and Q -------------------------------------------------------------------------------------------------


def test_the_joint_policy_is_the_product_along_the_prefix():
    game, policies = made(0)
    joint = joint_autoregressive(policies)
    for s, a, b, c in itertools.product(range(2), range(2), range(3), range(2)):
        expected = policies[0][s, a] * policies[1][s, a, b] * policies[2][s, a, b, c]
        assert joint[s, a, b, c] == pytest.approx(expected, abs=1e-15)
    np.testing.assert_allclose(joint.sum((1, 2, 3)), 1, atol=TOLERANCE)
    np.testing.assert_allclose(joint_of(logs(policies)), joint, atol=TOLERANCE)


def test_a_product_policy_is_an_autoregressive_one_that_ignores_the_prefix():
    policies = random_policies(np.random.default_rng(1), 2, (2, 3, 2))
    np.testing.assert_allclose(joint_autoregressive(as_autoregressive(policies)), joint_policy(policies), atol=1e-15)
    np.testing.assert_allclose(joint_of(logs(policies)), joint_policy(policies), atol=TOLERANCE)


def test_prefix_q_sums_the_later_agents_out():
    game, policies = made(2)
    q = game.q_values(joint_autoregressive(policies))
    found = prefix_q(q, policies)
    assert [table.shape for table in found] == [(2, 2), (2, 2, 3), (2, 2, 3, 2)]
    for s, a, b, c in itertools.product(range(2), range(2), range(3), range(2)):
        after_b = sum(policies[2][s, a, b, z] * q[s, a, b, z] for z in range(2))
        after_a = sum(
            policies[1][s, a, y] * policies[2][s, a, y, z] * q[s, a, y, z] for y in range(3) for z in range(2)
        )
        assert found[0][s, a] == pytest.approx(after_a, abs=TOLERANCE)
        assert found[1][s, a, b] == pytest.approx(after_b, abs=TOLERANCE)
        assert found[2][s, a, b, c] == q[s, a, b, c]
    values = game.values(joint_autoregressive(policies))
    np.testing.assert_allclose((policies[0] * found[0]).sum(-1), values, atol=TOLERANCE)


# The step -------------------------------------------------------------------------------------------------------


def test_the_step_maximises_gain_minus_beta_kl():
    rng = np.random.default_rng(3)
    old, gain, beta = rng.dirichlet(np.ones(4)), rng.normal(size=4), 0.7

    def worth(policy):
        return policy @ gain - beta * (policy * np.log(policy / old)).sum()

    new = np.exp(exponential_weights(np.log(old), gain, beta))
    assert new.sum() == pytest.approx(1, abs=1e-15)
    # The maximum is beta log E exp(gain / beta), and nothing near or far is better.
    assert worth(new) == pytest.approx(beta * np.log(old @ np.exp(gain / beta)), abs=TOLERANCE)
    for _ in range(200):
        assert worth(0.9 * new + 0.1 * rng.dirichlet(np.ones(4))) < worth(new)


def test_each_agents_table_is_tilted_by_its_own_prefix_q():
    game, policies = made(4)
    q = game.q_values(joint_autoregressive(policies))
    new = autoregressive_step(q, logs(policies), 0.5)
    for table, old, gain in zip(new, policies, prefix_q(q, policies), strict=True):
        weight = old * np.exp(2 * gain)
        np.testing.assert_allclose(np.exp(table), weight / weight.sum(-1, keepdims=True), atol=TOLERANCE)


def test_one_agent_is_single_agent_exponential_weights_whatever_the_form():
    game, policies = made(5, n_actions=(4,))
    q, beta = game.q_values(policies[0]), 0.3
    expected = inpg_step(policies[0], game.advantages(policies[0]), 1 / beta)
    for step in (autoregressive_step, sequential_step, simultaneous_step):
        np.testing.assert_allclose(np.exp(step(q, logs(policies), beta)[0]), expected, atol=TOLERANCE)


def test_two_agents_on_the_tree_of_prefixes_are_one_agent():
    # The tree: state s, then (s, a^1) without discount. Two decisions per step, so that the square root of gamma is the
    # discount of each and the reward, paid at the second, is divided by it; A at the second is then too large by that.
    game, policies = made(6, n_states=2, n_actions=(2, 3), gamma=0.81)
    root, beta = 0.9, 0.4
    transition, reward = np.zeros((6, 3, 6)), np.zeros((6, 3))
    for s, a, b in itertools.product(range(2), range(2), range(3)):
        transition[s, :, 2 + 2 * s] = 1  # the third action of the first agent does as the first; it is never chosen
        transition[s, 1] = np.eye(6)[3 + 2 * s]
        transition[2 + 2 * s + a, b, :2] = game.transition[s, a, b]
        reward[2 + 2 * s + a, b] = game.reward[s, a, b] / root
    tree = MarkovGame(transition, reward, np.full(6, 1 / 6), root)
    flat = np.zeros((6, 3))
    flat[:2, :2], flat[2:] = policies[0], policies[1].reshape(4, 3)
    np.testing.assert_allclose(tree.values(flat)[:2], game.values(joint_autoregressive(policies)), atol=TOLERANCE)
    rate = np.array([1 / beta] * 2 + [root / beta] * 4)[:, None]
    expected = inpg_step(flat, rate * tree.advantages(flat), 1.0)
    first, second = autoregressive_step(game.q_values(joint_autoregressive(policies)), logs(policies), beta)
    np.testing.assert_allclose(np.exp(first), expected[:2, :2], atol=TOLERANCE)
    np.testing.assert_allclose(np.exp(second).reshape(4, 3), expected[2:], atol=TOLERANCE)


def test_the_product_steps_average_over_new_or_old_policies():
    game, _ = made(7)
    old = random_policies(np.random.default_rng(7), 2, (2, 3, 2))
    q, beta = game.q_values(joint_policy(old)), 0.5
    gain = np.einsum("sabc,sb,sc->sa", q, old[1], old[2])
    first = exponential_weights(np.log(old[0]), gain, beta)
    for step, seen in ((sequential_step, np.exp(first)), (simultaneous_step, old[0])):
        new = step(q, logs(old), beta)
        np.testing.assert_allclose(new[0], first, atol=TOLERANCE)
        gain = np.einsum("sabc,sa,sc->sb", q, seen, old[2])
        np.testing.assert_allclose(new[1], exponential_weights(np.log(old[1]), gain, beta), atol=TOLERANCE)
    backwards = sequential_step(q, logs(old), beta, order=(2, 1, 0))
    gain = np.einsum("sabc,sb,sc->sa", q, np.exp(backwards[1]), np.exp(backwards[2]))
    np.testing.assert_allclose(backwards[0], exponential_weights(np.log(old[0]), gain, beta), atol=TOLERANCE)


# Monotone, and how fast -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("seed", range(10))
def test_autoregressive_values_never_fall_at_any_state(seed, beta):
    game, policies = made(seed, n_states=3)
    run = learn(game, logs(policies), autoregressive_step, beta, 60)
    assert run.values.shape == (61, 3)
    assert np.diff(run.values, axis=0).min() > -1e-12
    assert (run.values <= optimal_values(game) + 1e-9).all()


def test_the_schedule_minimises_its_bound():
    # Regret of exponential weights: beta log A + K Qmax^2 / (2 beta), per agent; smallest at the schedule's beta.
    q_max, iterations, n_actions = 3.0, 50, 4
    betas = np.linspace(0.5, 60, 100_001)
    regret = betas * np.log(n_actions) + iterations * q_max**2 / (2 * betas)
    assert beta_schedule(q_max, iterations, n_actions) == pytest.approx(betas[regret.argmin()], abs=1e-3)
    bound = average_gap_bound(q_max, iterations, n_actions, n_agents=2, gamma=0.5)
    assert bound == pytest.approx(2 * 2 * regret.min() / iterations, rel=1e-9)


@pytest.mark.parametrize("iterations", [1, 10, 100])
@pytest.mark.parametrize("seed", range(5))
def test_the_average_gap_is_below_the_bound_at_every_state(seed, iterations):
    game, _ = made(seed)
    best, q_max = optimal_values(game), 1 / (1 - game.gamma)  # |r| <= 1
    beta = beta_schedule(q_max, iterations, max(game.n_actions))
    run = learn(game, uniform_autoregressive(game), autoregressive_step, beta, iterations)
    gap = (best - run.values[:-1]).mean(0)
    assert (gap > 0).all()
    assert (gap <= average_gap_bound(q_max, iterations, max(game.n_actions), game.n_agents, game.gamma)).all()


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("seed", range(5))
def test_with_exact_values_the_average_gap_falls_as_one_over_k_for_every_beta(seed, beta):
    game, _ = made(seed)
    best, iterations = optimal_values(game), 40
    run = learn(game, uniform_autoregressive(game), autoregressive_step, beta, iterations)
    gap = np.cumsum(best - run.values[:-1], axis=0) / np.arange(1, iterations + 1)[:, None]
    for k in range(1, iterations + 1):
        span = 2 / (1 - game.gamma)
        bound = fast_gap_bound(beta, k, max(game.n_actions), game.n_agents, span, game.gamma)
        assert (gap[k - 1] <= bound).all()


def test_the_fast_bound_is_nearly_reached():
    # One agent, one shot, one good action, no discount: the average gap is the bound but for rounding up of span.
    game = one_shot(np.array([1.0, 0.0, 0.0, 0.0]))
    run = learn(game, uniform_autoregressive(game), autoregressive_step, 100.0, 20_000)
    bound = fast_gap_bound(100.0, 20_000, 4, 1, 1.0, 0.0)
    assert 0.98 * bound < (1 - run.values[:-1]).mean() < bound


def test_optimal_values_are_those_of_value_iteration():
    game, _ = made(8, gamma=0.7)
    value = np.zeros(2)
    for _ in range(100):  # 0.7^100 = 3e-16
        value = (game.reward + game.gamma * game.transition @ value).reshape(2, -1).max(-1)
    np.testing.assert_allclose(optimal_values(game), value, atol=TOLERANCE)


# Autoregressive against product policies ------------------------------------------------------------------------


def test_the_climbing_game_tells_autoregressive_from_product_policies():
    # Scaled to [0, 1] the best joint action pays 1 and the equilibrium (1, 1) pays 37/41 = 0.902.
    game = one_shot(scaled(climbing_game()))
    run = learn(game, uniform_autoregressive(game), autoregressive_step, 0.1, 2000)
    assert run.values[-1, 0] == pytest.approx(1.0, abs=1e-6)
    run = learn(game, uniform_product(game), sequential_step, 0.1, 2000)
    assert run.values[-1, 0] == pytest.approx(37 / 41, abs=1e-6)
    np.testing.assert_allclose(joint_of(run.log_policies)[0, 1, 1], 1, atol=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_the_product_step_in_turn_is_monotone_in_any_order(beta):
    for seed in range(6):
        game, _ = made(seed, n_states=3)
        rng = np.random.default_rng(seed)
        order = list(rng.permutation(3))
        start = logs(random_policies(rng, 3, game.n_actions))
        run = learn(game, start, lambda q, p, b, order=order: sequential_step(q, p, b, order), beta, 50)
        assert np.diff(run.values, axis=0).min() > -1e-12


def test_the_product_step_at_once_is_not():
    # Both want to be where the other is not. At once they both go to the rarer action, and then both back, for ever.
    game = one_shot(np.array([[0.0, 1.0], [1.0, 0.0]]))
    start = logs([np.array([[0.6, 0.4]])] * 2)
    at_once = learn(game, start, simultaneous_step, 0.1, 6)
    assert at_once.values[0, 0] == pytest.approx(0.48) and (at_once.values[2:, 0] < 0.02).all()
    in_turn = learn(game, start, sequential_step, 0.1, 40)
    assert np.diff(in_turn.values[:, 0]).min() > -1e-15 and in_turn.values[-1, 0] > 1 - 1e-9


# The ratio game -------------------------------------------------------------------------------------------------


def test_the_ratio_game_is_a_game_that_stops():
    reward, stop = np.array([[1, 0.5], [-0.5, 0]]), np.array([[1, 1], [0.1, 0.1]])
    game = ratio_game(reward, stop)
    x, y = random_policies(np.random.default_rng(0), 2, (2, 2))
    joint = joint_policy([x, y])
    value = (x[0] @ reward @ y[0]) / (x[0] @ stop @ y[0])
    assert game.objective(joint) == pytest.approx(value, abs=TOLERANCE)
    np.testing.assert_allclose(game.q_values(joint)[0], reward + (1 - stop) * value, atol=TOLERANCE)
    assert optimal_values(game)[0] == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize("stop", [np.array([[1.0, 0.0], [1, 1]]), np.array([[1.0, 2.0], [1, 1]]), np.ones((2, 3))])
def test_a_ratio_game_that_need_not_stop_is_refused(stop):
    with pytest.raises(ValueError, match=r"stop must be .* in \(0, 1\]"):
        ratio_game(np.ones((2, 2)), stop)


# What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_a_beta_that_is_not_positive_is_refused(beta):
    with pytest.raises(ValueError, match="beta must be positive"):
        exponential_weights(np.zeros((1, 2)), np.zeros((1, 2)), beta)


def test_individual_rewards_and_orders_that_are_none_are_refused():
    game = random_game(np.random.default_rng(0), common_reward=False)
    with pytest.raises(ValueError, match="one reward table"):
        learn(game, uniform_product(game), sequential_step, 1.0, 1)
    with pytest.raises(ValueError, match="permutation of the 2 agents"):
        sequential_step(np.zeros((1, 2, 2)), [np.zeros((1, 2))] * 2, 1.0, order=(0, 0))


def test_a_probability_below_the_smallest_float_comes_back():
    log_policy = exponential_weights(np.log([[0.5, 0.5]]), np.array([[0.0, 10.0]]), 0.01)
    assert np.exp(log_policy[0, 0]) == 0
    back = exponential_weights(log_policy, np.array([[10.0, 0.0]]), 0.01)
    np.testing.assert_allclose(np.exp(back), [[0.5, 0.5]], atol=TOLERANCE)
