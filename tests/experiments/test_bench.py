"""`epymarl-tr bench`: what it measures, what it says, and when it fails. No test looks at how long anything took."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from epymarl_trust_region.errors import ConfigError, SuiteError
from epymarl_trust_region.experiments import bench, bench_growth
from epymarl_trust_region.experiments.bench_figures import draw_growth, draw_phases
from epymarl_trust_region.experiments.bench_work import PHASES, Clock, Sample, Side, Work, _repetition


@pytest.fixture
def no_epymarl(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EPYMARL_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


def side(seconds: float) -> dict:
    phases = dict.fromkeys(PHASES, seconds / 10)
    return {"wall_s": seconds, "cpu_s": 2 * seconds, "peak_mib": 300.0, "phases_s": phases, "all_wall_s": [seconds]}


def made_result(name="spread-vector", ratios=(3.0, 2.0, 4.0), must=2.5, **changes) -> bench.Result:
    result = bench.Result(name, f"title of {name}", must, 9, None, side(0.01), side(0.03), list(ratios))
    vars(result).update(changes)
    return result


def test_rows_are_the_table_of_the_readme_and_have_names_of_their_own():
    musts = {row.name: row.must for row in bench.ROWS}
    assert musts == {
        "train-mlp-n3-10x25": 4.5,
        "train-mlp-n3-10x150": 11,
        "train-mlp-n8-10x25": 5,
        "train-gru-n3-10x25": 2,
        "train-gru-n3-10x150": 2,
        "train-hatrpo-mlp-n3-10x25": None,
        "train-hatrpo-mlp-n3-10x150": None,
        "train-hatrpo-gru-n3-10x25": None,
        "train-jr_ppo-mlp-n3-10x25": None,
        "train-jr_ppo-gru-n3-10x25": None,
        "train-matrl-mlp-n3-10x25": None,
        "train-matrl-il_pp-mlp-n27-10x25": 1 / 1.2,
        "matrl-il-speaker": 1 / 1.2,
        "matrl-il-spread": 1 / 1.2,
        "matrl-il-spread-4": 1 / 1.2,
        "spread-vector": 2.5,
        "spread-batched": 10,
        "smaclite-2s3z": 2.0,
        "mujoco-happo": None,
        "mujoco-hatrpo": None,
    }
    for row in bench.ROWS:
        assert row.ours.env_args == row.theirs.env_args and row.ours.episodes == row.theirs.episodes
        assert (row.ours.steps, row.ours.agents) == (row.theirs.steps, row.theirs.agents)
        critic = 128 if row.needs == "mujoco" else 64
        assert row.ours.overrides["hidden_dim"] == 64 and row.ours.overrides["critic_hidden_dim"] == critic


def test_mujoco_is_played_in_streams_on_one_core(no_epymarl):
    """The study's settings; a repetition is a rollout of 8 * 512 slots, and an update."""
    pytest.importorskip("mujoco")
    row = next(row for row in bench.ROWS if row.name == "mujoco-happo")
    for work in (row.ours, row.theirs):
        quick = work.overrides | {"epochs": 1, "critic_epochs": 1, "rollout_steps": 16}
        measured = Side(dataclasses.replace(work, overrides=quick), None)
        try:
            measured.ready()
            sample = measured.once()
        finally:
            measured.end()
        assert sample.steps == 8 * 16 and sample.phases["environment"] > 0 < sample.phases["learner"]
        assert not sample.phases["messages"]


def test_a_line_shows_medians_ratio_spread_and_wishes():
    text = bench.line(made_result())
    assert text.split()[3:] == [
        "30.0",
        "ms",
        "10.0",
        "ms",
        "3.0x",
        "2.0",
        "-",
        "4.0",
        "2.5",
        "9",
        "3.0x",
        "300",
        ":",
        "300",
    ]
    assert "skipped: the package smaclite" in bench.line(made_result(skipped="the package smaclite is not installed"))
    assert bench.line(made_result(theirs=None, ratios=[])).split()[-4:] == ["-", "10.0", "ms", "-"]


@pytest.mark.parametrize(
    "result, below",
    [
        (made_result(must=3.1), True),
        (made_result(must=3.0), False),
        (made_result(ratios=[]), False),  # nothing to compare with
        (made_result(must=None), False),
    ],
)
def test_below_is_what_was_measured_and_is_too_slow(result, below):
    assert result.below is below


def test_check_exits_with_one_and_names_every_row_below_its_must(monkeypatch, capsys, tmp_path):
    results = {
        "spread-vector": made_result("spread-vector", ratios=[2.0, 2.0]),
        "spread-batched": made_result("spread-batched", ratios=[12.0, 12.0], must=10),
        "smaclite-2s3z": made_result("smaclite-2s3z", ratios=[1.1, 1.1], must=1.3),
    }
    monkeypatch.setattr(bench, "measure", lambda row, *_: results[row.name])
    monkeypatch.setattr(bench, "_checkout", lambda options: tmp_path)
    assert bench.main(["--only", *results, "--check"]) == 1
    error = capsys.readouterr().err
    assert "spread-vector (2.0x, must 2.5x)" in error and "smaclite-2s3z (1.1x, must 1.3x)" in error
    assert "spread-batched" not in error
    assert bench.main(["--only", *results]) == 0  # without --check it only tells
    assert bench.main(["--only", "spread-batched", "--check"]) == 0


def test_bad_options(no_epymarl):
    with pytest.raises(ConfigError, match="--only: no row spred; there are train-mlp"):
        bench.main(["--only", "spred"])
    with pytest.raises(ConfigError, match="--repetitions=1"):
        bench.main(["--repetitions", "1"])
    with pytest.raises(SuiteError, match="--check needs EPyMARL"):
        bench.main(["--check"])
    with pytest.raises(SuiteError, match="is not an EPyMARL checkout"):
        bench.main(["--against", "nowhere"])


