"""Gymnasium ids of the games, registered when this module is imported.

The key `epymarl_trust_region.environments.games:trust-region-climbing-v0` makes Gymnasium import the
package first, so it works in any process, also in a spawned worker.
"""

from __future__ import annotations

import gymnasium

ANTI_COORDINATION_ID = "trust-region-anti-coordination-v0"
CHECKERS_ID = "trust-region-checkers-v0"
CHICKEN_ID = "trust-region-chicken-v0"
CLIMBING_ID = "trust-region-climbing-v0"
CONGESTION_ID = "trust-region-congestion-v0"
DISTANCING_ID = "trust-region-distancing-v0"
INSPECTION_ID = "trust-region-inspection-v0"
MATCHING_PENNIES_ID = "trust-region-matching-pennies-v0"
PENALTY_ID = "trust-region-penalty-v0"
PONG_ID = "trust-region-pong-v0"
PRISONERS_DILEMMA_ID = "trust-region-prisoners-dilemma-v0"
PRODUCT_ID = "trust-region-product-v0"
REPEATED_ID = "trust-region-repeated-v0"
ROCK_PAPER_SCISSORS_ID = "trust-region-rock-paper-scissors-v0"
SWITCH_ID = "trust-region-switch-v0"

_ENTRY_POINTS = {
    ANTI_COORDINATION_ID: "epymarl_trust_region.environments.games.matrix_env:anti_coordination_env",
    CHECKERS_ID: "epymarl_trust_region.environments.games.grid_env:CheckersEnv",
    CHICKEN_ID: "epymarl_trust_region.environments.games.table_env:chicken_env",
    CLIMBING_ID: "epymarl_trust_region.environments.games.matrix_env:climbing_env",
    CONGESTION_ID: "epymarl_trust_region.environments.games.potential_env:CongestionEnv",
    DISTANCING_ID: "epymarl_trust_region.environments.games.potential_env:DistancingEnv",
    INSPECTION_ID: "epymarl_trust_region.environments.games.table_env:inspection_env",
    MATCHING_PENNIES_ID: "epymarl_trust_region.environments.games.table_env:matching_pennies_env",
    PENALTY_ID: "epymarl_trust_region.environments.games.matrix_env:penalty_env",
    PONG_ID: "epymarl_trust_region.environments.pong:PongEnv",
    PRISONERS_DILEMMA_ID: "epymarl_trust_region.environments.games.table_env:prisoners_dilemma_env",
    PRODUCT_ID: "epymarl_trust_region.environments.games.product_env:ProductEnv",
    REPEATED_ID: "epymarl_trust_region.environments.games.table_env:repeated_env",
    ROCK_PAPER_SCISSORS_ID: "epymarl_trust_region.environments.games.table_env:rock_paper_scissors_env",
    SWITCH_ID: "epymarl_trust_region.environments.games.grid_env:SwitchEnv",
}


def register_games() -> None:
    """Add the ids to Gymnasium's registry; those that it has already are left alone."""
    for env_id, entry_point in _ENTRY_POINTS.items():
        if env_id not in gymnasium.registry:
            # Gymnasium's checker expects one scalar reward and would warn at each run about a list of them.
            gymnasium.register(env_id, entry_point=entry_point, disable_env_checker=True)


register_games()
