"""The vmas ids: which exist, that they play as VMAS and as EPyMARL's wrapper, and that they disturb nobody."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from epymarl_trust_region.environments import vmas as ids
from epymarl_trust_region.errors import EnvironmentMissingError
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

vmas = pytest.importorskip("vmas")
from vmas.simulator.environment import Environment  # noqa: E402

PLUGINS = Path(ids.__file__).parents[2]
STEPS = 12
# Among them: unequal observations and actions, goals drawn once, NumPy's random numbers, random numbers in each step.
SCENARIOS = ["balance", "discovery", "het_mass", "navigation", "simple_reference", "simple_world_comm"]

# Plays one scenario after the other, each as if alone in a process that began with the same random numbers.
EPYMARL = """
import random, sys
from pathlib import Path
import numpy as np, torch as th
home, out, scenarios = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
th.manual_seed(7), np.random.seed(7), random.seed(7)
from vmas.simulator.environment import Environment
from epymarl_trust_region.suite import epymarl
epymarl.load(home)
import gymnasium
from envs import REGISTRY
from environments.test_vmas import play
as_imported = list(Environment.vmas_random_state)
played = {}
for scenario in scenarios:
    assert gymnasium.spec("vmas-" + scenario).entry_point == "envs.vmas_wrapper:VMASWrapper"
    Environment.vmas_random_state[:] = as_imported
    played |= play(REGISTRY["gymma"], scenario)
np.savez(out, **played)
"""


def seed_everything(seed: int) -> None:
    th.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def all_states() -> list:
    """Of the process's generators and of VMAS's, such that equality can be asked."""
    states = [th.get_rng_state(), np.random.get_state(), random.getstate(), *Environment.vmas_random_state]
    return [repr(state.tolist() if isinstance(state, th.Tensor) else state) for state in states]


def play(make: Callable, scenario: str) -> dict[str, np.ndarray]:
    """All that two episodes under random actions give, behind `gymma`."""
    common = dict(common_reward=False, reward_scalarisation="sum", pretrained_wrapper=None)
    env = make(key=f"vmas-{scenario}", time_limit=STEPS, seed=3, **common)
    rng = np.random.default_rng(0)
    numbers = [[len(row) and sum(row) for row in env.get_avail_actions()], sorted(env.get_env_info().items())]
    obs, rewards, ends, infos = [], [], [], []
    for _ in range(2):
        env.reset()
        obs.append(np.array(env.get_obs()))
        for _ in range(STEPS):
            _, reward, terminated, truncated, info = env.step([rng.integers(n) for n in numbers[0]])
            obs.append(np.array(env.get_obs()))
            rewards.append(reward)
            ends.append((terminated, truncated))
            infos.append(sorted((key, np.asarray(value).tolist()) for key, value in info.items()))
    named = {"obs": obs, "rewards": rewards, "ends": ends, "infos": str(infos), "numbers": str(numbers)}
    return {f"{scenario}/{name}": np.array(values) for name, values in named.items()}


@pytest.fixture(scope="module")
def of_epymarl(epymarl_home: Path, tmp_path_factory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("vmas") / "played.npz"
    path = os.pathsep.join([str(PLUGINS), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EPYMARL, epymarl_home, out, ",".join(SCENARIOS)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(out))


@pytest.mark.integration
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_plays_exactly_as_under_epymarls_wrapper(scenario: str, of_epymarl: dict) -> None:
    seed_everything(7)
    for name, values in play(GymmaEnv, scenario).items():
        assert values.dtype == of_epymarl[name].dtype, name
        assert np.array_equal(values, of_epymarl[name]), name


def make(scenario: str, **kwargs) -> gym.Env:
    return gym.make(f"vmas-{scenario}", disable_env_checker=True, **kwargs).unwrapped


@pytest.fixture
def vmas_state():
    """VMAS's own states, put back afterwards."""
    held = list(Environment.vmas_random_state)
    yield Environment.vmas_random_state
    Environment.vmas_random_state[:] = held


