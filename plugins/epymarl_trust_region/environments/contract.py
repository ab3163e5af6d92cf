"""A Gymnasium environment under contract: all that it gives is checked before a host's wrapper uses it.

Both hosts' wrappers for Gymnasium turn observations, rewards and ends into other forms in ways that hide what is wrong
with them: short observations are padded, lists of rewards are added up whatever their length. So this one is inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from ..errors import TrustRegionError
from .actions import actions_of
from .scene import Scene
from .spaces import Observations
from .values import Availability, check_end, check_info, check_reward, is_over


class Contract(gym.Wrapper):
    """Lets through what an environment may give, and raises one clear line for everything else.

    Actions count from 0 outside, and from each `Discrete` space's `start` inside; real-valued ones are clipped to each
    `Box`, and have its shape and type. Of a step's info the numbers come through, for they alone are averaged.

    Args:
        env: with a Tuple of one action space and one observation space per agent (`check_spaces`).
        name: of the task, for messages.
        common_reward: whether the run wants one reward for the team.

    Raises:
        EnvironmentFaultError: from `reset`, `step` and `available`, what it gives is of a wrong number, shape or kind,
            or its code raises an error.
        NonFiniteError: an observation or a reward is NaN, infinite or too large for 32 bits.
        ConfigError: individual rewards are wanted, and it gives one for the team.
    """

    def __init__(self, env: gym.Env, name: str, common_reward: bool) -> None:
        super().__init__(env)
        spaces: Any = env.observation_space, env.action_space  # `check_spaces` has seen them
        self.scene = Scene(name)
        self._common_reward = common_reward
        self._n = len(spaces[0])
        self._observations = Observations(spaces[0])
        #: How actions reach the environment.
        self.actions = actions_of(spaces[1])
        self._over = False
        #: The observations in a row, [N*O] float32, where they are vectors of one length; else None.
        self.row: np.ndarray | None = None
        #: The environment's own `get_avail_actions`, checked; None if it has none.
        self.available = self._available if hasattr(env.unwrapped, "get_avail_actions") else None
        counts = np.array(self.actions.sizes)
        self._availability = Availability(np.arange(counts.max()) < counts[:, None])
        _guard_core(self)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        try:
            result = self.env.reset(seed=seed, options=options)
        except TrustRegionError:
            raise
        except Exception as error:  # its author's code
            raise self.scene.broken("reset", error) from error
        self.scene.t, self._over = 0, False
        # The second may be None, for nobody reads it; but a pair of observations is no (observations, info).
        if not isinstance(result, tuple | list) or len(result) != 2 or not isinstance(result[1], Mapping | None):
            raise self.scene.fault("gave no pair (observations, info) from reset()", "return both, info a dictionary")
        self.row = self._observations.check(result[0], self.scene)
        return result

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict]:
        """Take one action per agent (see `actions_of`); gives what it gives, and the numbers of its info."""
        scene = self.scene
        try:
            result = self.env.step(self.actions(action))
        except TrustRegionError:
            raise
        except Exception as error:  # its author's code
            raise scene.broken("step", error) from error
        observations, reward, terminated, truncated, info = five(result, scene)
        reward = check_reward(reward, self._n, self._common_reward, scene)
        if not (terminated is False and truncated is False):  # as in most steps
            terminated = check_end(terminated, "terminated", self._n, scene)
            truncated = check_end(truncated, "truncated", self._n, scene)
            self._over = is_over(terminated, truncated)
        info = check_info(info, scene)
        scene.t += 1
        self.row = self._observations.check(observations, scene)
        return observations, reward, terminated, truncated, info

    def _available(self) -> Any:
        core: Any = self.env.unwrapped
        try:
            rows = core.get_avail_actions()
        except Exception as error:  # its author's code
            raise self.scene.broken("get_avail_actions", error) from error
        self._availability.check(rows, self._over, self.scene)
        return rows


def five(result: Any, scene: Scene) -> Any:
    """What a step gives, if it is five things.

    Raises:
        EnvironmentFaultError: it is something else.
    """
    if (type(result) is tuple or isinstance(result, tuple | list)) and len(result) == 5:
        return result
    size = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
    raise scene.fault(f"gave {size} from step()", "return (observations, reward, terminated, truncated, info)")


class _Five(gym.Wrapper):
    """Directly around an environment whose other wrappers take apart what it gives."""

    def __init__(self, env: gym.Env, scene: Scene) -> None:
        super().__init__(env)
        self._scene = scene

    def step(self, action: Any) -> Any:
        return five(self.env.step(action), self._scene)


def _guard_core(contract: Contract) -> None:
    """Gymnasium's two wrappers that every environment has hand things on as they are; others, a limit say, do not."""
    wrapper: gym.Wrapper = contract
    handing_on = True
    while isinstance(wrapper.env, gym.Wrapper):
        wrapper = wrapper.env
        handing_on &= isinstance(wrapper, gym.wrappers.OrderEnforcing | gym.wrappers.PassiveEnvChecker)
    if not handing_on:
        wrapper.env = _Five(wrapper.env, contract.scene)


def contract_of(env: Any) -> Contract | None:
    """The contract inside a host's wrapper around a Gymnasium environment; None if there is none."""
    wrapper = getattr(env, "_env", None)
    while isinstance(wrapper, gym.Wrapper):
        if isinstance(wrapper, Contract):
            return wrapper
        wrapper = wrapper.env
    return None
