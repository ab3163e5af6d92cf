"""HAPPO through EPyMARL's own (patched) `src/main.py` and through `epymarl-tr run`: fork, spawn, and failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from epymarl_trust_region.suite import epymarl, patching
from support import ROOT

pytestmark = pytest.mark.integration

STUBS = ROOT / "plugins/epymarl_trust_region/suite/stubs"
ENTRY_POINTS = "[epymarl.plugins]\ntrust_region = epymarl_trust_region.suite.registration\n"
SPREAD = ("env_args.key=pz-mpe-simple-spread-v3", "env_args.time_limit=25")
SMALL = ("batch_size_run=2", "batch_size=2", "buffer_size=2", "t_max=60", "test_nepisode=2", "use_cuda=False")
SPAWN = """
import multiprocessing, os, runpy, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def clone(epymarl_home: Path, tmp_path: Path) -> Path:
    """A patched clone of the checkout."""
    target = tmp_path / "epymarl"
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(epymarl_home), str(target)], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", epymarl.PINNED_COMMIT], cwd=target, check=True)
    patching.apply(target)
    return target


def run(folder: Path, *command: str, home: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python with this plugin as an installed distribution, whether or not it is installed."""
    info = folder / "site/epymarl_trust_region-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: epymarl-trust-region\nVersion: 0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = os.pathsep.join(map(str, (ROOT / "plugins", folder / "site", STUBS)))
    env = {**os.environ, "PYTHONPATH": paths, "EPYMARL_HOME": str(home or ""), "PYTHONDONTWRITEBYTECODE": "1"}
    if not home:
        del env["EPYMARL_HOME"]
    command = [sys.executable, "-W", "ignore", *command]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_suites_own_command_trains_happo(start, clone, tmp_path):
    driver = []
    if start == "spawn":
        (tmp_path / "spawn.py").write_text(SPAWN)
        driver = [str(tmp_path / "spawn.py")]
    command = ["--config=happo", "--env-config=gymma", "with", *SPREAD, *SMALL]
    result = run(tmp_path, *driver, str(clone / "src/main.py"), *command)
    assert result.returncode == 0, result.stdout + result.stderr
    (info,) = clone.glob("results/sacred/happo/pz-mpe-simple-spread-v3/1/info.json")
    assert json.loads(info.read_text())["return_mean"]


def test_the_suites_own_command_trains_mappo_and_the_one_environment_runner_works(clone, tmp_path):
    command = ["--config=mappo", "--env-config=gymma", "with", *SPREAD, *SMALL]
    result = run(tmp_path, str(clone / "src/main.py"), *command)
    assert result.returncode == 0, result.stdout + result.stderr
    one = ("runner=episode", "batch_size_run=1", "batch_size=1", "buffer_size=1", "t_max=30", "use_cuda=False")
    result = run(tmp_path, str(clone / "src/main.py"), "--config=happo", "--env-config=gymma", "with", *SPREAD, *one)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("epss_clip=0.2", "Added new config entry that is not used anywhere"),  # Sacred's own words
        ("share_parameters=True", "HAPPO does not support share_parameters=True"),
        ("env_args.time_limit=None", "env_args.time_limit=None is missing"),
    ],
)
def test_the_suites_own_command_refuses_bad_input_in_one_line(wrong, message, clone, tmp_path):
    result = run(tmp_path, str(clone / "src/main.py"), "--config=happo", "--env-config=gymma", "with", *SPREAD, wrong)
    assert result.returncode != 0
    assert message in result.stderr and "Traceback" not in result.stderr


def through_us(folder: Path, home: Path, *params: str, config: str = "happo") -> subprocess.CompletedProcess:
    command = ["run", "--suite=epymarl", f"--config={config}", "--env-config=gymma", "--quiet", "with"]
    return run(folder, "-m", "epymarl_trust_region", *command, *params, home=home)


@pytest.mark.parametrize("config", ["mappo", "qmix"])
def test_the_suites_own_algorithms_run_through_epymarl_tr(config, epymarl_home, tmp_path):
    small = SMALL if config == "mappo" else ("t_max=60", "test_nepisode=2", "batch_size=2", "use_cuda=False")
    result = through_us(tmp_path, epymarl_home, *SPREAD, *small, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / f"results/sacred/{config}/pz-mpe-simple-spread-v3/1/info.json").exists()


def test_a_worker_that_dies_is_reported_and_not_waited_for(epymarl_home, tmp_path):
    broken = ("env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "env_args.max_steps=-1")
    result = through_us(tmp_path, epymarl_home, *broken, *SMALL, "runner=parallel")
    assert result.returncode == 2
    assert "error: environment worker" in result.stderr and "exit code" in result.stderr
    assert "max_steps" in result.stderr  # the worker's own words
    result = through_us(
        tmp_path, epymarl_home, *broken, *SMALL
    )  # the vector runner makes the first one in this process
    assert result.returncode == 2
    assert "error: env_args.max_steps is -1" in result.stderr and "Traceback" not in result.stderr


def test_a_missing_simulator_gives_the_hosts_own_error(epymarl_home, tmp_path):
    command = [
        "run",
        "--suite=epymarl",
        "--config=happo",
        "--env-config=sc2",
        "--quiet",
        "with",
        "env_args.map_name=3m",
    ]
    result = run(tmp_path, "-m", "epymarl_trust_region", *command, home=epymarl_home)
    assert result.returncode == 1
    assert "No module named 'smac'" in result.stderr and "Traceback" not in result.stderr
