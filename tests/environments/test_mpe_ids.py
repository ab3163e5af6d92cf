"""The pz-mpe ids: which exist, what they play, their last step, and what is said where mpe2 is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from epymarl_trust_region.environments import mpe
from epymarl_trust_region.errors import EnvironmentMissingError

mpe2 = pytest.importorskip("mpe2")
MODULES = sorted(path.stem for path in Path(mpe2.__path__[0]).glob("*_v*.py"))
PLUGINS = Path(mpe.__file__).parents[2]


def make(module: str, **kwargs) -> gym.Env:
    return gym.make("pz-mpe-" + module.replace("_", "-"), disable_env_checker=True, **kwargs)


def test_spread_and_speaker_listener_are_among_the_modules() -> None:
    assert {"simple_spread_v3", "simple_speaker_listener_v4", "simple_reference_v3", "simple_tag_v3"} <= set(MODULES)
    assert set(mpe._WELL_KNOWN) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_each_id_plays_mpe2s_own_parallel_env_bit_for_bit(module: str) -> None:
    env = make(module, max_cycles=4)
    reference = importlib.import_module(f"mpe2.{module}").parallel_env(max_cycles=4)
    obs, _ = env.reset(seed=5)
    expected, _ = reference.reset(seed=5)
    agents = list(reference.agents)
    rng = np.random.default_rng(0)
    assert env.unwrapped.n_agents == len(agents)
    assert all(np.array_equal(one, expected[agent]) for one, agent in zip(obs, agents, strict=True))
    for _ in range(3):
        actions = [int(rng.integers(space.n)) for space in env.action_space]
        obs, rewards, terminated, truncated, _ = env.step(actions)
        expected, expected_rewards, *_ = reference.step(dict(zip(agents, actions, strict=True)))
        assert all(np.array_equal(one, expected[agent]) for one, agent in zip(obs, agents, strict=True))
        assert rewards == [expected_rewards[agent] for agent in agents]
        assert (terminated, truncated) == (False, False)


def test_the_last_step_repeats_the_observation_and_pays_nothing() -> None:
    env = make("simple_spread_v3", max_cycles=2)
    env.reset(seed=1)
    before, rewards, *_ = env.step([1, 2, 3])
    assert all(rewards)
    after, rewards, terminated, truncated, info = env.step([1, 2, 3])
    assert all(one is other for one, other in zip(after, before, strict=True))
    assert (rewards, terminated, truncated, info) == ([0, 0, 0], False, True, {})


def test_an_action_that_does_not_exist_is_refused() -> None:
    env = make("simple_speaker_listener_v4")
    env.reset(seed=1)
    with pytest.raises(ValueError, match=r"action 3 is not in Discrete\(3\)"):
        env.step([3, 0])


def test_registered_ids_are_left_alone() -> None:
    key = "pz-mpe-simple-spread-v3"
    ours = gym.registry.pop(key)
    try:
        gym.register(key, entry_point="somewhere:Else")
        mpe.register()
        assert gym.registry[key].entry_point == "somewhere:Else"
    finally:
        gym.registry[key] = ours


def test_missing_mpe2_is_named_when_an_environment_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mpe2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mpe2", None)  # any import of it fails
    with pytest.raises(EnvironmentMissingError, match="pip install mpe2") as caught:
        make("simple_spread_v3")
    assert isinstance(caught.value.__cause__, ImportError)


def test_without_mpe2_the_well_known_ids_still_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpe.importlib.util, "find_spec", lambda name: None)
    assert "simple_spread_v3" in mpe._modules()


def test_the_import_is_light_and_the_id_may_name_the_module() -> None:
    code = (
        "import sys, gymnasium as gym\n"
        "import epymarl_trust_region.environments.mpe\n"
        "assert not {'torch', 'mpe2', 'pettingzoo', 'sacred'} & set(sys.modules), 'heavy'\n"
        "gym.make('epymarl_trust_region.environments.mpe:pz-mpe-simple-spread-v3')\n"
        "assert 'torch' not in sys.modules, 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PLUGINS)
    assert done.returncode == 0, done.stderr
