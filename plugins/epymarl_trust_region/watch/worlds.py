"""Sketches of worlds in which agents have positions in the plane: MPE, VMAS and SMAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .sketch import GREEN, GREY, INK, LINE, PAPER, RED, Disc, Line, Point, Polygon, Sketch, agent_colour, box, extent

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOVES = ("stay", "left", "right", "down", "up")
_SEEN_THROUGH = (190,)  # alpha of agents, for what lies beneath


def mpe(core: Any, actions: Any) -> Sketch:
    """Landmarks in their colours, agents in ours; where the environment gives agents colours of their own, as rings.

    `mpe2` itself zooms with each frame and does not say which agent is which.
    """
    world = core._env.unwrapped.world
    own = [_rgb(agent.color) for agent in world.agents]
    rings = own if len(set(own)) > 1 else [None] * len(own)
    shapes: list[Any] = [box(0, 0, 2, 2, PAPER)]
    for landmark in world.landmarks:
        x, y = landmark.state.p_pos.tolist()
        shapes.append(Disc(x, y, landmark.size, _rgb(landmark.color)))
    for i, (agent, ring) in enumerate(zip(world.agents, rings, strict=True)):
        x, y = agent.state.p_pos.tolist()
        shapes.append(Disc(x, y, agent.size, agent_colour(i) + _SEEN_THROUGH, str(i), ring))
    return Sketch(shapes)


def _rgb(colour: Any) -> tuple[int, ...]:
    return tuple(int(255 * part) for part in np.asarray(colour)[:3])


def mpe_action(core: Any, agent: int, action: Any) -> str:
    """A move, a letter that is said, or both."""
    one = core._env.unwrapped.world.agents[agent]
    if isinstance(action, np.ndarray):
        width = 5 * one.movable
        move = f"({action[2] - action[1]:+.1f}, {action[4] - action[3]:+.1f})" if one.movable else ""
        said = "" if one.silent or len(action) <= width else f"says {_LETTERS[int(action[width:].argmax())]}"
    else:
        move = _MOVES[action % 5] if one.movable else ""
        said = "" if one.silent else f"says {_LETTERS[action // 5 if one.movable else action]}"
    return " ".join(filter(None, (move, said)))


def vmas(core: Any, actions: Any) -> Sketch:
    """All of the world's entities that VMAS itself would draw, in their own shapes, and the world's walls.

    In view are the agents and the middle of the world, as in VMAS; a floor may be longer.
    """
    world = core._env.unwrapped.world
    half = world.x_semidim or 1, world.y_semidim or 1
    shapes: list[Any] = [box(0, 0, 2 * half[0], 2 * half[1], PAPER, LINE if world.x_semidim else None)]
    for entity in world.landmarks:
        if bool(entity.is_rendering[0]):
            shapes.append(_entity(entity, _vmas_colour(entity.color), ""))
    agents = [_entity(agent, agent_colour(i) + _SEEN_THROUGH, str(i)) for i, agent in enumerate(world.agents)]
    return Sketch(shapes + agents, extent([shapes[0], *agents]))


def _vmas_colour(colour: Any) -> tuple[int, ...]:
    numbers = np.asarray(colour, float)
    return tuple(int(255 * part) for part in numbers.reshape(-1, numbers.shape[-1])[0][:3])


def _entity(entity: Any, colour: tuple[int, ...], label: str) -> Any:
    (x, y), angle, shape = entity.state.pos[0].tolist(), float(entity.state.rot[0]), entity.shape
    kind = type(shape).__name__
    if kind == "Sphere":
        return Disc(x, y, shape.radius, colour, label, INK if not label else None)
    half = shape.length / 2, shape.width / 2 if kind == "Box" else 0.0
    corners: list[Point] = [(-half[0], -half[1]), (half[0], -half[1]), (half[0], half[1]), (-half[0], half[1])]
    turned = [
        (x + a * math.cos(angle) - b * math.sin(angle), y + a * math.sin(angle) + b * math.cos(angle))
        for a, b in corners
    ]
    return Polygon(turned, colour, INK) if kind == "Box" else Line(turned[:2], colour, 3)


def vmas_action(core: Any, agent: int, action: Any) -> str:
    """A move where there are the usual nine of them."""
    one = core._env.unwrapped.world.agents[agent]
    if isinstance(action, np.ndarray):
        return "(" + ", ".join(f"{value:+.1f}" for value in action) + ")"
    if list(one.discrete_action_nvec) != [3, 3] or not one.silent:
        return str(action)
    sideways, upwards = (("", "left", "right")[action // 3], ("", "down", "up")[action % 3])
    return " ".join(filter(None, (sideways, upwards))) or "stay"


_AROUND = 2.0  # of the map's units, beside SMAX's outermost units: a disc with its health


def smax(core: Any, actions: Any) -> Sketch:
    """Both sides' units with what is left of their health; allies with numbers, and lines to whom they aim at."""
    game, battle = core._batched._game.env, core._batched._battles[0].state
    places, types = np.asarray(battle.unit_positions[0], float), np.asarray(battle.unit_types[0])
    alive, left = np.asarray(battle.unit_alive[0]), np.asarray(battle.unit_health[0], float)
    most, radii = np.asarray(game.unit_type_health)[types], np.asarray(game.unit_type_radiuses)[types]
    shapes: list[Any] = [box(game.map_width / 2, game.map_height / 2, game.map_width, game.map_height, PAPER, LINE)]
    shapes += _shots(places, alive, actions, game.num_allies)
    for i, (x, y) in enumerate(places.tolist()):
        shapes += _unit(i, x, y, 1.5 * float(radii[i]), alive[i], float(left[i] / most[i]), game.num_allies)
    (left, bottom), (right, top) = places.min(0) - _AROUND, places.max(0) + _AROUND  # most of a map is empty for ever
    return Sketch(shapes, (float(left), float(bottom), float(right), float(top)))


def _shots(places: np.ndarray, alive: np.ndarray, actions: Any, n_allies: int) -> list[Any]:
    aimed = [] if actions is None else [(i, n_allies + int(a) - 5) for i, a in enumerate(actions) if int(a) >= 5]
    return [Line([tuple(places[i]), tuple(places[j])], agent_colour(i), 1.5) for i, j in aimed if alive[i]]


def _unit(i: int, x: float, y: float, radius: float, alive: bool, health: float, n_allies: int) -> list[Any]:
    if not alive:
        r = 0.5 * radius
        return [Line([(x - r, y - r), (x + r, y + r)], GREY), Line([(x - r, y + r), (x + r, y - r)], GREY)]
    ally, bar = i < n_allies, 2 * radius
    body = (
        Disc(x, y, radius, agent_colour(i), str(i))
        if ally
        else Disc(x, y, radius, (70, 70, 70), str(i - n_allies), RED)
    )
    middle, top = x - bar / 2 * (1 - health), y + radius + 0.35
    return [body, box(x, top, bar, 0.3, (225, 225, 225)), box(middle, top, bar * health, 0.3, GREEN if ally else RED)]


def smax_action(core: Any, agent: int, action: Any) -> str:
    """A move, or the number of the enemy that is attacked."""
    if not bool(core._batched._battles[0].state.unit_alive[0][agent]):
        return "dead"
    return ("up", "right", "down", "left", "stop")[action] if action < 5 else f"attack {action - 5}"
