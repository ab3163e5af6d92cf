"""The best totals of Checkers and Switch: plays that reach them, and searches that find no better ones."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np
import pytest
from best_first import cheapest
from epymarl_trust_region.environments.games import CHECKERS_ID, SWITCH_ID, checkers, grid, switch

LETTERS = "DLUR."  # down, left, up, right, stay: one letter per step, one line per agent
CHECKERS_PLAY = (
    "DLRU.DD..ULLLRD..UU.DLLLRD..UU.DLLDUU",
    "...ULLRRU.DDULLLLRRD...ULLLLRRD......",
)
SWITCH_PLAYS = {
    2: (
        "DRRRRUR.....",
        "DLRR.LLLLLUL",
    ),
    4: (
        "DRRRRRU........",
        "........DLLLLUL",
        ".URRRRRD.......",
        "......ULLLLLD..",
    ),
}
SWITCH_COSTS = {2: 17, 4: 39}


def total_of(env_id: str, play, **arguments) -> float:
    """The sum of all rewards of a play at whose last step, and at no earlier one, the game ends."""
    env = gymnasium.make(f"epymarl_trust_region.environments.games:{env_id}", **arguments)
    env.reset()
    total, ends = 0.0, []
    for letters in zip(*play, strict=True):
        _, rewards, terminated, _, _ = env.step([LETTERS.index(letter) for letter in letters])
        total += sum(rewards)
        ends.append(terminated)
    assert ends == [False] * (len(ends) - 1) + [True]
    return total


def each_with_all_joint_actions(n_agents: int, *states: np.ndarray) -> list[np.ndarray]:
    """Which of K states, the states and the joint actions of all K * 5^N moves."""
    joint = np.array(list(itertools.product(range(grid.N_ACTIONS), repeat=n_agents)))
    origin = np.repeat(np.arange(len(states[0])), len(joint))
    return [origin, *(state[origin] for state in states), np.tile(joint, (len(states[0]), 1))]


class CheckersStates:
    """States as numbers: the fruit that is left in binary, then agent 0's cell, then agent 1's, to the base 24."""

    N_CELLS = 24

    def __init__(self) -> None:
        self.cells, self.fruit = checkers.start()
        self.where = np.flatnonzero(self.fruit)
        self.bits = 1 << np.arange(len(self.where))

    def number(self, cells: np.ndarray, fruit: np.ndarray) -> np.ndarray:
        left = ((fruit[..., self.where] > 0) * self.bits).sum(-1)
        return (left * self.N_CELLS + cells[..., 0]) * self.N_CELLS + cells[..., 1]

    def state(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, first, second = numbers // self.N_CELLS**2, numbers // self.N_CELLS % self.N_CELLS, numbers % self.N_CELLS
        fruit = np.zeros((len(numbers), self.N_CELLS), dtype=int)
        fruit[:, self.where] = np.where(left[:, None] & self.bits, self.fruit[self.where], checkers.NOTHING)
        return np.stack([first, second], axis=-1), fruit


def fewest_steps(most_lemons: int) -> int | None:
    """Of plays in which agent 0 eats all apples and no lemon, and agent 1 no apple and at most so many lemons."""
    states = CheckersStates()
    n_lemons = (states.fruit == checkers.LEMON).sum()

    def expand(numbers):
        origin, cells, fruit, joint = each_with_all_joint_actions(2, *states.state(numbers))
        cells, fruit, rewards = checkers.step(cells, fruit, joint)
        lemons = n_lemons - (fruit == checkers.LEMON).sum(-1)
        kept = (rewards[:, 0] >= 0) & (rewards[:, 1] <= 0) & (lemons <= most_lemons)
        return origin[kept], states.number(cells, fruit)[kept], np.ones(kept.sum(), dtype=int)

    start = int(states.number(states.cells, states.fruit))
    return cheapest(start, expand, lambda numbers: checkers.ended(states.state(numbers)[1]), np.zeros_like)


def fewest_agent_steps(n_agents: int) -> int:
    """The least number of steps that cost something in a play of Switch in which all arrive, summed over agents."""
    n_cells = 21
    base = n_cells ** np.arange(n_agents)
    still = np.maximum(distances(n_agents) - 1, 0)  # the step that arrives costs nothing

    def state(numbers):
        return numbers[:, None] // base % n_cells

    def expand(numbers):
        origin, cells, joint = each_with_all_joint_actions(n_agents, state(numbers))
        cells, rewards = switch.step(cells, joint, -1.0)
        return origin, cells @ base, (rewards == -1).sum(-1)

    def bound(numbers):
        return still[np.arange(n_agents), state(numbers)].sum(-1)

    return cheapest(int(switch.start(n_agents) @ base), expand, lambda numbers: switch.ended(state(numbers)), bound)


def distances(n_agents: int) -> np.ndarray:
    """Steps from each cell to each agent's target if nobody is in the way, [N, C]; 99 from walls."""
    table = grid.neighbours(switch.MAP)
    away = np.full((n_agents, len(table)), 99)
    away[np.arange(n_agents), switch.targets(n_agents)] = 0
    for _ in range(len(table)):
        away = np.minimum(away, away[:, table].min(-1) + 1)
    return away


def test_search_finds_the_cheapest_way_and_not_the_shortest():
    # 0 -> 3 costs 9; 0 -> 1 -> 2 -> 3 costs 1 + 0 + 2; from 4 on there is nothing.
    moves = {0: [(3, 9), (1, 1), (4, 0)], 1: [(2, 0), (2, 5)], 2: [(3, 2), (0, 0)], 3: [], 4: []}

    def expand(states):
        listed = [(k, *move) for k, state in enumerate(states.tolist()) for move in moves[state]]
        return tuple(np.array(listed, dtype=int).reshape(-1, 3).T)

    for bound in (np.zeros_like, lambda states: np.array([3, 2, 2, 0, 0])[states]):
        assert cheapest(0, expand, lambda states: states == 3, bound) == 3
        assert cheapest(0, expand, lambda states: states == 5, bound) is None


def test_checkers_can_pay_42_in_37_steps():
    assert total_of(CHECKERS_ID, CHECKERS_PLAY, step_cost=0.0) == 42.0
    assert total_of(CHECKERS_ID, CHECKERS_PLAY) == pytest.approx(42 - 2 * 37 * 0.01, abs=1e-12)


def test_checkers_cannot_pay_more():
    # Of 45, for nine apples to agent 0, a lemon takes 1 (eaten by agent 1) or 5 (by agent 0), an apple to agent 1 takes
    # 4, an apple left over 5. Without three lemons nobody gets to all apples. With three it takes 37 steps; all that
    # costs 4 or more ends below 41.26.
    assert fewest_steps(2) is None
    assert fewest_steps(3) == 37 == len(CHECKERS_PLAY[0])


@pytest.mark.parametrize("n_agents", switch.TEAM_SIZES)
def test_switch_pays_what_the_search_says(n_agents):
    best = 5 * n_agents - 0.1 * SWITCH_COSTS[n_agents]
    assert total_of(SWITCH_ID, SWITCH_PLAYS[n_agents], n_agents=n_agents) == pytest.approx(best, abs=1e-12)
    assert fewest_agent_steps(n_agents) == SWITCH_COSTS[n_agents]
