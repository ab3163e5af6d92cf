"""One-shot games with known answers.

Payoff shape: [A^1, ..., A^N] for a common payoff, [N, A^1, ..., A^N] for individual ones.
"""

from __future__ import annotations

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame


def climbing_game() -> np.ndarray:
    """Climbing game, common payoff [3, 3], first agent in rows.

    Claus & Boutilier (1998), "The Dynamics of Reinforcement Learning in Cooperative Multiagent Systems", AAAI.
    The best joint action (0, 0) pays 11; (1, 1) with 7 is an equilibrium too. Missing (0, 0) by one action costs 30,
    so independent learners are drawn to the last two actions.
    """
    return np.array([[11.0, -30.0, 0.0], [-30.0, 7.0, 0.0], [0.0, 6.0, 5.0]])


def penalty_game(penalty: float = -100.0) -> np.ndarray:
    """Penalty game, common payoff [3, 3], first agent in rows; `penalty` is the paper's k <= 0.

    Claus & Boutilier (1998), as above. (0, 0) and (2, 2) pay 10, and mixing the two up pays k; (1, 1) with 2 is the
    safe equilibrium. (The matrix-games package relabels one agent's actions: its two 10s are on the other diagonal.)

    Raises:
        ValueError: `penalty` is positive or not finite, so that it would be no penalty.
    """
    if not -np.inf < penalty <= 0:
        raise ValueError(f"penalty must be finite and at most 0, but is {penalty}")
    return np.array([[10.0, 0.0, penalty], [0.0, 2.0, 0.0], [penalty, 0.0, 10.0]])


def proposition_1_game(n_agents: int) -> np.ndarray:
    """The game of HATRPO/HAPPO's Proposition 1, common payoff [2] * N for an even number N of agents.

    Pays 1 if the first half of the agents plays 0 and the second half 1, or the other way round, else 0. Separate
    policies reach 1; the best policy that all share reaches 2 / 2^N.

    Raises:
        ValueError: `n_agents` is odd or not positive.
    """
    if n_agents < 2 or n_agents % 2:
        raise ValueError(f"n_agents must be even and positive, but is {n_agents}")
    payoff = np.zeros((2,) * n_agents)
    half = n_agents // 2
    payoff[(0,) * half + (1,) * half] = payoff[(1,) * half + (0,) * half] = 1.0
    return payoff


def one_shot(payoff: np.ndarray, common_reward: bool = True) -> MarkovGame:
    """A normal-form game as a Markov game with one state and gamma 0, so that J is the expected payoff."""
    actions = payoff.shape if common_reward else payoff.shape[1:]
    reward = payoff[None] if common_reward else payoff[:, None]
    return MarkovGame(np.ones((1, *actions, 1)), reward, np.ones(1), gamma=0.0)


def pure_equilibria(payoff: np.ndarray, common_reward: bool = True) -> list[tuple[int, ...]]:
    """Joint actions from which no agent gains by changing its own action alone, in lexicographic order."""
    n_agents = payoff.ndim if common_reward else payoff.ndim - 1
    own = [payoff if common_reward else payoff[agent] for agent in range(n_agents)]
    stable = [table >= table.max(axis=agent, keepdims=True) for agent, table in enumerate(own)]
    return [tuple(map(int, joint)) for joint in np.argwhere(np.all(stable, axis=0))]
