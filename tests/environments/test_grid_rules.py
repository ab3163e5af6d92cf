"""Moves, rewards, ends and views of the grid games, cell by cell, against rules written out here by hand."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.environments.games import checkers, grid, grid_picture, switch

DOWN, LEFT, UP, RIGHT, STAY = grid.DOWN, grid.LEFT, grid.UP, grid.RIGHT, grid.STAY
OFFSETS = {DOWN: (1, 0), LEFT: (0, -1), UP: (-1, 0), RIGHT: (0, 1), STAY: (0, 0)}
APPLES = {(row, column) for row in range(3) for column in range(6) if (row + column) % 2 == 0}
LEMONS = {(row, column) for row in range(3) for column in range(6) if (row + column) % 2 == 1}


def at(*places: tuple[int, int], width: int = 8) -> np.ndarray:
    return np.array([row * width + column for row, column in places])


def switch_at(*places: tuple[int, int]) -> np.ndarray:
    return at(*places, width=7)


def places(cells: np.ndarray, width: int = 8) -> list[tuple[int, int]]:
    return [divmod(int(cell), width) for cell in cells]


def fruit_of(apples=APPLES, lemons=LEMONS) -> np.ndarray:
    fruit = np.zeros(24, dtype=int)
    fruit[[row * 8 + column for row, column in apples]] = checkers.APPLE
    fruit[[row * 8 + column for row, column in lemons]] = checkers.LEMON
    return fruit


def test_a_step_leads_to_the_next_cell_unless_wall_or_edge_is_there():
    for rows in (checkers.MAP, switch.MAP):
        height, width = len(rows), len(rows[0])
        table = grid.neighbours(rows)
        assert table.shape == (height * width, 5)
        for row in range(height):
            for column in range(width):
                for action, (down, right) in OFFSETS.items():
                    there = (row + down, column + right)
                    free = 0 <= there[0] < height and 0 <= there[1] < width and rows[there[0]][there[1]] != "#"
                    assert places(table[[row * width + column], action], width) == [there if free else (row, column)]


def test_walls_of_switch_leave_one_corridor():
    assert set(places(grid.walls(switch.MAP), 7)) == {(row, column) for row in (0, 2) for column in (2, 3, 4)}
    assert len(grid.walls(checkers.MAP)) == 0


@pytest.mark.parametrize(
    "before, actions, after",
    [
        ([(1, 2), (1, 4)], [RIGHT, LEFT], [(1, 3), (1, 4)]),  # one free cell between two: the lower number gets it
        ([(1, 4), (1, 2)], [LEFT, RIGHT], [(1, 3), (1, 2)]),
        ([(1, 2), (1, 3)], [RIGHT, LEFT], [(1, 2), (1, 3)]),  # no changing of places
        ([(1, 3), (1, 2)], [RIGHT, RIGHT], [(1, 4), (1, 3)]),  # into a cell that a lower number has just left
        ([(1, 2), (1, 3)], [RIGHT, RIGHT], [(1, 2), (1, 4)]),  # not into one that a higher number has yet to leave
        ([(1, 2), (1, 3)], [RIGHT, STAY], [(1, 2), (1, 3)]),
        ([(0, 1), (2, 1)], [RIGHT, RIGHT], [(0, 1), (2, 1)]),  # walls
        ([(0, 0), (2, 6)], [UP, DOWN], [(0, 0), (2, 6)]),  # edges, which do not wrap
        ([(0, 0), (2, 6)], [LEFT, RIGHT], [(0, 0), (2, 6)]),
    ],
)
def test_agents_move_one_after_the_other(before, actions, after):
    cells = switch_at(*before)
    moved = grid.move(cells, np.array(actions), grid.neighbours(switch.MAP))
    assert places(moved, 7) == after and places(cells, 7) == before


def test_checkers_starts_as_on_the_map():
    cells, fruit = checkers.start()
    assert places(cells) == [(0, 6), (2, 6)]
    assert np.array_equal(fruit, fruit_of()) and (len(APPLES), len(LEMONS)) == (9, 9)
    cells[:], fruit[:] = 0, 0  # a caller's own copies
    assert places(checkers.start()[0]) == [(0, 6), (2, 6)] and checkers.start()[1].sum() == 27


@pytest.mark.parametrize("agent, apple, lemon", [(0, 5.0, -5.0), (1, 1.0, -1.0)])
def test_fruit_pays_whoever_comes_to_it_and_is_gone(agent, apple, lemon):
    for place in sorted(APPLES | LEMONS):
        for action, (down, right) in OFFSETS.items():
            origin = (place[0] - down, place[1] - right)
            if action == STAY or not (0 <= origin[0] < 3 and 0 <= origin[1] < 8):
                continue
            other = (0, 7)
            cells = at(origin, other) if agent == 0 else at(other, origin)
            fruit = fruit_of(APPLES - {origin}, LEMONS - {origin})
            actions = np.array([action, STAY] if agent == 0 else [STAY, action])
            after, left, rewards = checkers.step(cells, fruit, actions, step_cost=-0.25)
            assert places(after)[agent] == place and places(after)[1 - agent] == other
            assert np.flatnonzero(left != fruit).tolist() == at(place).tolist() and left[at(place)] == 0
            assert rewards[agent] == (apple if place in APPLES else lemon) - 0.25 and rewards[1 - agent] == -0.25
            again = checkers.step(after, left, np.array([STAY, STAY]))
            assert np.array_equal(again[1], left) and again[2].tolist() == [0, 0]


def test_a_fruit_that_two_want_goes_to_the_one_that_gets_there():
    cells, fruit = at((0, 5), (2, 5)), fruit_of(lemons=LEMONS - {(0, 5), (2, 5)})
    after, left, rewards = checkers.step(cells, fruit, np.array([DOWN, UP]))
    assert places(after) == [(1, 5), (2, 5)] and rewards.tolist() == [5, 0]
    assert left[at((1, 5))] == 0 and (left > 0).sum() == (fruit > 0).sum() - 1


def test_checkers_ends_with_the_last_apple_and_not_with_the_last_lemon():
    assert checkers.ended(fruit_of(apples=set()))
    assert not checkers.ended(fruit_of(lemons=set()))
    one = fruit_of(apples={(1, 5)})
    assert not checkers.ended(one)
    assert checkers.ended(checkers.step(at((1, 6), (2, 6)), one, np.array([LEFT, STAY]))[1])


def test_switch_starts_and_aims_across():
    assert places(switch.start(4), 7) == [(0, 1), (0, 5), (2, 1), (2, 5)]
    assert places(switch.targets(4), 7) == [(0, 6), (0, 0), (2, 6), (2, 0)]
    assert switch.start(2).tolist() == switch.start(4)[:2].tolist()
    assert switch.targets(2).tolist() == switch.targets(4)[:2].tolist()


def test_an_agent_at_its_target_stays_there_in_the_way_and_is_paid_once():
    cells = switch_at((0, 5), (1, 0), (1, 6), (2, 5))  # agent 2 is below agent 0's target, and will push upwards
    after, rewards = switch.step(cells, np.array([RIGHT, STAY, STAY, STAY]))
    assert places(after, 7)[0] == (0, 6) and rewards.tolist() == [5.0, -0.1, -0.1, -0.1]
    assert switch.arrived(after).tolist() == [True, False, False, False] and not switch.ended(after)
    for action in OFFSETS:
        later, rewards = switch.step(after, np.array([action, STAY, UP, STAY]))
        assert np.array_equal(later, after) and rewards.tolist() == [0.0, -0.1, -0.1, -0.1]


def test_another_agents_target_pays_nothing_and_holds_nobody():
    cells = switch_at((0, 1), (1, 3))
    after, rewards = switch.step(cells, np.array([LEFT, STAY]))
    assert places(after, 7)[0] == (0, 0) and rewards.tolist() == [-0.1, -0.1]
    assert places(switch.step(after, np.array([DOWN, STAY]))[0], 7)[0] == (1, 0)


def test_switch_ends_when_all_have_arrived():
    almost = switch.targets(4)
    almost[3] = switch_at((2, 1))[0]
    assert not switch.ended(almost)
    after, rewards = switch.step(almost, np.array([STAY, STAY, STAY, LEFT]), step_cost=-1.0)
    assert switch.ended(after) and rewards.tolist() == [0, 0, 0, 5]


def test_many_environments_are_each_as_one():
    rng = np.random.default_rng(0)
    crowd, (cells, fruit) = np.stack([switch.start(4)] * 50), (np.stack([part] * 50) for part in checkers.start())
    for _ in range(40):
        actions, pair = rng.integers(5, size=(50, 4)), rng.integers(5, size=(50, 2))
        alone = [switch.step(crowd[b], actions[b], -0.5) for b in range(50)]
        crowd, rewards = switch.step(crowd, actions, -0.5)
        single = [checkers.step(cells[b], fruit[b], pair[b], -0.5) for b in range(50)]
        cells, fruit, paid = checkers.step(cells, fruit, pair, -0.5)
        for b in range(50):
            assert np.array_equal(alone[b][0], crowd[b]) and np.array_equal(alone[b][1], rewards[b])
            for one, all_of_them in zip(single[b], (cells, fruit, paid), strict=True):
                assert np.array_equal(one, all_of_them[b])
            assert len(set(crowd[b].tolist())) == 4 and not set(crowd[b].tolist()) & set(grid.walls(switch.MAP))
        for see in (checkers.see_window, checkers.see_state, checkers.see_position):
            assert np.array_equal(see(cells, fruit), [see(cells[b], fruit[b]) for b in range(50)])
        assert np.array_equal(switch.see_state(crowd), [switch.see_state(one) for one in crowd])
        assert np.array_equal(switch.ended(crowd), [switch.ended(one) for one in crowd])
        assert np.array_equal(checkers.ended(fruit), [checkers.ended(one) for one in fruit])


def window_by_hand(centre, agents, fruit) -> list[float]:
    seen = [centre[0] / 2, centre[1] / 7]
    for row in range(centre[0] - 1, centre[0] + 2):
        for column in range(centre[1] - 1, centre[1] + 2):
            inside = 0 <= row < 3 and 0 <= column < 8
            there = fruit[row * 8 + column] if inside else checkers.NOTHING
            seen += [there == checkers.APPLE, there == checkers.LEMON]
            seen += [(row, column) == agents[0], (row, column) == agents[1], not inside]
    return [float(entry) for entry in seen]


def test_window_of_every_cell():
    fruit = fruit_of(APPLES - {(1, 3)}, LEMONS - {(2, 3)})
    everywhere = [(row, column) for row in range(3) for column in range(8)]
    for first in everywhere:
        for second in everywhere:
            if first != second:
                seen = checkers.see_window(at(first, second), fruit)
                assert seen.shape == (2, 47)
                assert seen[0].tolist() == window_by_hand(first, (first, second), fruit)
                assert seen[1].tolist() == window_by_hand(second, (first, second), fruit)


def test_a_window_written_out():
    seen = checkers.see_window(at((1, 6), (2, 7)), fruit_of())[0]
    nothing, outside = [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]
    apple, lemon, me, other = [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]
    assert seen[:2].tolist() == [0.5, 6 / 7]
    assert seen[2:].reshape(9, 5).tolist() == [lemon, nothing, nothing, apple, me, nothing, lemon, nothing, other]
    corner = checkers.see_window(at((0, 7), (2, 7)), fruit_of())[0, 2:].reshape(9, 5).tolist()
    assert corner == [outside] * 3 + [nothing, me, outside, nothing, nothing, outside]


def test_positions_and_states():
    cells, fruit = checkers.start()
    assert checkers.see_position(cells, fruit).tolist() == [[0, 6 / 7], [1, 6 / 7]]
    after, left, _ = checkers.step(at((1, 6), (2, 6)), fruit, np.array([LEFT, LEFT]))
    expected = [0.5, 5 / 7, 1, 5 / 7, *(float((r, c) not in {(1, 5), (2, 5)}) for r in range(3) for c in range(6))]
    assert checkers.see_state(after, left).tolist() == [expected, expected]
    assert switch.see_position(switch.start(2)).tolist() == [[0, 1 / 6], [0, 5 / 6]]
    assert switch.see_state(switch.start(4)).tolist() == [[0, 1 / 6, 0, 5 / 6, 1, 1 / 6, 1, 5 / 6]] * 4


def test_pictures_have_a_colour_for_each_mark():
    red, blue = (255, 0, 0), (0, 0, 255)
    picture = grid_picture.draw((2, 3), [([4], grid_picture.FRAME, red), ([4], grid_picture.DISC, blue)])
    size = grid_picture.CELL
    assert picture.dtype == np.uint8 and picture.shape == (2 * size, 3 * size, 3)
    for cell in range(6):
        row, column = divmod(cell, 3)
        part = picture[row * size : (row + 1) * size, column * size : (column + 1) * size]
        middle, inner_edge = part[size // 2, size // 2], part[1, size // 2]
        assert tuple(middle) == (blue if cell == 4 else grid_picture.WHITE)
        assert tuple(inner_edge) == (red if cell == 4 else grid_picture.WHITE)
        assert (part[-1] == grid_picture.LINE).all() and (part[:, -1] == grid_picture.LINE).all()
    kinds = {grid_picture.WHITE, grid_picture.LINE, grid_picture.WALL, grid_picture.APPLE, grid_picture.LEMON}
    assert len(kinds | set(grid_picture.AGENTS)) == 9
