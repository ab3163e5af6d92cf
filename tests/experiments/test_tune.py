"""`epymarl-tr tune`: files, ranges from the schema, equal trials, going on after a stop, and what is written down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from epymarl_trust_region import cli
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import children, tune
from epymarl_trust_region.experiments.children import Children
from epymarl_trust_region.experiments.tuning_file import Range, read_tuning
from support import ROOT

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("own_folder")

HAPPO = {"config": "happo", "ranges": {"lr": "auto", "eps_clip": [0.1, 0.2]}}
FILE = {
    "task": "climbing", "suite": "lite", "trials": 6, "seeds": [1001, 1002],
    "with": {"env_args.key": "trust-region-climbing-v0", "env_args.time_limit": 1, "t_max": 100, "test_interval": 10},
    "algorithms": [HAPPO, {"config": "hatrpo", "ranges": {"agent_order": "auto", "epochs": None}}],
}  # fmt: skip
FILE["algorithms"][1]["ranges"].pop("epochs")


def written(**changes) -> Path:
    Path("search.yaml").write_text(yaml.safe_dump({**FILE, **changes}))
    return Path("search.yaml")


def of_happo(**ranges) -> Path:
    return written(algorithms=[{"config": "happo", "ranges": ranges}])


@pytest.mark.parametrize(
    "key, value, found",
    [
        ("lr", "auto", Range(low=0.00005, high=0.005, log=True)),
        ("gamma", "auto", Range(low=0.095, high=1.0, log=True)),  # at most 1
        ("eps_clip", "auto", Range(low=0.02, high=0.99, log=True)),  # below 1
        ("epochs", "auto", Range(low=1, high=50, log=True, whole=True)),
        ("use_rnn", "auto", Range(choices=(False, True))),
        ("value_norm", "auto", Range(choices=("none", "popart"))),
        ("eps_clip", [0.1, 0.3], Range(choices=(0.1, 0.3))),
        ("epochs", {"from": 2, "to": 9}, Range(low=2, high=9, whole=True)),
        ("entropy_coef", {"from": 0.001, "to": 0.1, "log": True}, Range(low=0.001, high=0.1, log=True)),
    ],
)
def test_ranges_are_those_of_the_file_or_of_the_schema(key, value, found):
    one = read_tuning(of_happo(**{key: value})).algorithms[0].ranges[key]
    assert (one.choices, one.log, one.whole) == (found.choices, found.log, found.whole)
    assert (one.low, one.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": [1]}, "seed 1 in search.yaml: settings are tuned on seeds from 1000 on"),
        ({"seeds": [1001, 1001]}, "a seed stands more than once"),
        ({"seeds": 1001}, "seeds in search.yaml is no list of whole numbers"),
        ({"trials": 0}, "trials in search.yaml is 0"),
        ({"algorithms": []}, "algorithms in search.yaml is no list"),
        ({"algorithms": [HAPPO, HAPPO]}, "happo stands more than once"),
        ({"algorithms": [{"config": "hapo", "ranges": {"lr": "auto"}}]}, r"unknown --config=hapo \(did you mean happo"),
        ({"algorithms": [{"config": "happo"}]}, "`ranges` of happo in search.yaml holds no group of keys"),
        ({"algorithms": [{"config": "happo", "ranges": {"lrr": "auto"}}]}, r"unknown key `lrr` .*\(did you mean lr"),
        ({"algorithms": [{**HAPPO, "with": {"seed": 3}}]}, "seed of happo in search.yaml is set by the search itself"),
        ({"with": {"env_arg.key": 1}}, "unknown key `env_arg.key`"),
        ({"trails": 3}, r"unknown key `trails` .*\(did you mean trials"),
        ({"task": "a/b"}, "is no name of a folder"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_before_the_first_run(changes, message, monkeypatch):
    monkeypatch.setattr(Children, "run", lambda *_: pytest.fail("it ran"))
    with pytest.raises(ConfigError, match=message):
        tune.main([str(written(**changes))])


@pytest.mark.parametrize(
    "ranges, message",
    [
        ({"lr": [0.1, -1]}, "lr=-1.0 is out of range; it must be lr > 0"),
        ({"eps_clip": {"from": 0.1, "to": 2}}, "eps_clip=2.0 is out of range"),
        ({"lr": [0.1]}, "the range of lr of happo in search.yaml has one value"),
        ({"lr": {"from": 1, "to": 0.1}}, "write {from: LOW, to: HIGH"),
        ({"entropy_coef": {"from": 0, "to": 0.1, "log": True}}, "begins at 0.0, which has no logarithm"),
        ({"huber_delta": "auto"}, r"cannot be `auto` \(its default is None\)"),
        ({"lr": 3}, "the range of lr of happo in search.yaml holds no group of keys"),
    ],
)
def test_ranges_that_are_none(ranges, message):
    with pytest.raises(ConfigError, match=message):
        read_tuning(of_happo(**ranges))


def play(curve, code: int = 0):
    """Stands for a run: `curve(keys)` is its test returns, one every 10 steps."""
    made = []

    def run(self, command, log, go_on=None):
        given = dict(word.split("=", 1) for word in command if "=" in word and not word.startswith("-"))
        made.append(command)
        folder = Path(given["local_results_path"], "sacred/x/y/1")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"test_interval": 10}))
        steps, values = [], []
        for t, value in enumerate(curve(given, command)):
            steps, values = [*steps, 10 * t], [*values, value]
            info = {"test_return_mean": values, "test_return_mean_T": steps}
            (folder / "info.json").write_text(json.dumps(info))
            if go_on is not None and not go_on():
                return -15
        (folder / "run.json").write_text(json.dumps({"status": "COMPLETED"}))
        return code

    return run, made


def test_all_have_the_same_trials_and_the_best_is_found(monkeypatch, capsys):
    run, made = play(lambda given, _: [0, 0, float(given.get("eps_clip", 0.5)), float(given.get("eps_clip", 0.5))])
    monkeypatch.setattr(Children, "run", run)
    assert cli.main(["tune", str(written(trials=4))]) == 0  # too few for any to be stopped early
    out = capsys.readouterr().out
    assert len({tuple(command) for command in made}) == len(made) == 2 * 4 * 2  # algorithms, trials, seeds
    assert {word for command in made for word in command if word.startswith("seed=")} == {"seed=1001", "seed=1002"}
    report = Path("results/tune/search/report.md").read_text()
    assert (
        report in out and "| 0.2 |" in report.splitlines()[8] and "`eps_clip=0.2 lr=" in report
    )  # 0.2: mean of the late half
    rows = Path("results/tune/search/trials.csv").read_text().splitlines()
    assert len(rows) == 1 + 8 and rows[1].startswith("happo,") and ",complete,0.2," in rows[1]


def test_it_goes_on_where_it_was_stopped_and_the_interrupted_trial_is_made_again(monkeypatch, capsys):
    run, made = play(lambda *_: [1, 1])

    def stops(self, command, log, go_on=None):
        if len(made) == 5:  # in the third trial
            raise KeyboardInterrupt
        return run(self, command, log, go_on)

    monkeypatch.setattr(Children, "run", stops)
    file = written(algorithms=[HAPPO])
    assert tune.main([str(file)]) == 130
    assert "the same command goes on" in capsys.readouterr().err and len(made) == 5
    monkeypatch.setattr(Children, "run", run)
    assert tune.main([str(file)]) == 0
    rows = Path("results/tune/search/trials.csv").read_text().splitlines()[1:]
    assert len(rows) == 6 and len(made) == 5 + 2 * 4, rows
    third = [word for word in made[4] if word.startswith(("lr=", "eps_clip="))]
    assert third == [word for word in made[5] if word.startswith(("lr=", "eps_clip="))]
    assert tune.main([str(file)]) == 0 and len(made) == 13  # nothing is left to do
    for changes, differ in (
        ({"algorithms": [{**HAPPO, "ranges": {"lr": [0.1, 0.2]}}]}, "`ranges`"),
        ({"seeds": [1001, 1003]}, "`seeds`"),
        ({"with": {**FILE["with"], "t_max": 200}}, "`with`"),
        ({"algorithms": [{**HAPPO, "name": "happo", "config": "jr_ppo"}]}, "`config`"),
        ({"algorithms": [{**HAPPO, "suite": "auto"}]}, "`suite`"),
    ):
        with pytest.raises(ConfigError, match=f"has trials of happo made with other {differ}; give"):
            tune.main([str(written(**{"algorithms": [HAPPO], **changes}))])


def test_one_config_may_be_tuned_twice_under_two_names(monkeypatch, capsys):
    run, made = play(lambda given, _: [1, 2 if given.get("share_parameters") == "True" else 1])
    monkeypatch.setattr(Children, "run", run)
    ranges = {"lr": [0.1, 0.2]}
    both = [{"name": name, "config": "ir_mappo", "with": {"share_parameters": name == "shared"}, "ranges": ranges}
            for name in ("separate", "shared")]  # fmt: skip
    assert cli.main(["tune", str(written(algorithms=both, trials=1))]) == 0
    report = Path("results/tune/search/report.md").read_text()
    assert "## separate" in report and "## shared" in report and len(made) == 2 * 2
    with pytest.raises(ConfigError, match="is no name of a folder"):
        read_tuning(written(algorithms=[{**both[0], "name": "a/b"}]))


def test_trials_that_end_together_are_counted_apart(monkeypatch, capsys):
    run, _ = play(lambda *_: [1, 1])
    monkeypatch.setattr(Children, "run", run)
    told, ended = tune.finished, []

    def later(study):
        """As if another had ended between this one's end and its line."""
        if len(told(study)) == 1 and not ended:
            ended.append(study.tell(study.ask(), 0.0))
        return told(study)

    monkeypatch.setattr(tune, "finished", later)
    assert tune.main([str(written(algorithms=[HAPPO], trials=1))]) == 0
    assert "happo trial 1 of 1: 1" in capsys.readouterr().out and ended


