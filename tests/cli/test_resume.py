"""`--resume` as users and sweeps type it: killed without a word, gone on with, and one whole curve in the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.experiments.children import Children
from epymarl_trust_region.experiments.jobs import sacred_run
from epymarl_trust_region.experiments.report.study import read_curve
from epymarl_trust_region.main import main
from epymarl_trust_region.runners.vector import VectorRunner
from support import ROOT, logged

GAME = ("env_args.key=trust-region-penalty-v0", "env_args.time_limit=4", "env_args.max_steps=4", "test_greedy=False")
SMALL = ("batch_size_run=2", "batch_size=2", "buffer_size=2", "test_nepisode=4", "hidden_dim=4", "critic_hidden_dim=4")
OFTEN = ("test_interval=50", "log_interval=60", "learner_log_interval=0", "runner_log_interval=0", "seed=3")
FLAGS = ("--suite=lite", "--quiet", "--progress=off", "--config=happo", "--env-config=gymma")


#: A run whose process is killed in the midst of a rollout.
KILLED = """
import os, signal, sys
from epymarl_trust_region.main import main
from epymarl_trust_region.runners.vector import VectorRunner
steps, original = 0, VectorRunner._all
def counted(*arguments):
    global steps
    steps += 1
    if steps == 450:
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
VectorRunner._all = counted
main(sys.argv[1:])
"""


def apart() -> dict[str, str]:
    """The surroundings of a process of its own."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), *filter(None, sys.path)])}


@pytest.fixture(autouse=True)
def folder(own_folder):
    return own_folder


def command(*more: str, resume: bool = True) -> list[str]:
    return [*FLAGS, *(["--resume"] if resume else []), "with", *GAME, *SMALL, *OFTEN, "use_cuda=False", *more]


