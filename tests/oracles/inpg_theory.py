"""The constants of "Independent natural policy gradient always converges in Markov potential games", section 3."""

from __future__ import annotations

import numpy as np
from epymarl_trust_region.games.markov import MarkovGame
from epymarl_trust_region.studies.log_linear_exact import optimal_values


def smoothness(n_agents: int, n_actions: int, mismatch: float, gamma: float) -> float:
    """L = 27 n^2 Amax^2 M / (1 - gamma)^3 of Proposition 3.3; the step of Theorem 3.1 has to be below 1 / L."""
    return 27 * n_agents**2 * n_actions**2 * mismatch / (1 - gamma) ** 3


def mismatch_coefficient(game: MarkovGame) -> float:
    """M = max over policies pi, pi~ of max_s d_pi(s) / d_pi~(s) (Definition 3); infinite if a policy avoids a state.

    How often a state is visited is a return, with the reward 1 there: the most and the least are the values of two
    decision problems of the joint action, which pure policies solve.
    """
    found = []
    for state in range(game.n_states):
        there = np.zeros((game.n_states, *game.n_actions))
        there[state] = 1.0
        most, least = (
            abs(optimal_values(MarkovGame(game.transition, sign * there, game.initial, game.gamma)) @ game.initial)
            for sign in (1.0, -1.0)
        )
        found.append(np.inf if least < 1e-12 * most else most / least)
    return float(max(found))
