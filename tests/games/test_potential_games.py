"""The congestion and the distancing game, and INPG and IPG on tables: exact, nothing sampled.

Shapes: S states, N agents, A actions.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games import congestion, distancing
from epymarl_trust_region.games.congestion import congestion_game, own_vertex_policies, potential
from epymarl_trust_region.games.markov import joint_policy, random_game, random_policies
from epymarl_trust_region.studies.policy_gradient import (
    averaged_advantages,
    inpg_step,
    ipg_step,
    project_to_simplex,
    softmax_fisher,
    softmax_gradient,
)


def vertex_policies(rng, n_agents: int) -> list[np.ndarray]:
    return [rng.dirichlet(np.ones(2), size=congestion.N_VERTICES) for _ in range(n_agents)]


# The congestion game --------------------------------------------------------------------------------------------


def test_an_edge_pays_the_inverse_of_its_load():
    after, rewards = congestion.move(np.array([0, 0, 0]), np.array([0, 0, 1]))
    assert after.tolist() == [1, 1, 2] and rewards.tolist() == [0.5, 0.5, 1.0]
    after, rewards = congestion.move(after, np.array([1, 1, 1]))  # one vertex, but edges from two
    assert after.tolist() == [4, 4, 4] and rewards.tolist() == [0.5, 0.5, 1.0]
    after, rewards = congestion.move(after, np.array([0, 1, 0]))  # a single edge, whatever the action
    assert after.tolist() == [5, 5, 5] and rewards.tolist() == [1 / 3] * 3
    assert congestion.move(after, np.array([0, 0, 1]))[1].tolist() == [0.0] * 3


def test_only_s_and_the_first_layer_leave_a_choice():
    assert congestion.available(np.arange(6)).tolist() == [[1, 1]] * 3 + [[1, 0]] * 3


@pytest.mark.parametrize("n_agents", [2, 3, 4])
def test_configurations_are_those_that_can_be_reached(n_agents):
    states = congestion.configurations(n_agents)
    assert len(states) == 2 + 2 * 2**n_agents
    game = congestion_game(n_agents)
    uniform = joint_policy([np.full((len(states), 2), 0.5)] * n_agents)
    assert (game.visitation(uniform) > 0).all()
    # Everybody uniform: three steps, each with an expected inverse load; by symmetry all agents are worth the same.
    values = game.objective(uniform)
    np.testing.assert_allclose(values, values[0], rtol=1e-12)


@pytest.mark.parametrize("n_agents", [2, 3, 4])
def test_the_potential_is_exact_where_agents_see_their_own_vertex(n_agents):
    rng = np.random.default_rng(n_agents)
    game = congestion_game(n_agents, reward_scale=2.0)
    for _ in range(10):
        old = vertex_policies(rng, n_agents)
        for i in range(n_agents):
            new = [*old[:i], rng.dirichlet(np.ones(2), size=6), *old[i + 1 :]]
            before, after = (joint_policy(own_vertex_policies(p, n_agents)) for p in (old, new))
            change = potential(game, after, n_agents, 2.0) - potential(game, before, n_agents, 2.0)
            assert change == pytest.approx((game.objective(after) - game.objective(before))[i], abs=1e-12)
            assert abs(change) > 1e-4


@pytest.mark.parametrize("n_agents", [3, 4])
def test_it_is_not_for_policies_on_whole_configurations(n_agents):
    """The paper's setting: an agent's path then tells the others what to do."""
    rng, worst = np.random.default_rng(0), 0.0
    game = congestion_game(n_agents)
    for _ in range(20):
        old, new = (random_policies(rng, game.n_states, (2,) * n_agents) for _ in range(2))
        before, after = joint_policy(old), joint_policy([new[0], *old[1:]])
        change = potential(game, after, n_agents) - potential(game, before, n_agents)
        worst = max(worst, abs(change - (game.objective(after) - game.objective(before))[0]))
    assert worst > 0.01


# The distancing game --------------------------------------------------------------------------------------------


def test_facilities_pay_their_weight_times_their_visitors():
    after, rewards = distancing.play(np.array(0), np.array([0, 0, 1, 1, 2, 2, 3, 3]))
    assert after == 0 and rewards.tolist() == [2, 2, 4, 4, 8, 8, 12, 12]
    after, rewards = distancing.play(np.array(0), np.array([3] * 5 + [0, 1, 2]))
    assert after == 1 and rewards.tolist() == [30] * 5 + [1, 2, 4]
    assert distancing.play(np.array(0), np.array([3] * 4 + [2] * 4))[0] == 0  # four are not more than four
    after, rewards = distancing.play(np.array(1), np.array([3] * 3 + [0, 0, 1, 1, 2]))
    assert after == 1 and rewards.tolist() == [18 - 100] * 3 + [2 - 100] * 2 + [4 - 100] * 2 + [4 - 100]
    assert distancing.play(np.array(1), np.array([0, 0, 1, 1, 2, 2, 3, 3]))[0] == 0


def test_the_exact_distancing_game_is_its_steps():
    game = distancing.distancing_game(4)
    for s, joint in itertools.product((0, 1), itertools.product(range(4), repeat=4)):
        after, rewards = distancing.play(np.array(s), np.array(joint))
        assert game.transition[(s, *joint)].tolist() == [1 - after, after]
        assert game.reward[(slice(None), s, *joint)].tolist() == rewards.tolist()


# INPG and IPG ---------------------------------------------------------------------------------------------------


def random_setting(seed: int, common_reward: bool = False):
    rng = np.random.default_rng(seed)
    game = random_game(rng, n_states=3, n_actions=(2, 3, 2), gamma=0.9, common_reward=common_reward)
    return rng, game, random_policies(rng, 3, game.n_actions)


@pytest.mark.parametrize("seed", range(5))
def test_the_natural_gradient_is_the_advantage(seed):
    """F^+ grad V_i = A_i / (1 - gamma) up to a constant per state, with a normalised visitation in F."""
    _, game, policies = random_setting(seed)
    joint = joint_policy(policies)
    visits, normalised = game.visitation(joint), game.visitation(joint, normalised=True)
    for i, advantage in enumerate(averaged_advantages(game, policies)):
        gradient = softmax_gradient(policies[i], advantage, visits).reshape(-1)
        natural = np.linalg.pinv(softmax_fisher(policies[i], normalised)) @ gradient
        centred = (advantage - advantage.mean(-1, keepdims=True)) / (1 - game.gamma)
        np.testing.assert_allclose(natural.reshape(advantage.shape), centred, rtol=0, atol=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_the_softmax_gradient_is_the_derivative_of_the_return(seed):
    rng, game, policies = random_setting(seed)
    visits = game.visitation(joint_policy(policies))
    for i, advantage in enumerate(averaged_advantages(game, policies)):
        direction, values = rng.normal(size=advantage.shape), []
        for sign in (1, -1):
            moved = policies[i] * np.exp(sign * 1e-5 * direction)
            new = [*policies[:i], moved / moved.sum(-1, keepdims=True), *policies[i + 1 :]]
            values.append(game.objective(joint_policy(new))[i])
        slope = (softmax_gradient(policies[i], advantage, visits) * direction).sum()
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, abs=1e-8)


def test_multiplicative_weights_are_the_softmax_form():
    rng = np.random.default_rng(0)
    logits, advantage = rng.normal(size=(2, 4, 3))
    policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    moved = np.exp(logits + 0.7 * advantage)
    np.testing.assert_allclose(inpg_step(policy, advantage, 0.7), moved / moved.sum(-1, keepdims=True), atol=1e-14)
    kept = inpg_step(np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 800.0, 900.0]]), 1.0)
    assert kept.tolist() == [[0.0, 1.0, 0.0]]  # no overflow, and what was impossible stays so


def test_the_joint_fisher_matrix_is_block_diagonal():
    """Agents act independently: E[score_i score_j^T] = 0 for i != j."""
    rng = np.random.default_rng(0)
    policies = [row[0] for row in random_policies(rng, 1, (2, 3))]
    scores = {
        joint: np.concatenate([np.eye(len(p))[a] - p for p, a in zip(policies, joint, strict=True)])
        for joint in itertools.product(range(2), range(3))
    }
    fisher = sum(policies[0][a] * policies[1][b] * np.outer(z, z) for (a, b), z in scores.items())
    assert np.abs(fisher[:2, 2:]).max() < 1e-16
    np.testing.assert_allclose(fisher[2:, 2:], softmax_fisher(policies[1][None], np.ones(1)), atol=1e-15)


def test_projection_is_the_nearest_distribution():
    assert project_to_simplex(np.array([0.2, 0.8])).tolist() == pytest.approx([0.2, 0.8])
    assert project_to_simplex(np.array([5.0, 1.0, 0.0])).tolist() == [1.0, 0.0, 0.0]
    assert project_to_simplex(np.array([1.0, 1.0, 9.0]), np.array([1, 1, 0])).tolist() == [0.5, 0.5, 0.0]
    rng = np.random.default_rng(0)
    for x in rng.normal(size=(50, 4)):
        p = project_to_simplex(x)
        assert p.sum() == pytest.approx(1) and (p >= 0).all()
        others = rng.dirichlet(np.ones(4), size=200)
        assert ((x - p) ** 2).sum() <= ((x - others) ** 2).sum(-1).min() + 1e-12


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_with_identical_rewards_inpg_never_loses(rate):
    for seed in range(5):
        _, game, policies = random_setting(seed, common_reward=True)
        value = game.objective(joint_policy(policies))
        for _ in range(100):
            policies = [
                inpg_step(p, a, rate) for p, a in zip(policies, averaged_advantages(game, policies), strict=True)
            ]
            value, before = game.objective(joint_policy(policies)), value
            assert value >= before - 1e-12


def vertex_advantages(game, policies, n_agents) -> list[np.ndarray]:
    """A_i(v, a): averaged over configurations in which agent i is at v, by their visitation."""
    states, on_states = congestion.configurations(n_agents), own_vertex_policies(policies, n_agents)
    visits = game.visitation(joint_policy(on_states))
    averaged = averaged_advantages(game, on_states)
    result = []
    for i in range(n_agents):
        weight = (states[:, i, None] == np.arange(6)) * visits[:, None]  # [S, V]
        result.append((weight.T @ averaged[i]) / np.maximum(weight.sum(0), 1e-300)[:, None])
    return result


@pytest.mark.parametrize(
    "rate, n_agents",
    [(0.1, 3), (1.0, 3), (5.0, 3), pytest.param(0.1, 4, marks=pytest.mark.thorough), (1.0, 4), (5.0, 4)],
)
def test_inpg_climbs_the_potential_to_an_equilibrium(n_agents, rate):
    """The paper's theorem on its own game: the potential never falls, and no agent could gain in the end."""
    rng = np.random.default_rng(n_agents)
    game, policies = congestion_game(n_agents), vertex_policies(rng, n_agents)
    value = potential(game, joint_policy(own_vertex_policies(policies, n_agents)), n_agents)
    for _ in range(int(400 / rate) if rate < 1 else 400):
        steps = zip(policies, vertex_advantages(game, policies, n_agents), strict=True)
        policies = [inpg_step(p, a, rate) for p, a in steps]
        value, before = potential(game, joint_policy(own_vertex_policies(policies, n_agents)), n_agents), value
        assert value >= before - 1e-12
    gap = game.best_response_gap(own_vertex_policies(policies, n_agents))
    assert gap.max() < 1e-6


def test_ipg_climbs_too():
    rng, n_agents = np.random.default_rng(1), 3
    game, policies = congestion_game(n_agents), vertex_policies(rng, n_agents)
    choice = congestion.available(np.arange(6))
    policies = [np.where(choice, p, 0) / np.where(choice, p, 0).sum(-1, keepdims=True) for p in policies]
    states = congestion.configurations(n_agents)
    values = []
    for _ in range(300):
        on_states = own_vertex_policies(policies, n_agents)
        values.append(potential(game, joint_policy(on_states), n_agents))
        visits = game.visitation(joint_policy(on_states))
        new = []
        for i, advantage in enumerate(vertex_advantages(game, policies, n_agents)):
            at = np.array([visits[states[:, i] == v].sum() for v in range(6)])
            new.append(ipg_step(policies[i], advantage, at, 0.05, choice))
        policies = new
    assert (np.diff(values) >= -1e-12).all()
    assert game.best_response_gap(own_vertex_policies(policies, n_agents)).max() < 1e-6
