"""Normal-form games as multi-agent Gymnasium environments, in the shape that EPyMARL's `gymma` wrapper expects.

Every agent receives the whole common payoff as its own reward, as in the matrix-games package. So with
`common_reward=True` and `reward_scalarisation="sum"` the suite reports the number of agents times the payoff (22 for
the best play of the climbing game); `reward_scalarisation="mean"` reports the payoff itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.normal_form import climbing_game, penalty_game, proposition_1_game


class MatrixGameEnv(gymnasium.Env):
    """A common-payoff game, played `max_steps` times per episode.

    Agents see a constant 1.0, so nothing of earlier plays, and the episode truly ends (it is not cut by a time limit).

    Args:
        payoff: common payoff [A^1, ..., A^N].
        max_steps: plays per episode.

    Raises:
        ConfigError: `max_steps` is not a positive whole number.
    """

    metadata = {"render_modes": []}

    def __init__(self, payoff: np.ndarray, max_steps: int = 1) -> None:
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ConfigError(
                f"env_args.max_steps is {max_steps!r}: give the plays per episode, a whole number from 1 on"
            )
        self.payoff = payoff
        self.n_agents = payoff.ndim
        self.max_steps = max_steps
        self.action_space = spaces.Tuple([spaces.Discrete(count) for count in payoff.shape])
        self.observation_space = spaces.Tuple([spaces.Box(1.0, 1.0, (1,), np.float32)] * self.n_agents)
        self._plays = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[np.ndarray, ...], dict]:
        """Start an episode. The game is deterministic: `seed` only seeds the (unused) generator."""
        super().reset(seed=seed)
        self._plays = 0
        return self._observations(), {}

    def step(self, actions: Sequence[int]) -> tuple[tuple[np.ndarray, ...], list[float], bool, bool, dict]:
        """One play: observations N x [1], N equal rewards, terminated, truncated (never), info.

        Raises:
            ValueError: an action does not exist (a negative one would otherwise count from the end).
        """
        joint = tuple(actions)
        if not self.action_space.contains(joint):
            raise ValueError(f"joint action {joint} is not in the action space with {self.payoff.shape} actions")
        self._plays += 1
        return (
            self._observations(),
            [float(self.payoff[joint])] * self.n_agents,
            self._plays >= self.max_steps,
            False,
            {},
        )

    def _observations(self) -> tuple[np.ndarray, ...]:
        return tuple(np.ones(1, dtype=np.float32) for _ in range(self.n_agents))


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
