"""Real-valued actions: from what policies draw to what an environment of any Boxes gets, on both hosts.

Shape letters: N agents, A dimensions of the longest action.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from data.faulty import KEY, Faulty
from epymarl_trust_region.environments.actions import BoxActions, actions_of
from epymarl_trust_region.errors import CapabilityError, EnvironmentFaultError, NonFiniteError
from gymnasium.spaces import Box, Discrete

WIDE = Box(np.array([[-1, 0.1], [-3, 2]]), np.array([[1, 0.7], [3, 2.5]]), dtype=np.float64)  # 4 dimensions
NARROW = Box(np.float32([0.1]), np.float32([0.7]))
DRAWN = np.float32([[-2, 0.7, 3.5, 9], [0.05, 7, -7, np.nan]])


class Receives(Faulty):
    """Keeps what it was given."""

    def step(self, actions):
        self.given = actions
        return super().step(actions)


gym.register("Receives-v0", entry_point=Receives)


def test_draws_are_clipped_and_have_each_boxs_shape_and_type() -> None:
    """0.7 in 32 bits is below 0.7 in 64, and stays what was drawn; padding is not read."""
    given = BoxActions([WIDE, NARROW])(DRAWN)
    assert [one.dtype for one in given] == [np.float64, np.float32]
    np.testing.assert_array_equal(given[0], np.array([[-1, np.float64(np.float32(0.7))], [3, 2.5]]))
    np.testing.assert_array_equal(given[1], np.float32([0.1]))
    assert given[0] in WIDE and given[1] in NARROW


def test_bounds_are_padded_and_in_the_widest_type() -> None:
    actions = actions_of([WIDE, NARROW])
    assert actions.continuous and actions.sizes == [4, 1] and actions.low.dtype == np.float64
    np.testing.assert_array_equal(actions.low, [[-1, 0.1, -3, 2], [np.float32(0.1), 0, 0, 0]])
    np.testing.assert_array_equal(actions.high, [[1, 0.7, 3, 2.5], [np.float32(0.7), 0, 0, 0]])
    assert actions_of([NARROW, NARROW]).low.dtype == np.float32
    assert not actions_of([Discrete(2)]).continuous


def test_an_environment_gets_them_and_says_its_sizes(make_gymma) -> None:
    env = make_gymma(key="Receives-v0", actions=(WIDE, NARROW))
    info = env.get_env_info()
    assert (info["n_actions"], info["n_agents"]) == (4, 2)
    np.testing.assert_array_equal(info["action_high"][0], WIDE.high.ravel())
    np.testing.assert_array_equal(env.get_avail_actions(), [[1, 1, 1, 1], [1, 0, 0, 0]])
    env.reset()
    obs, reward, terminated, truncated, _ = env.step(DRAWN)
    expected = BoxActions([WIDE, NARROW])(DRAWN)
    for given, wanted in zip(env._env.unwrapped.given, expected, strict=True):
        assert given.dtype == wanted.dtype
        np.testing.assert_array_equal(given, wanted)
    assert np.isscalar(reward) and (terminated, truncated) == (False, False) and len(obs) == 2
    with pytest.raises(CapabilityError, match=r"takes actions of shape \(2, 4\).* got shape \(2,\)"):
        env.step([0, 1])


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [("reward", [1.0] * 3, EnvironmentFaultError), ("reward", float("nan"), NonFiniteError)],
)
def test_it_is_under_contract(make_gymma, field, value, error) -> None:
    env = make_gymma(key=KEY, actions=(NARROW, NARROW), field=field, value=value, at=1)
    env.reset()
    with pytest.raises(error, match=r"environment 0 \(.*\) gave the reward .* at step 0"):
        env.step(np.zeros((2, 1), np.float32))


def test_spread_moves_as_its_continuous_actions_say(make_gymma) -> None:
    """Agent 0 is drawn to the right by 1.7, clipped to 1: in mpe2's units a velocity of 5 * 0.1 after one step."""
    env = make_gymma(key="epymarl_trust_region.environments.mpe:pz-mpe-simple-spread-v3", continuous_actions=True, N=2)
    info = env.get_env_info()
    assert info["n_actions"] == 5 and info["action_low"].tolist() == [[0.0] * 5] * 2
    env.reset()
    actions = np.zeros((2, 5), np.float32)
    actions[0, 2] = 1.7
    env.step(actions)
    velocities = np.asarray(env.get_obs())[:, :2]
    np.testing.assert_allclose(velocities, [[0.5, 0.0], [0.0, 0.0]], atol=1e-4)


def test_vmas_moves_as_its_continuous_actions_say(make_gymma) -> None:
    """Under EPyMARL, too, whose own wrapper has discrete actions alone."""
    pytest.importorskip("vmas")
    from epymarl_trust_region.suite.environments import resolved

    key = resolved({"key": "vmas-navigation", "continuous_actions": True})["key"]
    env = make_gymma(key=key, continuous_actions=True, n_agents=2)
    info = env.get_env_info()
    assert info["n_actions"] == 2 and (info["action_high"] == 1).all()
    env.reset()
    before = np.asarray(env.get_obs())[:, :2].copy()
    for _ in range(5):
        env.step(np.float32([[9, 0], [0, 0]]))
    moved = np.asarray(env.get_obs())[:, :2] - before
    assert moved[0, 0] > 0.05 and abs(moved[0, 1]) < 1e-3 and abs(moved[1]).max() < 1e-3
