"""HAPPO through EPyMARL's own (patched) `src/main.py` and through `epymarl-tr run`: fork, spawn, and failures."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.suite import epymarl, patching
from support import ROOT, logged

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
    target = cloned(epymarl_home, tmp_path)
    patching.apply(target)
    return target


def cloned(home: Path, folder: Path) -> Path:
    target = folder / "epymarl"
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(home), str(target)], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", epymarl.PINNED_COMMIT], cwd=target, check=True)
    return target


@pytest.mark.parametrize("patches", [pytest.param(1, marks=pytest.mark.thorough), 2])
def test_the_suites_own_command_tells_ends_from_cuts_with_one_patch_or_both(patches, epymarl_home, tmp_path):
    """The environment has a limit of 5 steps of its own: at reward 1 and gamma 0.9 it is V = 10 all the same."""
    clone = cloned(epymarl_home, tmp_path)
    for patch in patching.series()[:patches]:
        subprocess.run(["git", "apply", str(patch)], cwd=clone, check=True)
    sizes = [f"{key}=10" for key in ("batch_size_run", "batch_size", "buffer_size", "test_nepisode")]
    learning = ["gamma=0.9", "critic_lr=0.02", "critic_epochs=20", "epochs=1", "hidden_dim=8", "t_max=1500"]
    params = ["env_args.key=data.endings:OwnLimit-v0", "env_args.time_limit=50", "learner_log_interval=100", "seed=1"]
    command = ["--config=happo", "--env-config=gymma", "with", *params, *learning, *sizes, "use_cuda=False"]
    result = run(tmp_path, str(clone / "src/main.py"), *command)
    assert result.returncode == 0, result.stdout + result.stderr
    (info,) = clone.glob("results/sacred/happo/*/1/info.json")
    assert logged(info)["value_mean"][-1] == pytest.approx(10, abs=0.05)


def run(folder: Path, *command: str, home: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python with this plugin as an installed distribution, whether or not it is installed."""
    info = folder / "site/epymarl_trust_region-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: epymarl-trust-region\nVersion: 0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = os.pathsep.join(map(str, (ROOT / "plugins", ROOT / "tests", folder / "site", STUBS)))
    env = {**os.environ, "PYTHONPATH": paths, "EPYMARL_HOME": str(home or ""), "PYTHONDONTWRITEBYTECODE": "1"}
    if not home:
        del env["EPYMARL_HOME"]
    command = [sys.executable, "-W", "ignore", *command]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("start", [pytest.param("fork", marks=pytest.mark.thorough), "spawn"])
def test_the_suites_own_command_trains_happo(start, clone, tmp_path):
    driver = []
    if start == "spawn":
        (tmp_path / "spawn.py").write_text(SPAWN)
        driver = [str(tmp_path / "spawn.py")]
    command = ["--config=happo", "--env-config=gymma", "with", *SPREAD, *SMALL, "save_model=True"]
    result = run(tmp_path, *driver, str(clone / "src/main.py"), *command)
    assert result.returncode == 0, result.stdout + result.stderr
    (info,) = clone.glob("results/sacred/happo/pz-mpe-simple-spread-v3/1/info.json")
    assert json.loads(info.read_text())["return_mean"]
    assert saved_steps(tmp_path) == {50, 100}  # the last policy too


def saved_steps(folder: Path) -> set[int]:
    """Of the only run that has saved models under this folder."""
    (run,) = (folder / "results/models").iterdir()
    assert not set(run.name) & set(": ")  # it can be a folder on Windows, and an argument without quotes
    return {int(step.name) for step in run.iterdir() if (step / "agent.th").stat().st_size}


def test_the_suites_own_command_trains_mappo_and_the_one_environment_runner_works(clone, tmp_path):
    ours = ("runner=vector", "env_processes=1")  # keys of configs/run.yaml
    command = ["--config=mappo", "--env-config=gymma", "with", *SPREAD, *SMALL, *ours]
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
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ("env_args.time_limit=None", "env_args.time_limit=None is missing"),
                ("evaluate=True", "evaluate=True needs a model"),
                ("runner=parallel env_processes=1", "env_processes=1 belongs to runner=vector"),
                ("factor_clip=0.1 agent=nonsense", "key `agent` in the configuration has no meaning for HAPPO"),
            )
        ),
    ],
)
def test_the_suites_own_command_refuses_bad_input_in_one_line(wrong, message, clone, tmp_path):
    command = ["--config=happo", "--env-config=gymma", "with", *SPREAD, *wrong.split()]
    result = run(tmp_path, str(clone / "src/main.py"), *command)
    assert result.returncode != 0
    assert message in result.stderr and "Traceback" not in result.stderr


