"""The `vmas-<scenario>` Gymnasium ids, backed by the package `vmas`. Importing this module registers them.

EPyMARL has the same ids where VMAS is installed, and its own are left alone. These here are for the built-in suite,
which steps environments in the process that trains: they keep their random numbers to themselves.

The import is light (no torch, no vmas), so worker processes may name it in the id:
`epymarl_trust_region.environments.vmas:vmas-balance`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

# What to register where VMAS is missing, so that the user reads what to install rather than "no such id".
_WELL_KNOWN = (
    "balance",
    "discovery",
    "flocking",
    "football",
    "give_way",
    "navigation",
    "reverse_transport",
    "sampling",
    "simple_spread",
    "transport",
    "wheel",
)


class VMASEnv(gym.Env):
    """One environment of VMAS, which plays as under EPyMARL's wrapper, with discrete actions unless told otherwise.

    Seeding is by `reset(seed=...)`. VMAS resets one environment by its index, and then simple_adversary, simple_push,
    simple_reference and simple_speaker_listener keep for ever the goals that they drew when they were made: here from
    the process's random numbers of that moment, in EPyMARL from those at VMAS's import.

    Args:
        scenario: name of a scenario, such as "balance".
        render_mode: "human", which opens a window when it is drawn, "rgb_array" or None.
        kwargs: handed to `vmas.make_env`, such as `max_steps=100` or `continuous_actions=True`, or the scenario's.

    Raises:
        EnvironmentMissingError: VMAS, or a package that it needs, is missing or too old.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}

    def __init__(self, scenario: str, render_mode: str | None = None, **kwargs: Any) -> None:
        from epymarl_trust_region.environments.batched_vmas import OwnRandomness, make  # not above: it imports torch

        self.render_mode = render_mode
        self._randomness = OwnRandomness(kwargs.get("device", "cpu"))
        with self._randomness:
            drawn = {"render_mode": render_mode}
            self._env = make(scenario, 1, wrapper="gymnasium", wrapper_kwargs=drawn, **kwargs)
        self.n_agents: int = self._env.unwrapped.n_agents
        self.action_space = self._env.action_space
        self.observation_space = self._env.observation_space

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[list, dict]:
        if seed is not None:
            self._randomness.seed(seed)
        with self._randomness:
            obs, info = self._env.reset()
        return obs, _flat(info)

    def step(  # type: ignore[override]  # Gymnasium knows one reward alone
        self, actions: Sequence[Any]
    ) -> tuple[list, list[float], bool, bool, dict]:
        """Take one action per agent; gives one reward per agent (a list) and flags for the whole team.

        Raises:
            AssertionError: from VMAS, an action does not exist.
        """
        with self._randomness:
            obs, rewards, terminated, truncated, info = self._env.step(actions)
        return obs, rewards, terminated, truncated, _flat(info)

    def render(self) -> Any:
        """Draw it as `render_mode` says; None without one."""
        if self.render_mode is None:
            return None
        with self._randomness:
            return self._env.render()

    def close(self) -> None:
        self._env.close()


def _flat(info: dict[str, dict]) -> dict:
    return {f"{agent}/{key}": value for agent, one in info.items() for key, value in one.items()}


def _scenarios() -> list[str]:
    spec = importlib.util.find_spec("vmas")  # finds the folder without importing the package
    if spec is None or spec.submodule_search_locations is None:
        return list(_WELL_KNOWN)
    files = Path(spec.submodule_search_locations[0]).glob("scenarios/**/*.py")
    return sorted(path.stem for path in files if "__" not in path.stem)


def register() -> None:
    """Register every id that is still free, and all under this plugin's own name. Calling it again changes nothing."""
    for scenario in _scenarios():
        for name in (f"vmas-{scenario}", f"epymarl_trust_region/vmas-{scenario}"):
            if name not in gym.registry:
                gym.register(name, entry_point=f"{__name__}:VMASEnv", kwargs={"scenario": scenario})


register()
