"""The episodes of EPyMARL's own algorithms, through its own runners, in a recording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from epymarl_trust_region.recordings.episodes import read_episodes
from support import ROOT, logged

pytestmark = pytest.mark.integration
pytest.importorskip("h5py")

SPREAD = ("env_args.key=pz-mpe-simple-spread-v3", "env_args.time_limit=25")
SMALL = ("t_max=60", "test_nepisode=2", "use_cuda=False", "runner_log_interval=1", "seed=2")
PARALLEL = ("batch_size_run=2", "batch_size=2", "buffer_size=2")


def run(config: str, folder: Path, home: Path, *params: str) -> subprocess.CompletedProcess:
    command = ["run", "--suite=epymarl", f"--config={config}", "--env-config=gymma", "--quiet", "--progress=off"]
    command = [sys.executable, "-W", "ignore", "-m", "epymarl_trust_region", *command, "with", *SPREAD, *SMALL, *params]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "plugins"), "EPYMARL_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    "config, params, rollouts, ends",
    [
        ("qmix", (), 3, "inferred"),
        ("mappo", ("common_reward=False", *PARALLEL), 2, "inferred"),
        ("happo", PARALLEL, 2, "reported"),
    ],
)
def test_the_recording_holds_what_the_run_logged(config, params, rollouts, ends, epymarl_home, tmp_path):
    result = run(config, tmp_path, epymarl_home, "save_episodes=kept", *params)
    assert result.returncode == 0, result.stdout + result.stderr
    read = read_episodes(tmp_path / "kept")
    read.check_matches(n_agents=3, n_actions=5, obs_dim=18)
    info = logged(tmp_path / f"results/sacred/{config}/pz-mpe-simple-spread-v3/1/info.json")
    returns = info["total_return_mean" if "common_reward=False" in params else "return_mean"]
    means = read["reward"].sum((1, 2)).view(rollouts, -1).mean(1)
    assert means.tolist() == pytest.approx(returns, rel=1e-5)
    assert read["truncated"][:, 24].all() and read["truncated"].sum() == read.batch_size
    assert read["reward"].shape[-1] == (3 if "common_reward=False" in params else 1)
    assert ("log_probs" in read) == (config == "happo")
    assert (read.about["algorithm"], read.about["host"], read.about["ends"]) == (config, "epymarl", ends)


def test_an_existing_recording_stops_the_suites_own_algorithms_too(epymarl_home, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/mine").write_text("")
    result = run("qmix", tmp_path, epymarl_home, "save_episodes=kept")
    assert result.returncode == 2 and "error: save_episodes=kept exists" in result.stderr
    assert not (tmp_path / "results").exists()
