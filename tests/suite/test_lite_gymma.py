"""The built-in `gymma` wrapper: padding, rewards, seeds, available actions, and bad input."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite.lite.gymma import GymmaEnv
from gymnasium.spaces import Box, Discrete, Tuple


class Uneven(gym.Env):
    n_agents = 2
    action_space = Tuple([Discrete(3), Discrete(2)])
    observation_space = Tuple([Box(-9, 9, (2, 2), np.float64), Discrete(3)])

    def __init__(self, reward=(1.0, 2.0), done=False) -> None:
        self.reward, self.done = reward, done

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.draw = self.np_random.random()
        return (np.array([[1.0, 2.0], [3.0, 4.0]]), 1), {}

    def step(self, actions):
        assert all(type(action) is int for action in actions)
        return (np.array([[5.0, 6.0], [7.0, 8.0]]), 2), self.reward, self.done, False, {"a": 1}


class Masked(Uneven):
    def get_avail_actions(self):
        return [[0, 1, 0], [1, 0, 0]]


gym.register("Uneven-v0", entry_point=Uneven)
gym.register("Masked-v0", entry_point=Masked)


def make(key: str = "Uneven-v0", **changes) -> GymmaEnv:
    args = {"key": key, "time_limit": 3, "seed": 0, "common_reward": True, "reward_scalarisation": "sum"}
    return GymmaEnv(**{**args, "pretrained_wrapper": None, **changes})


def test_observations_are_flattened_and_padded() -> None:
    env = make()
    env.reset()
    assert np.array_equal(env.get_obs(), [[1, 2, 3, 4], [0, 1, 0, 0]])
    assert np.array_equal(env.get_state(), [1, 2, 3, 4, 0, 1, 0, 0])
    assert env.get_state().dtype == np.float32
    sizes = {"state_shape": 8, "obs_shape": 4, "n_actions": 3, "n_agents": 2, "episode_limit": 3}
    assert env.get_env_info() == sizes
    obs, *_ = env.step(np.array([2, 1]))
    assert np.array_equal(obs, [[5, 6, 7, 8], [0, 0, 1, 0]])
    assert env.get_stats() == {}


def test_actions_are_available_by_count_or_as_the_environment_says() -> None:
    assert make().get_avail_actions() == [[1, 1, 1], [1, 1, 0]]
    assert make("Masked-v0").get_avail_actions() == [[0, 1, 0], [1, 0, 0]]


def test_rewards() -> None:
    def reward_of(**changes):
        env = make(**changes)
        env.reset()
        return env.step([0, 0])[1]

    assert reward_of() == 3.0
    assert reward_of(reward_scalarisation="mean") == 1.5
    assert reward_of(reward=7.0) == 7.0
    assert list(reward_of(common_reward=False)) == [1.0, 2.0]
    with pytest.raises(ConfigError, match="set common_reward=True"):
        reward_of(common_reward=False, reward=7.0)


def test_time_limit_truncates_and_a_list_of_dones_is_over_when_all_are() -> None:
    env = make(done=[True, False])
    env.reset()
    assert [env.step([0, 0])[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    env = make(done=[True, True])
    env.reset()
    assert env.step([0, 0])[2:4] == (True, False)


def test_seed_decides_the_episodes() -> None:
    def draws(seed):
        env = make(seed=seed)
        inner, numbers = env._env.unwrapped, []
        for _ in range(2):
            env.reset()
            numbers.append(inner.draw)
        return numbers

    rng = np.random.default_rng(4)
    assert draws(4) == list(rng.random(3)[1:])  # the seeding reset draws the first number
    assert draws(4) == draws(4) != draws(5)


def test_no_warning_about_lists_of_rewards() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make()
        env.reset()
        env.step([0, 0])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key": None}, ConfigError, "env_args.key is not set"),
        ({"time_limit": None}, ConfigError, "env_args.time_limit=None"),
        ({"time_limit": 0}, ConfigError, "env_args.time_limit=0"),
        ({"reward_scalarisation": "max"}, ConfigError, "choose sum or mean"),
        ({"pretrained_wrapper": "PretrainedTag"}, ConfigError, "epymarl-tr suite fetch"),
        ({"key": "CartPole-v1"}, ConfigError, "CartPole-v1.*per agent"),
        ({"key": "Unevem-v0"}, EnvironmentMissingError, "Unevem.*Uneven"),
        ({"key": "no_such_package:Thing-v0"}, EnvironmentMissingError, "there is no module no_such_package"),
    ],
)
def test_bad_input(changes: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make(**changes)
