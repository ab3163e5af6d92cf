"""HARL's runner, one of its iterations at a time, on environments of today's packages. It runs in HARL's own Python.

HARL's own adapters are for packages of 2022; the two here give its interface to `gymnasium-robotics` and `mpe2`, and
nothing of HARL is changed: its vector of processes, networks, buffers and updates are what is measured. Evaluation,
logging and saving are left out, as they are on our side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from protocol import serve  # beside this script


class _Environment:
    """HARL's interface: lists of an entry per agent, one reward for all, the whole state for every agent's critic."""

    def __init__(self, env: Any, action: Callable[[Any], Any], discrete: bool) -> None:
        self.env, self.action, self.discrete = env, action, discrete
        self.agents = list(env.possible_agents)
        self.n_agents = len(self.agents)
        self.action_space = [env.action_space(agent) for agent in self.agents]
        self.observation_space = [self._sight(agent) for agent in self.agents]
        self.share_observation_space = [_box(self._state().shape)] * self.n_agents

    def _sight(self, agent: str) -> Any:
        raise NotImplementedError

    def _state(self) -> np.ndarray:
        raise NotImplementedError

    def _seen(self, obs: dict[str, np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """What each agent sees, and the state."""
        raise NotImplementedError

    def _available(self) -> Any:
        return [[1] * space.n for space in self.action_space] if self.discrete else None

    def seed(self, seed: int) -> None:
        self.first_seed: int | None = seed

    def reset(self) -> tuple[Any, Any, Any]:
        obs, _ = self.env.reset(seed=self.first_seed)
        self.first_seed = None
        seen, state = self._seen(obs)
        return seen, [state] * self.n_agents, self._available()

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        played = {agent: self.action(action) for agent, action in zip(self.agents, actions, strict=True)}
        obs, rewards, terminated, truncated, _ = self.env.step(played)
        cut = all(truncated.values()) and not any(terminated.values())
        done = cut or any(terminated.values())
        seen, state = self._seen(obs)
        return (
            seen,
            [state] * self.n_agents,
            [[self._reward(rewards)]] * self.n_agents,
            [done] * self.n_agents,
            [{"bad_transition": cut} for _ in self.agents],
            self._available(),
        )

    def _reward(self, rewards: dict[str, float]) -> float:
        raise NotImplementedError

    def close(self) -> None:
        self.env.close()


def _box(shape: tuple[int, ...]) -> Any:
    from gymnasium.spaces import Box

    return Box(-np.inf, np.inf, shape, np.float32)


class _Robot(_Environment):
    """Multi-agent MuJoCo; every agent sees the whole state, as with HARL's own adapter."""

    def __init__(self, scenario: str, partition: str) -> None:
        from gymnasium_robotics import mamujoco_v1

        env = mamujoco_v1.parallel_env(scenario, partition)
        env.reset(seed=0)
        super().__init__(env, lambda action: action, discrete=False)

    def _sight(self, agent: str) -> Any:
        return _box(self._state().shape)

    def _state(self) -> np.ndarray:
        return np.asarray(self.env.state(), np.float32)

    def _seen(self, obs: dict[str, np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        state = self._state()
        return [state] * self.n_agents, state

    def _reward(self, rewards: dict[str, float]) -> float:
        return float(next(iter(rewards.values())))


class _Spread(_Environment):
    """MPE simple_spread; the state is all observations in a row and the reward the sum, as in EPyMARL."""

    def __init__(self, steps: int, agents: int) -> None:
        from mpe2 import simple_spread_v3

        env = simple_spread_v3.parallel_env(N=agents, max_cycles=steps)
        self.last, _ = env.reset(seed=0)
        super().__init__(env, lambda action: int(action[0]), discrete=True)

    def _sight(self, agent: str) -> Any:
        return _box(self.last[agent].shape)

    def _state(self) -> np.ndarray:
        return np.concatenate([self.last[agent] for agent in self.agents])

    def _seen(self, obs: dict[str, np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        self.last = obs
        return [obs[agent] for agent in self.agents], self._state()

    def _reward(self, rewards: dict[str, float]) -> float:
        return float(sum(rewards.values()))


def _config(home: Path, work: dict[str, Any]) -> dict[str, Any]:
    """HARL's own yaml of HAPPO, with the sizes of the work."""
    import yaml

    config = yaml.safe_load((home / "harl/configs/algos_cfgs/happo.yaml").read_text(encoding="utf-8"))
    config["device"] |= {"cuda": False, "torch_threads": work["torch_threads"]}
    config["train"] |= {"n_rollout_threads": work["streams"], "episode_length": work["steps"]}
    config["eval"]["use_eval"] = False
    config["model"]["hidden_sizes"] = work["hidden"]
    minibatches = {"actor_num_mini_batch": work["minibatches"], "critic_num_mini_batch": work["minibatches"]}
    config["algo"] |= {"ppo_epoch": work["epochs"], "critic_epoch": work["epochs"], **minibatches}
    config["logger"]["log_dir"] = tempfile.mkdtemp()
    return config


def build(home: Path, work: dict[str, Any]) -> Callable[[], int]:
    """One iteration: a rollout and the update from it."""
    from harl.runners.on_policy_ha_runner import OnPolicyHARunner

    _stand_in()
    args = {"algo": "happo", "env": work["environment"], "exp_name": "bench"}
    runner = OnPolicyHARunner(args, _config(home, work), work["env_args"])
    runner.warmup()

    def once() -> int:
        runner.prep_rollout()
        for step in range(work["steps"]):
            values, actions, *rest = runner.collect(step)
            runner.insert((*runner.envs.step(actions), values, actions, *rest))
        runner.compute()
        runner.prep_training()
        runner.train()
        runner.after_update()
        return work["steps"] * work["streams"]

    return once


def _stand_in() -> None:
    """Let HARL's runner make the environments above, and no files."""
    from harl.envs.env_wrappers import ShareSubprocVecEnv
    from harl.runners import on_policy_base_runner

    makers = {"mamujoco": _Robot, "pettingzoo_mpe": _Spread}

    def environments(name: str, seed: int, streams: int, env_args: dict[str, Any]) -> Any:
        def maker(rank: int) -> Callable[[], _Environment]:
            def make() -> _Environment:
                env = makers[name](**env_args)
                env.seed(seed + rank * 1000)
                return env

            return make

        return ShareSubprocVecEnv([maker(rank) for rank in range(streams)])

    on_policy_base_runner.make_train_env = environments
    on_policy_base_runner.init_dir = lambda *_, **__: (None, None, None, None)
    on_policy_base_runner.save_config = lambda *_: None
    on_policy_base_runner.LOGGER_REGISTRY = dict.fromkeys(makers, lambda *_: None)


if __name__ == "__main__":
    serve(build)
