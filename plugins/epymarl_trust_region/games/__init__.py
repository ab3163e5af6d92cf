"""Exact normal-form and Markov games, and the Gymnasium ids of games (registered by this import)."""

from epymarl_trust_region.games.exact_batch import exact_batch, rational_policies
from epymarl_trust_region.games.markov import (
    MarkovGame,
    average_out,
    joint_policy,
    multi_agent_advantage,
    multi_agent_q,
    random_game,
    random_policies,
)
from epymarl_trust_region.games.normal_form import (
    climbing_game,
    one_shot,
    penalty_game,
    proposition_1_game,
    pure_equilibria,
)
from epymarl_trust_region.games.registration import (
    ANTI_COORDINATION_ID,
    CHECKERS_ID,
    CLIMBING_ID,
    CONGESTION_ID,
    DISTANCING_ID,
    PENALTY_ID,
    SWITCH_ID,
    register_games,
)

__all__ = [
    "ANTI_COORDINATION_ID",
    "CHECKERS_ID",
    "CLIMBING_ID",
    "CONGESTION_ID",
    "DISTANCING_ID",
    "PENALTY_ID",
    "SWITCH_ID",
    "MarkovGame",
    "average_out",
    "climbing_game",
    "exact_batch",
    "joint_policy",
    "multi_agent_advantage",
    "multi_agent_q",
    "one_shot",
    "penalty_game",
    "proposition_1_game",
    "pure_equilibria",
    "random_game",
    "random_policies",
    "rational_policies",
    "register_games",
]
