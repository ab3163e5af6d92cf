"""Ends and cuts from the environment to the values learnt, on both hosts, through the runner `vector`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from data import endings  # registers its ids
from epymarl_trust_region.main import main
from epymarl_trust_region.suite import ends, registration
from support import ROOT, logged

REAL = pytest.mark.integration
SIZES = [f"{key}=10" for key in ("batch_size_run", "batch_size", "buffer_size", "test_nepisode")]
COMMON = ["seed=1", "env_processes=1", "test_interval=100000", "learner_log_interval=0", "hidden_dim=8", *SIZES]
#: With these a critic of one state is fitted to its targets in each update, and moves no policy on its way.
ONE_STATE = ["gamma=0.9", "critic_lr=0.02", "critic_epochs=20", "epochs=1"]


def run(suite: str, folder: Path, home: Path | None, *params: str) -> dict:
    """What a run logs; on EPyMARL in a process of its own, with what it says as `said`."""
    command = [f"--suite={suite}", "--config=happo", "--env-config=gymma", "--progress=off", "with", *COMMON, *params]
    said = ""
    if suite == "lite":
        assert main(["--quiet", *command]) == 0
    else:
        said = python(folder, "-m", "epymarl_trust_region", "run", *command, EPYMARL_HOME=str(home))
    return {**logged(sorted(folder.rglob("info.json"))[-1]), "said": said}


def python(folder: Path, *command: str, **variables: str) -> str:
    """What a process of its own says."""
    path = os.pathsep.join(map(str, (ROOT / "plugins", ROOT / "tests")))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, "-W", "ignore", *command]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr + done.stdout


@pytest.fixture
def home(request) -> Path | None:
    return request.getfixturevalue("epymarl_home") if request.node.callspec.params["suite"] == "epymarl" else None


@pytest.mark.parametrize("suite, limit", [("lite", 5), ("lite", 50), pytest.param("epymarl", 50, marks=REAL)])
def test_whatever_limit_cuts_an_episode_values_go_on(suite, limit, home, own_folder):
    """The environment has a limit of 5 steps of its own. Reward 1 a step and gamma 0.9: V = 10."""
    key = ["env_args.key=data.endings:OwnLimit-v0", f"env_args.time_limit={limit}"]
    info = run(suite, own_folder, home, *key, *ONE_STATE, "t_max=1500")
    assert info["value_mean"][-1] == pytest.approx(10, abs=0.05)
    assert set(info["ep_length_mean"]) == {5.0}


def test_a_limit_that_is_to_be_an_end_is_one(own_folder):
    """add_value_last_step=False: five rewards and nothing after, so V = 1 + 0.9 + ... at the start, and 1 at the end;
    of one state, their mean."""
    key = ["env_args.key=data.endings:OwnLimit-v0", "env_args.time_limit=50", "gae_lambda=1.0"]
    info = run("lite", own_folder, None, *key, *ONE_STATE, "t_max=1500", "add_value_last_step=False")
    expected = sum(sum(0.9**k for k in range(n)) for n in range(1, 6)) / 5
    assert info["value_mean"][-1] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("suite", ["lite", pytest.param("epymarl", marks=REAL)])
def test_flags_per_agent_end_no_episode_before_its_time(suite, home, own_folder):
    info = run(suite, own_folder, home, "env_args.key=data.endings:PerAgent-v0", "env_args.time_limit=7", "t_max=90")
    assert set(info["ep_length_mean"]) == {7.0}


@pytest.mark.integration
def test_the_suites_own_runner_ends_no_episode_either_and_one_warning_says_what_it_hides(epymarl_home, own_folder):
    """Its workers take `terminated or truncated` of what the wrapper gives."""
    key = ["env_args.key=data.endings:PerAgent-v0", "env_args.time_limit=50", "env_processes=None"]
    info = run("epymarl", own_folder, epymarl_home, *key, "t_max=190", "runner_log_interval=0", "runner=parallel")
    assert set(info["ep_length_mean"]) == {10.0} and len(info["ep_length_mean"]) > 1
    assert info["said"].count("the environment's own limit of 10 steps is shorter than env_args.time_limit=50") == 1


@pytest.mark.parametrize("batched", ["exact", "none"])
def test_an_end_at_the_step_of_the_limit_is_an_end(batched, own_folder):
    """The climbing game is over after one play, and its limit here is one step. No return of the two exceeds 22 or is
    below -60, and V is the mean return."""
    key = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", f"batched_envs={batched}"]
    info = run("lite", own_folder, None, *key, *ONE_STATE[1:], "gamma=0.99", "t_max=1500", "runner_log_interval=0")
    values, returns = info["value_mean"], info["return_mean"]
    assert max(values) < 22 and min(values) > -60
    assert sum(values[50:]) / len(values[50:]) == pytest.approx(sum(returns[50:]) / len(returns[50:]), abs=3)


class OldPettingZoo(gymnasium.Env):
    """EPyMARL's wrapper in outline: of the agents that are left, which are none, all have been both."""

    action_space, observation_space, n_agents = endings.Endless.action_space, endings.Endless.observation_space, 2

    def __init__(self, terminations: dict, truncations: dict) -> None:
        self._env = Parallel(terminations, truncations)

    def reset(self, *, seed=None, options=None):
        return endings.Endless.see(self), {}

    def step(self, actions):
        _, _, terminations, truncations, _ = self._env.step(actions)
        left = self._env.agents
        flags = all(terminations[a] for a in left), all(truncations[a] for a in left)
        return endings.Endless.see(self), [0, 0], *flags, {}


