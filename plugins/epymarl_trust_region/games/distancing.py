"""The distancing game of Leonardos et al. (2021), as the INPG paper's section 4.1 has it.

Agents choose one of four facilities and are paid its weight times the number of agents there; in the spread state less.
More than half of them at one facility leads to the spread state, at most a quarter at each one back to the safe state.
Shapes: N agents, A = 4 facilities, S = 2 states (0 safe, 1 spread).
"""

from __future__ import annotations

import itertools

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame

WEIGHTS = np.array([1.0, 2.0, 4.0, 6.0])
PENALTY = 100.0
SAFE, SPREAD = 0, 1


def counts(actions: np.ndarray) -> np.ndarray:
    """Agents at each facility: actions [..., N] -> [..., A]."""
    return (np.asarray(actions)[..., None] == np.arange(len(WEIGHTS))).sum(-2)


def play(state: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step: the next state, and w_k times the agents at the own facility k, less 100 in the spread state.

    Args:
        state: [...], 0 or 1.
        actions: [..., N].

    Returns:
        next state [...], rewards [..., N].
    """
    there, n_agents = counts(actions), np.shape(actions)[-1]
    most = there.max(-1)
    rewards = WEIGHTS[actions] * np.take_along_axis(there, np.asarray(actions), -1)
    rewards = rewards - PENALTY * (np.asarray(state) == SPREAD)[..., None]
    after = np.where(np.asarray(state) == SAFE, np.where(most > n_agents / 2, SPREAD, SAFE),
                     np.where(most <= n_agents / 4, SAFE, SPREAD))  # fmt: skip
    return after, rewards


def distancing_game(n_agents: int = 8, gamma: float = 0.99) -> MarkovGame:
    """The exact Markov game with individual rewards; tables of 2 x 4^N entries (8 agents: 131,072, times N rewards)."""
    joint = np.array(list(itertools.product(range(4), repeat=n_agents)))  # [A^N, N]
    after, rewards = zip(*(play(np.full(len(joint), s), joint) for s in (SAFE, SPREAD)), strict=True)
    transition = (np.stack(after)[..., None] == np.arange(2)).astype(float)
    table = (2, *(4,) * n_agents)
    reward = np.moveaxis(np.stack(rewards), -1, 0).reshape(n_agents, *table)
    return MarkovGame(transition.reshape(*table, 2), reward, np.array([1.0, 0.0]), gamma)
