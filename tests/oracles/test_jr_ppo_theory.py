"""What holds, and what does not, of the theory of joint and independent ratios; exact games, nothing sampled.

Shape letters: S states, N agents, A actions.
"""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.games.markov import MarkovGame, joint_policy, random_game, random_policies
from oracles.jr_ppo_theory import (
    independent_gains,
    printed_bound,
    repaired_bound,
    sequential_advantages,
    sequential_bound,
    total_variation,
)


def unlike_agents(gamma: float) -> tuple[MarkovGame, list[np.ndarray], list[np.ndarray]]:
    """One state, reward 1 for equal actions, uniform policies; then one agent turns to 0 and the other to 1."""
    reward = np.eye(2)[None]
    game = MarkovGame(np.ones((1, 2, 2, 1)), reward, np.ones(1), gamma)
    return game, [np.full((1, 2), 0.5)] * 2, [np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])]


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_theorem_2_with_old_policy_advantages_is_false(gamma):
    """No agent gains or loses anything alone, so nothing is promised to be lost; together they lose everything."""
    game, old, new = unlike_agents(gamma)
    change = game.objective(joint_policy(new)) - game.objective(joint_policy(old))
    assert change == pytest.approx(-0.5 / (1 - gamma))
    np.testing.assert_allclose(independent_gains(game, old, new), 0, atol=1e-15)
    assert printed_bound(game, old, new) == pytest.approx(game.objective(joint_policy(old)))
    assert game.objective(joint_policy(new)) < printed_bound(game, old, new) - 0.4
    # Not a matter of which eps is meant: with the joint advantage's 1/2 and alpha = 3/4 it still promises too much.
    penalty = 4 * 0.5 * gamma * 0.75**2 / (1 - gamma) ** 2
    assert change < -penalty - 0.02
    assert game.objective(joint_policy(new)) >= repaired_bound(game, old, new)
    # With footnote 2's advantages the second agent sees the first one's new policy, and what it then loses.
    np.testing.assert_allclose(sequential_advantages(game, old, new)[0], 0, atol=1e-15)
    np.testing.assert_allclose(sequential_advantages(game, old, new)[1], [[0.5, -0.5]])
    assert sequential_bound(game, old, new, eps=0.0) == pytest.approx(game.objective(joint_policy(new)))
    assert game.objective(joint_policy(new)) >= sequential_bound(game, old, new) - 1e-12


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("bound", [printed_bound, repaired_bound])
def test_the_largest_advantage_is_the_largest_in_size(bound, sign):
    """One state; the first agent's second action, taken in a quarter of the steps, pays +-1: A is -+1/4 and +-3/4."""
    gamma, reward = 0.9, np.array([[[0.0, 0.0], [sign, sign]]])
    game = MarkovGame(np.ones((1, 2, 2, 1)), reward, np.ones(1), gamma)
    old, new = (np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]])), (np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    reached, gain, penalty = sign * 2.5, sign * 2.5, 4 * 0.75 * gamma * 0.25**2 / 0.1**2
    assert bound(game, old, new) == pytest.approx(reached + gain - penalty)


def small_games(count: int = 400):
    """Random games with two and three agents, and pairs of policies from close together to far apart."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        n_actions = [(2, 2), (2, 3, 2), (3, 2)][seed % 3]
        game = random_game(rng, n_states=2 + seed % 2, n_actions=n_actions, gamma=[0.0, 0.3, 0.9][seed % 3])
        old, far = (random_policies(rng, game.n_states, n_actions) for _ in range(2))
        share = rng.choice([0.02, 0.2, 1.0])
        yield game, old, [(1 - share) * p + share * q for p, q in zip(old, far, strict=True)]


def test_the_repaired_bound_holds_and_the_printed_one_often_fails():
    broken, slack = 0, []
    for game, old, new in small_games():
        reached = game.objective(joint_policy(new))
        slack.append(reached - repaired_bound(game, old, new))
        broken += reached < printed_bound(game, old, new) - 1e-9
    assert min(slack) > -1e-10
    assert broken > 40
    assert min(slack) < 1e-3  # and it says something: for small moves it is close


def test_theorem_2_with_the_sequential_advantages_of_its_footnote_holds():
    """In every game, where old-policy advantages fail in one of six; with the theorem's own smaller eps as well."""
    broken, slack = 0, []
    for game, old, new in small_games(600):
        reached, tables = game.objective(joint_policy(new)), sequential_advantages(game, old, new)
        smaller = max(np.abs(table).max() for table in tables)
        slack += [reached - sequential_bound(game, old, new), reached - sequential_bound(game, old, new, smaller)]
        broken += reached < printed_bound(game, old, new) - 1e-9
        # The sum is the joint surrogate: what makes it TRPO's theorem.
        joint, visits = game.advantages(joint_policy(old)), game.visitation(joint_policy(old))
        surrogate = visits @ (joint * joint_policy(new)).reshape(game.n_states, -1).sum(-1)
        assert sequential_bound(game, old, new, eps=0.0) == pytest.approx(game.objective(joint_policy(old)) + surrogate)
    assert min(slack) > -1e-10
    assert min(slack) < 1e-3  # it says something
    assert broken > 60


def test_the_footnotes_eps_has_to_be_that_of_the_joint_advantage():
    """Three agents switch at once, and each is paid 1 for it, in the second state -1: their gains add up, eps does not.

    The surrogate counts on 3 per step for ever, but the switch leads to the second state: 3 - 3 gamma / (1 - gamma).
    """
    switched = np.indices((2, 2, 2)).sum(0)
    transition = np.zeros((2, 2, 2, 2, 2))
    transition[0, ..., 0], transition[0, ..., 1], transition[1, ..., 1] = switched < 3, switched == 3, 1
    game = MarkovGame(transition, np.stack([switched, -switched]).astype(float), np.array([1.0, 0.0]), gamma=0.1)
    old, new = ([np.eye(2)[[action, action]]] * 3 for action in (0, 1))
    reached = game.objective(joint_policy(new))
    assert reached == pytest.approx(3 - 3 * 0.1 / 0.9)
    smaller = max(np.abs(table).max() for table in sequential_advantages(game, old, new))
    assert smaller == 1 and np.abs(game.advantages(joint_policy(old))).max() == 3
    assert sequential_bound(game, old, new, eps=1.0) == pytest.approx(3 / 0.9 - 4 * 0.1 / 0.81)
    assert reached < sequential_bound(game, old, new, eps=1.0) - 0.1
    assert reached >= sequential_bound(game, old, new)


def test_where_one_agent_moves_alone_it_is_trpos_bound():
    """No cross term then; the first-order gain alone would promise too much, because the states shift."""
    overpromised = 0
    for game, old, new in small_games():
        alone = [new[0], *old[1:]]
        reached = game.objective(joint_policy(alone))
        promised = game.objective(joint_policy(old)) + independent_gains(game, old, alone)[0]
        overpromised += reached < promised - 1e-9
        assert reached >= repaired_bound(game, old, alone) - 1e-10
    assert overpromised > 40


def test_the_repair_is_not_slack():
    """In the counterexample without a future all that the cross term allows, 4 eps alpha_1 alpha_2, is really lost."""
    game, old, new = unlike_agents(0.0)
    assert repaired_bound(game, old, new) == pytest.approx(0.5 - 4 * 0.5 * 0.5 * 0.5)
    assert game.objective(joint_policy(new)) == pytest.approx(repaired_bound(game, old, new))


@pytest.mark.parametrize("eps", [0.1, 0.3, 0.8])
def test_bounded_ratios_bound_total_variation_by_half_their_range(eps):
    """TV_k <= eps / 2 for ratios in 1 +- eps (the paper says eps), attained; no assumption on the advantage."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        old = rng.dirichlet(np.ones(4))
        ratio = 1 + eps * rng.uniform(-1, 1, 4)
        new = old * ratio / (old * ratio).sum()
        inside = np.abs(new / old - 1).max()
        assert total_variation(new[None], old[None])[0] <= inside / 2 + 1e-12
    half = np.array([[0.5, 0.5]])
    assert total_variation(half * [1 + eps, 1 - eps], half)[0] == pytest.approx(eps / 2)


def test_the_joint_total_variation_is_below_both_of_its_estimates():
    """TV_joint <= 1 - prod_k (1 - TV_k) <= sum_k TV_k, 3000 draws."""
    rng = np.random.default_rng(1)
    for _ in range(3000):
        n_actions = rng.integers(2, 4, size=rng.integers(2, 5))
        old, new = (random_policies(rng, 1, n_actions) for _ in range(2))
        share = rng.uniform(0, 1)
        new = [(1 - share) * p + share * q for p, q in zip(old, new, strict=True)]
        single = [total_variation(q, p)[0] for p, q in zip(old, new, strict=True)]
        joint = total_variation(joint_policy(new), joint_policy(old))[0]
        product = 1 - np.prod(1 - np.array(single))
        assert joint <= product + 1e-12 and product <= sum(single) + 1e-12
        assert joint >= max(single) - 1e-12