def test_the_suites_own_command_finds_a_module_in_the_current_folder(clone, tmp_path):
    """Its runner makes the environments in workers of its own."""
    (tmp_path / "my_env.py").write_text((ROOT / "tests/data/troubled.py").read_text())
    module = ("env_args.key=my_env:Troubled-v0", "env_args.time_limit=9", "runner=parallel")
    result = run(tmp_path, str(clone / "src/main.py"), "--config=happo", "--env-config=gymma", "with", *module, *SMALL)
    assert result.returncode == 0, result.stdout + result.stderr
    (tmp_path / "my_env.py").write_text("import scipy_of_mine\n")
    result = run(tmp_path, str(clone / "src/main.py"), "--config=happo", "--env-config=gymma", "with", *module, *SMALL)
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert "my_env.py, line 1: ModuleNotFoundError: No module named 'scipy_of_mine'; install the" in result.stderr


def through_us(folder: Path, home: Path, *params: str, config: str = "happo") -> subprocess.CompletedProcess:
    command = ["run", "--suite=epymarl", f"--config={config}", "--env-config=gymma", "--quiet", "with"]
    return run(folder, "-m", "epymarl_trust_region", *command, *params, home=home)


@pytest.mark.parametrize("config", ["mappo", "qmix"])
def test_the_suites_own_algorithms_run_through_epymarl_tr(config, epymarl_home, tmp_path):
    small = SMALL if config == "mappo" else ("t_max=60", "test_nepisode=2", "batch_size=2", "use_cuda=False")
    result = through_us(tmp_path, epymarl_home, *SPREAD, *small, "save_model=True", config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / f"results/sacred/{config}/pz-mpe-simple-spread-v3/1/info.json").exists()
    steps = saved_steps(tmp_path)
    assert min(steps) < 60 < max(steps) and len(steps) == 2  # after the first rollout and when training ends
    assert re.search(r"^models +results/models/\S+ \(for checkpoint_path\)$", result.stdout, re.MULTILINE)
    words = ["report", str(tmp_path / "results"), "--out", str(tmp_path / "report"), "--allow-dirty"]
    assert cli.main(words) == 0
    (row,) = csv.DictReader((tmp_path / "report/final.csv").open())
    assert (row["task"], row["experiment"], row["seeds"]) == ("pz-mpe-simple-spread-v3", config, "1")
    assert {"report.html", "pz-mpe-simple-spread-v3.png"} <= {file.name for file in (tmp_path / "report").iterdir()}


def test_the_policy_that_is_evaluated_is_the_one_that_training_ended_with(epymarl_home, tmp_path):
    trained = through_us(tmp_path, epymarl_home, *SPREAD, *SMALL, "save_model=True")
    (folder,) = (tmp_path / "results/models").iterdir()
    evaluated = through_us(tmp_path, epymarl_home, *SPREAD, *SMALL, "evaluate=True", f"checkpoint_path={folder}")
    assert trained.returncode == evaluated.returncode == 0, trained.stderr + evaluated.stderr
    assert re.search(r"^test return +-[\d.]+ \(at 100 steps, mean of 2 tests\)", evaluated.stdout, re.MULTILINE)
    again = through_us(tmp_path, epymarl_home, *SPREAD, *SMALL, f"checkpoint_path={folder}")
    assert again.returncode == 2 and "has 100 steps, beyond t_max=60" in again.stderr


@pytest.mark.parametrize(
    "config, wrong, message",
    [
        ("mappo_ns", "env_processes=1", "env_processes=1 belongs to runner=vector, and this run has runner=parallel"),
        ("qmix", "gae_lambda=0.9", "unknown key `gae_lambda` in the command line"),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ("qmix", "test_nepisode=abc", "test_nepisode='abc' is not of type int"),
                ("qmix", "evaluate=True", "evaluate=True needs a model"),
                ("happo", "test_interval=nan", "test_interval='nan' is not of type int"),
                ("happo", "optim_alpha=0.5", "key `optim_alpha` in --config=happo or the command line has no meaning"),
            )
        ),
    ],
)
def test_what_cannot_be_had_is_one_line_before_a_run_folder_is_made(config, wrong, message, epymarl_home, tmp_path):
    result = through_us(tmp_path, epymarl_home, *SPREAD, wrong, config=config)
    assert result.returncode == 2 and f"error: {message}" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "results").exists()


@pytest.mark.parametrize("runner", ["parallel", "vector"])
def test_an_environment_that_cannot_be_made_is_one_line(runner, epymarl_home, tmp_path):
    broken = ("env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "env_args.max_steps=-1")
    result = through_us(tmp_path, epymarl_home, *broken, *SMALL, f"runner={runner}")
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
