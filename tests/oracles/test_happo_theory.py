"""The theory behind HAPPO, held to enumeration: no learner and no sampling here.

Equation and statement numbers are those of Kuba et al., "Trust Region Policy Optimisation in Multi-Agent Reinforcement
Learning".
"""

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.markov import (
    average_out,
    joint_policy,
    multi_agent_advantage,
    random_game,
    random_policies,
)
from epymarl_trust_region.games.normal_form import climbing_game, one_shot, proposition_1_game
from oracles.happo_theory import best_in_kl_ball, exact_agent_step, monotonic_step, penalty_coefficient

TOLERANCE = 1e-12
N_ACTIONS = (2, 3, 4)
ORDERS = list(itertools.permutations(range(3)))


@pytest.fixture(scope="module")
def game():
    return random_game(np.random.default_rng(0), n_states=3, n_actions=N_ACTIONS, gamma=0.9)


@pytest.fixture(scope="module")
def old():
    return random_policies(np.random.default_rng(1), 3, N_ACTIONS)


@pytest.fixture(scope="module")
def new():
    return random_policies(np.random.default_rng(2), 3, N_ACTIONS)


def kl(p, q):
    return (p * np.log(p / q)).sum(-1)


def conditional_advantage(advantages, policies, state, given):
    """E[A(s, a)] with the actions in `given` (agent -> action) fixed and all others drawn, by plain loops."""
    total = 0.0
    for joint in itertools.product(*map(range, N_ACTIONS)):
        if all(joint[agent] == action for agent, action in given.items()):
            others = [i for i in range(3) if i not in given]
            total += np.prod([policies[i][state, joint[i]] for i in others]) * advantages[state][joint]
    return total


# Lemma 1


@pytest.mark.parametrize("order", ORDERS)
def test_lemma_1_the_agents_advantages_add_up_to_the_joint_one(game, old, order):
    joint = joint_policy(old)
    q, advantages = game.q_values(joint), game.advantages(joint)
    terms = [multi_agent_advantage(q, old, order[:m], order[m : m + 1]) for m in range(3)]
    for state, actions in itertools.product(range(3), itertools.product(*(range(N_ACTIONS[i]) for i in order))):
        total = 0.0
        for m in range(3):
            total += terms[m][(state, *actions[: m + 1])]
            given = dict(zip(order[: m + 1], actions[: m + 1], strict=True))
            expected = conditional_advantage(advantages, old, state, given)
            assert total == pytest.approx(expected, abs=TOLERANCE)
    assert min(np.abs(term).max() for term in terms) > 1e-2


# Proposition 3


def both_sides(game, old, new, order, m, probe):
    """Equation (9) for agent order[m], earlier agents at `new`, itself at `probe`: both sides [S], and E[M] [S]."""
    agent, earlier = order[m], order[:m]
    pi = joint_policy(old)
    left = multi_agent_advantage(game.q_values(pi), old, earlier, [agent])
    for i in earlier:
        left = np.einsum("sa...,sa->s...", left, new[i])
    left = (left * probe).sum(-1)

    def ratio(numerator, i):
        return np.expand_dims(numerator / old[i], tuple(j + 1 for j in range(3) if j != i))

    factor = np.prod(np.broadcast_arrays(np.ones_like(pi), *(ratio(new[i], i) for i in earlier)), axis=0)
    weighted = factor * game.advantages(pi)  # M of equation (10)
    right = (pi * (ratio(probe, agent) - 1) * weighted).sum(axis=(1, 2, 3))
    return left, right, (pi * weighted).sum(axis=(1, 2, 3))


@pytest.mark.parametrize("order", ORDERS)
def test_proposition_3_the_ratio_weighted_joint_advantage_is_the_agents_own(game, old, new, order):
    probe = random_policies(np.random.default_rng(3), 3, N_ACTIONS)
    for m in range(3):
        left, right, _ = both_sides(game, old, new, order, m, probe[order[m]])
        np.testing.assert_allclose(right, left, atol=TOLERANCE)
        assert np.abs(left).max() > 1e-3


