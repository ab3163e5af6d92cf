"""The theory of "Multi-agent trust region learning" for two players, exactly: bounds, meta-game, fixed points.

Here eta_i is player i's return, g_i = sum_s d(s) sum_a pibar(a|s) A_i(s, a) the expected advantage of other policies
under the unnormalised visitation d of the current ones (equation 3), and x = (x_1, x_2) the players' weights on their
*predicted* policies, x_i = 1 - rho_i in the paper's notation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from epymarl_trust_region.games.markov import MarkovGame, average_out, joint_policy
from epymarl_trust_region.games.two_by_two import equilibria, gains_of

Policies = Sequence[np.ndarray]


def trial_step(game: MarkovGame, old: Policies, size: float) -> list[np.ndarray]:
    """pi_i exp(size A_i), normalised: at every state no worse against the others' current policies."""
    advantages = game.advantages(joint_policy(old))
    own = [advantages] * game.n_agents if game.common_reward else advantages
    weights = [p * np.exp(size * average_out(own[i], old, [i])) for i, p in enumerate(old)]
    return [weight / weight.sum(-1, keepdims=True) for weight in weights]


def mixture(old: Policies, new: Policies, x: Sequence[float]) -> list[np.ndarray]:
    """(1 - x_i) pi_i + x_i pi^_i, state by state."""
    return [(1 - share) * p + share * q for p, q, share in zip(old, new, x, strict=True)]


def expected_advantages(game: MarkovGame, old: Policies, new: Policies) -> np.ndarray:
    """g_i of equation 3, [N]."""
    joint = joint_policy(old)
    advantages, visits = game.advantages(joint), game.visitation(joint)
    own = np.stack([advantages] * game.n_agents) if game.common_reward else advantages
    return np.einsum("s,nsab,sab->n", visits, own, joint_policy(new))


def improvements(game: MarkovGame, old: Policies, new: Policies) -> np.ndarray:
    """eta_i(new) - eta_i(old), [N]."""
    change = game.objective(joint_policy(new)) - game.objective(joint_policy(old))
    return np.broadcast_to(change, (game.n_agents,))


def total_variations(old: Policies, new: Policies) -> np.ndarray:
    """alpha_i = max_s TV(pi_i, pi^_i), [N]."""
    return np.array([0.5 * np.abs(q - p).sum(-1).max() for p, q in zip(old, new, strict=True)])


def penalties(game: MarkovGame, old: Policies, alphas: np.ndarray) -> np.ndarray:
    """4 gamma eps_i / (1 - gamma)^2 (1 - prod_j (1 - alpha_j))^2, [N]: for two players equation 4's."""
    advantages = game.advantages(joint_policy(old))
    own = np.stack([advantages] * game.n_agents) if game.common_reward else advantages
    eps = np.abs(own).reshape(game.n_agents, -1).max(-1)
    return 4 * game.gamma * eps / (1 - game.gamma) ** 2 * (1 - np.prod(1 - alphas)) ** 2


def bound(game: MarkovGame, old: Policies, new: Policies, x: Sequence[float] = (1.0, 1.0)) -> np.ndarray:
    """The right-hand side of Remark 1 for weights x; with x = (1, 1) that of Theorem 1. [N]."""
    alphas = total_variations(old, new) * np.asarray(x)
    return expected_advantages(game, old, mixture(old, new, x)) - penalties(game, old, alphas)


def meta_game(game: MarkovGame, old: Policies, new: Policies) -> np.ndarray:
    """Equation 5: g_i, [2, 2, 2] (player, row, column), action 0 the current policy and 1 the predicted one."""
    payoff = np.empty((2, 2, 2))
    for b in np.ndindex(2, 2):
        payoff[(slice(None), *b)] = expected_advantages(game, old, mixture(old, new, b))
    return payoff


def meta_equilibria(payoff: np.ndarray) -> np.ndarray:
    """All isolated Nash equilibria of a meta-game, as x: [K, 2]."""
    found = equilibria(gains_of(payoff))
    return 1 - found[~np.isnan(found[:, 0])]


def cross(payoff: np.ndarray) -> np.ndarray:
    """gbar_i = g_i(1, 1) - g_i(0, 1) - g_i(1, 0) (+ g_i(0, 0), which is 0) of Appendix C, [2]."""
    return payoff[:, 1, 1] - payoff[:, 0, 1] - payoff[:, 1, 0] + payoff[:, 0, 0]


def slopes(payoff: np.ndarray, x: Sequence[float]) -> np.ndarray:
    """xi = (dg_1 / dx_1, dg_2 / dx_2), each of the other player's weight alone."""
    (x1, x2), (g1, g2) = x, payoff
    row, column = g1[1] - g1[0], g2[:, 1] - g2[:, 0]
    return np.array([(1 - x2) * row[0] + x2 * row[1], (1 - x1) * column[0] + x1 * column[1]])


def hessian(payoff: np.ndarray) -> np.ndarray:
    """H = d xi / dx: 0 on the diagonal and gbar_1, gbar_2 beside it (equation 29)."""
    a, b = cross(payoff)
    return np.array([[0.0, a], [b, 0.0]])
