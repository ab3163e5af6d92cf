"""One SMAX battle behind the suite's environment interface: what `env: smax` makes in the suite's own runners.

Importing this module loads no JAX, so worker processes are forked before JAX has started.
Shapes: N agents, A actions, O observation, S state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import CapabilityError
from .batched_smax import BatchedSMAX


class SMAXEnv:
    """A batch of one, with one reward for the team.

    Args:
        map_name: a map of the package, such as "3m".
        time_limit: steps after which an episode is cut.
        seed: of the environment's random numbers.
        common_reward: must be True, as for SMAC.
        reward_scalarisation: without effect, as for SMAC: there is one reward already.
        options: as in `BatchedSMAX`.

    Raises:
        CapabilityError: common_reward is False.
        ConfigError: an unknown map or option, or a value out of range.
        EnvironmentMissingError: `jax` or `jaxmarl` is not installed.
    """

    def __init__(
        self,
        map_name: str,
        time_limit: int,
        seed: int,
        common_reward: bool,
        reward_scalarisation: str,
        **options: Any,
    ) -> None:
        if not common_reward:
            raise CapabilityError(
                "SMAX pays one reward to the team, so common_reward=False has no meaning; set it True"
            )
        self._batched = BatchedSMAX([seed], map_name, time_limit, **options)
        self.n_agents = self._batched.env_info["n_agents"]
        self.episode_limit = time_limit

    def reset(self, seed: None = None, options: None = None) -> tuple[np.ndarray, dict]:
        """Start the next episode of the seed given at construction; gives (obs [N, O], {})."""
        self._seen = self._batched.reset()
        return self.get_obs(), {}

    def step(self, actions: Iterable[Any]) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take one action index per agent; gives (obs [N, O], reward, terminated, truncated, info)."""
        played = self._batched.step(np.array([[int(action) for action in actions]]))
        self._seen = played.seen
        flags = bool(played.terminated[0]), bool(played.truncated[0])
        return self.get_obs(), float(played.rewards[0]), *flags, played.infos[0]

    def get_obs(self) -> np.ndarray:
        """The observations of all agents, [N, O] float32."""
        return self._seen.obs[0]

    def get_state(self) -> np.ndarray:
        """Every unit of both sides, [S] float32."""
        return self._seen.state[0]

    def get_avail_actions(self) -> list[list[int]]:
        """N lists of A zeros and ones; the dead can only stop (action 4)."""
        return self._seen.avail_actions[0].tolist()

    def get_env_info(self) -> dict[str, int]:
        """The sizes that a runner, a MAC and a learner are built from."""
        return self._batched.env_info

    def get_stats(self) -> dict:
        return {}

    def render(self) -> None:
        raise CapabilityError("SMAX battles cannot be shown; set render=False")

    def save_replay(self) -> None:
        raise CapabilityError("SMAX keeps no replays; set save_replay=False")

    def close(self) -> None:
        self._batched.close()
