"""Normal-form games as multi-agent Gymnasium environments, in the shape that EPyMARL's `gymma` wrapper expects.

Every agent receives the whole common payoff as its own reward, as in the matrix-games package. So with
`common_reward=True` and `reward_scalarisation="sum"` the suite reports the number of agents times the payoff (22 for
the best play of the climbing game); `reward_scalarisation="mean"` reports the payoff itself.
"""

from __future__ import annotations

import numpy as np

from epymarl_trust_region.environments.games.game_env import GameEnv
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.normal_form import climbing_game, penalty_game, proposition_1_game


class MatrixGameEnv(GameEnv):
    """A common-payoff game, played `max_steps` times per episode.

    Agents see a constant 1.0, so nothing of earlier plays, and the episode truly ends (it is not cut by a time limit).

    Args:
        payoff: common payoff [A^1, ..., A^N].
        max_steps: plays per episode.

    Raises:
        ConfigError: `max_steps` is not a positive whole number.
    """

    def __init__(self, payoff: np.ndarray, max_steps: int = 1) -> None:
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ConfigError(
                f"env_args.max_steps is {max_steps!r}: give the plays per episode, a whole number from 1 on"
            )
        self.payoff = payoff
        self.max_steps = max_steps
        super().__init__(payoff.shape, 1, low=1.0)
        self.begin()

    def begin(self, *copies: int) -> None:
        """No plays yet."""
        self._plays, self._copies = 0, copies

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One play: equal rewards; over after `max_steps` of them."""
        self._plays += 1
        paid = self.payoff[tuple(np.moveaxis(actions, -1, 0))].astype(float)
        return np.repeat(paid[..., None], self.n_agents, axis=-1), np.full(self._copies, self._plays >= self.max_steps)

    def look(self) -> np.ndarray:
        return np.ones((*self._copies, self.n_agents, 1), dtype=np.float32)


def anti_coordination_env(n_agents: int = 2, max_steps: int = 1) -> MatrixGameEnv:
    """Gymnasium entry point of the game of HATRPO/HAPPO's Proposition 1: one half plays 0, the other half 1.

    Raises:
        ConfigError: `n_agents` is odd, not positive or more than 16, or `max_steps` is not a positive whole number.
    """
    if isinstance(n_agents, bool) or not isinstance(n_agents, int) or n_agents > 16 or n_agents < 2 or n_agents % 2:
        raise ConfigError(f"env_args.n_agents is {n_agents!r}: give an even whole number from 2 to 16")
    return MatrixGameEnv(proposition_1_game(n_agents), max_steps)


def climbing_env(max_steps: int = 1) -> MatrixGameEnv:
    """Gymnasium entry point of the climbing game."""
    return MatrixGameEnv(climbing_game(), max_steps)


def penalty_env(penalty: float = -100.0, max_steps: int = 1) -> MatrixGameEnv:
    """Gymnasium entry point of the penalty game.

    Raises:
        ConfigError: `penalty` is positive or not finite, or `max_steps` is not a positive whole number.
    """
    try:
        payoff = penalty_game(penalty)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"env_args.penalty is {penalty!r}: give a finite number of at most 0") from error
    return MatrixGameEnv(payoff, max_steps)
