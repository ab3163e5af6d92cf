"""What each agent of a multi-agent MuJoCo task sees by the package's rules, read off the simulator's arrays at once.

Shapes: N agents, O the longest observation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

_FIELDS = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")  # all that the package reads by index
_FAR = 1e9  # beyond every bound to which it clips


def local_sight(package: Any) -> Callable[[], np.ndarray]:
    """What gives the agents' present observations, [N, O] float32, shorter ones ending in zeros.

    Args:
        package: the package's environment; its rules are tried once, on made numbers, and then known by heart.
    """
    return _by_heart(package) or (lambda: _padded(_ask(package, package.single_agent_env.data)).astype(np.float32))


def _ask(package: Any, data: Any) -> list[np.ndarray]:
    """The package's own observations of `data`, one per agent; slow."""
    build = importlib.import_module("gymnasium_robotics.envs.multiagent_mujoco.obsk").build_obs
    rules = package.local_categories, package.mujoco_globals, package.global_categories
    return [build(data, joints, *rules) for joints in package.k_dicts]


def _by_heart(package: Any) -> Callable[[], np.ndarray] | None:
    """Each observed number as a place in the simulator's arrays and bounds; None if that is not all there is to it."""
    data = package.single_agent_env.data
    fields = [getattr(data, name) for name in _FIELDS]
    size = 1 + sum(field.size for field in fields)  # the first is a zero, for padding
    marks = np.sort(np.random.default_rng(0).uniform(0.01, 0.99, size))  # each number different, and inside all bounds
    marks[0] = 0.0
    try:
        seen, highest, lowest = (
            _padded(_ask(package, _made(fields, values)))
            for values in (marks, np.full(size, _FAR), np.full(size, -_FAR))
        )
    except AttributeError:  # it asks for more than these arrays, such as where a body is
        return None
    places = np.searchsorted(marks, seen).clip(max=size - 1)
    if not np.array_equal(marks[places], seen):  # it computes something, such as a sine
        return None
    bounds = np.stack([lowest, highest]).astype(np.float32)
    bounds[np.abs(bounds) == np.float32(_FAR)] *= np.inf
    clipped = np.isfinite(bounds[:, places > 0]).any()
    parts, places = _used(fields, places)
    values = np.empty(sum(map(len, parts)), np.float32)

    def look() -> np.ndarray:
        np.concatenate(parts, out=values, casting="same_kind")
        seen = values.take(places)
        return np.minimum(np.maximum(seen, bounds[0]), bounds[1]) if clipped else seen

    return look


def _used(fields: Sequence[np.ndarray], places: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """A zero and those of the fields that are looked at, views into which the simulator writes; the places in them."""
    parts, moved, start, length = [np.zeros(1)], np.zeros_like(places), 1, 1
    for field in fields:
        here = (places >= start) & (places < start + field.size)
        if here.any():
            moved[here] = places[here] - start + length
            parts.append(field.reshape(-1))
            length += field.size
        start += field.size
    return parts, moved


def _made(fields: Sequence[np.ndarray], values: np.ndarray) -> SimpleNamespace:
    """Made numbers in the shapes of the simulator's arrays."""
    ends = np.cumsum([1, *(field.size for field in fields)])
    made = [part.reshape(field.shape) for part, field in zip(np.split(values, ends)[1:], fields, strict=False)]
    return SimpleNamespace(**dict(zip(_FIELDS, made, strict=True)))


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    table = np.zeros((len(rows), max(map(len, rows))))
    for padded_row, row in zip(table, rows, strict=True):
        padded_row[: len(row)] = row
    return table
