"""`epymarl-tr sweep`: what it reads and refuses, the commands it makes, and which runs it leaves alone."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.configuration import overrides
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import sweep as module
from epymarl_trust_region.experiments.sweep import read_sweep, sacred_run
from epymarl_trust_region.main import make_parser
from support import ROOT

TWO = """
defaults:
  config: happo
  suite: lite
  seeds: [1, 2]
  with: {t_max: 20, env_args.time_limit: 1, huber_delta: null}
experiments:
  - {name: good, task: climbing, with: {env_args.key: trust-region-climbing-v0}}
  - {name: other, task: penalty, seeds: [7], env_config: mine, suite: auto, config: qmix, with: {t_max: 30, x: "a b"}}
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "study.yaml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def completed(folder: Path, status: str = "COMPLETED") -> Path:
    run = folder / "sacred/happo/task/1"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"status": status}))
    return run


@pytest.fixture
def calls(monkeypatch) -> list:
    """Runs are noted instead of made; those of seed 2 fail."""
    noted = []

    def run_one(command, folder):
        noted.append((command, folder))
        return None if "seed=2" in command else 0.0

    monkeypatch.setattr(module, "_run_one", run_one)
    return noted


def test_defaults_are_merged_into_every_experiment():
    sweep = read_sweep(write(TWO))
    good, other = sweep.experiments
    assert sweep.name == "study"
    assert (good.name, good.config, good.env_config, good.suite, good.seeds, good.task) == (
        "good", "happo", "gymma", "lite", (1, 2), "climbing")  # fmt: skip
    given = {"t_max": 20, "env_args.time_limit": 1, "huber_delta": None}
    assert good.overrides == {**given, "env_args.key": "trust-region-climbing-v0"}
    assert (other.config, other.env_config, other.suite, other.seeds) == ("qmix", "mine", "auto", (7,))
    assert other.overrides == {**given, "t_max": 30, "x": "a b"}
    assert sweep.folder(good, 2) == Path("results/sweeps/study/good/seed2")


def test_without_defaults_the_host_is_chosen_and_gymma_is_the_environment():
    (one,) = read_sweep(write("experiments: [{name: a, task: t, config: happo, seeds: [0]}]")).experiments
    assert (one.suite, one.env_config, one.overrides) == ("auto", "gymma", {})


@pytest.mark.parametrize(
    "text, message",
    [
        ("experimens: []", r"unknown key `experimens` in study.yaml \(did you mean experiments\?\)"),
        (TWO.replace("task: climbing", "taks: climbing"), r"unknown key `taks` in study.yaml \(did you mean task\?\)"),
        (TWO.replace("suite: lite", "siute: lite"), r"unknown key `siute` .*did you mean suite"),
        (TWO.replace("name: other", "name: good"), "needs at least one experiment, and a name of its own for each"),
        ("experiments: []", "needs at least one experiment"),
        ("defaults: {}", "needs at least one experiment"),
        ("", "study.yaml holds no keys; it needs `experiments`"),
        ("- a", "study.yaml holds no keys"),
        (TWO.replace("task: climbing, ", ""), "an experiment in study.yaml has no key `task`; add it"),
        (TWO.replace("  seeds: [1, 2]\n", ""), "has no key `seeds`"),
        (TWO.replace("seeds: [1, 2]", "seeds: 2"), "seeds of good in study.yaml is not a list"),
        ("a: [", "sweep file study.yaml cannot be read: "),
    ],
)
def test_a_wrong_file_is_refused_by_name(text, message):
    with pytest.raises(ConfigError, match=message):
        read_sweep(write(text))


