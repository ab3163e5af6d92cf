"""`epymarl-tr sweep`: what it reads and refuses, the commands it makes, and which runs it leaves alone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.configuration import overrides, read
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import children, rehearsal
from epymarl_trust_region.experiments.engines import local
from epymarl_trust_region.experiments.jobs import Outcome, sacred_run
from epymarl_trust_region.experiments.sweep_file import read_sweep
from epymarl_trust_region.main import make_parser
from epymarl_trust_region.suite.selection import lite_host
from support import ROOT

TWO = """
defaults:
  config: happo
  suite: lite
  seeds: [1, 2]
  with: {t_max: 20, env_args.time_limit: 1, huber_delta: null}
experiments:
  - {name: good, task: climbing, with: {env_args.key: trust-region-climbing-v0}}
  - {name: other, task: penalty, seeds: [7], env_config: smax, suite: auto, config: hatrpo,
     with: {t_max: 30, label: "a b"}}
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "study.yaml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def completed(folder: Path, status: str = "COMPLETED", number: int = 1, **changes) -> Path:
    """A run of `good` in TWO, as Sacred leaves it; `changes` of its configuration."""
    run = folder / f"sacred/happo/task/{number}"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"status": status}))
    config, _ = read(lite_host(), "happo", "gymma")
    config |= {"t_max": 20, "seed": int(folder.name.removeprefix("seed")), "local_results_path": str(folder)}
    config["env_args"] |= {"time_limit": 1, "key": "trust-region-climbing-v0"}
    config["plugin"]["plugin_commit"] = "of long ago"
    config |= changes
    (run / "config.json").write_text(json.dumps(config))
    return run


@pytest.fixture
def calls(monkeypatch) -> list:
    """Runs are noted instead of made, and not rehearsed; those of seed 2 fail."""
    noted = []

    def make(job, children):
        noted.append((list(job.command), job.folder))
        return Outcome("seed=2" not in job.command)

    monkeypatch.setattr(local, "make", make)
    monkeypatch.setattr(rehearsal, "check", lambda commands, of: None)
    return noted


