"""`env_args.state=compact`: each place and velocity of MPE's world once, in both forms and on both hosts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from epymarl_trust_region.environments import snapshot
from epymarl_trust_region.environments.batched_mpe import BatchedSpread
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.runners.batched_form import _same, wanted_rewards
from epymarl_trust_region.suite.lite.gymma import GymmaEnv
from epymarl_trust_region.suite.registration import with_own_availability

pytest.importorskip("mpe2")

PREFIX = "epymarl_trust_region.environments.mpe:pz-mpe-"


def gymma(name: str = "simple-spread-v3", seed: int = 3, **arguments) -> GymmaEnv:
    env = made(name, seed, **arguments)
    env.reset()
    return env


def made(name: str = "simple-spread-v3", seed: int = 3, **arguments) -> GymmaEnv:
    return GymmaEnv(f"{PREFIX}{name}", 25, seed, True, "sum", **arguments)


def of_the_world(env) -> np.ndarray:
    """Read off mpe2's own entities: x, y, vx, vy of each agent, x, y of each landmark."""
    world = env._env.unwrapped._env.unwrapped.world
    numbers = [x for agent in world.agents for x in (*agent.state.p_pos, *agent.state.p_vel)]
    return np.array([*numbers, *(x for mark in world.landmarks for x in mark.state.p_pos)], np.float32)


@pytest.mark.parametrize(
    "name, arguments, size",
    [
        ("simple-spread-v3", {"N": 3}, 18),
        ("simple-spread-v3", {"N": 7}, 42),
        ("simple-tag-v3", {}, 4 * 4 + 2 * 2),
        ("simple-v3", {}, 6),
    ],
)
def test_it_holds_what_the_world_holds(name, arguments, size):
    env = gymma(name, state="compact", **arguments)
    assert env.get_env_info()["state_shape"] == size
    for _ in range(5):
        state = env.get_state()
        assert state.dtype == np.float32 and state.shape == (size,)
        np.testing.assert_array_equal(state, of_the_world(env))
        env.step([1] * env.n_agents)
    assert not np.array_equal(state, env.get_state())


def test_by_default_the_state_is_all_observations():
    env = gymma(N=3)
    assert env.get_env_info()["state_shape"] == 54
    np.testing.assert_array_equal(env.get_state(), env.get_obs().reshape(-1))
    assert gymma(N=3, state="observations").get_state().tobytes() == env.get_state().tobytes()


def test_an_agent_sees_the_same_with_either_state():
    one, other = gymma(), gymma(state="compact")
    for t in range(25):  # at the last step all stays as it was
        one.step([t % 5] * 3), other.step([t % 5] * 3)
        np.testing.assert_array_equal(one.get_obs(), other.get_obs())
        places = other.get_obs()[:, 2:4]
        np.testing.assert_array_equal(other.get_state()[:12].reshape(3, 4)[:, :2], places)


@pytest.mark.parametrize("arguments", [{}, {"N": 5}, {"continuous_actions": True}])
def test_the_batched_form_has_the_same(arguments):
    arguments = {"state": "compact", **arguments}
    wanted = partial(wanted_rewards, common_reward=True, scalarisation="sum")
    assert _same(BatchedSpread([3], **arguments), made(**arguments), wanted)
    wrong = BatchedSpread([3], **arguments)
    wrong._everything = lambda: np.zeros((1, 18), np.float32)
    assert not _same(wrong, made(**arguments), wanted)


def test_it_is_written_down_and_goes_on():
    env, other = gymma(state="compact"), gymma(state="compact", seed=9)
    env.step([1, 2, 3])
    snapshot.put(other, snapshot.take(env).tree)
    env.step([4, 2, 1]), other.step([4, 2, 1])
    np.testing.assert_array_equal(env.get_state(), other.get_state())


class LikeEPyMARLs:
    """What its wrapper does with a state: all observations, but for the size that an environment names."""

    def __init__(self, **env_args) -> None:
        self._env = gymma(**env_args)._env

    def get_state(self) -> np.ndarray:
        return np.zeros(54, np.float32)


def test_a_wrapper_that_knows_only_the_size_gets_the_state():
    env = with_own_availability(LikeEPyMARLs)(state="compact")
    np.testing.assert_array_equal(env.get_state(), env._env.unwrapped.compact_state())
    assert with_own_availability(LikeEPyMARLs)().get_state().shape == (54,)


@pytest.mark.parametrize(
    "name, state, message",
    [
        ("simple-spread-v3", "small", "^env_args.state=small: choose observations .* or compact"),
        ("simple-reference-v3", "compact", "pz-mpe-simple-reference-v3 has goals or messages beside places"),
    ],
)
def test_where_there_is_none_it_is_refused(name, state, message):
    with pytest.raises(ConfigError, match=message):
        gymma(name, state=state)
