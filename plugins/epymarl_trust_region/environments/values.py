"""Rewards, ends, availability and info as environments give them: what is fine goes through, the rest is named.

All of it is called at every step, so the common case is decided by a few comparisons. Shape letters: N agents, A
actions.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ConfigError
from .scene import Scene, short

#: The largest finite 32-bit float: what a batch can hold.
LARGEST = float(np.finfo(np.float32).max)
_PLAIN = frozenset({bool, int, float, np.float64, np.float32})
_NUMERIC = "fiub"  # NumPy's kinds of numbers that are not complex
# What the runners log themselves; a key `x` of info becomes `x_mean`.
_OF_THE_RUNNER = re.compile(r"(test_)?(n_episodes|ep_length|return|total_return|agent_\d+_return)")


def array_of_numbers(value: Any) -> np.ndarray | None:
    """The value as an array of real numbers or booleans; None where it is something else, or ragged."""
    try:
        array = np.asarray(value)
    except Exception:  # whatever the value's own conversion says
        return None
    return array if array.dtype.kind in _NUMERIC else None


def first_not_finite(array: np.ndarray) -> tuple[int, ...] | None:
    """The place of the first number that is NaN, infinite or too large for 32 bits; None if there is none."""
    if array.dtype.kind != "f":
        return None
    fits = np.isfinite(array) if array.dtype.itemsize <= 4 else np.abs(array) <= LARGEST
    return None if fits.all() else tuple(int(i) for i in np.argwhere(~fits)[0])


def told(number: Any) -> str:
    """A number that is not finite in 32 bits, in words."""
    return f"{number} (too large for 32 bits)" if np.isfinite(number) else f"{number}"


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers fit 32 bits. Cheap where the sum of their squares does, as it nearly always does."""
    row = array.reshape(-1)
    return bool(np.vdot(row, row) <= 3e38) or first_not_finite(array) is None


def check_reward(reward: Any, n_agents: int, common_reward: bool, scene: Scene) -> Any:
    """The reward of one step, as the suite's wrappers take it: a number, or one per agent.

    Args:
        reward: one number for the team, or a list or array [N] of the agents' own.
        common_reward: whether the run wants one for the team; a host adds up the agents' own.

    Returns:
        `reward`; a plain number in the place of an array without axes, and the list [reward] where a single agent
        is paid by a number and individual rewards are wanted.

    Raises:
        EnvironmentFaultError: it is neither.
        NonFiniteError: it is NaN, infinite or too large.
        ConfigError: individual rewards are wanted, and there is one for the team.
    """
    kind = type(reward)
    if (kind is list or kind is tuple) and len(reward) == n_agents:
        total = 0.0
        for one in reward:
            total = total + abs(one) if type(one) in _PLAIN else np.nan
        if total <= LARGEST:
            return reward
    elif kind in _PLAIN and common_reward and -LARGEST <= reward <= LARGEST:
        return reward
    return _reward(reward, n_agents, common_reward, scene)


def _reward(reward: Any, n_agents: int, common_reward: bool, scene: Scene) -> Any:
    """`check_reward` without its short cut."""
    array = array_of_numbers(reward)
    if array is None or array.shape not in ((), (n_agents,)):
        shape = "" if array is None else f" of shape {array.shape}"
        wanted = ["a number"] * (common_reward or n_agents == 1) + [f"a list of {n_agents} numbers"] * (n_agents > 1)
        raise scene.fault(f"gave the reward {short(reward)}{shape}", f"return {', or '.join(wanted)}")
    if (place := first_not_finite(array)) is not None:
        raise scene.not_finite(f"gave the reward {told(array[place])}", more=f" (agent {place[0]})" if place else "")
    if common_reward and np.abs(array, dtype=np.float64).sum() > LARGEST:
        raise scene.not_finite(f"gave the rewards {short(reward)}, together too large for 32 bits,")
    if array.ndim:
        return reward if isinstance(reward, list | tuple) else array
    if common_reward:
        return array[()] if hasattr(reward, "shape") else reward
    if n_agents == 1:
        return [array[()]]
    raise ConfigError(f"{scene} gives one reward for the team; set common_reward=True")


