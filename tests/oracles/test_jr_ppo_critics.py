"""JR-PPO's Proposition 4 and section 6.3: "IPPO and MAPPO objectives are equivalent" once critics have converged.

Exact: all states and joint actions with their discounted visitation, and agents that see a part of the state. Shape
letters: S joint states, L local states, A actions of one agent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from epymarl_trust_region.games.markov import MarkovGame, joint_policy, random_game

LOCAL = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # of each joint state, what each of two agents sees
N_ACTIONS = (2, 3)


@dataclass
class Setting:
    """A random game, an agent's ratio and three advantages of every state and joint action, [S, A^1, A^2]."""

    game: MarkovGame
    weight: np.ndarray  # of (s, a) under the old policies
    ratio: np.ndarray
    central: np.ndarray  # Q - V(s): MAPPO's
    local: np.ndarray  # Q - V_k(s^k): what IPPO has of a sample
    averaged: np.ndarray  # E[Q | s^k, a^k] - V_k(s^k): A^k as the paper writes it
    value: np.ndarray  # V_k, [L]
    joint: np.ndarray
    visits: np.ndarray

    def surrogate(self, advantage: np.ndarray, eps: float | None) -> float:
        """E[min(l_k A, clip(l_k, 1 - eps, 1 + eps) A)], or E[l_k A]."""
        gain = self.ratio * advantage
        if eps is not None:
            gain = np.minimum(gain, np.clip(self.ratio, 1 - eps, 1 + eps) * advantage)
        return float((self.weight * gain).sum())


def settings(k: int, count: int = 150) -> list[Setting]:
    """With Monte-Carlo critics: V(s) and V_k(s^k) are means of returns over what has been visited."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        game = random_game(rng, 4, N_ACTIONS, gamma=0.9)
        old, new = ([rng.dirichlet(np.ones(a), size=2)[LOCAL[:, i]] for i, a in enumerate(N_ACTIONS)] for _ in range(2))
        joint = joint_policy(old)
        visits, v, q = game.visitation(joint, normalised=True), game.values(joint), game.q_values(joint)
        weight, seen = visits[:, None, None] * joint, np.eye(2)[LOCAL[:, k]]  # [S, L]
        value = (seen.T @ (visits * v)) / (seen.T @ visits)
        axis, spread = 2 - k, (slice(None), slice(None), None) if k == 0 else (slice(None), None, slice(None))
        own = (seen.T @ (weight * q).sum(axis)) / (seen.T @ weight.sum(axis))  # E[Q | s^k, a^k], [L, A]
        averaged = np.broadcast_to((own - value[:, None])[LOCAL[:, k]][spread], q.shape)
        ratio = np.broadcast_to((new[k] / old[k])[spread], q.shape)
        central, local = q - v[:, None, None], q - value[LOCAL[:, k]][:, None, None]
        made.append(Setting(game, weight, ratio, central, local, averaged, value, joint, visits))
    return made


@pytest.mark.parametrize("k", [0, 1])
def test_unclipped_they_coincide(k):
    """The central critic's fixed point averages to the local one, which is all that E[l_k A] sees of them."""
    for one in settings(k):
        central, local, averaged = (one.surrogate(a, None) for a in (one.central, one.local, one.averaged))
        assert central == pytest.approx(local, abs=1e-13) and central == pytest.approx(averaged, abs=1e-13)
        assert np.abs(one.central - one.local).max() > 1e-3  # sample by sample they are not the same


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("eps", [0.1, 0.3])
def test_clipped_they_do_not_and_neither_is_the_papers(eps, k):
    """The clipped gain is concave in A. Both are noisy forms of A^k, so by Jensen both lie below what A^k gives."""
    made = settings(k)
    paper, mappo, ippo = (
        np.array([one.surrogate(getattr(one, name), eps) for one in made]) for name in ("averaged", "central", "local")
    )
    assert (paper - mappo).min() > -1e-14 and (paper - ippo).min() > -1e-14
    assert np.median(paper - mappo) > 0.03 and np.median(paper - ippo) > 0.03
    assert np.abs(mappo - ippo).max() > 0.02  # and they differ from each other, either way
    assert 0.1 < (ippo > mappo).mean() < 0.5  # the local critic explains less, so that IPPO's is mostly lower


@pytest.mark.parametrize("k", [0, 1])
def test_a_local_critic_of_temporal_differences_ends_elsewhere(k):
    """What an agent sees is no Markov state: TD(0) does not end in E[V(s) | s^k], and the surrogate is another."""
    off, objective = [], []
    for one in settings(k):
        game, seen = one.game, np.eye(2)[LOCAL[:, k]]
        kernel = np.einsum("sab,sabt->st", one.joint, game.transition)
        back = (seen * one.visits[:, None]).T / (seen.T @ one.visits)[:, None]  # P(s | s^k), [L, S]
        reward = (one.joint * game.reward).sum((1, 2))
        td = np.linalg.solve(np.eye(2) - game.gamma * back @ kernel @ seen, back @ reward)
        np.testing.assert_allclose(back @ (reward + game.gamma * kernel @ td[LOCAL[:, k]]), td, atol=1e-12)
        off.append(np.abs(td - one.value).max())
        # As an advantage it is used with its own one-step target: r + gamma V_k(s'^k) - V_k(s^k).
        target = game.reward + game.gamma * game.transition @ td[LOCAL[:, k]]
        advantage = target - td[LOCAL[:, k]][:, None, None]
        objective.append(abs(one.surrogate(advantage, None) - one.surrogate(one.central, None)))
    assert np.median(off) > 0.03 and max(off) > 0.15
    assert np.median(objective) > 0.003 and max(objective) > 0.03
