"""What the grid games share: maps as text, and agents that move one after the other.

Cells are numbered row by row. Shapes: N agents, C cells, A = 5 actions; [...] are any leading axes, such as
environments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

N_ACTIONS = 5
DOWN, LEFT, UP, RIGHT, STAY = range(N_ACTIONS)
_OFFSETS = ((1, 0), (0, -1), (-1, 0), (0, 1), (0, 0))
_WALL = "#"


def shape_of(rows: Sequence[str]) -> tuple[int, int]:
    """Height and width of a map."""
    return len(rows), len(rows[0])


def find(rows: Sequence[str], marks: str) -> np.ndarray:
    """The cell of each of `marks`, in their order, each of which stands once on the map: [len(marks)]."""
    text = "".join(rows)
    return np.array([text.index(mark) for mark in marks])


def where(rows: Sequence[str], mark: str) -> np.ndarray:
    """All cells with `mark`, in ascending order."""
    return np.flatnonzero(np.array(list("".join(rows))) == mark)


def walls(rows: Sequence[str]) -> np.ndarray:
    """All cells that no agent can enter, in ascending order."""
    return where(rows, _WALL)


def neighbours(rows: Sequence[str]) -> np.ndarray:
    """Where each action leads from each cell, [C, A]: nowhere if a wall or the edge of the grid is in the way."""
    height, width = shape_of(rows)
    here = np.arange(height * width)
    row, column = np.divmod(here, width)
    table = np.empty((height * width, N_ACTIONS), dtype=int)
    for action, (down, right) in enumerate(_OFFSETS):
        there = np.clip(row + down, 0, height - 1) * width + np.clip(column + right, 0, width - 1)
        table[:, action] = np.where(np.isin(there, walls(rows)), here, there)
    return table


def move(cells: np.ndarray, actions: np.ndarray, table: np.ndarray) -> np.ndarray:
    """One step of all agents, agent 0 first: an agent whose next cell is occupied at its turn stays where it is.

    So an agent can enter a cell that one with a lower number leaves in the same step, and two agents that face each
    other cannot change places.

    Args:
        cells: [..., N], all different along the last axis.
        actions: [..., N].
        table: `neighbours(...)`, [C, A].

    Returns:
        next cells, [..., N].
    """
    after = cells.copy()
    for agent in range(cells.shape[-1]):
        wanted = table[after[..., agent], actions[..., agent]]
        occupied = (after == wanted[..., None]).any(-1)
        after[..., agent] = np.where(occupied, after[..., agent], wanted)
    return after


def coordinates(cells: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """Row and column, each from 0 to 1 across the grid: [...] -> [..., 2]."""
    height, width = shape_of(rows)
    row, column = np.divmod(cells, width)
    return np.stack([row / (height - 1), column / (width - 1)], axis=-1)
