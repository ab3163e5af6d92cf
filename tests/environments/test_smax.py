"""One SMAX battle behind the suite's interface: the batch of one, number for number."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch as th
import yaml
from epymarl_trust_region.environments.batched_smax import BatchedSMAX
from epymarl_trust_region.environments.smax import SMAXEnv
from epymarl_trust_region.errors import CapabilityError, ConfigError

# Not importorskip: it would start JAX, and its threads, before the tests that fork workers.
if importlib.util.find_spec("jaxmarl") is None:
    pytest.skip("jaxmarl is not installed; it needs Python 3.11", allow_module_level=True)
pytestmark = pytest.mark.jax

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[2] / "configs/envs/smax.yaml").read_text(encoding="utf-8"))
TEAM = {"common_reward": True, "reward_scalarisation": "sum"}


def test_every_step_is_that_of_the_batch_of_one():
    env, batch = SMAXEnv("3m", time_limit=14, seed=7, **TEAM), BatchedSMAX([7], "3m", 14)
    assert env.get_env_info() == batch.env_info
    assert (env.n_agents, env.episode_limit, env.get_stats()) == (3, 14, {})
    total = 0.0
    for _ in range(2):  # episodes
        (obs, info), seen = env.reset(), batch.reset()
        assert info == {}
        np.testing.assert_array_equal(obs, seen.obs[0])
        for _ in range(14):
            shots = seen.avail_actions[0, :, 5:]
            actions = np.where(shots.any(-1), 5 + shots.argmax(-1), 1)  # go east until somebody is in range
            obs, reward, terminated, truncated, info = env.step(th.tensor(actions))
            played = batch.step(actions[None])
            seen = played.seen
            np.testing.assert_array_equal(obs, seen.obs[0])
            np.testing.assert_array_equal(env.get_obs(), seen.obs[0])
            np.testing.assert_array_equal(env.get_state(), seen.state[0])
            assert env.get_avail_actions() == seen.avail_actions[0].tolist()
            assert reward == played.rewards[0] and isinstance(reward, float)
            assert (terminated, truncated) == (bool(played.terminated[0]), bool(played.truncated[0]))
            assert type(terminated) is type(truncated) is bool
            assert info == played.infos[0]
            total += reward
            if terminated or truncated:
                break
        assert set(info) == {"battle_won", "dead_allies", "dead_enemies"} and type(info["battle_won"]) is bool
    assert total > 0.5  # there was a battle
    env.close()


def test_one_reward_for_the_team_is_all_it_has():
    with pytest.raises(CapabilityError, match="common_reward=False"):
        SMAXEnv("3m", time_limit=5, seed=0, common_reward=False, reward_scalarisation="sum")


def test_what_it_cannot_play_is_refused_as_in_the_batch():
    with pytest.raises(ConfigError, match="did you mean 3s5z"):
        SMAXEnv("3s5x", time_limit=5, seed=0, **TEAM)
    with pytest.raises(ConfigError, match="env_args.replay_dir"):
        SMAXEnv("3m", time_limit=5, seed=0, replay_dir="", **TEAM)


def test_it_says_that_it_cannot_draw_or_record():
    env = SMAXEnv("3m", time_limit=5, seed=0, **TEAM)
    with pytest.raises(CapabilityError, match="render=False"):
        env.render()
    with pytest.raises(CapabilityError, match="save_replay=False"):
        env.save_replay()


def test_the_yaml_makes_an_environment_and_holds_the_packages_defaults():
    from jaxmarl.environments.smax import SMAX, HeuristicEnemySMAX

    assert CONFIG["env"] == "smax"
    SMAXEnv(**CONFIG["env_args"], seed=0, **TEAM)
    package = {**inspect.signature(SMAX).parameters, **inspect.signature(HeuristicEnemySMAX).parameters}
    options = {key: value for key, value in CONFIG["env_args"].items() if key not in ("map_name", "time_limit")}
    assert options == {key: package[key].default for key in options}
    assert package["max_steps"].default == CONFIG["env_args"]["time_limit"]
