"""Switch: agents of two rooms have to change rooms through a corridor in which they cannot pass each other.

The game of section 4.2 of Sunehag et al., "Value-decomposition networks for cooperative multi-agent learning" (2018),
on the map of MA-Gym's Switch2-v0 and Switch4-v0, with the rewards of "Multi-agent trust region learning" (MATRL),
section 5: -0.1 for each step, 5 for reaching the own target.
Shapes: N = 2 or 4 agents; [...] are any leading axes, such as environments.
"""

from __future__ import annotations

import numpy as np

from epymarl_trust_region.environments.games import grid

#: 0 to 3 where the agents start, a to d their targets in the same order, # wall.
MAP = (
    "b0###1a",
    ".......",
    "d2###3c",
)
#: Agents 0 and 1 play alone or with agents 2 and 3.
TEAM_SIZES = (2, 4)
ARRIVAL = 5.0

_NEXT = grid.neighbours(MAP)
_START = grid.find(MAP, "0123")
_TARGETS = grid.find(MAP, "abcd")


def start(n_agents: int) -> np.ndarray:
    """The agents' cells, [N]."""
    return _START[:n_agents].copy()


def targets(n_agents: int) -> np.ndarray:
    """The cells that the agents want to reach, [N]."""
    return _TARGETS[:n_agents].copy()


def arrived(cells: np.ndarray) -> np.ndarray:
    """Which agents are at their targets: [..., N] -> [..., N]."""
    return cells == _TARGETS[: cells.shape[-1]]


def step(cells: np.ndarray, actions: np.ndarray, step_cost: float = -0.1) -> tuple[np.ndarray, np.ndarray]:
    """Agents that have not arrived move (`grid.move`); the others stay where they are, in the way or not.

    Args:
        cells: [..., N].
        actions: [..., N].
        step_cost: paid by an agent that is under way after the step; at most 0 if it is to be a cost.

    Returns:
        next cells and rewards, each [..., N]: `ARRIVAL` for the step that reaches the target, 0 from then on.
    """
    done = arrived(cells)
    after = grid.move(cells, np.where(done, grid.STAY, actions), _NEXT)
    return after, np.where(done, 0.0, np.where(arrived(after), ARRIVAL, step_cost))


def ended(cells: np.ndarray) -> np.ndarray:
    """Whether all agents have arrived: [..., N] -> [...]."""
    return np.all(arrived(cells), axis=-1)


def see_position(cells: np.ndarray) -> np.ndarray:
    """Each agent's own row and column, from 0 to 1: [..., N, 2]."""
    return grid.coordinates(cells, MAP)


def see_state(cells: np.ndarray) -> np.ndarray:
    """Rows and columns of all agents, for each of them the same: [..., N, 2N]."""
    n_agents = cells.shape[-1]
    whole = grid.coordinates(cells, MAP).reshape(*cells.shape[:-1], 2 * n_agents)
    return np.repeat(whole[..., None, :], n_agents, axis=-2)