@pytest.mark.parametrize("order", ORDERS)
def test_dropping_the_minus_one_changes_the_value_but_not_the_gradient(game, old, new, order):
    for m in range(3):
        agent = order[m]
        logits = np.random.default_rng(4).normal(size=old[agent].shape)

        def objective(theta, keep_minus_one, m=m, agent=agent):
            probe = np.exp(theta) / np.exp(theta).sum(-1, keepdims=True)
            _, right, constant = both_sides(game, old, new, order, m, probe)
            return right.sum() if keep_minus_one else (right + constant).sum()

        def gradient(keep_minus_one, logits=logits, objective=objective):
            step = 1e-30  # complex steps: exact derivatives, no cancellation
            columns = (step * 1j * unit.reshape(logits.shape) for unit in np.eye(logits.size))
            return np.array([objective(logits + column, keep_minus_one).imag / step for column in columns])

        with_it, without = gradient(True), gradient(False)
        np.testing.assert_allclose(with_it, without, atol=TOLERANCE)
        assert np.abs(with_it).max() > 1e-3
        change = objective(logits, False) - objective(logits, True)
        # The first agent's factor is 1 and E[A] = 0, so there the value stays too.
        assert abs(change) < TOLERANCE if m == 0 else abs(change) > 1e-3


# Theorem 2


def test_best_in_kl_ball_has_the_stated_kl_and_beats_every_other_policy_in_the_ball():
    rng = np.random.default_rng(5)
    policy, gain = random_policies(rng, 4, (5,))[0], rng.normal(size=(4, 5))
    for radius in (1e-6, 1e-2, 0.5):
        best = best_in_kl_ball(policy, gain, radius)
        np.testing.assert_allclose(best.sum(-1), 1, atol=TOLERANCE)
        np.testing.assert_allclose(kl(policy, best), radius, rtol=1e-6)
        # 500 other policies per state, on segments from the old policy to random ones, near the ball's edge.
        others = rng.dirichlet(np.ones(5), size=(500, 4))
        weight = np.minimum(1, 0.9 * np.sqrt(radius / kl(policy, others)))[..., None]
        others = (1 - weight) * policy + weight * others
        inside = kl(policy, others) <= radius
        assert inside.sum() > 500
        assert (((others - best) * gain).sum(-1) <= TOLERANCE)[inside].all()


def test_best_in_kl_ball_on_two_actions_is_the_edge_of_the_ball():
    policy, gain = np.array([[0.5, 0.5]]), np.array([[3.0, 1.0]])
    # KL((1/2, 1/2) || (x, 1-x)) = -1/2 log(4 x (1-x)), so x = (1 + sqrt(1 - exp(-2 kappa))) / 2.
    for radius in (1e-4, 0.1, 2.0):
        expected = (1 + np.sqrt(1 - np.exp(-2 * radius))) / 2
        np.testing.assert_allclose(best_in_kl_ball(policy, gain, radius), [[expected, 1 - expected]], rtol=1e-8)


def test_no_gain_means_no_step():
    policy = np.array([[0.2, 0.8], [0.6, 0.4]])
    np.testing.assert_array_equal(best_in_kl_ball(policy, np.ones((2, 2)), 0.1), policy)
    stepped, value = exact_agent_step(policy, np.zeros((2, 2)), np.ones(2), penalty=1.0)
    assert value == 0 and stepped is policy


def test_agent_step_meets_the_optimality_condition_of_the_radius():
    # In p'(a) = nu p(a) / (mu - g(a)), nu(s) is the multiplier: one more unit of radius gains d(s) nu(s) in state s and
    # costs C, so the best radius has sum_s d(s) nu(s) = C. nu follows from p' as a ratio of differences.
    rng = np.random.default_rng(6)
    policy, gain, visits, penalty = (
        random_policies(rng, 3, (4,))[0],
        rng.normal(size=(3, 4)),
        np.array([1, 2, 0.5]),
        7.0,
    )
    stepped, value = exact_agent_step(policy, gain, visits, penalty)
    inverse = policy / stepped  # (mu - g) / nu
    nu = (gain[:, 0] - gain[:, 1]) / (inverse[:, 1] - inverse[:, 0])
    assert visits @ nu == pytest.approx(penalty, rel=1e-3)
    spent = kl(policy, stepped)
    np.testing.assert_allclose(spent, spent[0], rtol=1e-6)
    assert value == pytest.approx(visits @ ((stepped - policy) * gain).sum(-1) - penalty * spent.max(), abs=1e-10)


