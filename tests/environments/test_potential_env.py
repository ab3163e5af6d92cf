"""The congestion and the distancing game as Gymnasium environments: what is seen, paid, available, and refused."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from epymarl_trust_region.environments.games import CONGESTION_ID, DISTANCING_ID
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games import congestion

CONGESTION = f"epymarl_trust_region.environments.games:{CONGESTION_ID}"
DISTANCING = f"epymarl_trust_region.environments.games:{DISTANCING_ID}"


def seen(observations) -> list[int]:
    assert all(o.dtype == np.float32 and o.sum() == 1 and o.max() == 1 for o in observations)
    return [int(o.argmax()) for o in observations]


def test_a_walk_from_s_to_t():
    env = gymnasium.make(CONGESTION, n_agents=3, reward_scale=6.0)
    observations, _ = env.reset(seed=0)
    assert seen(observations) == [0, 0, 0] and env.unwrapped.get_avail_actions() == [[1, 1]] * 3
    observations, rewards, terminated, truncated, _ = env.step([0, 0, 1])
    assert seen(observations) == [1, 1, 2] and rewards == [3.0, 3.0, 6.0] and not terminated
    observations, rewards, terminated, _, _ = env.step([1, 1, 1])
    assert seen(observations) == [4, 4, 4] and rewards == [3.0, 3.0, 6.0] and not terminated
    assert env.unwrapped.get_avail_actions() == [[1, 0]] * 3
    observations, rewards, terminated, truncated, _ = env.step([0, 0, 0])
    assert seen(observations) == [5, 5, 5] and rewards == [2.0] * 3 and (terminated, truncated) == (True, False)
    assert seen(env.reset()[0]) == [0, 0, 0]


def test_agents_can_see_the_whole_configuration():
    env = gymnasium.make(CONGESTION, n_agents=2, observe="configuration")
    assert env.observation_space[0].shape == (10,)
    env.reset()
    for actions in ([0, 1], [1, 1], [0, 0]):
        observations, *_ = env.step(actions)
        state = congestion.configurations(2)[seen(observations)[0]]
        assert state.tolist() == env.unwrapped._vertices.tolist() and len(set(seen(observations))) == 1


def test_the_distancing_game_goes_on():
    env = gymnasium.make(DISTANCING)
    assert seen(env.reset(seed=1)[0]) == [0] * 8
    observations, rewards, terminated, truncated, _ = env.step([3] * 8)
    assert seen(observations) == [1] * 8 and rewards == [48.0] * 8
    observations, rewards, *_ = env.step([0, 0, 1, 1, 2, 2, 3, 3])
    assert seen(observations) == [0] * 8 and rewards == [-98, -98, -96, -96, -92, -92, -88, -88]
    assert (terminated, truncated) == (False, False)


@pytest.mark.parametrize(
    "key, arguments, message",
    [
        (CONGESTION, {"n_agents": 0}, "env_args.n_agents is 0: give a whole number from 1"),
        (CONGESTION, {"n_agents": 2.0}, "env_args.n_agents is 2.0"),
        (CONGESTION, {"observe": "all"}, "env_args.observe is 'all': choose vertex or configuration"),
        (CONGESTION, {"n_agents": 11, "observe": "configuration"}, "from 1 to 10"),
        (CONGESTION, {"reward_scale": 0}, "env_args.reward_scale is 0: give a positive number"),
        (DISTANCING, {"n_agents": 6}, "env_args.n_agents is 6: give a multiple of 4"),
        (DISTANCING, {"n_agents": True}, "env_args.n_agents is True"),
    ],
)
def test_bad_arguments_are_refused_by_name(key, arguments, message):
    with pytest.raises(ConfigError, match=message):
        gymnasium.make(key, **arguments)


def test_an_action_that_does_not_exist_is_refused():
    env = gymnasium.make(CONGESTION, n_agents=2)
    env.reset()
    with pytest.raises(ValueError, match="not in the action space"):
        env.step([0, 2])
