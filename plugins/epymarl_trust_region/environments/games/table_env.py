"""Games in tables as multi-agent Gymnasium environments, in the shape that `gymma` expects: those with opponents.

Rewards are individual: use them with `common_reward=False`. Observations are one-hot, so that a table can be a policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from epymarl_trust_region.environments.games.game_env import GameEnv
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games import competitive
from epymarl_trust_region.games.table_game import TableGame


class Exact(NamedTuple):
    """A game, and what its states look like to the agents."""

    game: TableGame
    observations: np.ndarray  # [S, N, O], float32
    available: np.ndarray  # [S, N, A], 0 or 1


class TableGameEnv(GameEnv):
    """A game in tables. Both agents see the state, one-hot [S]; the episode truly ends."""

    def __init__(self, game: TableGame) -> None:
        self.game = game
        super().__init__(game.n_actions, game.n_states)
        masks = np.zeros((game.n_states, *self._existing.shape), int)
        for agent, mask in enumerate(game.masks):
            masks[:, agent, : mask.shape[-1]] = mask
        self._masks, self._one_hot = masks, np.eye(game.n_states, dtype=np.float32)
        self._last = game.n_states - 1
        self.begin()

    def begin(self, *copies: int) -> None:
        """State 0."""
        self._state, self._steps = np.zeros(copies, int), 0

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step; over where the game says so, and after its horizon. What is seen of an end is the last state."""
        self._steps += 1
        at = (self._state, *np.moveaxis(actions, -1, 0))
        after, rewards = self.game.next_state[at], np.moveaxis(self.game.reward, 0, -1)[at]
        ended = (after > self._last) | (self._steps >= self.game.horizon)
        self._state = np.where(after > self._last, self._state, after)
        return rewards.astype(float), ended

    def look(self) -> np.ndarray:
        return np.repeat(self._one_hot[self._state][..., None, :], self.n_agents, axis=-2)

    def available(self) -> np.ndarray:
        return self._masks[self._state]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: where it stands."""
        return {"state": self._state, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._state, self._steps = np.array(state["state"]), state["steps"]

    def exact(self) -> Exact:
        """The game, for whoever computes best responses."""
        return Exact(self.game, np.repeat(self._one_hot[:, None], self.n_agents, axis=1), self._masks)


def matching_pennies_env(heads: float = 1.0, max_steps: int = 1) -> TableGameEnv:
    """Gymnasium entry point of matching pennies, played `max_steps` times without a memory; `heads`: see the game.

    Raises:
        ConfigError: an argument is out of range.
    """
    if isinstance(heads, bool) or not isinstance(heads, int | float) or not -1 < heads < math.inf:
        raise ConfigError(f"env_args.heads is {heads!r}: give what two heads pay, a finite number above -1")
    return _blind(competitive.matching_pennies(float(heads)), max_steps)


def rock_paper_scissors_env(max_steps: int = 1) -> TableGameEnv:
    """Gymnasium entry point of rock-paper-scissors."""
    return _blind(competitive.rock_paper_scissors(), max_steps)


def chicken_env(max_steps: int = 1) -> TableGameEnv:
    """Gymnasium entry point of Chicken."""
    return _blind(competitive.chicken(), max_steps)


def prisoners_dilemma_env(max_steps: int = 1) -> TableGameEnv:
    """Gymnasium entry point of the Prisoner's Dilemma."""
    return _blind(competitive.prisoners_dilemma(), max_steps)


def repeated_env(game: str = "matching-pennies", plays: int = 10) -> TableGameEnv:
    """Gymnasium entry point of a repeated game, whose agents see the last joint action.

    Raises:
        ConfigError: an argument is out of range.
    """
    if game not in competitive.PAYOFFS:
        raise ConfigError(f"env_args.game is {game!r}: choose {', '.join(competitive.PAYOFFS)}")
    payoff: Callable[[], np.ndarray] = competitive.PAYOFFS[game]
    return TableGameEnv(competitive.repeated(payoff(), _count("plays", plays, 1, 10_000)))


def inspection_env(periods: int = 4, inspections: int = 2) -> TableGameEnv:
    """Gymnasium entry point of the inspection game.

    Raises:
        ConfigError: an argument is out of range.
    """
    _count("periods", periods, 2, 100)
    return TableGameEnv(competitive.inspection(periods, _count("inspections", inspections, 1, periods - 1)))


def _blind(payoff: np.ndarray, max_steps: Any) -> TableGameEnv:
    return TableGameEnv(competitive.played_blindly(payoff, _count("max_steps", max_steps, 1, 10_000)))


def _count(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"env_args.{name} is {value!r}: give a whole number from {low} to {high}")
    return value
