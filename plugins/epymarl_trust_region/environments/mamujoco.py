"""Multi-agent MuJoCo behind the suite's environment interface: a robot of Gymnasium whose joints are shared out.

Rewards, observations and ends are those of `mamujoco_v1` of the package gymnasium-robotics, bit for bit; its
dictionaries and Gymnasium's wrappers are left out.
Shapes: N agents, A = the most joints of any agent, O observation, S state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CapabilityError
from . import mamujoco_tasks
from .actions import floats
from .mamujoco_sight import local_sight
from .mamujoco_together import Robots

_OF_CONSTRAINTS = ("_", "efc", "iefc", "efm", "iacc", "ifrc", "iMa")  # of MuJoCo's arrays; of islands of them, too


class MaMuJoCoEnv:
    """One robot. An action is a float per joint, clipped to its range when played; one reward is paid to the team.

    With obs="full" every agent sees the whole state, as in all published results of HAPPO and HATRPO, here unscaled and
    without its index. With "local" it sees what the package shows it, in the package's order: its joints, those up to
    `obsk` joints away, and the robot's root; shorter observations end in zeros. The state is the single-agent
    environment's observation. Both are the package's float64 rounded to float32.

    Args:
        scenario: a robot, such as "HalfCheetah".
        partition: a name of the package's, or "AxB": A agents of B joints each, in the order of the actuators.
        time_limit: steps after which an episode is cut (`truncated`).
        seed: of the environment's random numbers.
        common_reward: False: N times the same reward, as a list.
        reward_scalarisation: without effect: there is one reward already.
        obs: "full" or "local".
        obsk: how many joints away an agent sees; read if obs is "local".
        render_mode: "human" (a window) or "rgb_array" (frames), for `render`.
        key, map_name: names of the task in logs; not read.
        options: of the robot's Gymnasium environment, such as `terminate_when_unhealthy`.

    Raises:
        ConfigError: an argument names no task; the message says what there is.
        EnvironmentMissingError: a package is not installed.
    """

    known_form = True  # see `interface.KnownForm`

    def __init__(
        self,
        scenario: str,
        partition: str,
        time_limit: int,
        seed: int,
        common_reward: bool,
        reward_scalarisation: str,
        obs: str = "full",
        obsk: int = 1,
        render_mode: str | None = None,
        key: str | None = None,
        map_name: str | None = None,
        **options: Any,
    ) -> None:
        mamujoco_tasks.check(scenario, partition, time_limit, obs, obsk, render_mode, **options)
        package = mamujoco_tasks.make(scenario, partition, obsk, options)
        self.simulator = package.single_agent_env
        mamujoco_tasks.shorten(self.simulator)
        self.episode_limit, self.common_reward = time_limit, common_reward
        self._seed: int | None = seed  # None: it has been used
        self._render_mode, self._steps = render_mode, 0
        joints = [[joint.act_ids for joint in part] for part in package.agent_action_partitions]
        self.n_agents = len(joints)
        self._share_out(joints)
        self._names: list[str] = []
        self._state: np.ndarray | None = None  # made of `_raw` when somebody looks, as `_obs` is
        self._obs: np.ndarray | None = None
        self._look = local_sight(package) if obs == "local" else None
        self._see(package.state())

    def _share_out(self, joints: list[list[int]]) -> None:
        """Where each actuator's action stands among all agents' actions, and what is padding."""
        self._shape = (self.n_agents, max(map(len, joints)))
        self._real = np.array([[1] * len(own) + [0] * (self._shape[1] - len(own)) for own in joints], np.int32)
        at = np.flatnonzero(self._real)
        actuators = np.concatenate(joints)
        self._from = at[np.argsort(actuators)]
        box = self.simulator.action_space
        self._low, self._high = box.low.astype(np.float64), box.high.astype(np.float64)
        self._range = np.zeros((2, *self._shape), np.float32)
        self._range.reshape(2, -1)[:, at] = box.low[actuators], box.high[actuators]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Start the next episode of the seed given at construction, or the first of `seed`; gives (obs [N, O], {})."""
        seed, self._seed = self._seed if seed is None else seed, None
        state, _ = self.simulator.reset(seed=seed, options=options)
        self._steps = 0
        self._see(state)
        return self.get_obs(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, float | list[float], bool, bool, dict]:
        """Move all joints; gives (obs [N, O], reward, terminated, truncated, info).

        `terminated` and `truncated` may both be True. Where a step is only truncated, info is {"episode_limit": True},
        by which the suite knows a cut from an end.

        Args:
            actions: [N, A] floats; padding is not read.

        Raises:
            CapabilityError: another shape: from a policy that chooses among discrete actions.
        """
        state, reward, terminated, _, _ = self.simulator.step(self.played(floats(actions, self._shape)))
        terminated, truncated, reward = bool(terminated), self.take_note(state), float(reward)
        info = {"episode_limit": True} if truncated and not terminated else {}
        reward_s = reward if self.common_reward else [reward] * self.n_agents
        return self.get_obs(), reward_s, terminated, truncated, info

    def played(self, actions: np.ndarray) -> np.ndarray:
        """What the actuators get of actions [..., N, A], [..., U]: clipped, in their order.

        In float64, as the package hands them on: the cost of actions is rounded otherwise in float32.
        """
        played = np.maximum(actions.reshape(*actions.shape[:-2], -1).take(self._from, -1), self._low)
        return np.minimum(played, self._high, out=played)

    def take_note(self, state: np.ndarray) -> bool:
        """Count a step that led to this state, in float64; gives whether the limit cuts the episode."""
        self._steps += 1
        self._see(state)
        return self._steps >= self.episode_limit

    @property
    def state_is_seen(self) -> bool:
        """Whether each agent's observation is the state."""
        return self._look is None

    def _see(self, state: np.ndarray) -> None:
        """Keep what there is to see; it is made into arrays, new ones each time, when somebody looks."""
        self._raw: np.ndarray = state
        self._state = self._obs = None

    def get_obs(self) -> np.ndarray:
        """The observations of all agents, [N, O] float32."""
        if self._obs is None:
            self._obs = self._look() if self._look else np.tile(self.get_state(), (self.n_agents, 1))
        return self._obs

    def get_state(self) -> np.ndarray:
        """The single-agent environment's observation, [S] float32."""
        if self._state is None:
            self._state = self._raw.astype(np.float32)
        return self._state

    together = staticmethod(Robots)  # several of them, stepped as one: for shares of a rollout

    def get_avail_actions(self) -> np.ndarray:
        """1 for each action that an agent has, 0 for padding; [N, A] int32."""
        return self._real.copy()

    def get_env_info(self) -> dict[str, Any]:
        """The sizes that a runner, a MAC and a learner are built from, and the actions' ranges [N, A], 0 in padding."""
        return {
            "state_shape": len(self.get_state()),
            "obs_shape": self.get_obs().shape[1],
            "n_actions": self._shape[1],
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
            "action_low": self._range[0].copy(),
            "action_high": self._range[1].copy(),
        }

    def get_stats(self) -> dict:
        return {}

    def render(self) -> np.ndarray | None:
        """Draw the robot: a frame [height, width, 3] uint8 with render_mode="rgb_array", nothing with "human".

        Raises:
            CapabilityError: no render_mode, or the machine cannot draw.
        """
        if self._render_mode is None:
            raise CapabilityError("multi-agent MuJoCo is drawn with env_args.render_mode=human or rgb_array, not null")
        try:
            return self.simulator.mujoco_renderer.render(self._render_mode)
        except Exception as error:  # whatever the drivers raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise CapabilityError(
                f"MuJoCo cannot draw on this machine ({reason}); without a screen set MUJOCO_GL=egl or "
                "MUJOCO_GL=osmesa before Python starts and install that library, or set render=False"
            ) from error

    def save_replay(self) -> None:
        raise CapabilityError("multi-agent MuJoCo keeps no replays; set save_replay=False")

    def close(self) -> None:
        self.simulator.close()

    def _numbers(self) -> dict[str, np.ndarray]:
        """MuJoCo's own arrays, all that a robot keeps from step to step.

        With what the state alone would give again, for rewards are made of where the last substep began. Without the
        constraints', which are other ones at each step, and without indices, with which MuJoCo goes into its memory.
        """
        data = self.simulator.data
        if not self._names:
            found = {name: getattr(data, name) for name in dir(data) if not name.startswith(_OF_CONSTRAINTS)}
            arrays = {name: x for name, x in found.items() if isinstance(x, np.ndarray) and x.size}
            kinds = (np.dtype(np.float64), np.dtype(bool))
            self._names = [name for name, x in arrays.items() if x.dtype in kinds]
        return {name: getattr(data, name) for name in self._names}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps and episodes depend on, as plain data and arrays."""
        return {
            "time": self.simulator.data.time,
            "simulation": {name: array.copy() for name, array in self._numbers().items()},
            "generator": self.simulator.np_random.bit_generator.state,
            "seed": self._seed,
            "steps": self._steps,
            "state": self.get_state().copy(),
            "obs": self.get_obs().copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` of an environment that was made with the same arguments."""
        for name, array in self._numbers().items():
            array[...] = state["simulation"][name]
        self.simulator.data.time = state["time"]
        self.simulator.np_random.bit_generator.state = state["generator"]
        self._seed, self._steps = state["seed"], state["steps"]
        self._raw = self._state = state["state"].copy()
        self._obs = state["obs"].copy()
