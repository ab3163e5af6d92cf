"""Sketches of boards and tables: level-based foraging, the robotic warehouse, matrix and potential games."""

from __future__ import annotations

from typing import Any

import numpy as np

from .sketch import (
    GREEN,
    GREY,
    INK,
    LINE,
    PAPER,
    RED,
    WHITE,
    YELLOW,
    Disc,
    Line,
    Sketch,
    Text,
    View,
    agent_colour,
    box,
)  # fmt: skip


def _board(rows: int, columns: int) -> tuple[list[Any], View]:
    """White cells, cell (row, column) around (column, -row)."""
    cells = [box(column, -row, 1, 1, WHITE, LINE) for row in range(rows) for column in range(columns)]
    return cells, (-0.55, 0.45 - rows, columns - 0.45, 0.55)


def lbf(core: Any, actions: Any) -> Sketch:
    """Food as green squares with its level; players with their number, and their level below it."""
    shapes, view = _board(*core.field.shape)
    for row, column in zip(*np.nonzero(core.field), strict=True):
        shapes += [box(column, -row, 0.7, 0.7, GREEN), Text(column, -row, str(core.field[row, column]), 0.5, WHITE)]
    for i, player in enumerate(core.players):
        row, column = player.position
        shapes.append(Disc(column, -row, 0.42, agent_colour(i), str(i)))
        shapes += [box(column + 0.33, -row - 0.33, 0.3, 0.3, WHITE, agent_colour(i))]
        shapes.append(Text(column + 0.33, -row - 0.33, str(player.level), 0.26))
    return Sketch(shapes, view)


def rware(core: Any, actions: Any) -> Sketch:
    """Shelves, requested ones green; goals grey; robots with a line where they look, ringed while they carry."""
    rows, columns = core.grid_size
    shapes, view = _board(rows, columns)
    shapes += [box(x, -y, 0.94, 0.94, (190, 190, 190)) for x, y in core.goals]
    for shelf in core.shelfs:
        shapes.append(box(shelf.x, -shelf.y, 0.7, 0.7, GREEN if shelf in core.request_queue else (200, 190, 220)))
    for i, robot in enumerate(core.agents):
        dx, dy = {"UP": (0, 1), "DOWN": (0, -1), "LEFT": (-1, 0), "RIGHT": (1, 0)}[robot.dir.name]
        ring = INK if robot.carrying_shelf else None
        shapes.append(Line([(robot.x, -robot.y), (robot.x + 0.55 * dx, 0.55 * dy - robot.y)], agent_colour(i), 4))
        shapes.append(Disc(robot.x, -robot.y, 0.36, agent_colour(i), str(i), ring))
    return Sketch(shapes, view)


def matrix_game(core: Any, actions: Any) -> Sketch:
    """Two agents: the table of payoffs, the best in green, the chosen one yellow. More: who has chosen what."""
    payoff = core.payoff
    if payoff.ndim != 2:
        return _choices(payoff.shape, actions)
    texts = np.array([[f"{value:g}" for value in row] for row in payoff])
    return _payoffs(texts, payoff == payoff.max(), actions, 0.3)


def table_game(core: Any, actions: Any) -> Sketch:
    """The payoffs of both agents where the game stands, and what was chosen last, yellow."""
    both = core.game.reward[:, int(core._state)]
    texts = np.array([[f"{a:g}, {b:g}" for a, b in zip(*rows, strict=True)] for rows in zip(*both, strict=True)])
    return _payoffs(texts, np.zeros(texts.shape, bool), actions, 0.22)


def _payoffs(texts: np.ndarray, best: np.ndarray, actions: Any, size: float) -> Sketch:
    rows, columns = texts.shape
    shapes: list[Any] = [box((columns - 1) / 2, -(rows - 1) / 2, columns + 2, rows + 2, WHITE)]
    for (i, j), text in np.ndenumerate(texts):
        chosen = actions is not None and (i, j) == tuple(map(int, actions))
        shapes.append(box(j, -i, 1, 1, YELLOW if chosen else WHITE, LINE))
        shapes.append(Text(j, -i, str(text), size, GREEN if best[i, j] else INK))
    shapes += [Text(-0.75, -i, str(i), 0.25, agent_colour(0)) for i in range(rows)]
    shapes += [Text(j, 0.75, str(j), 0.25, agent_colour(1)) for j in range(columns)]
    return Sketch(shapes, (-1.1, -rows + 0.4, columns - 0.4, 1.1))


def _choices(sizes: Any, actions: Any) -> Sketch:
    shapes, (left, bottom, right, top) = _board(max(sizes), len(sizes))
    shapes += [Text(-0.85, -action, str(action), 0.4, GREY) for action in range(max(sizes))]
    for i, action in enumerate(() if actions is None else actions):
        shapes.append(Disc(i, -int(action), 0.36, agent_colour(i), str(i)))
    return Sketch(shapes, (left - 0.8, bottom, right, top))


_VERTICES = ((0, 0), (2, 1), (2, -1), (4, 1), (4, -1), (6, 0))


def congestion(core: Any, actions: Any) -> Sketch:
    """The graph from s to t, and the agents around the vertices that they are at."""
    shapes: list[Any] = []
    for start, ends in enumerate(((1, 2), (3, 4), (3, 4), (5,), (5,))):
        shapes += [Line([_VERTICES[start], _VERTICES[end]], LINE, 2) for end in ends]
    for (x, y), name in zip(_VERTICES, ("s", "", "", "", "", "t"), strict=True):
        shapes += [Disc(x, y, 0.7, PAPER, outline=GREY), Text(x, y + 0.85, name, 0.35)]
    at = np.asarray(core._vertices).tolist()
    for i, vertex in enumerate(at):
        right, up = _ring(at[:i].count(vertex), at.count(vertex), 0.4)
        shapes.append(Disc(_VERTICES[vertex][0] + right, _VERTICES[vertex][1] + up, 0.22, agent_colour(i), str(i)))
    return Sketch(shapes, (-1, -2, 7, 2))


def _ring(place: int, of: int, radius: float) -> tuple[float, float]:
    if of == 1:
        return 0, 0
    angle = 2 * np.pi * place / of
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


def distancing(core: Any, actions: Any) -> Sketch:
    """The agents above the facilities that they have chosen; the ground is red in the spread state."""
    chosen = [] if actions is None else [int(action) for action in actions]
    state, n = int(core._state), core.n_agents
    ground = (255, 225, 225) if state else (228, 244, 228)
    shapes: list[Any] = [box(k, (n - 1) / 2, 0.96, n, ground) for k in range(4)]
    shapes += [Text(k, -0.9, f"x{w}", 0.35) for k, w in enumerate((1, 2, 4, 6))]
    shapes += [Disc(k, chosen[:i].count(k), 0.4, agent_colour(i), str(i)) for i, k in enumerate(chosen)]
    shapes.append(Text(1.5, n + 0.1, ("safe", "spread")[state], 0.5, RED if state else GREEN))
    return Sketch(shapes, (-2, -1.4, 5, n + 0.6))
