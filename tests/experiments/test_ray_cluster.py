"""A sweep on a Ray cluster of two machines, one of which is lost in the middle: no run is, and none is made twice."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.experiments import rehearsal
from epymarl_trust_region.experiments.jobs import sacred_run
from support import ROOT

# An episode takes a while, and no computing: both runs are under way when a machine is lost, on a slow computer too.
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
experiments:
- {name: a, task: t, suite: lite, config: happo, seeds: [1, 2], with: {env_args.key: "slow_game:Slow-v0",
   env_args.time_limit: 1, t_max: 200, test_nepisode: 10, test_interval: 100, env_processes: 1}}
"""


@pytest.mark.slow
def test_a_machine_that_is_lost_costs_no_run(own_folder, monkeypatch, capsys):
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # tests have others beside them
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'plugins'}:{own_folder}")
    monkeypatch.setattr(rehearsal, "check", lambda commands, of: None)
    (own_folder / "slow_game.py").write_text(GAME)
    (own_folder / "study.yaml").write_text(FILE)
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        lost: list[Path] = []
        loser = threading.Thread(target=_lose, args=(cluster, nodes[0], lost), daemon=True)
        loser.start()
        code = cli.main(["sweep", "study.yaml", "--engine", "ray"])
        loser.join(1)
    finally:
        ray.shutdown()
        cluster.shutdown()
    said = capsys.readouterr()
    assert code == 0, said
    assert len(lost) == 2, "both machines were at work when one was lost"
    folders = [Path(f"results/sweeps/study/a/seed{seed}") for seed in (1, 2)]
    assert all(map(sacred_run, folders))
    runs = {
        folder: [json.loads(file.read_text())["status"] for file in folder.glob("sacred/**/run.json")]
        for folder in folders
    }
    assert all(of_it.count("COMPLETED") == 1 for of_it in runs.values())
    # One was made again; what was left of it where its machine was lost has ended, too.
    assert sorted(map(len, runs.values())) == [1, 2] and "RUNNING" not in sum(runs.values(), [])
    assert [line.partition(":")[0] for line in said.out.splitlines()[1:]] == ["1 of 2", "2 of 2"]


def _lose(cluster, node, lost: list[Path]) -> None:
    """Take one machine away, without a word, once both are at work."""
    while len(lost) < 2:
        time.sleep(0.5)
        lost[:] = [
            file for file in Path("results").glob("sweeps/study/a/*/progress.json") if "t_env" in file.read_text()
        ]
    cluster.remove_node(node, allow_graceful=False)