def check_end(value: Any, field: str, n_agents: int, scene: Scene) -> Any:
    """`terminated` or `truncated`: True or False (or 1 or 0), for all or one per agent.

    Returns:
        `value`; True or False in the place of an array without axes.

    Raises:
        EnvironmentFaultError: it is something else.
    """
    if value is False or value is True or type(value) is np.bool_:
        return value
    array = array_of_numbers(_flags(value))
    fits = array is not None and array.shape in ((), (n_agents,)) and ((array == 0) | (array == 1)).all()
    if not fits:
        raise scene.fault(f"gave {field}={short(value)}", f"return True or False, or a list of {n_agents} of them")
    return value if array is not None and array.ndim else bool(array)


def is_over(terminated: Any, truncated: Any) -> bool:
    """Whether every agent's episode has ended in one way or the other."""
    if terminated is False and truncated is False:  # as in most steps; NumPy would take its time to say so
        return False
    return bool(np.logical_or(_flags(terminated), _flags(truncated)).all())


def _flags(value: Any) -> Any:
    """Flags by agent in a row."""
    return list(value.values()) if isinstance(value, Mapping) else value


class Availability:
    """Which actions there are, as an environment's own `get_avail_actions()` says."""

    def __init__(self, exists: np.ndarray) -> None:
        """
        Args:
            exists: [N, A] bool, which of the A actions each agent has at all.
        """
        self._exists = exists
        self._approved: bytes | None = None  # most environments say the same again and again

    def check(self, rows: Any, over: bool, scene: Scene) -> None:
        """
        Args:
            rows: N lists of A zeros and ones.
            over: the episode has ended, so nobody needs an action any more.

        Raises:
            EnvironmentFaultError: they are something else, or an agent of an episode that goes on has no action.
        """
        array = array_of_numbers(rows)
        if array is None or array.shape != self._exists.shape:
            raise self._fault(f"gave {_shape(rows)}", scene)
        content = array.tobytes()
        if content == self._approved:
            return
        self._check_entries(array, scene)
        has_one = array.any(axis=1)
        if has_one.all():
            self._approved = content
        elif not over:
            raise scene.fault(
                f"left agent {np.argmin(has_one)} without an available action",
                "let get_avail_actions() give each agent at least one while the episode goes on (a dead one a no-op)",
            )

    def _check_entries(self, array: np.ndarray, scene: Scene) -> None:
        odd = (array != 0) & (array != 1)
        if odd.any():
            agent, action = np.argwhere(odd)[0]
            raise self._fault(f"gave {array[agent, action].item()} for action {action} of agent {agent}", scene)
        invented = (array != 0) & ~self._exists
        if invented.any():
            agent, action = np.argwhere(invented)[0]
            raise self._fault(
                f"gave action {action} to agent {agent}, which has {self._exists[agent].sum()} actions", scene
            )

    def _fault(self, what: str, scene: Scene) -> Exception:
        n_agents, n_actions = self._exists.shape
        return scene.fault(
            f"{what} in get_avail_actions()",
            f"return {n_agents} lists of {n_actions} zeros and ones, one list per agent, with 0 where an agent has "
            "fewer actions",
        )


def _shape(rows: Any) -> str:
    """Rows of a wrong shape, in words."""
    array = array_of_numbers(rows)
    if array is not None and array.ndim:
        return f"masks of shape {array.shape}"
    if isinstance(rows, list | tuple) and all(hasattr(row, "__len__") for row in rows):
        return f"masks of the lengths {', '.join(str(len(row)) for row in rows)}"
    return f"the masks {short(rows)}"


def check_info(info: Any, scene: Scene) -> dict[str, Any]:
    """What of a step's `info` can be averaged over episodes: its numbers, booleans among them.

    Text, None, lists, arrays and dictionaries are left out, and so is what the runner counts itself, with a warning.
    NaN stays: a mean without the episodes that have it would be another number, and nobody would know.

    Raises:
        EnvironmentFaultError: `info` is no dictionary.
    """
    if type(info) is dict and not info:
        return info
    if not isinstance(info, Mapping):
        raise scene.fault(f"gave the info {short(info)}", "return a dictionary, {} if there is nothing to say")
    return {key: number for key, value in info.items() if (number := _number(key, value, scene)) is not None}


def _number(key: Any, value: Any, scene: Scene) -> Any:
    """The value if it is a number that may be averaged, else None."""
    if type(value) not in _PLAIN:
        if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
            array = array_of_numbers(value)
            value = array[()] if array is not None and array.ndim == 0 else None
        elif not isinstance(value, numbers.Real):
            return None
    if value is None or not isinstance(key, str):
        return None
    if _OF_THE_RUNNER.fullmatch(key):
        scene.warn_once(key, f"gives `{key}` in info, which the runner counts itself: the environment's is ignored")
        return None
    return value
