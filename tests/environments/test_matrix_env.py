"""The matrix games as Gymnasium environments: ids, spaces, rewards, episode ends, bad arguments."""

import os
import subprocess
import sys
from pathlib import Path

import epymarl_trust_region
import gymnasium
import numpy as np
import pytest
from epymarl_trust_region.environments.games import ANTI_COORDINATION_ID, CLIMBING_ID, PENALTY_ID, register_games
from epymarl_trust_region.environments.games.matrix_env import MatrixGameEnv
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.normal_form import proposition_1_game

CLIMBING_KEY = "epymarl_trust_region.environments.games:trust-region-climbing-v0"
PENALTY_KEY = "epymarl_trust_region.environments.games:trust-region-penalty-v0"


def play(env, joint):
    env.reset(seed=0)
    return env.step(joint)


def test_every_agent_receives_the_payoff():
    env = gymnasium.make(CLIMBING_KEY)
    for joint, payoff in {(0, 0): 11, (0, 1): -30, (1, 0): -30, (1, 1): 7, (2, 1): 6, (1, 2): 0, (2, 2): 5}.items():
        observations, rewards, terminated, truncated, info = play(env, list(joint))
        assert rewards == [payoff, payoff] and all(type(reward) is float for reward in rewards)
        assert (terminated, truncated, info) == (True, False, {})
        assert all(env.observation_space[i].contains(observations[i]) for i in range(2))
    penalty = gymnasium.make(PENALTY_KEY, penalty=-7)
    assert play(penalty, (0, 2))[1] == [-7, -7] and play(penalty, (0, 0))[1] == [10, 10]
    assert play(gymnasium.make(PENALTY_KEY), (2, 0))[1] == [-100, -100]


def test_anti_coordination_pays_for_two_unlike_halves():
    key = f"epymarl_trust_region.environments.games:{ANTI_COORDINATION_ID}"
    for n_agents in (2, 4, 6):
        env = gymnasium.make(key, n_agents=n_agents)
        half = [0] * (n_agents // 2)
        paid = [joint for joint in np.ndindex(*(2,) * n_agents) if play(env, list(joint))[1][0]]
        ones = [1 - x for x in half]
        assert paid == [(*half, *ones), (*ones, *half)]
        assert play(env, [*half, *ones])[1] == [1.0] * n_agents
    for bad in (1, 3, 0, -2, 18, 2.0, True, "2"):
        with pytest.raises(ConfigError, match="env_args.n_agents is .*: give an even whole number from 2 to 16"):
            gymnasium.make(key, n_agents=bad)


def test_spaces_and_first_observation():
    env = gymnasium.make(CLIMBING_KEY)
    assert env.unwrapped.n_agents == 2
    assert [space.n for space in env.action_space] == [3, 3]
    assert [space.shape for space in env.observation_space] == [(1,), (1,)]
    observations, info = env.reset(seed=3, options=None)
    assert info == {} and isinstance(observations, tuple)
    for observation in observations:
        np.testing.assert_array_equal(observation, np.ones(1, dtype=np.float32))
        assert observation.dtype == np.float32


def test_an_episode_is_max_steps_plays_and_reset_starts_it_anew():
    env = gymnasium.make(CLIMBING_KEY, max_steps=3)
    for _ in range(2):
        env.reset()
        assert [env.step((1, 1))[2] for _ in range(3)] == [False, False, True]
    env.reset()
    env.step((1, 1))
    env.reset()
    assert [env.step((1, 1))[2] for _ in range(3)] == [False, False, True]


def test_more_than_two_agents():
    env = MatrixGameEnv(proposition_1_game(4))
    env.reset()
    assert env.step((0, 0, 1, 1))[1] == [1.0] * 4
    assert env.step((0, 1, 0, 1))[1] == [0.0] * 4


@pytest.mark.filterwarnings("error")
def test_registering_again_neither_warns_nor_changes_the_ids():
    before = {key: gymnasium.spec(key) for key in (CLIMBING_ID, PENALTY_ID)}
    register_games()
    assert all(gymnasium.spec(key) is spec for key, spec in before.items())


def test_the_key_alone_is_enough_in_a_new_process():
    code = f"import gymnasium; e = gymnasium.make({CLIMBING_KEY!r}); e.reset(); print(e.step((0, 0))[1])"
    plugins = Path(epymarl_trust_region.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(plugins)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[11.0, 11.0]"
    assert "WARN:" not in done.stderr  # how Gymnasium marks its own warnings


@pytest.mark.parametrize("joint", [(0, 3), (0, -1), (0,), (0, 0, 0)])
def test_a_joint_action_that_does_not_exist_is_refused(joint):
    env = gymnasium.make(CLIMBING_KEY)
    env.reset()
    with pytest.raises(ValueError, match="not in the action space"):
        env.step(joint)


@pytest.mark.parametrize(
    ("key", "arguments", "message"),
    [
        (CLIMBING_KEY, {"max_steps": 0}, "env_args.max_steps is 0"),
        (CLIMBING_KEY, {"max_steps": 2.5}, "env_args.max_steps is 2.5"),
        (CLIMBING_KEY, {"max_steps": True}, "env_args.max_steps is True"),
        (PENALTY_KEY, {"penalty": 3}, "env_args.penalty is 3"),
        (PENALTY_KEY, {"penalty": "much"}, "env_args.penalty is 'much'"),
    ],
)
def test_bad_arguments_name_the_key_and_the_remedy(key, arguments, message):
    with pytest.raises(ConfigError, match=message):
        gymnasium.make(key, **arguments)