def test_a_hopeless_trial_is_stopped_early_and_counts(monkeypatch):
    numbers = iter(range(100))
    run, made = play(lambda *_: [[0, 1, 1, 1], [0, -9, -9, -9]][next(numbers) >= 8])
    monkeypatch.setattr(Children, "run", run)
    assert tune.main([str(written(algorithms=[HAPPO]))]) == 0
    rows = Path("results/tune/search/trials.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["complete"] * 4 + ["pruned"] * 2
    assert len(made) == 4 * 2 + 2 and all(row.split(",")[3] == "" for row in rows[4:])


def test_failed_runs_count_and_alone_they_are_an_error(monkeypatch, capsys):
    run, _ = play(lambda *_: [1], code=2)
    monkeypatch.setattr(Children, "run", run)
    assert tune.main([str(written(algorithms=[HAPPO]))]) == 1
    assert "| fail |" in capsys.readouterr().out


def test_the_score_is_of_the_second_half():
    assert tune.score([(0, 9.0), (10, 9.0), (20, 1.0), (30, 3.0), (40, 5.0)]) == 3.0
    with pytest.raises(ConfigError, match="before its first test"):
        tune.score([])


@pytest.mark.integration
def test_the_file_of_the_page_is_checked(capsys):
    assert tune.main([str(ROOT / "configs/tune/spread.yaml"), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "--config=happo" in first and "--suite=epymarl --config=mappo" in second


def test_a_child_is_ended_once_it_is_not_to_go_on(monkeypatch, tmp_path):
    usual = subprocess.Popen

    def sleeper(command, **how):
        return usual([sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(143)"], **how)

    monkeypatch.setattr(children.subprocess, "Popen", sleeper)
    monkeypatch.setattr(children, "_LOOK_EVERY_S", 0.05)
    assert Children().run(["run"], tmp_path / "log", lambda: False) == 143