def test_penalty_coefficient():
    assert penalty_coefficient(np.array([[-3.0, 1.0]]), 0.9) == pytest.approx(4 * 0.9 * 3 / 0.01)
    assert penalty_coefficient(np.array([5.0]), 0.0) == 0


@pytest.mark.parametrize("seed", range(6))
def test_theorem_2_the_return_never_decreases(seed):
    rng = np.random.default_rng(seed)
    n_actions = [(2, 3, 2), (3, 3), (2, 2, 2, 2)][seed % 3]
    game = random_game(rng, 3, n_actions, gamma=[0.3, 0.6, 0.9][seed // 2])
    policies = random_policies(rng, 3, n_actions)
    increments = []
    for _ in range(6):
        step = monotonic_step(game, policies, rng.permutation(game.n_agents))
        before, after = joint_policy(policies), joint_policy(step.policies)
        increments.append(game.objective(after) - game.objective(before))
        # Lemma 2's bound, its surrogates computed from the joint policy (they add up to E[A_pi] under the new one).
        advantages, visits = game.advantages(before), game.visitation(before)
        surrogate = visits @ (after * advantages).reshape(3, -1).sum(-1)
        spent = sum(kl(p, q).max() for p, q in zip(policies, step.policies, strict=True))
        bound = surrogate - penalty_coefficient(advantages, game.gamma) * spent
        assert step.bound == pytest.approx(bound, abs=1e-10)
        assert increments[-1] >= bound - 1e-10
        policies = step.policies
    assert min(increments) >= -1e-10
    assert min(increments) > 0


def test_the_sequence_and_the_penalty_are_what_makes_it_true():
    # Per-state exact steps in sequence gain at every state, so the return rises at any radius; Lemma 2's bound does not
    # survive without the penalty, and the return does not survive simultaneous steps. Both must be seen to fail.
    bound_slack, simultaneous_change = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        game, old = random_game(rng, 3, (2, 2, 2), gamma=0.9), random_policies(rng, 3, (2, 2, 2))
        pi = joint_policy(old)
        advantages, visits, sequential, simultaneous, bound = game.advantages(pi), game.visitation(pi), list(old), [], 0
        for agent in range(3):
            gain = average_out(advantages, sequential, [agent])
            sequential[agent], value = exact_agent_step(old[agent], gain, visits, penalty=0.0)
            simultaneous.append(exact_agent_step(old[agent], average_out(advantages, old, [agent]), visits, 0.0)[0])
            bound += value
        change = game.objective(joint_policy(sequential)) - game.objective(pi)
        assert change > 0
        bound_slack.append(change - bound)
        simultaneous_change.append(game.objective(joint_policy(simultaneous)) - game.objective(pi))
    assert min(bound_slack) < -0.1
    assert min(simultaneous_change) < -0.1


def test_one_shot_game_climbs_to_an_equilibrium():
    # gamma = 0 makes C = 0: each agent simply answers the others best (Proposition 2's one-shot case).
    game = one_shot(climbing_game())
    policies = [np.full((1, 3), 1 / 3)] * 2
    returns = [game.objective(joint_policy(policies))]
    for _ in range(4):
        policies = monotonic_step(game, policies, [0, 1]).policies
        returns.append(game.objective(joint_policy(policies)))
    assert np.diff(returns).min() >= -1e-10
    np.testing.assert_allclose(game.best_response_gap(policies), 0, atol=1e-3)
    assert returns[-1] == pytest.approx(7, abs=1e-3)


def test_what_the_theorem_does_not_cover_is_refused(game, old):
    with pytest.raises(ValueError, match="order must be a permutation"):
        monotonic_step(game, old, [0, 0, 1])
    individual = random_game(np.random.default_rng(0), 3, N_ACTIONS, common_reward=False)
    with pytest.raises(ValueError, match="common reward"):
        monotonic_step(individual, old, [0, 1, 2])


# Figure 1

OLD_MEANS = (-0.25, 0.25)
# Gauss-Hermite nodes as actions and their weights as policies turn the game into a finite one with the same
# expectations: exact for polynomials, 1e-12 for the ratios of Gaussians as near as these.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
ACTIONS = [mean + NODES for mean in OLD_MEANS]


def gaussian(agent, mean):
    """The unit-variance Gaussian around `mean` as a policy [1, 80] over the agent's nodes."""
    ratio = np.exp((ACTIONS[agent] - OLD_MEANS[agent]) ** 2 / 2 - (ACTIONS[agent] - mean) ** 2 / 2)
    return (WEIGHTS / WEIGHTS.sum() * ratio)[None]


OLD_GAUSSIANS = [gaussian(agent, mean) for agent, mean in enumerate(OLD_MEANS)]
FIGURE_1 = one_shot(np.outer(*ACTIONS))


def best_mean(agent, means):
    """The agent's best mean in its KL ball (delta 0.5, so +-1) by the surrogate of its turn, the other at `means`."""
    now = [gaussian(i, mean) for i, mean in enumerate(means)]
    gain = average_out(FIGURE_1.advantages(joint_policy(OLD_GAUSSIANS)), now, [agent])
    grid = OLD_MEANS[agent] + np.linspace(-1, 1, 41)
    values = np.array([((gaussian(agent, mean) - OLD_GAUSSIANS[agent]) * gain).sum() for mean in grid])
    np.testing.assert_allclose(values, (grid - OLD_MEANS[agent]) * means[1 - agent], atol=TOLERANCE)  # closed form
    return grid[values.argmax()]


def figure_1_return(means):
    return FIGURE_1.objective(joint_policy([gaussian(i, mean) for i, mean in enumerate(means)]))


def test_figure_1_the_ball_of_kl_one_half_has_radius_one():
    assert kl(OLD_GAUSSIANS[0], gaussian(0, OLD_MEANS[0] + 1))[0] == pytest.approx(0.5, abs=TOLERANCE)
    assert kl(OLD_GAUSSIANS[1], gaussian(1, OLD_MEANS[1] - 1))[0] == pytest.approx(0.5, abs=TOLERANCE)


def test_figure_1_simultaneous_updates_lose_and_sequential_ones_win():
    assert figure_1_return(OLD_MEANS) == pytest.approx(-0.0625, abs=TOLERANCE)
    together = (best_mean(0, OLD_MEANS), best_mean(1, OLD_MEANS))
    assert together == pytest.approx((0.75, -0.75), abs=TOLERANCE)
    assert figure_1_return(together) == pytest.approx(-0.5625, abs=TOLERANCE)
    first = best_mean(0, OLD_MEANS)
    forwards = (first, best_mean(1, (first, OLD_MEANS[1])))
    assert forwards == pytest.approx((0.75, 1.25), abs=TOLERANCE)
    assert figure_1_return(forwards) == pytest.approx(0.9375, abs=TOLERANCE)
    second = best_mean(1, OLD_MEANS)
    backwards = (best_mean(0, (OLD_MEANS[0], second)), second)
    assert backwards == pytest.approx((-1.25, -0.75), abs=TOLERANCE)
    assert figure_1_return(backwards) == pytest.approx(0.9375, abs=TOLERANCE)


# Proposition 1


@pytest.mark.parametrize("n", [2, 4, 6, 8, 10])
def test_proposition_1_sharing_one_policy_costs_a_factor_2_to_the_n_over_2(n):
    payoff = proposition_1_game(n)
    p = np.linspace(0, 1, 1001)  # a dense search: each p is one row, as if it were a state
    shared = joint_policy([np.stack([p, 1 - p], axis=1)] * n)
    returns = (shared * payoff).reshape(p.size, -1).sum(-1)
    assert p[returns.argmax()] == 0.5
    assert returns.max() == pytest.approx(2 / 2**n, abs=1e-15)
    separate = [np.eye(2)[[0]]] * (n // 2) + [np.eye(2)[[1]]] * (n // 2)
    assert one_shot(payoff).objective(joint_policy(separate)) == payoff.max() == 1
