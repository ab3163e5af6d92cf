"""One configuration, one seed, two hosts: the logged numbers of our algorithms are the same, digit for digit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

pytestmark = pytest.mark.integration

TASKS = {
    "spread": "env_args.key=pz-mpe-simple-spread-v3 env_args.time_limit=25 t_max=1000 test_interval=400",
    "speaker": "env_args.key=pz-mpe-simple-speaker-listener-v4 env_args.time_limit=25 t_max=500 test_interval=250",
    "continuous": "env_args.key=pz-mpe-simple-spread-v3 env_args.time_limit=25 env_args.continuous_actions=True "
    "t_max=500 test_interval=250 rollout_steps=20 use_rnn=True obs_last_action=True normalise_inputs=True",
    "foraging": "env_args.key=lbforaging:Foraging-8x8-2p-3f-v3 env_args.time_limit=50 t_max=900 test_interval=400 "
    "use_rnn=True",
    "congestion": "env_args.key=trust-region-congestion-v0 env_args.time_limit=4 t_max=120 test_interval=50 "
    "common_reward=False",
    "checkers": "env_args.key=trust-region-checkers-v0 env_args.time_limit=30 t_max=900 test_interval=400 "
    "env_args.clock=30",
    "switch": "env_args.key=trust-region-switch-v0 env_args.time_limit=20 t_max=600 test_interval=300",
    "climbing": "env_args.key=trust-region-climbing-v0 env_args.time_limit=1 t_max=40 test_interval=20",
}
COMMON = ["seed=5", "test_nepisode=10", "learner_log_interval=0", "runner_log_interval=200"]


def logged(
    folder: Path, home: Path, suite: str, *params: str, config: str = "happo", env_config: str = "gymma"
) -> dict:
    """Run `epymarl-tr run` in a process of its own; Sacred's info of the run, numpy's tagged numbers made plain."""
    folder.mkdir()
    path = os.pathsep.join([str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    command = [
        "run",
        f"--suite={suite}",
        f"--config={config}",
        f"--env-config={env_config}",
        "--quiet",
        "with",
        *COMMON,
        *params,
    ]
    result = subprocess.run(
        [sys.executable, "-m", "epymarl_trust_region", *command],
        cwd=folder, env={**os.environ, "EPYMARL_HOME": str(home), "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (info,) = folder.glob(f"results/sacred/{config}/*/1/info.json")
    content = json.loads(info.read_text())
    return {k: [v["value"] if isinstance(v, dict) else v for v in values] for k, values in content.items()}


@pytest.mark.parametrize(
    "task",
    ["spread", "continuous", "checkers"]
    + [pytest.param(task, marks=pytest.mark.thorough) for task in ("speaker", "foraging", "climbing")],  # others: below
)
def test_a_run_is_the_same_on_both_hosts(task, epymarl_home, tmp_path):
    lite = logged(tmp_path / "lite", epymarl_home, "lite", *TASKS[task].split())
    real = logged(tmp_path / "epymarl", epymarl_home, "epymarl", *TASKS[task].split())
    assert set(lite) == set(real)
    assert len(lite["test_return_mean"]) >= 2 and len(lite["kl_mean"]) >= 2
    assert lite == real


@pytest.mark.parametrize(
    "config, task, params",
    [
        ("hatrpo", "foraging", ""),  # with a GRU
        pytest.param("jr_ppo", "speaker", "", marks=pytest.mark.thorough),
        pytest.param("ir_ippo", "foraging", "common_reward=False", marks=pytest.mark.thorough),
        ("inpg", "congestion", "tabular=True"),
        ("matrl", "speaker", ""),
        pytest.param("log_linear_ppo", "speaker", "", marks=pytest.mark.thorough),
    ],
)
def test_the_other_algorithms_too(config, task, params, epymarl_home, tmp_path):
    given = [*TASKS[task].split(), *params.split()]
    lite = logged(tmp_path / "lite", epymarl_home, "lite", *given, config=config)
    real = logged(tmp_path / "epymarl", epymarl_home, "epymarl", *given, config=config)
    metric = "test_total_return_mean" if "common_reward=False" in given else "test_return_mean"
    assert len(lite[metric]) >= 2 and len(lite["kl_mean"]) >= 2
    assert lite == real


def test_multi_agent_mujoco_too(epymarl_home, tmp_path):
    """Streams with ends and cuts inside, minibatches, both normalisations."""
    pytest.importorskip("mujoco")
    task = (
        "env_args.scenario=Hopper env_args.partition=3x1 env_args.time_limit=40 rollout_steps=64 actor_num_mini_batch=4"
    )
    more = "critic_num_mini_batch=4 value_norm=popart normalise_inputs=True t_max=1800 test_interval=900"
    sizes = "batch_size_run=4 batch_size=4 buffer_size=4 test_nepisode=4"
    lite, real = (
        logged(tmp_path / suite, epymarl_home, suite, *f"{task} {more} {sizes}".split(), env_config="mamujoco")
        for suite in ("lite", "epymarl")
    )
    assert len(lite["test_return_mean"]) >= 2 and len(lite["kl_mean"]) >= 2 and len(set(lite["ep_length_mean"])) > 2
    assert lite == real


@pytest.mark.parametrize(
    "config, task, limit",
    [
        ("mappo_ns", "foraging", 50),
        # At 50 foraging calls its own limit an end, and the suite's runner cannot say so.
        pytest.param("happo", "foraging", 49, marks=pytest.mark.thorough),
        pytest.param("happo", "spread", 25, marks=pytest.mark.thorough),
        ("happo", "switch", 20),
    ],
)
def test_a_run_is_the_same_with_the_suites_runner_and_with_ours(config, task, limit, epymarl_home, tmp_path):
    """The suite's own algorithms too: `runner=vector` changes how long a run takes, and what ours take for a cut."""
    params = [*TASKS[task].split(), "runner_log_interval=1", "use_rnn=False", f"env_args.time_limit={limit}"]
    theirs, ours = (
        logged(tmp_path / runner, epymarl_home, "epymarl", *params, f"runner={runner}", config=config)
        for runner in ("parallel", "vector")
    )
    assert len(ours["return_mean"]) >= 2
    assert ours == theirs


@pytest.mark.parametrize("params", [("runner=episode", "batch_size_run=1", "batch_size=1", "buffer_size=1")])
def test_the_suites_one_environment_runner_works_too(params, epymarl_home, tmp_path):
    info = logged(tmp_path / "x", epymarl_home, "epymarl", *TASKS["climbing"].split(), *params)
    assert len(info["test_return_mean"]) >= 2
