"""This plugin's own games as Gymnasium environments; importing the package registers their ids."""

from .registration import (
    ANTI_COORDINATION_ID,
    CHECKERS_ID,
    CLIMBING_ID,
    CONGESTION_ID,
    DISTANCING_ID,
    PENALTY_ID,
    PRODUCT_ID,
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
    "PRODUCT_ID",
    "SWITCH_ID",
    "register_games",
]
