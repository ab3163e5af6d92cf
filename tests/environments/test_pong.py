"""Pong for two players: what is seen and paid, ends, seeds, going on after a stop, and missing packages."""

from __future__ import annotations

import importlib.util
import sys

import gymnasium
import numpy as np
import pytest
from epymarl_trust_region.environments import pong, snapshot
from epymarl_trust_region.environments.games import PONG_ID
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite.lite.gymma import GymmaEnv
from resuming import configured, play

KEY = f"epymarl_trust_region.environments.games:{PONG_ID}"
atari = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("multi_agent_ale_py", "ale_py")),
    reason="needs the extra atari",
)
FIRE, UP, DOWN = 1, 2, 3


def make(**arguments) -> pong.PongEnv:
    return gymnasium.make(KEY, disable_env_checker=True, **arguments).unwrapped


def rollout(env, seed: int, steps: int) -> list:
    """What is seen and paid under actions that depend on the seed alone."""
    rng, (seen, _) = np.random.default_rng(seed), env.reset(seed=seed)
    found = [seen[0]]
    for _ in range(steps):
        seen, rewards, over, _, _ = env.step(rng.integers(6, size=2))
        found += [seen[0], np.array(rewards)]
        if over:
            seen, _ = env.reset()
    return found


@atari
@pytest.mark.parametrize("observations, size", [("ram", 128), ("pixels", 2 * 42 * 42)])
def test_both_see_the_same_in_the_range_of_the_space(observations, size):
    env = make(observations=observations)
    seen, _ = env.reset(seed=0)
    for _ in range(30):
        assert len(seen) == 2 and np.array_equal(*seen) and seen[0] in env.observation_space[0]
        assert seen[0].shape == (size,) and seen[0].dtype == np.float32
        seen, *_ = env.step([FIRE, UP])
    assert seen[0].max() > 0.4


@atari
def test_points_pay_one_to_one_and_cost_the_other():
    """A first player who does nothing loses to a second who serves; the score on the machine is the sum of rewards."""
    env, total = make(points=3), np.zeros(2)
    env.reset(seed=0)
    over, rewards, steps = False, [0.0, 0.0], 0
    while not over:
        assert rewards in ([0, 0], [1, -1], [-1, 1])
        _, rewards, over, truncated, _ = env.step([FIRE if steps % 2 else UP, FIRE if steps % 2 else DOWN])
        total, steps = total + rewards, steps + 1
    assert env._score.max() == 3 and total[0] == -total[1] == env._score[0] - env._score[1]
    assert not truncated and 3 in (env._console.ale.getRAM()[13], env._console.ale.getRAM()[14])
    env.reset()
    assert env._score.tolist() == [0, 0]


@atari
def test_the_newest_picture_is_last_and_shows_what_is_on_the_screen():
    env = make(observations="pixels", stack=3, noop_max=0)
    seen, _ = env.reset(seed=0)
    first = seen[0].reshape(3, 42, 42)
    assert np.array_equal(first[0], first[2])
    for _ in range(20):
        before, (seen, *_) = seen[0].reshape(3, 42, 42), env.step([UP, DOWN])
        assert np.array_equal(seen[0].reshape(3, 42, 42)[:2], before[1:])
    last, grey = seen[0].reshape(3, 42, 42)[2], env._console.ale.getScreenGrayscale()[:, :, 0]
    for row, column in np.ndindex(42, 42):  # blocks of 4 x 4 from line 28 on, and from 4 left of the screen
        there = [(28 + 4 * row + i, 4 * column + j - 4) for i in range(4) for j in range(4)]
        shade = sum(abs(int(grey[y, x]) - 87) for y, x in there if 0 <= x < 160) / 16 / 149
        assert last[row, column] == pytest.approx(min(shade, 1), abs=1e-6)
    assert len(np.unique(last)) > 3 and env.render().shape == (210, 160, 3)


@atari
def test_a_seed_gives_the_same_games_and_another_one_others():
    one, two, other = rollout(make(), 5, 60), rollout(make(), 5, 60), rollout(make(), 6, 60)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    env = make()
    env.reset(seed=3)
    assert len({env.reset()[0][0].tobytes() for _ in range(6)}) > 2  # frames before the first action differ


@atari
def test_it_goes_on_in_the_midst_of_a_game():
    env, other = make(observations="pixels"), make(observations="pixels")
    rollout(env, 1, 40)
    taken = snapshot.take(env)
    assert not taken.unknown
    other.reset(seed=99)
    snapshot.put(other, taken.tree)
    for t in range(40):
        (seen, *rest), (there, *same) = env.step([t % 6, FIRE]), other.step([t % 6, FIRE])
        assert np.array_equal(seen[0], there[0]) and rest == same
    assert np.array_equal(env.reset()[0][0], other.reset()[0][0])


@atari
def test_its_rewards_are_individual_behind_the_suites_wrapper():
    env = GymmaEnv(KEY, 8, 0, common_reward=False, reward_scalarisation="sum", points=1)
    assert {name: env.get_env_info()[name] for name in ("n_agents", "n_actions", "obs_shape")} == {
        "n_agents": 2, "n_actions": 6, "obs_shape": 128,
    }  # fmt: skip
    env.reset()
    assert [env.step([0, 0])[3] for _ in range(8)] == [False] * 7 + [True]


@atari
@pytest.mark.parametrize(
    "changes",
    [
        {"rollout_steps": 10},
        {
            "observations": "pixels",
            "actor_network": "epymarl_trust_region.modules.pixels:PixelNetwork",
            "critic_network": "epymarl_trust_region.modules.pixels:PixelNetwork",
        },
    ],
)
def test_it_is_trained_on(changes, tmp_path):
    env_args = {"key": PONG_ID, "time_limit": 10}
    if "observations" in changes:
        changes = dict(changes)
        env_args["observations"] = changes.pop("observations")
    config = configured(tmp_path, "matrl", "pong", env_args, t_max=25, save_model=False, **changes)
    run, _ = play(config)
    assert config["common_reward"] is False and run.info["test_total_return_mean"] == [0.0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"observations": "sound"}, "env_args.observations is 'sound': choose ram or pixels"),
        ({"stack": 0}, "env_args.stack is 0: give a whole number from 1 to 8"),
        ({"points": 22}, "env_args.points is 22: give a whole number from 1 to 21"),
        ({"frame_skip": 2.0}, "env_args.frame_skip is 2.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make(**arguments)


@pytest.mark.parametrize("package", ["multi_agent_ale_py", "ale_py"])
def test_a_missing_package_is_named_with_what_to_install(package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    for name in [name for name in sys.modules if name.startswith("pettingzoo.atari")]:
        monkeypatch.delitem(sys.modules, name)
    if package == "multi_agent_ale_py":
        monkeypatch.setitem(sys.modules, package, None)
    elif find("multi_agent_ale_py") is None:
        pytest.skip("needs the extra atari")
    with pytest.raises(EnvironmentMissingError, match=r"Pong needs .*pip install -c constraints.txt -e '.\[atari\]'"):
        make()