class Parallel:
    def __init__(self, terminations: dict, truncations: dict) -> None:
        self.flags = terminations, truncations

    def step(self, actions):
        self.agents = [a for a in self.flags[0] if not (self.flags[0][a] or self.flags[1][a])]
        return {}, {}, *self.flags, {}


OldPettingZoo.__module__ = "envs.pz_wrapper"


@pytest.mark.parametrize(
    "terminations, truncations, team",
    [
        ((False, False), (False, False), (False, False)),
        ((False, False), (True, True), (False, True)),
        ((True, True), (False, False), (True, False)),
        ((True, True), (True, True), (True, True)),
        ((True, False), (False, True), (False, True)),
        ((True, False), (False, False), (False, False)),
    ],
)
def test_what_pettingzoo_has_said_is_told(terminations, truncations, team):
    """Through every layer, and for one step after another."""
    flags = ({"a": a, "b": b} for a, b in (terminations, truncations))
    env = ends.TeamEnds(gymnasium.wrappers.TimeLimit(OldPettingZoo(*flags), 99))
    env.reset()
    assert [env.step([0, 0])[2:4] for _ in range(2)] == [team] * 2


WITH_EPYMARLS_WRAPPER = """
import json, pathlib, sys
from data import record
record._load_epymarl(pathlib.Path(sys.argv[1]))  # its own PettingZoo wrapper under the ids of MPE
from envs import REGISTRY
from epymarl_trust_region.suite.registration import with_own_availability
make = with_own_availability(REGISTRY["gymma"])
found = {}
for limit in (3, 25, 50):
    env = make(key="pz-mpe-simple-spread-v3", time_limit=limit, seed=1, common_reward=True, reward_scalarisation="sum",
               pretrained_wrapper=None)
    env.reset()
    found[limit] = [env.step([0, 0, 0])[2:4] for _ in range(min(limit, 25))]
print(json.dumps(found))
"""


@pytest.mark.integration
def test_epymarls_pettingzoo_wrapper_says_truncated_at_the_limit(epymarl_home, tmp_path):
    pytest.importorskip("mpe2")
    said = python(tmp_path, "-c", WITH_EPYMARLS_WRAPPER, str(epymarl_home))
    for limit, flags in json.loads(said.splitlines()[-1]).items():
        assert flags == [[False, False]] * (min(int(limit), 25) - 1) + [[False, True]], limit


def test_the_wrapper_of_either_host_folds_flags_per_agent():
    env = registration.with_own_availability(HostGymma)()._env
    env.reset()
    assert env.step([0, 0])[2:4] == (False, False)
    assert isinstance(env.unwrapped, endings.EndlessPerAgent)


class HostGymma:
    """As EPyMARL's wrapper: the environment in `_env`."""

    def __init__(self) -> None:
        self._env = endings.EndlessPerAgent()