def series(run: Path) -> dict:
    """All that was logged; not what it was resumed from."""
    found = {key: list(map(str, values)) for key, values in logged(run / "info.json").items() if key != "resumed_from"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert {key: metrics[key]["steps"] for key in metrics} == {
        key: [int(t) for t in found[f"{key}_T"]] for key in metrics
    }
    return found


def runs(of: str = ".") -> list[Path]:
    return sorted(Path(of).glob("results/sacred/happo/*/[0-9]*"), key=lambda run: int(run.name))


def test_a_run_that_is_killed_without_a_word_goes_on(capsys):
    place = ("t_max=900", "save_model_interval=200")
    assert main(command(place[0], "local_results_path=unbroken", resume=False)) == 0
    assert "no checkpoint of this configuration" not in capsys.readouterr().out
    env = apart()
    killed = [sys.executable, "-W", "ignore", "-c", KILLED, *command(*place)]
    result = subprocess.run(killed, env=env, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    out = result.stdout
    assert "resume: there is no checkpoint of this configuration, so it starts from the beginning" in out
    assert json.loads((runs()[0] / "run.json").read_text())["status"] == "RUNNING"
    assert main(command(*place)) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("resume: ")]
    assert line.startswith("resume: from results/models/happo_seed3_") and line.endswith(", of t_max=900 steps")
    first, second = runs()
    (unbroken,) = Path("unbroken/sacred").glob("happo/*/1")
    assert series(second) == series(unbroken)
    info = logged(second / "info.json")
    assert f"resume: from {info['resumed_from']}," in line
    assert json.loads((second / "config.json").read_text())["checkpoint_path"] == ""  # what the user has typed
    assert main(command(*place)) == 0  # once more: nothing is left to do, and the curve is whole all the same
    assert series(runs()[2]) == series(unbroken)


def test_a_seed_that_nobody_has_given_is_that_of_the_checkpoint(capsys):
    seedless = [word for word in command("t_max=60") if not word.startswith("seed=")]
    for _ in range(2):
        assert main(seedless) == 0
    assert "resume: from " in capsys.readouterr().out
    one, other = (json.loads((run / "config.json").read_text())["seed"] for run in runs())
    assert one == other
    assert series(runs()[0]) == series(runs()[1])


def test_what_cannot_stand_beside_it_is_refused_before_anything_is_made(capsys):
    assert main(command("t_max=60", "save_model=False")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: save_model=False cannot stand beside --resume")
    assert not Path("results").exists()


SWEEP = """
defaults: {suite: lite, config: happo, task: t, seeds: [1]}
experiments:
- {name: whole, with: &with {%s, t_max: 300}}
- {name: killed, with: {<<: *with, save_model: true, save_model_interval: 80}}
- {name: recorded, with: {<<: *with, save_model: true, save_episodes: x}}
"""


def test_a_run_of_a_sweep_that_was_killed_is_resumed(monkeypatch, capsys):
    """In this process, which instead of being killed fails in the midst of a rollout."""
    given = ", ".join(word.replace("=", ": ", 1) for word in (*GAME, *SMALL, *OFTEN) if "seed=" not in word)
    file = Path("study.yaml")
    file.write_text(SWEEP % given)
    steps, original = [0], VectorRunner._all

    def counted(self, *arguments):
        steps[0] += 1
        if steps[0] == 250:
            raise RuntimeError
        return original(self, *arguments)

    def run(self, command, log, go_on=None):
        with open(log, "w") as output, contextlib.redirect_stdout(output):
            return main(command[1:])

    monkeypatch.setattr(Children, "run", run)
    assert cli.main(["sweep", str(file), "--only", "whole"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(VectorRunner, "_all", counted)
        steps[0] = 0
        assert cli.main(["sweep", str(file), "--only", "killed"]) == 1
    place = Path("results/sweeps/study/killed/seed1")
    assert "resume: there is no checkpoint" in (place / "log.txt").read_text()
    assert sacred_run(place) is None and list(place.glob("models/*/*"))
    assert cli.main(["sweep", str(file), "--only", "killed"]) == 0
    assert "resume: from " in (place / "log.txt").read_text()
    whole, killed = (sacred_run(Path(f"results/sweeps/study/{name}/seed1")) for name in ("whole", "killed"))
    assert series(killed) == series(whole)
    assert read_curve(killed) == read_curve(whole)
    capsys.readouterr()
    assert cli.main(["sweep", str(file), "--dry-run"]) == 0
    assert [" --resume " in line for line in capsys.readouterr().out.splitlines()] == [False, True, False]


@pytest.mark.integration
def test_on_epymarl_the_learner_and_the_steps_go_on_and_the_curve_is_one(epymarl_home):
    """As far as its loop allows, which is said in one line."""
    words = ["--suite=epymarl" if word == "--suite=lite" else word for word in command("t_max=120")]
    more = ["save_model_interval=40", "runner=parallel"]

    def run() -> list[str]:  # apart: EPyMARL's modules have names that others have too
        words_of_it = [sys.executable, "-W", "ignore", "-m", "epymarl_trust_region", "run", *words, *more]
        done = subprocess.run(words_of_it, env=apart(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run()
    (models,) = Path("results/models").iterdir()
    steps = sorted(int(step.name) for step in models.iterdir())
    (models / str(steps[-1])).rename("last")  # as if it had been killed before
    lines = [line for line in run() if line.startswith("resume: ")]
    assert len(lines) == 2 and lines[0].endswith(f"/{steps[-2]}, of t_max=120 steps")
    assert lines[1].startswith("resume: EPyMARL's loop counts its tests, logs and saves anew, and environments and")
    first, second = runs()
    earlier, whole = series(first), series(second)
    for key in ("kl_mean", "return_mean"):
        at, before = ([int(t) for t in of[f"{key}_T"]] for of in (whole, earlier))
        assert at == sorted(set(at)) == before  # each once
        kept = sum(t <= steps[-2] for t in at)
        assert kept and whole[key][:kept] == earlier[key][:kept]
