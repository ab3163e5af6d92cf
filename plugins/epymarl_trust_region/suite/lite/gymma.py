"""Any Gymnasium environment with one action and observation space per agent, behind EPyMARL's environment interface.

Shapes: N agents, A = the most actions of any agent (or dimensions of one's action, where it is real-valued), O = the
longest flat observation, S = N*O unless the environment names its `state_size`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, flatdim, flatten

import epymarl_trust_region.environments.mpe  # noqa: F401  registers the pz-mpe ids
from epymarl_trust_region.environments.actions import BoxActions
from epymarl_trust_region.environments.contract import Contract
from epymarl_trust_region.environments.ends import fold
from epymarl_trust_region.environments.spaces import check_spaces
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite.environment_code import complaint
from epymarl_trust_region.suite.environments import load_environment


class GymmaEnv:
    """One multi-agent environment; behaves as EPyMARL's `gymma`.

    Observations are flattened and padded with zeros to O; the state is all of them in a row. Agents with fewer than A
    actions, or dimensions, have the rest unavailable; an environment with a method `get_avail_actions()` (N lists of 0
    and 1) decides for itself. A `time_limit` shows as `truncated`; flags per agent are folded into one pair for the
    team. All that the environment gives is under `Contract`.

    Args:
        key: Gymnasium id, with the module that registers it where need be: "lbforaging:Foraging-8x8-2p-3f-v3".
        time_limit: steps after which an episode is cut.
        seed: of the environment's own random numbers.
        common_reward: one reward for the team, instead of one per agent.
        reward_scalarisation: "sum" or "mean" over agents, where the environment gives one reward per agent.
        pretrained_wrapper: must be None (it names a wrapper that only EPyMARL has).
        kwargs: handed to `gymnasium.make`.

    Raises:
        ConfigError: a value above is missing or has no meaning here, or the environment's spaces are none that policies
            can choose from.
        EnvironmentMissingError: no such id, or the code behind it is missing or cannot be imported.
    """

    def __init__(
        self,
        key: str | None,
        time_limit: int | None,
        seed: int,
        common_reward: bool,
        reward_scalarisation: str,
        pretrained_wrapper: str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_arguments(key, time_limit, common_reward, reward_scalarisation, pretrained_wrapper)
        assert key is not None and time_limit is not None
        env = _make(key, kwargs)
        check_spaces(env, key)
        contract = self._contract = Contract(env, key.rpartition(":")[2], common_reward)
        self._env = gym.wrappers.TimeLimit(contract, max_episode_steps=time_limit)
        self.episode_limit = time_limit
        self.common_reward = common_reward
        self._mean = reward_scalarisation == "mean"
        core: Any = self._env.unwrapped
        self._obs_spaces: tuple[gym.Space, ...] = tuple(cast(Iterable, self._env.observation_space))
        self._obs_dim = max(flatdim(space) for space in self._obs_spaces)
        self._actions, n_actions = contract.actions, contract.actions.sizes
        self._n_actions = max(n_actions)
        self._avail = [[1] * n + [0] * (self._n_actions - n) for n in n_actions]
        self._own_avail = contract.available
        self._own_state = getattr(core, "compact_state", None) if hasattr(core, "state_size") else None
        self.n_agents: int = core.n_agents
        self._obs = np.zeros((self.n_agents, self._obs_dim), np.float32)
        self._seed(seed)

    def _seed(self, seed: int) -> None:
        """Some environments (LBF) seed through a method of their own, which then draws no first episode."""
        core: Any = self._env.unwrapped
        try:
            core.seed(seed)
        except Exception:  # whatever goes wrong in there, `reset` is Gymnasium's documented way
            self._env.reset(seed=seed)

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self._env.reset(seed=seed, options=options)
        self._keep(obs)
        return self._obs, info

    def step(self, actions: Any) -> tuple[np.ndarray, float | Iterable, bool, bool, dict]:
        """Take N indices, or [N, A] floats; gives (obs [N, O], reward, terminated, truncated, info)."""
        if not self._actions.continuous:
            actions = [int(action) for action in actions]
        obs, reward, terminated, truncated, info = self._env.step(actions)
        self._keep(obs)
        return self._obs, self._share(reward), *fold(terminated, truncated), info

    def _keep(self, obs: Any) -> None:
        if self._contract.row is not None:  # nothing to flatten or to pad
            self._obs = self._contract.row.reshape(self.n_agents, self._obs_dim)
            return
        padded = np.zeros((self.n_agents, self._obs_dim), np.float32)
        for row, space, one in zip(padded, self._obs_spaces, obs, strict=True):
            # Most are flat already, and Gymnasium takes its time to find that out.
            is_flat = type(one) is np.ndarray and one.ndim == 1 and isinstance(space, Box) and one.dtype == space.dtype
            flat: Any = one if is_flat else flatten(space, one)
            row[: len(flat)] = flat
        self._obs = padded

    def _share(self, reward: Any) -> Any:
        if not self.common_reward or not isinstance(reward, Iterable):
            return reward
        each: Any = reward
        return float(sum(each) / len(each) if self._mean else sum(each))

    def get_obs(self) -> np.ndarray:
        """The observations of all agents, [N, O] float32."""
        return self._obs

    def get_state(self) -> np.ndarray:
        """All observations in a row, [N*O] float32; or what the environment's own `compact_state()` gives."""
        return self._obs.reshape(-1) if self._own_state is None else self._own_state()

    def get_avail_actions(self) -> list[list[int]]:
        """N lists of A zeros and ones."""
        return self._own_avail() if self._own_avail else self._avail

    def get_env_info(self) -> dict[str, Any]:
        """The sizes that a runner, a MAC and a learner are built from; the bounds [N, A] of real-valued actions."""
        bounds: dict[str, Any] = {}
        if isinstance(self._actions, BoxActions):
            bounds = {"action_low": self._actions.low, "action_high": self._actions.high}
        return bounds | {
            "state_shape": getattr(self._env.unwrapped, "state_size", self.n_agents * self._obs_dim),
            "obs_shape": self._obs_dim,
            "n_actions": self._n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def get_stats(self) -> dict:
        return {}

    def render(self) -> None:
        self._env.render()

    def save_replay(self) -> None:
        """Gymnasium environments keep no replays; part of the interface."""

    def close(self) -> None:
        self._env.close()


def _check_arguments(key: Any, time_limit: Any, common_reward: bool, scalarisation: str, pretrained: Any) -> None:
    if not key:
        raise ConfigError("env_args.key is not set; name a Gymnasium id, such as env_args.key=pz-mpe-simple-spread-v3")
    if isinstance(time_limit, bool) or not isinstance(time_limit, int) or time_limit < 1:
        raise ConfigError(f"env_args.time_limit={time_limit}: give steps per episode, such as env_args.time_limit=25")
    if common_reward and scalarisation not in ("sum", "mean"):
        raise ConfigError(f"reward_scalarisation={scalarisation}: choose sum or mean")
    if pretrained:
        raise ConfigError(
            f"env_args.pretrained_wrapper={pretrained}: pretrained opponents exist only in EPyMARL; "
            "get it with `epymarl-tr suite fetch`, or set env_args.pretrained_wrapper=None"
        )


def _make(key: str, kwargs: dict) -> gym.Env:
    load_environment(key)
    # Gymnasium's checker warns at each list of rewards, and costs time at each step.
    kwargs = {"disable_env_checker": True, **kwargs}
    try:
        return gym.make(key, **kwargs)
    except ModuleNotFoundError as error:  # its constructor imports what is not there
        raise EnvironmentMissingError(complaint(key, error)) from error
