"""What EPyMARL's `gymma` loses of how an episode ended, given back.

It folds `terminated` per agent before anybody sees both flags together, and leaves `truncated` per agent as it is, so
that `[False, False]` ends an episode. Its wrapper of PettingZoo calls every end both.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from epymarl_trust_region.environments.ends import fold


class TeamEnds(gymnasium.Wrapper):
    """One pair of flags for the team."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        if type(env.unwrapped).__module__ == "envs.pz_wrapper":
            _let_pettingzoo_tell(env.unwrapped)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, *fold(terminated, truncated), info


def _let_pettingzoo_tell(wrapper: Any) -> None:
    """EPyMARL's wrapper asks the agents that are left; of none, all have been both. PettingZoo knows what they were."""
    play, step = wrapper._env.step, wrapper.step
    said: list = []

    def noted(actions: Any) -> Any:
        came = play(actions)
        said[:] = came[2:4]
        return came

    def told(actions: Any) -> Any:
        obs, rewards, terminated, truncated, info = step(actions)
        flags = fold(*said) if terminated and truncated else (terminated, truncated)
        return obs, rewards, *flags, info

    wrapper._env.step, wrapper.step = noted, told
