"""Checkers and Switch as Gymnasium environments and in the suite's wrapper: spaces, views, ends, bad arguments."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
from epymarl_trust_region.environments.games import CHECKERS_ID, SWITCH_ID, checkers, grid_picture, switch
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

CHECKERS = f"epymarl_trust_region.environments.games:{CHECKERS_ID}"
SWITCH = f"epymarl_trust_region.environments.games:{SWITCH_ID}"
DOWN, LEFT, UP, RIGHT, STAY = range(5)


@pytest.mark.parametrize(
    "key, arguments, n_agents, size",
    [
        (CHECKERS, {}, 2, 47),
        (CHECKERS, {"observe": "position"}, 2, 2),
        (CHECKERS, {"observe": "state", "clock": 100}, 2, 23),
        (SWITCH, {}, 4, 2),
        (SWITCH, {"n_agents": 2, "clock": 50}, 2, 3),
        (SWITCH, {"observe": "state"}, 4, 8),
        (SWITCH, {"observe": "state", "n_agents": 2}, 2, 4),
    ],
)
def test_spaces_hold_what_is_seen_on_a_random_walk(key, arguments, n_agents, size):
    env = gymnasium.make(key, **arguments)
    assert env.unwrapped.n_agents == n_agents == len(env.action_space)
    assert [space.n for space in env.action_space] == [5] * n_agents
    assert [space.shape for space in env.observation_space] == [(size,)] * n_agents
    env.action_space.seed(1)
    observations, _ = env.reset(seed=0)
    for _ in range(200):
        assert isinstance(observations, tuple) and env.observation_space.contains(observations)
        observations, rewards, terminated, truncated, info = env.step(env.action_space.sample())
        assert len(rewards) == n_agents and all(type(reward) is float for reward in rewards)
        assert type(terminated) is bool and truncated is False and info == {}
        if terminated:
            observations, _ = env.reset()


def test_what_is_seen_is_the_game_as_it_is_after_the_step():
    env = gymnasium.make(CHECKERS)
    cells, fruit = checkers.start()
    observations, _ = env.reset()
    for actions in [(DOWN, STAY), (LEFT, UP), (LEFT, LEFT), (UP, STAY)]:
        assert np.array_equal(observations, checkers.see_window(cells, fruit).astype(np.float32))
        cells, fruit, expected = checkers.step(cells, fruit, np.array(actions), -0.01)
        observations, rewards, *_ = env.step(actions)
        assert rewards == expected.tolist()
    assert rewards == [5 - 0.01, -0.01]  # the apple above the lemon that agent 0 has just eaten


def test_step_costs_are_the_documented_ones_and_can_be_changed():
    for key, cost in ((CHECKERS, -0.01), (SWITCH, -0.1)):
        for arguments, expected in (({}, cost), ({"step_cost": 0}, 0.0), ({"step_cost": -1}, -1.0)):
            env = gymnasium.make(key, **arguments)
            env.reset()
            n_agents = env.unwrapped.n_agents
            assert env.step([STAY] * n_agents)[1] == [expected] * n_agents


def test_the_clock_runs_to_one_and_starts_again():
    env = gymnasium.make(SWITCH, n_agents=2, clock=4)
    for _ in range(2):
        seen = [env.reset()[0]] + [env.step([STAY, STAY])[0] for _ in range(6)]
        assert [one[-1] for both in seen for one in both] == [
            t for t in (0, 0.25, 0.5, 0.75, 1, 1, 1) for _ in range(2)
        ]
        assert all(np.array_equal(one[:2], seen[0][i][:2]) for both in seen for i, one in enumerate(both))


def test_seeds_change_nothing_and_resets_start_anew():
    env = gymnasium.make(CHECKERS, observe="state")
    first, _ = env.reset(seed=0)
    env.step([DOWN, STAY])
    env.step([LEFT, STAY])
    assert np.array_equal(env.reset(seed=1)[0], first)
    assert env.unwrapped._fruit.sum() == 27


def pixels(picture, row, column):
    """The colours of one cell."""
    size = grid_picture.CELL
    return set(map(tuple, picture[row * size : (row + 1) * size, column * size : (column + 1) * size].reshape(-1, 3)))


def test_pictures_show_agents_fruit_walls_and_targets():
    env = gymnasium.make(CHECKERS, render_mode="rgb_array")
    env.reset()
    size, plain = grid_picture.CELL, {grid_picture.WHITE, grid_picture.LINE}
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.shape == (3 * size, 8 * size, 3)
    assert pixels(picture, 0, 0) == plain | {grid_picture.APPLE} and pixels(picture, 0, 5) == plain | {
        grid_picture.LEMON
    }
    assert pixels(picture, 0, 6) == plain | {grid_picture.AGENTS[0]}
    assert pixels(picture, 2, 6) == plain | {grid_picture.AGENTS[1]} and pixels(picture, 1, 7) == plain
    env.step([LEFT, STAY])
    picture = env.render()
    assert pixels(picture, 0, 5) == plain | {grid_picture.AGENTS[0]} and pixels(picture, 0, 6) == plain

    env = gymnasium.make(SWITCH, render_mode="rgb_array")
    env.reset()
    picture = env.render()
    for agent, (start, target) in enumerate(zip(switch.start(4), switch.targets(4), strict=True)):
        for cell in (start, target):
            assert pixels(picture, *divmod(int(cell), 7)) == plain | {grid_picture.AGENTS[agent]}
    assert pixels(picture, 0, 3) == {grid_picture.WALL, grid_picture.LINE} and pixels(picture, 1, 3) == plain
    two = gymnasium.make(SWITCH, n_agents=2, render_mode="rgb_array")
    two.reset()
    assert pixels(two.render(), 2, 6) == plain


def test_without_a_render_mode_there_is_no_picture():
    env = gymnasium.make(SWITCH).unwrapped
    env.reset()
    assert env.render() is None


def gymma(key, **more) -> GymmaEnv:
    shared = {"seed": 0, "reward_scalarisation": "sum", "time_limit": 3, "common_reward": True}
    return GymmaEnv(**{"key": key, **shared, **more})


def test_the_suites_wrapper_takes_them():
    env = gymma(CHECKERS, time_limit=100, common_reward=False)
    sizes = {"state_shape": 94, "obs_shape": 47, "n_actions": 5, "n_agents": 2, "episode_limit": 100}
    assert env.get_env_info() == sizes and env.get_avail_actions() == [[1] * 5] * 2
    env.reset()
    obs, rewards, terminated, truncated, _ = env.step(np.array([LEFT, LEFT]))
    assert obs.shape == (2, 47) and rewards == [-5.01, -1.01] and not terminated and not truncated
    team = gymma(SWITCH)
    team.reset()
    ends = [team.step([STAY] * 4)[1:4] for _ in range(3)]
    assert ends == [(-0.4, False, False)] * 2 + [(-0.4, False, True)]
    render = gymma(SWITCH, n_agents=2, render_mode="rgb_array")
    render.reset()
    render.render()


@pytest.mark.parametrize(
    "key, arguments, message",
    [
        (SWITCH, {"n_agents": 3}, "env_args.n_agents is 3: choose 2 or 4"),
        (SWITCH, {"n_agents": 2.0}, "env_args.n_agents is 2.0"),
        (SWITCH, {"n_agents": "4"}, "env_args.n_agents is '4'"),
        (SWITCH, {"observe": "window"}, "env_args.observe is 'window': choose position or state"),
        (CHECKERS, {"observe": "all"}, "env_args.observe is 'all': choose window or position or state"),
        (CHECKERS, {"observe": None}, "env_args.observe is None"),
        (CHECKERS, {"step_cost": 0.1}, "env_args.step_cost is 0.1: give a finite number of at most 0"),
        (CHECKERS, {"step_cost": -math.inf}, "env_args.step_cost is -inf"),
        (SWITCH, {"step_cost": math.nan}, "env_args.step_cost is nan"),
        (SWITCH, {"step_cost": "-1"}, "env_args.step_cost is '-1'"),
        (SWITCH, {"step_cost": False}, "env_args.step_cost is False"),
        (CHECKERS, {"clock": -1}, "env_args.clock is -1: give the steps of an episode, or 0 for no clock"),
        (CHECKERS, {"clock": True}, "env_args.clock is True"),
        (CHECKERS, {"clock": 1.5}, "env_args.clock is 1.5"),
        (SWITCH, {"render_mode": "ansi"}, "env_args.render_mode is 'ansi': choose rgb_array or null"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium's own, about the render mode
def test_bad_arguments_are_refused_by_name(key, arguments, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        gymnasium.make(key, **arguments)


@pytest.mark.parametrize("joint", [[0, 5], [0, -1], [0], [0, 0, 0], [0, 0.0]])
def test_an_action_that_does_not_exist_is_refused(joint):
    for env in (gymnasium.make(CHECKERS), gymnasium.make(SWITCH, n_agents=2)):
        env.reset()
        with pytest.raises(ValueError, match="not in the action space"):
            env.step(joint)