def test_an_algorithm_that_is_none_is_refused_before_anything_is_measured(no_epymarl, capsys):
    with pytest.raises(ConfigError, match=r"unknown --config=hapo \(did you mean happo\?\)"):
        bench.main(["--config", "hapo"])
    assert "medians" not in capsys.readouterr().out


def test_without_epymarl_our_own_times_come_out(no_epymarl, capsys, tmp_path):
    file = tmp_path / "deep/bench.json"
    assert bench.main(["--only", "train-mlp-n3-10x25", "--repetitions", "2", "--json", str(file)]) == 0
    assert "our own times only" in capsys.readouterr().out
    content = json.loads(file.read_text())
    (row,) = content["rows"]
    assert row["theirs"] is None and row["ratio"] is None and row["ratios"] == []
    assert len(row["ours"]["all_wall_s"]) == 2 and row["ours"]["wall_s"] > 0
    assert row["ours"]["phases_s"]["learner"] == pytest.approx(row["ours"]["wall_s"], rel=0.5)
    assert content["made_by"]["torch"] and content["machine"]["cores"] >= 1


def test_a_side_that_cannot_be_built_is_one_clear_error(no_epymarl, monkeypatch):
    bad = bench.ROWS[0].ours.__class__("happo", "gymma", {"key": "no-such-env-v0", "time_limit": 5})
    row = bench.Row("x", "x", 1, 1, bad, bad)
    with pytest.raises(SuiteError, match="x cannot be measured: .*no-such-env"):
        bench.measure(row, None, 2)


def test_an_iteration_tells_its_phases_and_takes_its_steps(no_epymarl):
    work = Work("happo", "gymma", {"key": "pz-mpe-simple-spread-v3", "time_limit": 5}, episodes=4,
                overrides={"batched_envs": "none", "env_processes": 2})  # fmt: skip
    pytest.importorskip("mpe2")
    measured = Side(work, None)
    try:
        measured.ready()
        sample = measured.once()
    finally:
        peak = measured.end()
    assert set(sample.phases) == set(PHASES) and all(seconds > 0 for seconds in sample.phases.values())
    assert sum(sample.phases.values()) <= sample.wall
    assert sample.steps == 20
    assert sample.cpu > 0 and (math.isnan(peak) or peak > 50)
    assert not measured.process.is_alive()


def test_of_phases_inside_each_other_the_outermost_counts():
    clock = Clock()
    worker = SimpleNamespace(inner=lambda: time.sleep(0.002))
    clock.watch(worker, "inner", "MAC")
    with clock.on("batch"):
        worker.inner()
    assert clock.seconds["MAC"] == 0 < clock.seconds["batch"]
    worker.inner()
    assert clock.seconds["MAC"] > 0


def test_growth_varies_one_thing_at_a_time():
    base = bench_growth.works("agents", 3, False)
    assert set(base) == {"update", "rollout"} and set(bench_growth.works("agents", 3, True)) == {"update"}
    many = bench_growth.works("agents", 27, False)
    assert many["update"].agents == 27 and many["rollout"].env_args["N"] == 27
    assert bench_growth.works("steps", 400, False)["rollout"].env_args["max_cycles"] == 400
    assert bench_growth.works("episodes", 512, False)["update"].episodes == 512
    assert bench_growth.works("hidden_dim", 256, False)["update"].overrides["critic_hidden_dim"] == 256
    assert base["update"].overrides["hidden_dim"] == 64 and base["update"].steps == 25


def test_figures_are_drawn(tmp_path: Path):
    draw_phases([made_result(), made_result("spread-batched", theirs=None)], tmp_path / "phases.png")
    points = [
        {"axis": axis, "value": value, "seconds": {"update, MLP": 0.01 * value, "rollout, MLP": 0.02 * value}}
        for axis, values in bench_growth.AXES.items()
        for value in values
    ]
    draw_growth(points, tmp_path / "growth.png")
    for name in ("phases.png", "growth.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.integration
@pytest.mark.parametrize("name", ["train-gru-n3-10x25", pytest.param("spread-batched", marks=pytest.mark.thorough)])
def test_both_sides_run_on_epymarl(name, epymarl_home):
    row = next(row for row in bench.ROWS if row.name == name)
    result = bench.measure(row, epymarl_home, repetitions=2)
    assert len(result.ratios) == 2 and result.ratio > 0
    assert {*result.ours["phases_s"]} == set(PHASES)
    if name == "spread-batched":
        assert result.theirs["phases_s"]["messages"] > 0 and result.theirs["phases_s"]["batch"] > 0
        assert result.ours["phases_s"]["messages"] == 0 < result.ours["phases_s"]["environment"]


def test_seconds_are_per_thousand_steps_where_steps_are_played():
    """The side whose episodes happened to be shorter is not the faster one for that."""
    short, long = Sample(1.0, 2.0, {"MAC": 0.5}, 250), Sample(2.0, 4.0, {"MAC": 1.0}, 500)
    assert short.per_thousand_steps() == long.per_thousand_steps() == Sample(4.0, 8.0, {"MAC": 2.0}, 1000)
    update = Sample(1.0, 2.0, {"learner": 1.0}, 0)
    assert update.per_thousand_steps() is update


def test_a_repetition_is_the_mean_of_what_is_done_in_a_row():
    done = iter([({"learner": 1.0, "MAC": 0.0}, 30), ({"learner": 2.0, "MAC": 4.0}, 50)])
    sample = _repetition(lambda: next(done), 2)
    assert sample.phases == {"learner": 1.5, "MAC": 2.0} and sample.steps == 40
    assert next(done, None) is None
