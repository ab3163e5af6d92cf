"""Which spaces an environment may have, and whether what its agents see is in them.

Shape letters: N agents, O the longest flat observation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple, flatdim

from ..errors import ConfigError
from .actions import why_not
from .scene import Scene, short
from .values import array_of_numbers, first_not_finite, told


def check_spaces(env: gym.Env, key: str) -> None:
    """Refuse an environment whose spaces no algorithm here can use, in the same words on every host.

    Args:
        env: as `gymnasium.make` gives it.
        key: its id, for messages.

    Raises:
        ConfigError: it is no multi-agent environment with one space per agent; agents' actions are neither all Discrete
            nor all of bounded Boxes of floats; observations cannot be flattened; or its `n_agents` or `state_size`
            contradict its spaces.
    """
    actions, observations = env.action_space, env.observation_space
    for kind, spaces in (("action", actions), ("observation", observations)):
        if not isinstance(spaces, Tuple):
            raise ConfigError(
                f"env_args.key={key} has the {kind} space {short(spaces)}; needed is a Tuple of one observation space "
                "and one Discrete action space (or bounded Box) per agent"
            )
    assert isinstance(actions, Tuple) and isinstance(observations, Tuple)
    if found := why_not(actions):
        raise ConfigError(f"env_args.key={key}: {found}")
    _check_count(key, env, len(actions), len(observations))
    _check_sizes(key, env, [_flat_size(key, agent, space) for agent, space in enumerate(observations)])


def _check_count(key: str, env: gym.Env, n_actions: int, n_observations: int) -> None:
    n_agents = getattr(env.unwrapped, "n_agents", None)
    if n_agents is None:
        raise ConfigError(f"env_args.key={key} has no `n_agents`; set it on the environment to {n_actions}")
    if not n_agents == n_actions == n_observations:
        raise ConfigError(
            f"env_args.key={key} has n_agents={n_agents}, {n_actions} action spaces and {n_observations} observation "
            "spaces; give each agent one of each"
        )


def _flat_size(key: str, agent: int, space: Space) -> int:
    try:
        return flatdim(space)
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"env_args.key={key}: the observation space of agent {agent} is {short(space)}, which cannot be flattened "
            f"({error}); use Box, Discrete, MultiBinary, MultiDiscrete, or a Dict or Tuple of them"
        ) from None


def _check_sizes(key: str, env: gym.Env, sizes: list[int]) -> None:
    """The state is all observations in a row, each padded to O, where there is no `compact_state()`."""
    state_size = getattr(env.unwrapped, "state_size", None)
    if hasattr(env.unwrapped, "compact_state"):
        return
    real = len(sizes) * max(sizes)
    if state_size is not None and state_size != real:
        raise ConfigError(
            f"env_args.key={key} has state_size={state_size}, and the state that is learnt from is all observations in "
            f"a row, {len(sizes)} * {max(sizes)} = {real}; set state_size to that, or leave it out"
        )


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Observations:
    """The agents' observations, one of each space."""

    def __init__(self, spaces: Tuple) -> None:
        self._spaces = tuple(spaces)
        self._vectors = [_vector(space) for space in self._spaces]
        self._one_length = len(set(self._vectors)) == 1

    def check(self, observations: Any, scene: Scene) -> np.ndarray | None:
        """
        Args:
            observations: N of them, as an environment gives them.

        Returns:
            All of them in a row, [N*O] float32, where they are 32-bit vectors of one length; else None.

        Raises:
            EnvironmentFaultError: their number is not N, or one is not of its space's kind and shape.
            NonFiniteError: one holds NaN, an infinity, or a number that is too large for 32 bits.
        """
        n_agents = len(self._spaces)
        count = _length(observations)
        if count is None:
            raise scene.fault(
                f"gave the observations {short(observations)}", f"return a tuple of {n_agents}, one per agent"
            )
        if count != n_agents:
            raise scene.fault(
                f"gave {count} observation{'s' * (count != 1)} for {n_agents} agents",
                "return one per agent, in the order of its spaces",
            )
        if (row := self._plain(observations)) is None:
            for agent, one in enumerate(observations):
                _check_one(self._spaces[agent], one, agent, scene)
            return None
        return row if self._one_length and row.dtype == np.float32 else None

    def _plain(self, observations: Any) -> np.ndarray | None:
        """The short cut: all are float vectors of the right lengths, and their squares together have a finite sum."""
        for one, vector in zip(observations, self._vectors, strict=True):
            if type(one) is not np.ndarray or one.shape != vector or one.dtype not in _FLOATS:
                return None
        row = np.concatenate(observations)
        return row if np.vdot(row, row) <= 3e38 else None


def _length(observations: Any) -> int | None:
    """How many there are; None if they are not in a row."""
    if type(observations) is tuple:
        return len(observations)
    try:
        return None if isinstance(observations, str | Mapping) else len(observations)
    except TypeError:
        return None


def _vector(space: Space) -> tuple[int, ...] | None:
    """The shape of a space of float vectors, None for another space."""
    is_vector = isinstance(space, Box) and len(space.shape) == 1 and space.dtype.kind == "f"
    return space.shape if is_vector else None


def _check_one(space: Space, one: Any, agent: int, scene: Scene) -> None:
    for part, value, where in _parts(space, one):
        complaint = _complaint(part, value)
        if not complaint and isinstance(part, Box):
            array = np.asarray(value)
            if (place := first_not_finite(array)) is not None:
                at = f" at place {', '.join(map(str, place))}" if place else ""
                raise scene.not_finite(f"gave agent {agent} an observation with {told(array[place])}{at}{where}")
            if not _can_hold(part.dtype, array):
                complaint = f"its type {part.dtype} cannot hold"
        if complaint:
            raise scene.fault(
                f"gave agent {agent} the observation {short(value)}{where}, which {complaint},",
                f"return what its space says, {short(part)}",
            )


def _parts(space: Space, one: Any, name: str = "") -> Iterator[tuple[Space, Any, str]]:
    """The parts of an observation with their spaces: itself, unless it is a Dict or Tuple of several."""
    if isinstance(space, Dict) and isinstance(one, Mapping) and set(space) <= set(one):
        for key, part in space.items():
            yield from _parts(part, one[key], f"{name}[{key!r}]")
    elif isinstance(space, Tuple) and isinstance(one, list | tuple) and len(one) == len(space):
        for i, part in enumerate(space):
            yield from _parts(part, one[i], f"{name}[{i}]")
    else:
        yield space, one, f" in {name}" if name else ""


def _complaint(space: Space, one: Any) -> str | None:
    """What is wrong with the kind or shape of one observation; None if nothing is."""
    array = array_of_numbers(one)
    if isinstance(space, Discrete) and array is not None and array.ndim == 0 and array.dtype.kind != "f":
        one = int(array)
    if not isinstance(space, Box | MultiBinary | MultiDiscrete):
        return None if space.contains(one) else "is not in it"
    if array is None:
        return "is no array of numbers"
    if array.shape != space.shape:
        return f"has the shape {array.shape} instead of {space.shape}"
    if isinstance(space, Box) or _can_hold(space.dtype, array) and space.contains(array.astype(space.dtype)):
        return None
    return "is not in it"


def _can_hold(dtype: np.dtype, array: np.ndarray) -> bool:
    """Whether whole numbers stay what they are; those with a fraction may be rounded."""
    if dtype.kind == "f" or array.dtype == dtype:
        return True
    with np.errstate(invalid="ignore"):
        return np.array_equal(array.astype(dtype), array)