def test_defaults_are_merged_into_every_experiment():
    sweep = read_sweep(write(TWO))
    good, other = sweep.experiments
    assert sweep.name == "study"
    assert (good.name, good.config, good.env_config, good.suite, good.seeds, good.task) == (
        "good", "happo", "gymma", "lite", (1, 2), "climbing")  # fmt: skip
    given = {"t_max": 20, "env_args.time_limit": 1, "huber_delta": None}
    assert good.overrides == {**given, "env_args.key": "trust-region-climbing-v0"}
    assert (other.config, other.env_config, other.suite, other.seeds) == ("hatrpo", "smax", "auto", (7,))
    assert other.overrides == {**given, "t_max": 30, "label": "a b"}
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
        (
            TWO.replace("name: other", "name: good"),
            "two experiments in study.yaml are called good; give each a `name` of its own",
        ),
        ("experiments: []", "needs at least one experiment"),
        ("defaults: {}", "needs at least one experiment"),
        ("", "study.yaml holds no keys; it needs `experiments`"),
        ("- a", "study.yaml holds no keys"),
        (TWO.replace("task: climbing, ", ""), "an experiment in study.yaml has no key `task`; add it"),
        (TWO.replace("  seeds: [1, 2]\n", ""), "has no key `seeds`"),
        (TWO.replace("seeds: [1, 2]", "seeds: 2"), "seeds of good in study.yaml is not a list"),
        (TWO.replace("seeds: [1, 2]", "seeds: []"), "seeds of good in study.yaml is not a list of at least one"),
        (
            TWO.replace("seeds: [1, 2]", "seeds: [1, 2, 1]"),
            "seeds of good in study.yaml: 1 stands there more than once",
        ),
        (TWO.replace("seeds: [1, 2]", "seeds: [one]"), "seeds of good in study.yaml: 'one' is no whole number from 0"),
        (TWO.replace("seeds: [1, 2]", "seeds: [-1]"), "seeds of good in study.yaml: -1 is no whole number"),
        (TWO.replace("seeds: [1, 2]", "seeds: [true]"), "True is no whole number"),
        (TWO.replace("name: good", "name: ../../x"), "name in study.yaml, '../../x' is no name of a folder"),
        (TWO.replace("name: good", "name: /x"), "name in study.yaml, '/x' is no name of a folder"),
        (TWO.replace("name: good", "name: 3"), "name in study.yaml, 3 is no name of a folder"),
        (TWO.replace("task: climbing", "task: ../x"), "task in study.yaml, '../x' is no name of a folder"),
        (
            TWO.replace("config: happo", "config: [happo]"),
            r"config of good in study.yaml is \['happo'\], which is no word",
        ),
        (TWO.replace("with: {t_max: 30", "with: {seed: 30"), "seed of other in study.yaml is set by the sweep itself"),
        (
            TWO.replace("with: {t_max: 20, env_args.time_limit: 1, huber_delta: null}", "with: [1]"),
            "`with` of the defau",
        ),
        ("experiments: {a: 1}", "`experiments` in study.yaml is no list"),
        ("experiments: [a]", "an experiment in study.yaml is 'a', and no group of keys"),
        ("{defaults: [1], experiments: [{}]}", "`defaults` in study.yaml is no group of keys"),
        ("defaults: {0: 1}\nexperiments: [{}]", "unknown key `0` in study.yaml"),
        ("a: 1\na: 2", "sweep file study.yaml cannot be read: line 2: `a` stands twice in one group"),
        ("defaults: {}\nexperiments: [{name: a, with: {lr: 1, lr: 2}}]", "line 2: `lr` stands twice in one group"),
        ("algorithms:\n\t- {config: happo}", r"cannot be read: line 2: .*found character '\\t'"),
        (
            TWO.replace("task: climbing", "task: climbing, lr: 1"),
            "`lr` of good in study.yaml; .* belongs into its `with`",
        ),
        ("algorithms: [{config: happo}]\ntasks: [{task: 3}]", "^task in study.yaml is 3, which is no word"),
        ("algorithms: [{config: happo, name: [a]}]\ntasks: [{task: t}]", "^name in study.yaml is .'a'., which is no w"),
        ("algorithms: [happo]\ntasks: [{task: t}]", "^`happo` in study.yaml .*; write `- {config: happo}`$"),
        ("? [a]\n: 1", "sweep file study.yaml cannot be read: line 1: .*unhashable key"),
        ("!!map [1]", "sweep file study.yaml cannot be read: line 1: expected a mapping node"),
        ("a: [", "sweep file study.yaml cannot be read: "),
        ("a: b: c\nd: {", "sweep file study.yaml cannot be read: line 1: mapping values"),
        ("a: \0", "sweep file study.yaml cannot be read: "),
    ],
)
def test_a_wrong_file_is_refused_by_name(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_sweep(write(text))
    assert "\n" not in str(caught.value)


def test_a_sweep_stays_below_its_results():
    with pytest.raises(ConfigError, match="^sweep file gone.yaml does not exist; name a file such as"):
        read_sweep(Path("gone.yaml"))
    with pytest.raises(ConfigError, match="^sweep file . is a folder; name a file such as"):
        read_sweep(Path("."))
    for name in ("...yaml", "....yaml"):
        with pytest.raises(ConfigError, match="the sweep .* is no name of a folder"):
            read_sweep(write(TWO, name))


@pytest.mark.parametrize(
    "text, message",
    [
        (
            TWO.replace("config: hatrpo", "config: hatrop"),
            "experiment other in study.yaml: unknown --config=hatrop (did",
        ),
        (
            TWO.replace("env_config: smax", "env_config: smx"),
            "experiment other in study.yaml: unknown --env-config=smx",
        ),
        (TWO.replace("suite: auto", "suite: mine"), "experiment other in study.yaml: --suite=mine is unknown"),
        (TWO.replace("label:", "labl:"), "experiment other in study.yaml: unknown key `labl`"),
    ],
)
def test_what_no_run_could_take_is_refused_before_the_first(text, message, capsys, calls):
    assert cli.main(["sweep", str(write(text))]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not calls and not Path("results").exists()


@pytest.mark.parametrize(
    "text, change",
    [
        (TWO.replace("t_max: 20", "t_max: 25"), "t_max=20, and now 25"),
        (TWO.replace("t_max: 20", "t_max: 20, lr: 0.125"), "lr=0.0005, and now 0.125"),
        (TWO.replace("t_max: 20", "t_max: 20, env_args.max_steps: 3"), "env_args.max_steps=None, and now 3"),
        (TWO.replace("env_args.time_limit: 1, ", "env_args.time_limit: 2, "), "env_args.time_limit=1, and now 2"),
        (TWO.replace("t_max: 20, ", ""), "t_max=20, and now "),  # what the yaml has
    ],
)
def test_a_run_of_other_settings_is_not_done_before(text, change, capsys, calls):
    completed(Path("results/sweeps/study/good/seed1"))
    file = write(text)
    assert cli.main(["sweep", str(file), "--only", "good"]) == 2
    err = capsys.readouterr().err
    assert f"error: results/sweeps/study/good/seed1 was made with {change}" in err and "add --anew" in err
    assert err.count("\n") == 1 and not calls
    assert cli.main(["sweep", str(file), "--only", "good", "--anew"]) == 1  # seed 2 fails, as always here
    assert [folder.name for _, folder in calls] == ["seed1", "seed2"]
    assert sacred_run(Path("results/sweeps/study/good/seed1")) is None
    assert sacred_run(Path("results/sweeps/study/good/seed1.before1"))


def test_a_completed_run_goes_on_to_a_larger_t_max_if_it_can(capsys, calls):
    """With `save_model: True`. What it went on from does not count as done; then it is there beside it, and both do."""
    folder = Path("results/sweeps/study/good/seed1")
    completed(folder, save_model=True)
    longer = write(TWO.replace("t_max: 20", "t_max: 25, save_model: True"))
    assert cli.main(["sweep", str(longer), "--only", "good"]) == 1  # seed 2 fails, as always here
    assert [of.name for _, of in calls] == ["seed1", "seed2"] and "--resume" in calls[0][0]
    assert "done before" not in capsys.readouterr().out
    second = completed(folder, number=2, t_max=25, save_model=True)
    assert sacred_run(folder) == second
    assert cli.main(["sweep", str(longer), "--only", "good"]) == 1
    assert [of.name for _, of in calls[2:]] == ["seed2"] and "1 of 2 runs: done before" in capsys.readouterr().out
    assert cli.main(["sweep", str(write(TWO)), "--only", "good"]) == 2
    assert "was made with t_max=25, and now 20" in capsys.readouterr().err
    decaying = write(TWO.replace("t_max: 20", "t_max: 30, save_model: True, use_linear_lr_decay: True"))
    assert cli.main(["sweep", str(decaying), "--only", "good"]) == 2
    assert "t_max=25, and now 30; use_linear_lr_decay=False, and now True" in capsys.readouterr().err


def test_what_an_override_has_brought_along_and_is_gone_is_a_change(capsys, calls):
    env_args = {"key": "trust-region-climbing-v0", "time_limit": 1, "max_steps": 3}
    completed(Path("results/sweeps/study/good/seed1"), env_args=env_args)
    assert cli.main(["sweep", str(write(TWO)), "--only", "good"]) == 2
    assert "was made with env_args.max_steps=3, and now None" in capsys.readouterr().err


def test_the_same_numbers_written_otherwise_are_no_change(capsys, calls):
    completed(Path("results/sweeps/study/good/seed1"), t_max=20.0, new_key_of_other_versions=3)
    assert cli.main(["sweep", str(write(TWO)), "--only", "good"]) == 1
    assert capsys.readouterr().out.startswith("1 of 2 runs: done before\n")


def test_a_folder_that_cannot_be_written_is_one_line(capsys, calls):
    Path("results").write_text("a file")
    assert cli.main(["sweep", str(write(TWO)), "--only", "good"]) == 2
    err = capsys.readouterr().err
    assert "seed1 cannot be written: Not a directory; run the sweep in a folder of yours" in err and not calls


GRID = """
defaults: {seeds: [1, 2], suite: lite, with: {t_max: 100, lr: 0.1}}
algorithms:
  - {config: happo, grid: {lr: [0.001, 0.002], use_rnn: [False, True]}}
  - {config: ir_mappo, name: separate, with: {share_parameters: False, t_max: 300}}
tasks:
  - {task: spread, with: {env_args.key: pz-mpe-simple-spread-v3, t_max: 200}}
  - {task: climbing, seeds: [7], with: {env_args.key: trust-region-climbing-v0}}
experiments:
  - {name: one, task: spread, config: hatrpo, grid: {env_args.N: [2, 4]}}
"""


def test_every_algorithm_is_run_on_every_task_and_lists_are_spread_out(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    sweep = read_sweep(tmp_path / "grid.yaml")
    happo = [f"-happo-lr{lr}-use_rnn{rnn}" for lr in (0.001, 0.002) for rnn in (False, True)]
    names = ["one-N2", "one-N4", *(task + end for task in ("spread", "climbing") for end in (*happo, "-separate"))]
    assert [e.name for e in sweep.experiments] == names
    by = {e.name: e for e in sweep.experiments}
    assert by["spread-happo-lr0.002-use_rnnTrue"].overrides == {
        "t_max": 200, "lr": 0.002, "use_rnn": True, "env_args.key": "pz-mpe-simple-spread-v3"
    }  # fmt: skip
    assert by["spread-separate"].overrides["t_max"] == 300  # the algorithm's goes over the task's
    assert by["climbing-separate"].seeds == (7,) and by["one-N2"].seeds == (1, 2)
    assert by["one-N4"].overrides == {"t_max": 100, "lr": 0.1, "env_args.N": 4}


def test_the_file_of_the_page_is_one(tmp_path):
    text = (ROOT / "docs/sweep.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "page.yaml").write_text(text)
    assert len(read_sweep(tmp_path / "page.yaml").experiments) == (4 + 1 + 1) * 2 + 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("algorithms: [{config: happo}]", "has one of `algorithms` and `tasks`; give both"),
        ("tasks: [{name: x}]\nalgorithms: [{config: happo}]", "is no group with `task`"),
        ("tasks: [{task: x}]\nalgorithms: [happo]", "`happo` in .* is no group with `config`"),
        ("tasks: {task: x}", "`tasks` in .* is no list"),
        ("experiments: [{name: a, grid: {lr: 0.1}}]", r"^lr in `grid` of a in .* is no list.*write `lr: \[0.1\]`$"),
        ("experiments: [{name: a, grid: {lr: }}]", r"^lr in `grid` of a in .* is no list.*write `lr: \[...\]`$"),
        ("experiments: [{name: a, grid: {lr: []}}]", "^lr in `grid` of a in .* is no list of values"),
        ("experiments: [{name: a, grid: 3}]", "^`grid` of a in .* is no group of keys; write `grid: {lr: "),
        ("experiments: [{name: a, grid: }]", "^`grid` of a in .* is no group of keys"),
        ("experiments: [{name: a, grid: {}}]", "^`grid` of a in .* is no group of keys"),
        ("experiments: [{name: a, grid: {1: [2]}}]", "^`grid` of a in .* is no group of keys"),
        ("experiments: [{name: a, grid: {seed: [1]}}]", r"has seed; write `seeds: \[1, 2\]` beside it"),
        ("experiments: [{name: a, grid: {config: [happo]}}]", "has config, which is no key of a run"),
        ("experiments: [{name: a, grid: {lr: [[1]]}}]", "has a list or a group among its values"),
        ("experiments: [{name: a, grid: {k: [a/b]}}]", "has a value with /, and values name folders"),
        ("experiments: [{name: a, grid: {lr: [1, 2, 1]}}]", "has 1 more than once; remove it"),
        ("grid: {lr: [1]}", "^`grid` in .* stands by itself; put it into `defaults`, or into what it is of"),
        ("defaults: {grid: [lr]}\nexperiments: [{name: a}]", "^`grid` of the defaults in .* is no group of keys"),
        ("tasks: [{task: t, grid: {lr: 1}}]\nalgorithms: [{config: happo}]", "^lr in `grid` of t in"),
    ],
)
def test_grids_that_are_none(text, message, tmp_path):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_sweep(tmp_path / "grid.yaml")


def test_a_grid_may_have_one_value_and_stand_in_tasks_and_defaults(tmp_path):
    (tmp_path / "grid.yaml").write_text(
        "defaults: {seeds: [1], grid: {gamma: [0.9, 0.99], lr: [0.5]}}\n"
        "tasks: [{task: t, grid: {lr: [0.1], eps_clip: [0.2]}}]\n"
        "algorithms: [{config: happo, grid: {eps_clip: [0.3]}}]\n"
        "experiments: [{name: a, task: t, config: happo}]\n"
    )
    found = {e.name: dict(e.overrides) for e in read_sweep(tmp_path / "grid.yaml").experiments}
    assert found == {
        "a-gamma0.9-lr0.5": {"gamma": 0.9, "lr": 0.5},
        "a-gamma0.99-lr0.5": {"gamma": 0.99, "lr": 0.5},
        "t-happo-gamma0.9-lr0.1-eps_clip0.3": {"gamma": 0.9, "lr": 0.1, "eps_clip": 0.3},
        "t-happo-gamma0.99-lr0.1-eps_clip0.3": {"gamma": 0.99, "lr": 0.1, "eps_clip": 0.3},
    }


def test_a_merge_of_yaml_is_no_key_that_stands_twice(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "defaults: {seeds: [1]}\nexperiments:\n"
        "  - &a {name: a, task: t, config: happo, with: &w {lr: 1}}\n"
        "  - {<<: *a, name: b, with: {<<: *w, lr: 2, gamma: 1}}\n"
    )
    assert read_sweep(tmp_path / "a.yaml").experiments[1].overrides == {"lr": 2, "gamma": 1}


def test_a_group_of_environment_arguments_joins_those_of_the_defaults(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "defaults: {seeds: [1], with: {env_args.key: k-v0, env_args.time_limit: 1}}\n"
        "experiments: [{name: a, task: t, config: happo, with: {env_args: {time_limit: 2, N: 3}}}]\n"
    )
    (one,) = read_sweep(tmp_path / "a.yaml").experiments
    assert one.overrides == {"env_args.key": "k-v0", "env_args.time_limit": 2, "env_args.N": 3}


def test_under_nohup_it_goes_on_when_the_terminal_is_closed():
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with children.stopped_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, usual)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")
def test_ctrl_c_ends_a_sweep_in_good_order_though_the_command_has_let_it_end_at_once():
    at_once: list = []
    usual = signal.signal(signal.SIGINT, lambda *_: at_once.append(True))
    try:
        with pytest.raises(KeyboardInterrupt), children.stopped_by_signals():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert not at_once


CHILD = """
import os, threading, time
from epymarl_trust_region.experiments.tied import end_with_input
threading.Thread(target=end_with_input, daemon=True).start()
open(f"pid{os.getpid()}", "w").close()
time.sleep(30)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")
@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_the_children(name, code, monkeypatch, capsys):
    """The sweep runs here, its runs are sleepers; the signal comes once both are there."""
    sleepers: list[subprocess.Popen] = []
    groups: set[int] = set()

    def sleeper(command: list[str], **how) -> subprocess.Popen:
        sleepers.append(subprocess.Popen([sys.executable, "-c", CHILD], **how))
        groups.add(os.getpgid(sleepers[-1].pid))
        return sleepers[-1]

    monkeypatch.setattr(children, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": sleeper}))
    monkeypatch.setattr(rehearsal, "check", lambda commands, of: None)

    def send() -> None:
        while len(list(Path().glob("pid*"))) < 2:
            if ended:
                return
            time.sleep(0.05)
        os.kill(os.getpid(), getattr(signal, name))

    ended: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    text = TWO.replace("seeds: [1, 2]", "seeds: [1, 2, 3]")
    ended.append(cli.main(["sweep", str(write(text)), "--only", "good", "--jobs", "2"]))
    thread.join()
    assert ended == [code]
    assert "stopped by " in capsys.readouterr().err and signal.getsignal(signal.SIGTERM) is before
    assert [child.returncode for child in sleepers] == [-signal.SIGTERM] * 2
    assert len(groups) == 2 and os.getpgid(0) not in groups  # a terminal's Ctrl-C is not for them


def test_a_missing_file_is_one_clear_error(capsys):
    assert cli.main(["sweep", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: sweep file nowhere.yaml does not exist; ")


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
    assert [(o.config, o.env_config) for o in options] == [("happo", "gymma")] * 2 + [("hatrpo", "smax")]
    given = [overrides(of_one) for of_one in params]
    assert given[1] == {
        "t_max": 20,
        "env_args.time_limit": 1,
        "huber_delta": None,
        "env_args.key": "trust-region-climbing-v0",
        "seed": 2,
        "local_results_path": "results/sweeps/study/good/seed2",
    }
    assert given[2]["label"] == "a b" and given[2]["seed"] == 7


def test_every_seed_of_every_experiment_runs_and_a_failure_is_reported(capsys, calls):
    file = write(TWO)
    assert cli.main(["sweep", str(file)]) == 1
    sweep = read_sweep(file)
    expected = [(e.command(s, sweep.folder(e, s)), sweep.folder(e, s)) for e in sweep.experiments for s in e.seeds]
    assert calls == expected and len(expected) == 3
    log = Path("results/sweeps/study/good/seed2/log.txt")
    assert capsys.readouterr().out.splitlines() == [
        "3 runs, 1 at a time on this machine",
        "1 of 3: good seed 1: 0 s",
        f"2 of 3: good seed 2: FAILED, see {log}",
        "3 of 3: other seed 7: 0 s",
        "1 of 3 runs failed:",
        f"  good seed 2: {log}",
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
    assert capsys.readouterr().out.splitlines()[:2] == [
        "1 of 4 runs: done before",
        "3 runs, 1 at a time on this machine",
    ]


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
    assert cli.main(["sweep", str(file), "--jobs", "2"]) == 2
    said = capsys.readouterr()
    assert (
        said.err.startswith("error: experiment bad in study.yaml: eps_clip=-1.0 is out of range")
        and said.err.count("\n") == 1
    )
    assert said.out == "" and not Path("results").exists()
    monkeypatch.setattr(rehearsal, "check", lambda commands, of: None)  # as if what is wrong were seen only later
    assert cli.main(["sweep", str(file), "--jobs", "2"]) == 1
    good, bad = (Path("results/sweeps/study") / name / "seed1" for name in ("good", "bad"))
    out = capsys.readouterr().out
    assert f"bad seed 1: FAILED, see {bad / 'log.txt'}" in out and "of 2: good seed 1: " in out
    assert ", test return " in out
    last = (bad / "log.txt").read_text().splitlines()[-1]
    assert "eps_clip=-1" in last
    assert out.endswith(f"1 of 2 runs failed:\n  bad seed 1: {bad / 'log.txt'}\n    {last}\n")
    run = sacred_run(good)
    assert run == good / "sacred/happo/trust-region-climbing-v0/1", (good / "log.txt").read_text()
    assert json.loads((run / "config.json").read_text())["seed"] == 1
    assert json.loads((good / "progress.json").read_text())["t_max"] == 15
    assert sacred_run(bad) is None
    assert cli.main(["sweep", str(file), "--only", "good"]) == 0
    assert capsys.readouterr().out == "1 of 1 run: done before\n"


def test_one_run_of_the_list_alone(capsys, calls):
    """Line 1, counted from 0, of the three that --dry-run prints; with --only, of those that it prints then."""
    file = write(TWO.replace("seeds: [1, 2]", "seeds: [1, 3]"))
    assert cli.main(["sweep", str(file), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cli.main(["sweep", str(file), "--index", "1"]) == 0
    assert [shlex.join(["epymarl-tr", *command]) for command, _ in calls] == lines[1:2]
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1: good seed 3: 0 s"
    assert cli.main(["sweep", str(file), "--only", "other", "--index", "0"]) == 0
    assert [folder.name for _, folder in calls] == ["seed3", "seed7"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--index", "3"], "--index=3 is none of the 3 runs in study.yaml, which are 0 to 2"),
        (["--index", "-1"], "--index=-1 is none of the 3 runs"),
        (["--index", "0", "--jobs", "2"], "--index makes one run, here; remove --engine and --jobs"),
        (["--index", "0", "--engine", "ray"], "--index makes one run, here"),
        (["--slurm", "timeout_min=5"], "--slurm is of --engine=slurm"),
        (["--gpus", "1"], "--cpus and --gpus are of --engine=ray and slurm"),
        (["--engine", "ray", "--cpus", "0"], "--cpus=0 --gpus=0 is out of range"),
        (["--engine", "slurm", "--gpus", "0.5"], "--gpus=0.5 is no whole number"),
        (["--engine", "slurm", "--slurm", "long"], "--slurm long is no KEY=VALUE"),
    ],
)
def test_flags_that_do_not_go_together(flags, message, capsys, calls):
    assert cli.main(["sweep", str(write(TWO)), *flags]) == 2
    err = capsys.readouterr().err
    assert f"error: {message}" in err and err.count("\n") == 1 and not calls and not Path("results").exists()
