"""This plugin's own games as Gymnasium environments; importing the package registers their ids."""

from .registration import (
    ANTI_COORDINATION_ID,
    CHECKERS_ID,
    CHICKEN_ID,
    CLIMBING_ID,
    CONGESTION_ID,
    DISTANCING_ID,
    INSPECTION_ID,
    MATCHING_PENNIES_ID,
    PENALTY_ID,
    PONG_ID,
    PRISONERS_DILEMMA_ID,
    PRODUCT_ID,
    REPEATED_ID,
    ROCK_PAPER_SCISSORS_ID,
    SWITCH_ID,
    register_games,
)

__all__ = [
    "ANTI_COORDINATION_ID",
    "CHECKERS_ID",
    "CHICKEN_ID",
    "CLIMBING_ID",
    "CONGESTION_ID",
    "DISTANCING_ID",
    "INSPECTION_ID",
    "MATCHING_PENNIES_ID",
    "PENALTY_ID",
    "PONG_ID",
    "PRISONERS_DILEMMA_ID",
    "PRODUCT_ID",
    "REPEATED_ID",
    "ROCK_PAPER_SCISSORS_ID",
    "SWITCH_ID",
    "register_games",
]
