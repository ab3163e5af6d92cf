"""The step of INPG's Theorem 3.1, what happens above it (Remark 1), its smoothness and its mismatch coefficient.

Shape letters: R runs, N agents, S states, A actions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from epymarl_trust_region.games.congestion import congestion_game
from epymarl_trust_region.games.markov import MarkovGame, joint_policy, random_game, random_policies
from epymarl_trust_region.studies.policy_gradient import averaged_advantages, inpg_step, softmax_gradient
from oracles.inpg_theory import mismatch_coefficient, smoothness

N = 3  # agents who choose between two edges, once
LOADS = np.stack([(np.indices((2,) * N) == edge).sum(0) for edge in (0, 1)])  # [edge, A^1, ..., A^N]
PAYOFF = np.stack([1 / np.take_along_axis(LOADS, choice[None], 0)[0] for choice in np.indices((2,) * N)])  # [N, ...]
POTENTIAL = np.concatenate([[0], np.cumsum(1 / np.arange(1, N + 1))])[LOADS].sum(
    0
)  # sum over edges of 1 + ... + 1/load


def gains(policies: np.ndarray) -> np.ndarray:
    """A_i(a_i) of R runs: [R, N, A] -> [R, N, A]."""
    p, q, r = policies.swapaxes(0, 1)
    payoff = np.stack(
        [
            np.einsum("abc,xb,xc->xa", PAYOFF[0], q, r),
            np.einsum("abc,xa,xc->xb", PAYOFF[1], p, r),
            np.einsum("abc,xa,xb->xc", PAYOFF[2], p, q),
        ],
        axis=1,
    )
    return payoff - (policies * payoff).sum(-1, keepdims=True)


def climb(rate: float, runs: int = 50, iterations: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """The potential of every iterate, [iterations + 1, R], and the most that an agent could gain at the end, [R]."""
    policies = np.stack([np.random.default_rng(seed).dirichlet(np.ones(2), size=N) for seed in range(runs)])
    values = []
    for k in range(iterations + 1):
        values.append(np.einsum("abc,xa,xb,xc->x", POTENTIAL, *policies.swapaxes(0, 1)))
        if k < iterations:
            policies = inpg_step(policies, gains(policies), rate)
    return np.array(values), gains(policies).max((1, 2))


def test_remark_1_large_steps_are_not_monotone_and_need_not_converge():
    """One state, so that gamma = 0 and the rate is eta. The theorem asks for less than 1 / 972."""
    limit = 1 / smoothness(N, 2, 1.0, 0.0)
    assert limit == pytest.approx(1 / 972)
    for rate in (0.99 * limit, 1.0, 5.0):  # monotone 5000 times above it
        assert np.diff(climb(rate)[0], axis=0).min() > -1e-12
    values, _ = climb(20.0)
    fell = (np.diff(values, axis=0) < -1e-12).any(0)
    assert fell.sum() == 18 and np.diff(values, axis=0).min() < -0.3
    assert (climb(50.0)[1] > 1e-3).sum() >= 5  # some end in no equilibrium


def test_theorem_3_1s_step_in_the_papers_own_game():
    """5.8e-10 if M were 1, 173,000 times below the step of its figures; but M is infinite there."""
    limit = 1 / smoothness(4, 2, 1.0, 0.99)
    assert limit == pytest.approx(5.787e-10, rel=1e-3) and 1e-4 / limit == pytest.approx(172_800)
    for n_agents in (2, 3):
        assert mismatch_coefficient(congestion_game(n_agents)) == np.inf  # a policy may avoid a vertex altogether


def test_the_mismatch_coefficient_is_finite_where_all_states_are_begun_in():
    game = dataclasses.replace(congestion_game(2), initial=np.full(10, 0.1))
    M = mismatch_coefficient(game)
    assert 1 < M <= 1 / ((1 - game.gamma) * 0.1)
    rng, worst = np.random.default_rng(0), 1.0
    for _ in range(300):
        one, other = (joint_policy(random_policies(rng, 10, (2, 2))) for _ in range(2))
        worst = max(worst, (game.visitation(one) / game.visitation(other)).max())
    assert 1.5 < worst <= M
    # Two states, and the action chooses the next one: d(s) is at least (1 - gamma) / 2 and at most that plus gamma.
    transition = np.zeros((2, 2, 1, 2))
    transition[:, 0, 0, 0] = transition[:, 1, 0, 1] = 1
    simple = MarkovGame(transition, np.zeros((2, 2, 1)), np.full(2, 0.5), 0.9)
    assert mismatch_coefficient(simple) == pytest.approx((0.5 + 0.5 * 0.9) / (0.5 * (1 - 0.9)))


@pytest.mark.parametrize("seed", range(6))
def test_proposition_3_3_the_potential_is_as_smooth_as_that_and_far_smoother(seed):
    """Identical rewards in [0, 1], whose potential is the return. L is more than 100 times what was needed."""
    rng = np.random.default_rng(seed)
    game = random_game(rng, 3, (2, 3, 2), gamma=[0.0, 0.5, 0.9][seed % 3])
    game = MarkovGame(game.transition, (game.reward + 1) / 2, np.full(3, 1 / 3), game.gamma)
    largest = smoothness(3, 3, mismatch_coefficient(game), game.gamma)
    needed = []
    for _ in range(40):
        old = random_policies(rng, 3, game.n_actions)
        joint = joint_policy(old)
        visits = game.visitation(joint)
        slopes = [softmax_gradient(p, a, visits) for p, a in zip(old, averaged_advantages(game, old), strict=True)]
        reach = rng.choice([1e-3, 0.1, 0.5])  # eta / (1 - gamma), at most 1/2 in the proof
        moves = [rng.uniform(-reach, reach, p.shape) for p in old]
        new = [p * np.exp(move) / (p * np.exp(move)).sum(-1, keepdims=True) for p, move in zip(old, moves, strict=True)]
        linear = sum((slope * move).sum() for slope, move in zip(slopes, moves, strict=True))
        weight = (1 - game.gamma) * visits  # D: d(s) pi_i(a|s)
        square = sum((weight[:, None] * p * move**2).sum() for p, move in zip(old, moves, strict=True))
        lost = float(game.objective(joint) + linear - game.objective(joint_policy(new)))
        assert lost <= largest / 2 * square + 1e-12
        needed.append(2 * lost / square)
    assert 0 < max(needed) < largest / 100
