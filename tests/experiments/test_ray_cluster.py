"""A sweep on a Ray cluster of two machines, one of which is lost in the middle: no run is, and none is made twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.experiments import rehearsal
from epymarl_trust_region.experiments.jobs import sacred_run
from support import ROOT

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

# An episode takes a while, and no computing: runs are under way when something happens, on a slow computer too.
GAME = """
import time
import gymnasium
from epymarl_trust_region.environments.games.matrix_env import MatrixGameEnv
from epymarl_trust_region.games.normal_form import climbing_game

class Slow(MatrixGameEnv):
    def step(self, actions):
        time.sleep(0.1)
        return super().step(actions)

gymnasium.register("Slow-v0", lambda: Slow(climbing_game()))
"""
FILE = """
defaults: {suite: lite, config: happo, seeds: [1, 2]}
experiments:
- {name: a, task: t, with: {env_args.key: "slow_game:Slow-v0", env_args.time_limit: 1, env_processes: 1,
   save_model: SAVE, t_max: STEPS, test_nepisode: 10, test_interval: 100}}
"""


@pytest.fixture(scope="module")
def cluster():
    """A head that makes no runs, and two machines that make one each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # tests have others beside them
        patch.setenv("PYTHONPATH", str(ROOT / "plugins"))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(autouse=True)
def game(own_folder, monkeypatch):
    monkeypatch.setattr(rehearsal, "check", lambda commands, of: None)
    (own_folder / "slow_game.py").write_text(GAME)


def sweep(steps: int, save: bool) -> int:
    Path("study.yaml").write_text(FILE.replace("STEPS", str(steps)).replace("SAVE", str(save)))
    return cli.main(["sweep", "study.yaml", "--engine", "ray"])


def once_at_work(runs: int, action: Callable[[], object]) -> list[Path]:
    """Do something when so many runs are being made; the list then has their files of progress."""
    found: list[Path] = []

    def wait() -> None:
        while len(found) < runs:
            time.sleep(0.2)
            files = Path("results").glob("sweeps/study/a/*/progress.json")
            found[:] = [file for file in files if "t_env" in file.read_text()]
        action()

    threading.Thread(target=wait, daemon=True).start()
    return found


def statuses() -> list[list[str]]:
    """Of all of Sacred's records of each run."""
    folders = [Path(f"results/sweeps/study/a/seed{seed}") for seed in (1, 2)]
    files = [sorted(folder.glob("sacred/**/run.json")) for folder in folders]
    return sorted(([json.loads(file.read_text())["status"] for file in of_run] for of_run in files), key=len)


def still_running() -> list[str]:
    """Processes of this test's runs."""
    here = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(Path.cwd()) and any("tied" in word for word in process.cmdline()):
                here.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return here


@pytest.mark.thorough
def test_a_machine_that_is_lost_costs_no_run(cluster, capsys):
    at_work = once_at_work(2, lambda: cluster.remove_node(cluster.workers[0], allow_graceful=False))
    code = sweep(steps=200, save=False)
    said = capsys.readouterr()
    assert code == 0, said
    assert len(at_work) == 2, "both machines were at work when one was lost"
    undisturbed, again = statuses()
    assert undisturbed == ["COMPLETED"]
    # Each is completed once; of what was lost with its machine nothing goes on.
    assert len(again) == 2 and again.count("COMPLETED") == 1 and still_running() == []
    assert all(sacred_run(Path(f"results/sweeps/study/a/seed{seed}")) for seed in (1, 2))
    assert [line[:7] for line in said.out.splitlines() if " of 2: a seed " in line] == ["1 of 2:", "2 of 2:"]


@pytest.mark.thorough
def test_a_sweep_that_is_stopped_ends_its_runs_which_save_first(cluster, capsys):
    once_at_work(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert sweep(steps=100000, save=True) == 143
    assert "stopped by SIGTERM: its runs were ended; completed runs are kept" in capsys.readouterr().err
    assert ["INTERRUPTED"] in statuses() and still_running() == []
    assert list(Path("results").glob("sweeps/study/a/*/models/*/*/run.th"))
