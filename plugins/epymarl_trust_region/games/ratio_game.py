"""Ratio games: one state, and a chance to stop that depends on the joint action."""

from __future__ import annotations

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame


def ratio_game(reward: np.ndarray, stop: np.ndarray) -> MarkovGame:
    """Joint action (a, b) pays reward[a, b] and ends the game with probability stop[a, b]: V = x'Ry / x'Sy.

    A Markov game of two states, the second absorbing and without reward. Its discount is the largest chance to go on,
    and the chance to stay in state 0 makes up for the rest.

    Args:
        reward: R, [A^1, A^2].
        stop: S, [A^1, A^2], in (0, 1].

    Raises:
        ValueError: `stop` is of another shape, or leaves (0, 1].
    """
    if stop.shape != reward.shape or not ((stop > 0) & (stop <= 1)).all():
        raise ValueError(f"stop must be {reward.shape} probabilities in (0, 1], so that the game ends")
    gamma = float(1 - stop.min())
    stay = (1 - stop) / gamma if gamma else np.zeros_like(stop)
    transition = np.zeros((2, *reward.shape, 2))
    transition[0, ..., 0], transition[0, ..., 1] = stay, 1 - stay
    transition[1, ..., 1] = 1
    return MarkovGame(transition, np.stack([reward, np.zeros_like(reward)]), np.array([1.0, 0.0]), gamma)
