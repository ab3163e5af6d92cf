"""Environments behind the suite's interface that no `Contract` guards from inside: SMAC, SMAClite, SMAX.

Shape letters: N agents, A actions, O observation, S state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .contract import contract_of, five
from .scene import Scene, numbered, short
from .values import (
    Availability,
    array_of_numbers,
    check_end,
    check_info,
    check_reward,
    first_not_finite,
    is_finite,
    is_over,
    told,
)


class Checked:
    """One environment, with what it gives checked where it is read; all else is the environment's own.

    Raises:
        EnvironmentFaultError: from any method, what it gives is of a wrong number, shape or kind.
        NonFiniteError: an observation, a state or a reward is NaN, infinite or too large for 32 bits.
    """

    def __init__(self, env: Any, name: str, index: int) -> None:
        self._wrapped, self._scene, self._over = env, Scene(name, index), False

    def expect(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Say what is wanted: the shapes of the batch's fields state, obs, avail_actions and reward."""
        self._shapes = shapes
        self._n = shapes["avail_actions"][0]
        self._availability = Availability(np.ones(shapes["avail_actions"], bool))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def reset(self, *arguments: Any, **keywords: Any) -> Any:
        """Start an episode; what that gives differs among the suite's wrappers, and nobody reads it."""
        result = self._wrapped.reset(*arguments, **keywords)
        self._scene.t, self._over = 0, False
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict]:
        scene = self._scene
        seen, reward, terminated, truncated, info = five(self._wrapped.step(actions), scene)
        n_rewards = self._shapes["reward"][0]  # one for the team; none of these environments pays agents one by one
        reward = check_reward(reward, n_rewards, n_rewards == 1, scene)
        terminated = check_end(terminated, "terminated", self._n, scene)
        truncated = check_end(truncated, "truncated", self._n, scene)
        info = check_info(info, scene)
        self._over = is_over(terminated, truncated)
        scene.t += 1
        return seen, reward, terminated, truncated, info

    def get_obs(self) -> np.ndarray:
        """The observations of all agents, [N, O]."""
        return self._numbers("obs")

    def get_state(self) -> np.ndarray:
        """The state, [S]."""
        return self._numbers("state")

    def get_avail_actions(self) -> Any:
        """N lists of A zeros and ones."""
        rows = self._wrapped.get_avail_actions()
        self._availability.check(rows, self._over, self._scene)
        return rows

    def _numbers(self, field: str) -> np.ndarray:
        value, shape = getattr(self._wrapped, f"get_{field}")(), self._shapes[field]
        array = array_of_numbers(value)
        if array is None or array.shape != shape:
            got = short(value) if array is None else f"an array of shape {array.shape}"
            raise self._scene.fault(f"gave {got} from get_{field}()", f"return numbers of shape {shape}")
        if not is_finite(array):
            place = first_not_finite(array)
            assert place is not None
            what = f"agent {place[0]} an observation" if field == "obs" else "a state"
            raise self._scene.not_finite(f"gave {what} with {told(array[place])} at place {place[-1]}")
        return array


def under_contract(make_env: Callable[[int], Any], index: int, name: str) -> Any:
    """Environment `index` of the rollout, checked at every step: by the contract inside it, or from outside.

    Args:
        make_env: makes it, behind the suite's environment interface.
        name: of the task, for messages.
    """
    with numbered(index):
        env = make_env(index)
    return env if contract_of(env) else Checked(env, name, index)
