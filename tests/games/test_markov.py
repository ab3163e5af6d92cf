"""The exact kernel, held to brute-force sums, iteration, hand-made chains and one simulation."""

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.markov import (
    MarkovGame,
    average_out,
    joint_policy,
    multi_agent_advantage,
    multi_agent_q,
    random_game,
    random_policies,
)

TOLERANCE = 1e-12


def made(seed=0, n_states=2, n_actions=(2, 3, 2), gamma=0.8, common_reward=True):
    rng = np.random.default_rng(seed)
    return random_game(rng, n_states, n_actions, gamma, common_reward), random_policies(rng, n_states, n_actions)


def joint_actions(game):
    return itertools.product(*map(range, game.n_actions))


def probability(policies, state, joint):
    return np.prod([policy[state, action] for policy, action in zip(policies, joint, strict=True)])


def test_joint_policy_is_the_product_of_the_agents_probabilities():
    game, policies = made()
    joint = joint_policy(policies)
    for state in range(game.n_states):
        for action in joint_actions(game):
            assert joint[state][action] == pytest.approx(probability(policies, state, action), abs=1e-15)
    np.testing.assert_allclose(joint.sum(axis=(1, 2, 3)), 1, atol=TOLERANCE)


def test_values_are_the_fixed_point_that_brute_force_iteration_reaches():
    game, policies = made()
    value = np.zeros(game.n_states)
    for _ in range(160):  # 0.8^160 = 3e-16
        value = np.array(
            [
                sum(
                    probability(policies, s, a) * (game.reward[s][a] + game.gamma * game.transition[s][a] @ value)
                    for a in joint_actions(game)
                )
                for s in range(game.n_states)
            ]
        )
    np.testing.assert_allclose(game.values(joint_policy(policies)), value, atol=TOLERANCE)


def test_q_and_advantages_are_one_step_of_lookahead():
    game, policies = made(1)
    joint = joint_policy(policies)
    value, q = game.values(joint), game.q_values(joint)
    for state in range(game.n_states):
        for action in joint_actions(game):
            after = game.reward[state][action] + game.gamma * sum(
                game.transition[state][action][t] * value[t] for t in range(game.n_states)
            )
            assert q[state][action] == pytest.approx(after, abs=TOLERANCE)
            assert game.advantages(joint)[state][action] == pytest.approx(after - value[state], abs=TOLERANCE)
    np.testing.assert_allclose((joint * q).sum(axis=(1, 2, 3)), value, atol=TOLERANCE)


@pytest.mark.parametrize("normalised", [False, True])
def test_visitation_is_the_sum_over_time(normalised):
    game, policies = made(2, n_states=4)
    kernel = np.zeros((4, 4))
    for state in range(4):
        for action in joint_actions(game):
            kernel[state] += probability(policies, state, action) * game.transition[state][action]
    now, total = game.initial.copy(), np.zeros(4)
    for t in range(170):
        total += game.gamma**t * now
        now = now @ kernel
    scale = 1 - game.gamma if normalised else 1
    visits = game.visitation(joint_policy(policies), normalised)
    np.testing.assert_allclose(visits, scale * total, atol=TOLERANCE)
    assert visits.sum() == pytest.approx(scale / (1 - game.gamma), abs=TOLERANCE)


def test_objective_is_the_visited_reward_and_obeys_the_performance_difference_lemma():
    game, old = made(3, n_states=4)
    new = random_policies(np.random.default_rng(9), 4, game.n_actions)
    pi, pi_new = joint_policy(old), joint_policy(new)
    reward = (pi * game.reward).sum(axis=(1, 2, 3))
    assert game.objective(pi) == pytest.approx(game.visitation(pi) @ reward, abs=TOLERANCE)
    gained = game.visitation(pi_new) @ (pi_new * game.advantages(pi)).sum(axis=(1, 2, 3))
    assert game.objective(pi_new) - game.objective(pi) == pytest.approx(gained, abs=TOLERANCE)
    assert abs(gained) > 1e-3


def test_a_chain_with_known_values():
    # One agent. State 0: action 0 stays and pays 1; action 1 goes to the absorbing state 1, which pays 0.
    transition = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    reward = np.array([[1.0, 0.0], [0.0, 0.0]])
    game = MarkovGame(transition, reward, np.array([1.0, 0.0]), gamma=0.5)
    half = np.full((2, 2), 0.5)
    # V(0) = 1/2 (1 + V(0)/2), so 2/3; the time spent in state 0 is sum (1/2 * 1/2)^t = 4/3.
    np.testing.assert_allclose(game.values(half), [2 / 3, 0], atol=1e-15)
    np.testing.assert_allclose(game.q_values(half), [[4 / 3, 0], [0, 0]], atol=1e-15)
    np.testing.assert_allclose(game.visitation(half), [4 / 3, 2 / 3], atol=1e-15)
    np.testing.assert_allclose(game.best_response_gap([half]), [2 - 2 / 3], atol=1e-15)


def test_a_policy_that_conditions_on_the_first_agent_is_evaluated_too():
    game, policies = made(4, n_actions=(2, 2))
    rng = np.random.default_rng(4)
    second = rng.dirichlet(np.ones(2), size=(2, 2))  # pi^2(a^2 | s, a^1)
    joint = policies[0][:, :, None] * second
    value = game.values(joint)
    for s in range(2):
        backup = sum(
            policies[0][s, a] * second[s, a, b] * (game.reward[s, a, b] + game.gamma * game.transition[s, a, b] @ value)
            for a in range(2)
            for b in range(2)
        )
        assert value[s] == pytest.approx(backup, abs=TOLERANCE)


