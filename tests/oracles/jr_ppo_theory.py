"""The bound behind independent ratios: "Monotonic improvement guarantees under non-stationarity for decentralized PPO".

Its Theorem 2 says that the return of new policies is at least

    J(pi) + sum_k L_k(pi~_k) - 4 eps gamma alpha^2 / (1 - gamma)^2,    L_k = sum_s rho(s) sum_a pi~_k(a|s) A_k(s, a),

with alpha the largest joint total variation. Whether it is depends on A_k (`tests/oracles/test_jr_ppo_theory.py`):

- `printed_bound`: A_k under the old policies of all the others, which is what IPPO and MAPPO estimate. False: a sum of
  single agents' gains says nothing about what agents gain or lose together. `repaired_bound` puts that right.
- `sequential_bound`: A_k with the agents before k at their new policies, as footnote 2 of the proof has it. The sum is
  then the joint surrogate, and the bound TRPO's, if eps is that of the joint advantage.

Here for a common reward and agents that see the state; rho is the unnormalised discounted visitation of pi.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from epymarl_trust_region.games.markov import MarkovGame, average_out, joint_policy


def total_variation(policy: np.ndarray, other: np.ndarray) -> np.ndarray:
    """0.5 sum_a |pi~(a|s) - pi(a|s)| of tables with the state first: [S]."""
    return 0.5 * np.abs(policy - other).reshape(len(policy), -1).sum(-1)


def independent_gains(game: MarkovGame, old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> np.ndarray:
    """L_k of every agent, [N]: what each would gain to first order if it alone moved."""
    joint = joint_policy(old)
    advantages, visits = game.advantages(joint), game.visitation(joint)
    return np.array([visits @ (average_out(advantages, old, [k]) * new[k]).sum(-1) for k in range(game.n_agents)])


def printed_bound(game: MarkovGame, old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> float:
    """The right-hand side of Theorem 2 with old-policy advantages, eps = max over agents of |A_k|."""
    advantages = game.advantages(joint_policy(old))
    largest = max(np.abs(average_out(advantages, old, [k])).max() for k in range(game.n_agents))
    alpha = total_variation(joint_policy(new), joint_policy(old)).max()
    penalty = 4 * largest * game.gamma * alpha**2 / (1 - game.gamma) ** 2
    return float(game.objective(joint_policy(old)) + independent_gains(game, old, new).sum() - penalty)


def sequential_advantages(game: MarkovGame, old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A_k of footnote 2, N x [S, A^k]: agents before k play their new policies, those after k their old ones."""
    joint = game.advantages(joint_policy(old))
    tables = [average_out(joint, [*new[:k], *old[k:]], [k]) for k in range(game.n_agents)]
    return [table - (table * own).sum(-1, keepdims=True) for table, own in zip(tables, old, strict=True)]


def sequential_bound(
    game: MarkovGame, old: Sequence[np.ndarray], new: Sequence[np.ndarray], eps: float | None = None
) -> float:
    """The right-hand side of Theorem 2 with the advantages of its footnote 2.

    By telescoping over agents sum_k L_k is the joint surrogate sum_s rho(s) sum_a pi~(a|s) A(s, a), so that with
    `eps=None`, which takes max |A| of the joint advantage A, this is TRPO's bound on the joint policy. The theorem has
    the smaller max_k |A_k| in its place, which the proof does not justify.
    """
    visits, advantages = game.visitation(joint_policy(old)), sequential_advantages(game, old, new)
    gains = sum(visits @ (table * q).sum(-1) for table, q in zip(advantages, new, strict=True))
    eps = np.abs(game.advantages(joint_policy(old))).max() if eps is None else eps
    alpha = total_variation(joint_policy(new), joint_policy(old)).max()
    return float(game.objective(joint_policy(old)) + gains - 4 * eps * game.gamma * alpha**2 / (1 - game.gamma) ** 2)


def repaired_bound(game: MarkovGame, old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> float:
    """A lower bound that holds, from per-agent total variations alone.

    With eps = max |A| of the joint advantage and alpha_k = max_s TV_k(s):

        J(pi) + sum_k L_k - 4 eps gamma alpha^2 / (1 - gamma)^2 - 4 eps sum_{j<k} alpha_j alpha_k / (1 - gamma),

    alpha = 1 - prod_k (1 - alpha_k), which is at least the joint total variation. The first three terms are TRPO's
    bound on the joint policy but for the surrogate: E_{a ~ pi~}[A] in place of sum_k L_k. By telescoping over agents
    the two differ in a state by sum_k E[A] over (pi~_{<k} - pi_{<k}) x (pi~_k - pi_k) x pi_{>k}, and a signed measure
    of that form has at most the mass (2 sum_{j<k} TV_j) (2 TV_k). The visitation sums to 1 / (1 - gamma).
    """
    largest = np.abs(game.advantages(joint_policy(old))).max()
    alphas = np.array([total_variation(q, p).max() for p, q in zip(old, new, strict=True)])
    alpha = 1 - np.prod(1 - alphas)
    shift = 4 * largest * game.gamma * alpha**2 / (1 - game.gamma) ** 2
    cross = 4 * largest * sum(alphas[:k].sum() * a for k, a in enumerate(alphas)) / (1 - game.gamma)
    return float(game.objective(joint_policy(old)) + independent_gains(game, old, new).sum() - shift - cross)
