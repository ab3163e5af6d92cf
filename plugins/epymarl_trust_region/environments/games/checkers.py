"""Checkers: two agents, one of them five times as sensitive as the other, in a field of apples and lemons.

The game of section 4.2 of Sunehag et al., "Value-decomposition networks for cooperative multi-agent learning" (2018),
on the map of MA-Gym's Checkers-v0, with the rewards of "Multi-agent trust region learning" (MATRL): an apple is worth
5 to agent 0 and 1 to agent 1, a lemon costs each as much.
Shapes: N = 2 agents, C = 24 cells, W = 9 cells of a window; [...] are any leading axes, such as environments.
"""

from __future__ import annotations

import numpy as np

from epymarl_trust_region.environments.games import grid

#: A apple, L lemon, 0 and 1 where the agents start.
MAP = (
    "ALALAL0.",
    "LALALA..",
    "ALALAL1.",
)
N_AGENTS = 2
NOTHING, APPLE, LEMON = range(3)
#: What entering a cell pays, by agent and by what is in the cell, [N, 3].
WORTH = np.array([[0.0, 5.0, -5.0], [0.0, 1.0, -1.0]])
#: Entries that an agent has for each cell of its window: apple, lemon, agent 0, agent 1, outside of the grid.
N_CHANNELS = 5

_HEIGHT, _WIDTH = grid.shape_of(MAP)
_NEXT = grid.neighbours(MAP)
_START = grid.find(MAP, "01")
_FRUIT = np.select([np.isin(np.arange(_HEIGHT * _WIDTH), grid.where(MAP, kind)) for kind in "AL"], [APPLE, LEMON])
_FRUIT_CELLS = np.flatnonzero(_FRUIT)


def start() -> tuple[np.ndarray, np.ndarray]:
    """The agents' cells [N] and what is in each cell [C]."""
    return _START.copy(), _FRUIT.copy()


def step(
    cells: np.ndarray, fruit: np.ndarray, actions: np.ndarray, step_cost: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Agents move (`grid.move`), and eat what is where they come to.

    Args:
        cells: [..., N].
        fruit: [..., C] of NOTHING, APPLE and LEMON.
        actions: [..., N].
        step_cost: added to every agent's reward; at most 0 if it is to be a cost.

    Returns:
        next cells [..., N], next fruit [..., C], rewards [..., N].
    """
    after = grid.move(cells, actions, _NEXT)
    eaten = np.take_along_axis(fruit, after, axis=-1)
    left = fruit.copy()
    np.put_along_axis(left, after, NOTHING, axis=-1)
    return after, left, step_cost + WORTH[np.arange(N_AGENTS), eaten]


def ended(fruit: np.ndarray) -> np.ndarray:
    """Whether all apples are eaten: [..., C] -> [...]."""
    return ~(fruit == APPLE).any(-1)


def see_position(cells: np.ndarray, fruit: np.ndarray) -> np.ndarray:
    """Each agent's own row and column, from 0 to 1: [..., N, 2]."""
    return grid.coordinates(cells, MAP)


def see_window(cells: np.ndarray, fruit: np.ndarray) -> np.ndarray:
    """Own row and column, then the 3 x 3 cells around, row by row, each as `N_CHANNELS` of 0 and 1: [..., N, 47]."""
    seen = np.take_along_axis(_channels(cells, fruit)[..., None, :, :], _WINDOW[cells][..., None], axis=-2)
    flat = seen.reshape(*cells.shape, _WINDOW.shape[1] * N_CHANNELS)
    return np.concatenate([grid.coordinates(cells, MAP), flat], axis=-1)


def see_state(cells: np.ndarray, fruit: np.ndarray) -> np.ndarray:
    """Rows and columns of both agents, then 1 for each fruit that is still there, row by row: [..., N, 22]."""
    places = grid.coordinates(cells, MAP).reshape(*cells.shape[:-1], 2 * N_AGENTS)
    whole = np.concatenate([places, fruit[..., _FRUIT_CELLS] != NOTHING], axis=-1)
    return np.repeat(whole[..., None, :], N_AGENTS, axis=-2)


def _windows() -> np.ndarray:
    """The cells around each cell, row by row, in a grid with a border of one: [C, W]."""
    row, column = np.divmod(np.arange(_HEIGHT * _WIDTH), _WIDTH)
    down, right = np.divmod(np.arange(9), 3)
    return (row[:, None] + down) * (_WIDTH + 2) + column[:, None] + right


_WINDOW = _windows()
_INSIDE = _WINDOW[:, 4]


def _channels(cells: np.ndarray, fruit: np.ndarray) -> np.ndarray:
    """What is in each cell, border included, as 0 and 1: [..., (height + 2)(width + 2), N_CHANNELS]."""
    place = np.arange(_HEIGHT * _WIDTH)
    inside = [fruit == APPLE, fruit == LEMON, *(cells[..., [agent]] == place for agent in range(N_AGENTS))]
    channels = np.zeros((*cells.shape[:-1], (_HEIGHT + 2) * (_WIDTH + 2), N_CHANNELS))
    channels[..., -1] = 1
    channels[..., _INSIDE, :] = np.stack([*inside, np.zeros_like(inside[0])], axis=-1)
    return channels
