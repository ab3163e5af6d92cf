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
    LARGEST,
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


class KnownForm(Checked):
    """One of this package's environments that promises the forms of what it gives: its numbers alone are checked.

    It says so by its attribute `known_form`: arrays of float32 in the shapes of `get_env_info`, a plain reward or a
    list of them, True or False for each end, and an info of numbers that may be averaged. To check these at each step
    takes as long as a step of a small robot.
    """

    def __init__(self, env: Any, name: str, index: int) -> None:
        super().__init__(env, name, index)
        self._step, self._obs, self._state = env.step, env.get_obs, env.get_state
        self.get_avail_actions = env.get_avail_actions  # type: ignore[method-assign]  # the environment's own

    def count(self, reward: float) -> None:
        """One step that was taken together with others', and the team's reward."""
        if not -LARGEST <= reward <= LARGEST:
            check_reward(reward, self._n, True, self._scene)
        self._scene.t += 1

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict]:
        result, scene = self._step(actions), self._scene
        reward = result[1]
        if type(reward) is not float or not -LARGEST <= reward <= LARGEST:
            check_reward(reward, self._n, type(reward) is not list, scene)
        scene.t += 1
        return result

    def get_obs(self) -> np.ndarray:
        obs = self._obs()
        return obs if is_finite(obs) else super()._numbers("obs")

    def get_state(self) -> np.ndarray:
        state = self._state()
        return state if is_finite(state) else super()._numbers("state")


def wrapped_by_known_form(env: Any) -> Any:
    """The environment inside; None where there is none, or where it makes no promise."""
    return env._wrapped if type(env) is KnownForm else None


def under_contract(make_env: Callable[[int], Any], index: int, name: str) -> Any:
    """Environment `index` of the rollout, checked at every step: by the contract inside it, or from outside.

    Args:
        make_env: makes it, behind the suite's environment interface.
        name: of the task, for messages.
    """
    with numbered(index):
        env = make_env(index)
    if contract_of(env):
        return env
    return (KnownForm if getattr(env, "known_form", False) else Checked)(env, name, index)
