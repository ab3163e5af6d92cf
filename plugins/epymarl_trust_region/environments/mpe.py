"""The `pz-mpe-<name>` Gymnasium ids, backed by the package `mpe2`. Importing this module registers them.

PettingZoo dropped its MPE environments (1.26), and with them the ids that EPyMARL derives from PettingZoo's files. Here
the same ids lead to `mpe2`, on every host. Ids that are registered already are left alone.

The import is light (no torch, no mpe2), so worker processes may name it in the id:
`epymarl_trust_region.environments.mpe:pz-mpe-simple-spread-v3`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from epymarl_trust_region.environments.ends import fold

# What to register where mpe2 is missing, so that the user reads what to install rather than "no such id".
_WELL_KNOWN = (
    "simple_v3",
    "simple_adversary_v3",
    "simple_crypto_v3",
    "simple_push_v3",
    "simple_reference_v3",
    "simple_speaker_listener_v4",
    "simple_spread_v3",
    "simple_tag_v3",
    "simple_world_comm_v3",
)


class ParallelMPE(gym.Env):
    """An `mpe2` parallel environment with tuples in the place of dictionaries, the agents in `mpe2`'s order.

    It plays as EPyMARL's PettingZoo wrapper, its last step included: on the step at which PettingZoo empties its list
    of agents (`max_cycles`, 25 by default, or a terminal state) the new observations and rewards are lost. That step
    returns the **previous** observations and zero rewards. An episode of `max_cycles=25` therefore pays at most 24
    rewards, and so do all published EPyMARL results on MPE. Where EPyMARL's wrapper then says both `terminated` and
    `truncated`, for want of agents, this one says what PettingZoo has said of them: truncated, at `max_cycles`.

    Args:
        module: name of a module of `mpe2`, such as "simple_spread_v3".
        state: what a critic of the whole team reads: "observations", all of them in a row, N times as wide as one; or
            "compact", each thing that there is once ([4 N + 2 L] float32: agent by agent its place and its velocity,
            then the landmarks' places). Compact states have the tasks of which these are everything.
        kwargs: handed to it, such as `N=3`, `max_cycles=25` (steps) or `render_mode="human"`, which opens a window.

    Raises:
        EnvironmentMissingError: `mpe2` is not installed.
        ConfigError: no such `state`, or the task has more to it than places and velocities.
        ValueError: from `step`, an action that its agent does not have.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 5}
    action_space: gym.spaces.Tuple
    observation_space: gym.spaces.Tuple

    def __init__(self, module: str, state: str = "observations", **kwargs: Any) -> None:
        _check_state(module, state)
        self._env = _make(module, kwargs)
        self.render_mode = kwargs.get("render_mode")
        self._env.reset()  # the list of agents is empty before
        agents = self._env.agents
        self.n_agents, self.agent_names = len(agents), list(agents)
        self.action_space = gym.spaces.Tuple([self._env.action_space(agent) for agent in agents])
        self.observation_space = gym.spaces.Tuple([self._env.observation_space(agent) for agent in agents])
        self._last_obs: tuple = ()
        if state == "compact":  # hosts' wrappers ask whether there is one
            self.state_size = len(self._everything())

    def _everything(self) -> np.ndarray:
        world = self._env.unwrapped.world
        agents = [part for agent in world.agents for part in (agent.state.p_pos, agent.state.p_vel)]
        return np.concatenate([*agents, *(landmark.state.p_pos for landmark in world.landmarks)]).astype(np.float32)

    def compact_state(self) -> np.ndarray:
        """[4 N + 2 L] float32, of the moment of the last observations; only with state="compact"."""
        return self._last_state

    def _keep(self, obs: dict) -> None:
        self._last_obs = tuple(obs[agent] for agent in self._env.agents)
        if hasattr(self, "state_size"):
            self._last_state = self._everything()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[tuple, dict]:
        obs, info = self._env.reset(seed=seed, options=options)
        self._keep(obs)
        return self._last_obs, info

    def step(  # type: ignore[override]  # Gymnasium knows one reward alone
        self, actions: Sequence[Any]
    ) -> tuple[tuple, list[float], bool, bool, dict]:
        """Take one action per agent; gives one reward per agent (a list) and flags for the whole team."""
        for space, action in zip(self.action_space, actions, strict=True):
            if action not in space:
                raise ValueError(f"action {action} is not in {space}")
        joint = dict(zip(self._env.agents, actions, strict=False))
        obs, rewards, terminations, truncations, infos = self._env.step(joint)
        agents = self._env.agents
        terminated, truncated = fold(terminations, truncations)
        if not agents:
            return self._last_obs, [0] * len(self._last_obs), terminated, truncated, {}
        self._keep(obs)
        info = {f"{agent}_{key}": value for agent in agents for key, value in infos[agent].items()}
        return self._last_obs, [rewards[agent] for agent in agents], terminated, truncated, info

    def render(self) -> Any:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


_COMPACT = ("simple_v3", "simple_spread_v3", "simple_tag_v3")


def _check_state(module: str, state: Any) -> None:
    from epymarl_trust_region.errors import ConfigError

    if state not in ("observations", "compact"):
        raise ConfigError(f"env_args.state={state}: choose observations (all in a row) or compact (each thing once)")
    if state == "compact" and module not in _COMPACT:
        names = ", ".join(map(_gym_id, _COMPACT))
        raise ConfigError(
            f"env_args.state=compact: {_gym_id(module)} has goals or messages beside places and velocities; only "
            f"{names} have a compact state, so set env_args.state=observations"
        )


def _make(module: str, kwargs: dict) -> Any:
    try:
        source = importlib.import_module(f"mpe2.{module}")
        from pettingzoo.utils.conversions import parallel_wrapper_fn
    except ModuleNotFoundError as error:
        from epymarl_trust_region.errors import EnvironmentMissingError

        message = f"the environment {_gym_id(module)} needs the package mpe2 ({error}); install it: pip install mpe2"
        raise EnvironmentMissingError(message) from error
    # Not `source.parallel_env`: its extra layers only check the calls, and make a step half as long again.
    return parallel_wrapper_fn(source.raw_env)(**kwargs)


def _gym_id(module: str) -> str:
    return "pz-mpe-" + module.replace("_", "-")


def _modules() -> list[str]:
    spec = importlib.util.find_spec("mpe2")  # finds the folder without importing the package
    if spec is None or spec.submodule_search_locations is None:
        return list(_WELL_KNOWN)
    return sorted(path.stem for path in Path(spec.submodule_search_locations[0]).glob("*_v[0-9].py"))


def register() -> None:
    """Register every id that is still free. Calling it again changes nothing."""
    for module in _modules():
        if _gym_id(module) not in gym.registry:
            gym.register(_gym_id(module), entry_point=f"{__name__}:ParallelMPE", kwargs={"module": module})


register()