def plain(value):
    """Arrays and numbers inside `value` as Python's own."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return np.asarray(value).tolist()


def episode(env: gym.Env, n_actions: list[int]) -> list:
    """What a seeded start, an unseeded one and some steps give."""
    rng = np.random.default_rng(1)
    starts = [env.reset(seed=5), env.reset()]
    return [plain(one) for one in starts + [env.step([rng.integers(n) for n in n_actions]) for _ in range(STEPS)]]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_plays_exactly_as_vmas_alone_in_a_process(scenario: str, vmas_state: list) -> None:
    seed_everything(2)
    env = make(scenario)
    n_actions = [space.n for space in env.action_space]
    ours = episode(env, n_actions)
    vmas_state[:] = [th.get_rng_state(), np.random.get_state(), random.getstate()]  # as if imported here
    discrete = dict(continuous_actions=False, terminated_truncated=True, wrapper="gymnasium")
    theirs = episode(vmas.make_env(scenario, num_envs=1, **discrete), n_actions)
    for one in theirs:
        one[-1] = {f"{agent}/{key}": value for agent, info in one[-1].items() for key, value in info.items()}
    assert ours == theirs


def test_environments_do_not_disturb_each_other_nor_anybody_else() -> None:
    seed_everything(0)
    before = all_states()
    first, second = make("discovery"), make("het_mass")
    alone = make("discovery")
    n_actions = [space.n for space in first.action_space]
    expected = episode(alone, n_actions)
    rng = np.random.default_rng(1)
    second.reset(seed=9)
    given = [first.reset(seed=5)]
    second.step([0, 0])
    given.append(first.reset())
    for _ in range(STEPS):
        second.reset()
        given.append(first.step([rng.integers(n) for n in n_actions]))
    assert plain(given) == expected
    assert all_states() == before


def test_an_action_that_does_not_exist_fails_and_disturbs_nobody() -> None:
    env = make("discovery")
    env.reset(seed=1)
    before = all_states()
    with pytest.raises(AssertionError, match="out of bounds"):
        env.step([99] * env.n_agents)
    assert all_states() == before
    again = make("discovery")
    again.reset(seed=1)
    assert plain(env.reset()) == plain(again.reset())  # nor its own


def test_a_start_in_inference_mode_may_be_stepped_outside_of_it() -> None:
    env = make("navigation")
    with th.inference_mode():
        env.reset(seed=1)
        env.step([1] * env.n_agents)
    env.reset()
    env.step([1] * env.n_agents)


def test_max_steps_and_the_scenarios_arguments_reach_vmas() -> None:
    env = make("navigation", max_steps=2, n_agents=5)
    env.reset(seed=1)
    assert env.n_agents == 5
    assert [env.step([0] * 5)[3] for _ in range(2)] == [False, True]


def test_every_scenario_has_its_id() -> None:
    scenarios = set(vmas.scenarios) | set(vmas.debug_scenarios) | set(vmas.mpe_scenarios)
    assert scenarios <= set(ids._scenarios())
    assert set(ids._WELL_KNOWN) <= scenarios
    assert all(f"vmas-{scenario}" in gym.registry for scenario in scenarios)
    assert not any("__" in scenario for scenario in ids._scenarios())


def test_registered_ids_are_left_alone() -> None:
    ours = gym.registry.pop("vmas-balance")
    try:
        gym.register("vmas-balance", entry_point="somewhere:Else")
        ids.register()
        assert gym.registry["vmas-balance"].entry_point == "somewhere:Else"
    finally:
        gym.registry["vmas-balance"] = ours


@pytest.mark.parametrize("missing", ["vmas", "vmas.simulator.environment.gym.gymnasium"])
def test_what_is_missing_is_named_when_an_environment_is_made(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # any import of it fails
    for name in [name for name in sys.modules if missing == "vmas" and name.startswith("vmas.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EnvironmentMissingError, match=r"pip install 'vmas\[gymnasium\]>=1\.5\.1'") as caught:
        make("balance")
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_vmas_that_would_disturb_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Environment, "vmas_random_state")
    with pytest.raises(EnvironmentMissingError, match=r"^the installed vmas .*; pip install 'vmas\[gymn"):
        make("balance")


def test_without_vmas_the_well_known_ids_still_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.importlib.util, "find_spec", lambda name: None)
    assert "balance" in ids._scenarios()


def test_the_import_is_light_and_the_id_may_name_the_module() -> None:
    code = (
        "import sys, gymnasium as gym\n"
        "import epymarl_trust_region.environments.vmas\n"
        "assert not {'torch', 'vmas', 'gym', 'sacred'} & set(sys.modules), 'heavy'\n"
        "gym.make('epymarl_trust_region.environments.vmas:vmas-balance')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PLUGINS)
    assert done.returncode == 0, done.stderr
