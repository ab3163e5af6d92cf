"""Exact games, in tables: normal-form and Markov games. As environments they are in `environments.games`."""

from .markov import (
    MarkovGame,
    average_out,
    joint_policy,
    multi_agent_advantage,
    multi_agent_q,
    random_game,
    random_policies,
)
from .normal_form import climbing_game, one_shot, penalty_game, proposition_1_game, pure_equilibria

__all__ = [
    "MarkovGame",
    "average_out",
    "climbing_game",
    "joint_policy",
    "multi_agent_advantage",
    "multi_agent_q",
    "one_shot",
    "penalty_game",
    "proposition_1_game",
    "pure_equilibria",
    "random_game",
    "random_policies",
]