def test_a_missing_file_is_one_clear_error(capsys):
    assert cli.main(["sweep", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: sweep file nowhere.yaml cannot be read: ")


@pytest.mark.parametrize("file", sorted((ROOT / "configs/sweeps").glob("*.yaml")), ids=lambda f: f.stem)
def test_our_own_sweeps_can_be_read(file):
    assert all(experiment.seeds for experiment in read_sweep(file).experiments)


def test_dry_run_prints_commands_that_a_user_can_type(capsys, calls):
    file = write(TWO)
    assert cli.main(["sweep", str(file), "--dry-run"]) == 0
    assert calls == [] and not Path("results").exists()
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [command[:2] for command in commands] == [["epymarl-tr", "run"]] * 3
    options, params = zip(*(make_parser().parse_known_args(command[2:]) for command in commands), strict=True)
    assert [(o.suite, o.progress, o.quiet) for o in options] == [("lite", "off", True)] * 2 + [("auto", "off", True)]
    assert [(o.config, o.env_config) for o in options] == [("happo", "gymma")] * 2 + [("qmix", "mine")]
    given = [overrides(of_one) for of_one in params]
    assert given[1] == {
        "t_max": 20,
        "env_args.time_limit": 1,
        "huber_delta": None,
        "env_args.key": "trust-region-climbing-v0",
        "seed": 2,
        "local_results_path": "results/sweeps/study/good/seed2",
    }
    assert given[2]["x"] == "a b" and given[2]["seed"] == 7


def test_every_seed_of_every_experiment_runs_and_a_failure_is_reported(capsys, calls):
    file = write(TWO)
    assert cli.main(["sweep", str(file)]) == 1
    sweep = read_sweep(file)
    expected = [(e.command(s, sweep.folder(e, s)), sweep.folder(e, s)) for e in sweep.experiments for s in e.seeds]
    assert calls == expected and len(expected) == 3
    assert capsys.readouterr().out.splitlines() == [
        "good seed 1: 0 s",
        "good seed 2: FAILED, see results/sweeps/study/good/seed2/log.txt",
        "other seed 7: 0 s",
    ]


def test_no_run_at_a_time_is_refused(capsys, calls):
    file = Path("one.yaml")
    file.write_text("experiments: [{name: a, config: happo, task: t, seeds: [1]}]")
    assert cli.main(["sweep", str(file), "--jobs", "0"]) == 2
    assert "--jobs=0 is out of range" in capsys.readouterr().err and not calls


def test_only_the_experiments_asked_for_run(capsys, calls):
    file = write(TWO)
    assert cli.main(["sweep", str(file), "--only", "other"]) == 0
    assert [folder for _, folder in calls] == [Path("results/sweeps/study/other/seed7")]
    assert cli.main(["sweep", str(file), "--only", "othr"]) == 2
    assert "unknown key `othr` in study.yaml (did you mean other?)" in capsys.readouterr().err


def test_a_run_that_completed_is_not_run_again_and_any_other_is(capsys, calls):
    file = write(TWO.replace("seeds: [1, 2]", "seeds: [1, 3, 4, 5]"))
    root = Path("results/sweeps/study/good")
    completed(root / "seed1")
    completed(root / "seed3", "FAILED")
    completed(root / "seed4", "RUNNING")
    (completed(root / "seed5") / "run.json").write_text('{"status": "COMPL')  # killed while it wrote
    assert cli.main(["sweep", str(file), "--only", "good"]) == 0
    assert [folder.name for _, folder in calls] == ["seed3", "seed4", "seed5"]
    assert capsys.readouterr().out.splitlines()[0] == "good seed 1: done before"


def test_the_completed_run_is_found_among_others():
    folder = Path("seed1")
    failed = completed(folder, "FAILED")
    assert sacred_run(folder) is None
    second = failed.parent / "2"
    second.mkdir()
    (second / "run.json").write_text('{"status": "COMPLETED"}')
    assert sacred_run(folder) == second
    assert sacred_run(Path("nowhere")) is None


def test_a_sweep_from_end_to_end(capsys, monkeypatch):
    """Real processes, of a plugin that is not installed: they find it by the PYTHONPATH that is handed on."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")]))
    settings = "seeds: [1], suite: lite, config: happo, with: {env_args.key: trust-region-climbing-v0"
    settings += ", env_args.time_limit: 1, t_max: 15, test_nepisode: 10, test_interval: 10"
    text = (
        f"experiments:\n- {{name: good, task: t, {settings}}}}}\n- {{name: bad, task: t, {settings}, eps_clip: -1}}}}\n"
    )
    file = write(text)
    assert cli.main(["sweep", str(file), "--jobs", "2"]) == 1
    good, bad = (Path("results/sweeps/study") / name / "seed1" for name in ("good", "bad"))
    out = capsys.readouterr().out
    assert f"bad seed 1: FAILED, see {bad / 'log.txt'}" in out and "good seed 1: " in out
    assert "eps_clip=-1" in (bad / "log.txt").read_text()
    run = sacred_run(good)
    assert run == good / "sacred/happo/trust-region-climbing-v0/1", (good / "log.txt").read_text()
    assert json.loads((run / "config.json").read_text())["seed"] == 1
    assert sacred_run(bad) is None
    assert cli.main(["sweep", str(file), "--only", "good"]) == 0
    assert capsys.readouterr().out == "good seed 1: done before\n"
