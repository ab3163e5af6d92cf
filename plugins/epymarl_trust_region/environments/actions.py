"""From what policies choose to what environments take: one Discrete space per agent, or one bounded Box of floats.

Shape letters: N agents, A the most actions of an agent, or the most dimensions of one's action.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from ..errors import CapabilityError
from .scene import short


def why_not(spaces: Iterable[Space]) -> str | None:
    """The first agent whose action space no policy can choose from, in words; None if there is none."""
    spaces = list(spaces)
    for agent, space in enumerate(spaces):
        if why := _why_not(space, spaces[0]):
            return f"the action space of agent {agent} is {short(space)}{why}"
    return None


def _why_not(space: Space, first: Space) -> str | None:
    if isinstance(space, Box) and (not space.shape or 0 in space.shape):
        return f", whose shape {space.shape} has no place for a number; give it one or more, such as (1,)"
    if isinstance(space, Box) and space.dtype in (np.float32, np.float64):
        open_ends = ~(np.isfinite(space.low) & np.isfinite(space.high))
        if open_ends.any():
            place = ", ".join(map(str, np.argwhere(open_ends)[0]))
            return f", without a bound at place {place}; give it finite ones, to which actions are clipped"
    elif not isinstance(space, Discrete):
        return (
            "; supported are one Discrete space per agent, say by numbering its choices, or one Box of float32 or "
            "float64 per agent with finite bounds"
        )
    if isinstance(space, Box) != isinstance(first, Box):
        return f", and that of agent 0 {short(first)}; give all agents Discrete spaces, or all of them Boxes"
    return None


def is_continuous(spaces: Sequence[Space]) -> bool:
    """Whether actions are real-valued, of spaces that `why_not` lets pass."""
    return isinstance(spaces[0], Box)


class DiscreteActions:
    """Indices from 0 to those that count from each space's start."""

    continuous = False

    def __init__(self, spaces: Sequence[Discrete]) -> None:
        self.sizes = [int(space.n) for space in spaces]
        starts = [int(space.start) for space in spaces]
        self._starts = starts if any(starts) else None

    def __call__(self, actions: Any) -> Any:
        """N indices."""
        if self._starts is None:
            return actions
        return [one + start for one, start in zip(actions, self._starts, strict=True)]


class BoxActions:
    """Draws, padded to A, to each Box's shape and type, clipped to its bounds."""

    continuous = True

    def __init__(self, spaces: Sequence[Box]) -> None:
        self.sizes = [int(np.prod(space.shape)) for space in spaces]
        self._spaces, self._shape = tuple(spaces), (len(self.sizes), max(self.sizes))
        dtype = np.result_type(*(space.dtype for space in spaces), np.float32)
        #: Bounds [N, A], 0 in padding, in the widest of the spaces' types.
        self.low, self.high = (np.zeros(self._shape, dtype) for _ in range(2))
        for space, size, low, high in zip(spaces, self.sizes, self.low, self.high, strict=True):
            low[:size], high[:size] = space.low.ravel(), space.high.ravel()

    def __call__(self, actions: Any) -> list[np.ndarray]:
        """[N, A] floats, of which padding is not read.

        Raises:
            CapabilityError: another shape: from a policy that chooses among discrete actions.
        """
        actions = floats(actions, self._shape)
        return [
            np.clip(row[:size].astype(space.dtype).reshape(space.shape), space.low, space.high)
            for row, size, space in zip(actions, self.sizes, self._spaces, strict=True)
        ]


def floats(actions: Any, shape: tuple[int, int]) -> np.ndarray:
    """Actions as an array [N, A].

    Raises:
        CapabilityError: another shape: from a policy that chooses among discrete actions.
    """
    actions = np.asarray(actions)
    if actions.shape != shape:
        raise CapabilityError(
            f"the environment takes actions of shape {shape}, a float for each dimension of each agent, and got shape "
            f"{actions.shape}; choose an algorithm with Gaussian policies, such as --config=happo"
        )
    return actions


def actions_of(spaces: Iterable[Space]) -> DiscreteActions | BoxActions:
    """Of spaces that `why_not` lets pass."""
    given: Any = tuple(spaces)
    return BoxActions(given) if is_continuous(given) else DiscreteActions(given)