def test_individual_rewards_are_one_common_reward_game_per_agent():
    game, policies = made(5, common_reward=False)
    joint = joint_policy(policies)
    assert not game.common_reward
    for agent in range(game.n_agents):
        alone = MarkovGame(game.transition, game.reward[agent], game.initial, game.gamma)
        assert alone.common_reward
        for name in ("values", "q_values", "advantages", "objective"):
            np.testing.assert_allclose(
                getattr(game, name)(joint)[agent], getattr(alone, name)(joint), atol=TOLERANCE, err_msg=name
            )
        np.testing.assert_allclose(
            game.best_response_gap(policies)[agent], alone.best_response_gap(policies)[agent], atol=TOLERANCE
        )
        np.testing.assert_allclose(
            average_out(game.q_values(joint), policies, [agent])[agent],
            average_out(alone.q_values(joint), policies, [agent]),
            atol=TOLERANCE,
        )


@pytest.mark.parametrize("agents", [(), (0,), (2,), (0, 2), (2, 0), (1, 2, 0)])
def test_multi_agent_q_sums_the_other_agents_out(agents):
    game, policies = made(6)
    q = game.q_values(joint_policy(policies))
    expected = np.zeros((game.n_states, *(game.n_actions[i] for i in agents)))
    for state in range(game.n_states):
        for action in joint_actions(game):
            weight = np.prod([policies[i][state, action[i]] for i in range(3) if i not in agents])
            expected[(state, *(action[i] for i in agents))] += weight * q[state][action]
    np.testing.assert_allclose(multi_agent_q(q, policies, agents), expected, atol=TOLERANCE)


def test_multi_agent_advantage_is_what_the_next_agents_add():
    game, policies = made(7)
    q = game.q_values(joint_policy(policies))
    both, given = multi_agent_q(q, policies, [2, 1, 0]), multi_agent_q(q, policies, [2])
    advantage = multi_agent_advantage(q, policies, [2], [1, 0])
    for s, k, j, i in itertools.product(range(2), range(2), range(3), range(2)):
        assert advantage[s, k, j, i] == pytest.approx(both[s, k, j, i] - given[s, k], abs=TOLERANCE)
    # Equation (6): the agent in turn gains nothing by its own old policy, whatever the earlier agents did.
    own = multi_agent_advantage(q, policies, [2, 0], [1])
    np.testing.assert_allclose(np.einsum("skij,sj->ski", own, policies[1]), 0, atol=TOLERANCE)


@pytest.mark.parametrize("seed", [8, 9, 10, 11])
def test_best_response_gap_equals_the_best_of_all_deterministic_policies(seed):
    game, policies = made(seed, n_states=4, n_actions=(3, 2, 2), gamma=0.95)
    gap = game.best_response_gap(policies)
    for agent, count in enumerate(game.n_actions):
        best = max(
            game.objective(joint_policy([*policies[:agent], np.eye(count)[list(choice)], *policies[agent + 1 :]]))
            for choice in itertools.product(range(count), repeat=game.n_states)
        )
        assert gap[agent] == pytest.approx(best - game.objective(joint_policy(policies)), abs=TOLERANCE)
    assert (gap > 1e-3).all()


def test_one_simulation_agrees():
    game, policies = made(10)
    rng = np.random.default_rng(11)
    episodes, steps = 20_000, 60  # 0.8^60 / (1 - 0.8) = 8e-6 of return is cut off

    def draw(rows):
        return (rows.cumsum(-1) < rng.random((episodes, 1))).sum(-1).clip(max=rows.shape[-1] - 1)

    state, total = draw(np.broadcast_to(game.initial, (episodes, 2))), np.zeros(episodes)
    for t in range(steps):
        index = (state, *(draw(policy[state]) for policy in policies))
        total += game.gamma**t * game.reward[index]
        state = draw(game.transition[index])
    error = total.std() / np.sqrt(episodes)
    assert error < 0.01
    assert abs(total.mean() - game.objective(joint_policy(policies))) < 4 * error  # chance 6e-5, and the seed is fixed


def test_the_generator_repeats_itself_and_makes_unequal_agents():
    game, again = made(12)[0], made(12)[0]
    assert game.n_actions == (2, 3, 2) and game.n_agents == 3 and game.n_states == 2
    np.testing.assert_array_equal(game.transition, again.transition)
    np.testing.assert_array_equal(game.reward, again.reward)
    assert not np.array_equal(game.reward, made(13)[0].reward)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.0}, "gamma must be in"),
        ({"gamma": -0.1}, "gamma must be in"),
        ({"initial": np.array([0.5, 0.6])}, "initial must be non-negative and sum to 1"),
        ({"initial": np.array([1.5, -0.5])}, "initial must be non-negative and sum to 1"),
        ({"initial": np.ones(1)}, "initial must have shape"),
        ({"reward": np.zeros((2, 3, 2))}, "reward must be"),
        ({"transition": np.ones((2, 2, 3, 2, 2))}, "transition must be non-negative and sum to 1"),
        ({"transition": np.ones((2, 2, 3, 2, 3)) / 3}, "transition must be"),
        ({"transition": np.ones((2, 2)) / 2}, "transition must be"),
    ],
)
def test_a_game_that_is_none_is_refused(change, message):
    game, _ = made()
    parts = {"transition": game.transition, "reward": game.reward, "initial": game.initial, "gamma": game.gamma}
    with pytest.raises(ValueError, match=message):
        MarkovGame(**{**parts, **change})
