"""Checkers and Switch as multi-agent Gymnasium environments, in the shape that EPyMARL's `gymma` wrapper expects.

Rewards are individual; with `common_reward=True` and `reward_scalarisation="sum"` the suite reports their total, as the
MATRL paper does. Episodes have no limit of their own: `time_limit` sets it (the published games have 100 and 50 steps).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from epymarl_trust_region.environments.games import checkers, grid, grid_picture, switch
from epymarl_trust_region.environments.games.game_env import GameEnv
from epymarl_trust_region.errors import ConfigError


class _GridEnv(GameEnv):
    """N agents with five actions each; a game says how it starts, goes on, is seen, and is drawn."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(self, n_agents: int, step_cost: float, clock: int, render_mode: str | None) -> None:
        if isinstance(step_cost, bool) or not isinstance(step_cost, int | float) or not -math.inf < step_cost <= 0:
            raise ConfigError(f"env_args.step_cost is {step_cost!r}: give a finite number of at most 0")
        if isinstance(clock, bool) or not isinstance(clock, int) or clock < 0:
            raise ConfigError(f"env_args.clock is {clock!r}: give the steps of an episode, or 0 for no clock")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"env_args.render_mode is {render_mode!r}: choose rgb_array or null")
        self.n_agents = n_agents
        self.render_mode = render_mode
        self._step_cost = float(step_cost)
        self._clock = clock
        self.begin()
        super().__init__([grid.N_ACTIONS] * n_agents, self.look().shape[-1])

    def begin(self, *copies: int) -> None:
        self._steps = 0
        self._start(copies)

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._steps += 1
        return self._play(actions)

    def look(self) -> np.ndarray:
        seen = self._seen().astype(np.float32)
        if not self._clock:
            return seen
        time = np.full((*seen.shape[:-1], 1), min(self._steps / self._clock, 1.0), dtype=np.float32)
        return np.concatenate([seen, time], axis=-1)

    def render(self) -> np.ndarray | None:
        """Red, green and blue, uint8 [height, width, 3]; None without a render_mode."""
        return grid_picture.draw(*self._picture()) if self.render_mode else None

    def _start(self, copies: tuple[int, ...]) -> None:
        raise NotImplementedError

    def _play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _seen(self) -> np.ndarray:
        raise NotImplementedError

    def _picture(self) -> tuple[tuple[int, int], list[grid_picture.Mark]]:
        raise NotImplementedError


class CheckersEnv(_GridEnv):
    """Checkers (`checkers.py`): two agents eat apples and lemons, of which agent 0 feels five times as much.

    Args:
        observe: "window": own position and the 3 x 3 cells around, [47]; "position": own position, [2]; "state":
            both positions and which fruit is left, [22].
        step_cost: added to the reward of both agents at each step.
        clock: if not 0, observations end with the steps so far divided by this number, at most 1.
        render_mode: "rgb_array" or None.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self, observe: str = "window", step_cost: float = -0.01, clock: int = 0, render_mode: str | None = None
    ) -> None:
        views = {"window": checkers.see_window, "position": checkers.see_position, "state": checkers.see_state}
        self._view = _chosen("observe", observe, views)
        super().__init__(checkers.N_AGENTS, step_cost, clock, render_mode)

    def _start(self, copies: tuple[int, ...]) -> None:
        self._cells, self._fruit = (np.tile(one, (*copies, 1)) for one in checkers.start())

    def _play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._cells, self._fruit, rewards = checkers.step(self._cells, self._fruit, actions, self._step_cost)
        return rewards, checkers.ended(self._fruit)

    def _seen(self) -> np.ndarray:
        return self._view(self._cells, self._fruit)

    def _picture(self) -> tuple[tuple[int, int], list[grid_picture.Mark]]:
        fruit = [
            (np.flatnonzero(self._fruit == checkers.APPLE), grid_picture.SQUARE, grid_picture.APPLE),
            (np.flatnonzero(self._fruit == checkers.LEMON), grid_picture.SQUARE, grid_picture.LEMON),
        ]
        return grid.shape_of(checkers.MAP), [*fruit, *_discs(self._cells)]


class SwitchEnv(_GridEnv):
    """Switch (`switch.py`): agents of two rooms change rooms through a corridor one cell wide.

    Args:
        n_agents: N, 2 or 4.
        observe: "position": own position, [2]; "state": the positions of all agents, [2N].
        step_cost: the reward of an agent that is still under way.
        clock: if not 0, observations end with the steps so far divided by this number, at most 1.
        render_mode: "rgb_array" or None.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        n_agents: int = 4,
        observe: str = "position",
        step_cost: float = -0.1,
        clock: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if isinstance(n_agents, bool) or not isinstance(n_agents, int) or n_agents not in switch.TEAM_SIZES:
            raise ConfigError(f"env_args.n_agents is {n_agents!r}: choose 2 or 4")
        self._view = _chosen("observe", observe, {"position": switch.see_position, "state": switch.see_state})
        super().__init__(n_agents, step_cost, clock, render_mode)

    def _start(self, copies: tuple[int, ...]) -> None:
        self._cells = np.tile(switch.start(self.n_agents), (*copies, 1))

    def _play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._cells, rewards = switch.step(self._cells, actions, self._step_cost)
        return rewards, switch.ended(self._cells)

    def _seen(self) -> np.ndarray:
        return self._view(self._cells)

    def _picture(self) -> tuple[tuple[int, int], list[grid_picture.Mark]]:
        frames = [
            ([cell], grid_picture.FRAME, colour)
            for cell, colour in zip(switch.targets(self.n_agents), grid_picture.AGENTS, strict=False)
        ]
        walls = (grid.walls(switch.MAP), grid_picture.FULL, grid_picture.WALL)
        return grid.shape_of(switch.MAP), [walls, *frames, *_discs(self._cells)]


def _discs(cells: np.ndarray) -> list[grid_picture.Mark]:
    return [([cell], grid_picture.DISC, colour) for cell, colour in zip(cells, grid_picture.AGENTS, strict=False)]


def _chosen(name: str, value: Any, choices: dict[str, Any]) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"env_args.{name} is {value!r}: choose {' or '.join(choices)}")
    return choices[value]
