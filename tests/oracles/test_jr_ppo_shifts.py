"""JR-PPO's appendix A.2 and Proposition 1: what of the shift of an agent's transitions is due to whom.

p(t|s) is the chance of the next local state t of one agent in its local state s, with fixed shares of the joint states
behind s. Shape letters: S joint states, L local states, A actions.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from epymarl_trust_region.games.markov import MarkovGame, joint_policy, random_game, random_policies

N_ACTIONS = (2, 3, 2)
LOCAL = np.array(list(itertools.product(range(2), repeat=3)))  # [S, N]
ATOL = 1e-14


def setting(seed: int):
    rng = np.random.default_rng(seed)
    game = random_game(rng, len(LOCAL), N_ACTIONS, gamma=0.9)
    old, new = ([p[LOCAL[:, i]] for i, p in enumerate(random_policies(rng, 2, N_ACTIONS))] for _ in range(2))
    return rng, game, old, new


def local_kernel(game: MarkovGame, joint: np.ndarray, visits: np.ndarray, k: int) -> np.ndarray:
    """p(t|s) of agent k, [L, L], for any signed "policy" [S, A^1, .., A^N] and fixed shares of the joint states."""
    seen = np.eye(2)[LOCAL[:, k]]
    shares = (seen * visits[:, None]).T / (seen.T @ visits)[:, None]
    return shares @ np.einsum("sabc,sabct->st", joint, game.transition) @ seen


@pytest.mark.parametrize("seed", range(5))
def test_proposition_1_the_shift_is_the_sum_of_each_agents(seed):
    """Agent by agent, those before it at their new policies: exact, for every agent's local states, in any order."""
    rng, game, old, new = setting(seed)
    visits = game.visitation(joint_policy(old))
    for k, order in itertools.product(range(3), itertools.permutations(range(3))):
        total = local_kernel(game, joint_policy(new) - joint_policy(old), visits, k)
        now, parts = list(old), []
        for j in order:
            before, now = joint_policy(now), [new[i] if i == j else p for i, p in enumerate(now)]
            parts.append(local_kernel(game, joint_policy(now) - before, visits, k))
        np.testing.assert_allclose(sum(parts), total, rtol=0, atol=ATOL)
        np.testing.assert_allclose(total.sum(1), 0, atol=ATOL)  # it moves probability about
        assert min(np.abs(part).max() for part in parts) > 1e-3  # each agent has its part in it
    # The parts have to be taken in turn: each from the old policies they do not add up.
    alone = [joint_policy([new[i] if i == j else p for i, p in enumerate(old)]) - joint_policy(old) for j in range(3)]
    apart = local_kernel(game, sum(alone), visits, 0)
    assert np.abs(apart - local_kernel(game, joint_policy(new) - joint_policy(old), visits, 0)).max() > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_a_2_the_others_shift_is_what_breaks_trpos_identity(seed):
    """L(new) - L(old) = sum rho(s) (p_new - p_old)(t|s) gamma v(t), rewards being of the state, if nobody else moves.

    When the others move too it misses by their, the exogenous, part of the shift, exactly.
    """
    rng, game, old, new = setting(seed)
    reward = np.broadcast_to(rng.uniform(-1, 1, len(LOCAL))[:, None, None, None], game.reward.shape)
    game = MarkovGame(game.transition, reward, game.initial, game.gamma)
    joint = joint_policy(old)
    advantages, visits, values = game.advantages(joint), game.visitation(joint), game.values(joint)

    def shifted(change: np.ndarray) -> float:
        return float(game.gamma * visits @ np.einsum("sabc,sabct->st", change, game.transition) @ values)

    for k in range(3):
        alone = joint_policy([new[k] if i == k else p for i, p in enumerate(old)])
        endogenous, exogenous = alone - joint, joint_policy(new) - alone
        gain = float(np.einsum("s,sabc,sabc->", visits, endogenous, advantages))
        assert gain == pytest.approx(shifted(endogenous), abs=1e-12)
        missed = shifted(joint_policy(new) - joint) - gain
        assert missed == pytest.approx(shifted(exogenous), abs=1e-12) and abs(missed) > 1e-4
