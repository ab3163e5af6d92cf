"""submitit itself: what it says to Slurm, whose commands are stand-ins, and a job that has to leave its machine."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments.engines import slurm
from epymarl_trust_region.experiments.jobs import Job, Outcome, sacred_run
from support import ROOT

pytest.importorskip("submitit")
JOBS = [Job(f"good seed {seed}", ("run", f"seed={seed}"), Path(f"results/seed{seed}")) for seed in (1, 2, 3)]


@pytest.fixture
def commands(own_folder, monkeypatch):
    """Slurm's. `sbatch` keeps what it is given as `submitted`, `sacct` says what stands in `states`."""
    folder = own_folder / "bin"
    folder.mkdir()
    for name, text in {
        "sbatch": f"cp $1 {own_folder}/submitted; echo Submitted batch job 77",
        "srun": "",
        "sacct": f"cat {own_folder}/states",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "_LOOK_EVERY_S", 0.0)
    say("")


def say(states: str) -> None:
    Path("states").write_text("JobID|State|NodeList\n" + states)


def test_one_array_is_submitted_with_what_was_asked_for(commands):
    told = {"timeout_min": 240, "mem_gb": 8, "partition": "gpu", "account": "me"}
    engine = slurm.Slurm(Path("results/.slurm").absolute(), at_a_time=2, cpus=3, gpus=1, told=told)
    engine.start(JOBS)
    lines = Path("submitted").read_text().splitlines()
    for wanted in (
        "array=0-2%2",
        "time=240",
        "mem=8GB",
        "partition=gpu",
        "account=me",
        "cpus-per-task=3",
        "gpus-per-node=1",
    ):
        assert f"#SBATCH --{wanted}" in lines
    assert "submitit.core._submit" in lines[-1]
    assert engine.stop() == "3 jobs stay in Slurm's queue (`scancel 77` ends them)"


def test_a_job_that_slurm_has_killed_is_a_failure_with_its_state(commands):
    engine = slurm.Slurm(Path("results/.slurm").absolute(), told={"timeout_min": 5})
    engine.start(JOBS)
    say("77_0|RUNNING|n1\n77_1|OUT_OF_MEMORY|n1\n77_2|PENDING|\n")
    for of_it in engine._running.values():
        of_it.watcher.update_if_long_enough("force")
    ((job, outcome),) = engine.finished(0.0)
    assert job == JOBS[1] and not outcome.good and outcome.why.startswith("Slurm's job 77_1: OUT_OF_MEMORY (output in ")


def test_names_that_submitit_does_not_know_are_one_line(commands):
    with pytest.raises(ConfigError, match="^--slurm: .*partitoin") as caught:
        slurm.Slurm(Path("results/.slurm").absolute(), told={"timeout_min": 5, "partitoin": "x"})
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="^--slurm: .*timeout_min"):
        slurm.Slurm(Path("results/.slurm").absolute(), told={"timeout_min": "4 h"})


@pytest.mark.slow
def test_a_job_that_has_to_leave_its_machine_goes_on_from_its_checkpoint(own_folder, monkeypatch):
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "plugins"))
    flags = ["run", "--suite=lite", "--config=happo", "--env-config=gymma", "--resume", "--quiet", "--progress=off"]
    settings = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "t_max=6000", "test_nepisode=10"]
    folder = Path("results/seed1")
    own = ["test_interval=3000", "save_model=True", "save_model_interval=500", "env_processes=1"]
    command = (*flags, "with", *settings, *own, "seed=1", f"local_results_path={folder}")
    folder.mkdir(parents=True)
    job = Job("good seed 1", command, folder)
    engine = slurm.Slurm(Path("results/.slurm").absolute(), told={"timeout_min": 10}, cluster="local")
    engine.start([job])
    while not list(folder.glob("models/*/*/run.th")):
        assert engine.finished(0.5) == [], job.log.read_text()
        time.sleep(0.5)
    (task,) = psutil.Process(int(engine._running[job].job_id)).children()
    task.send_signal(signal.SIGUSR2)  # as Slurm does, before it takes the machine away
    while not (done := engine.finished(0.5)):
        time.sleep(0.5)
    assert done == [(job, Outcome(True, done[0][1].seconds, code=0))], job.log.read_text()
    records = sorted(folder.glob("sacred/**/run.json"))
    assert [json.loads(record.read_text())["status"] for record in records] == ["INTERRUPTED", "COMPLETED"]
    info = json.loads((sacred_run(folder) / "info.json").read_text())
    assert "resumed_from" in info
