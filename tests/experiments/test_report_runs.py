"""Which runs a report reads, and what it calls them: hand-made folders of ours and in EPyMARL's own form."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments.report.naming import named, of_folder
from epymarl_trust_region.experiments.report.study import study
from epymarl_trust_region.experiments.report.styles import readable, readable_task, style

for _package in ("pandas", "scipy", "jinja2"):
    pytest.importorskip(_package)

SPREAD = "pz-mpe-simple-spread-v3"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, undrawn) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(
    algorithm="happo", seed=1, key=SPREAD, values=(1.0, 2.0), status="COMPLETED", start="2026-01-01T00:00:00", **config
):
    """A run where `src/main.py` or `epymarl-tr run` would leave it; without `plugin`, like the former's."""
    metric, values = config.pop("metric", "test_return_mean"), list(values)
    env_args = {"key": key, "time_limit": 25, "pretrained_wrapper": None, "seed": seed, **config.pop("env_args", {})}
    runs = Path("results/sacred") / algorithm / key.replace(":", "-")
    run = runs / str(1 + len(list(runs.glob("*"))))
    run.mkdir(parents=True)
    steps = [10 + 100 * k for k in range(len(values))]
    common = {
        "env": "gymma",
        "t_max": 200,
        "test_interval": 100,
        "lr": 0.0005,
        "common_reward": True,
        "evaluate": False,
    }
    files = {
        "config": {"name": algorithm, "seed": seed, "env_args": env_args, **common, **config},
        "run": {"status": status, "start_time": start, "heartbeat": "2026-01-01T01:00:00"},
        "info": {metric: values, f"{metric}_T": steps} if values else {"return_mean": [1.0]},
    }
    for name, content in files.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    return run


def names(path=".") -> list[tuple[str, str, str, int]]:
    entries, _ = named(of_folder(Path(path))[0])
    return [(e.task, e.experiment, e.label, e.seed) for e in entries]


def test_a_run_that_another_went_on_from_is_not_read_beside_it(capsys):
    short, long = make(values=(1.0, 2.0)), make(values=(1.0, 2.0, 3.0), t_max=300)
    assert len(of_folder(Path("."))[0]) == 2  # nobody has gone on from the other
    info = json.loads((long / "info.json").read_text()) | {"resumed_from": "results/models/x/200"}
    (long / "info.json").write_text(json.dumps(info))
    make(seed=2, t_max=200), make(key="lbforaging:Foraging-8x8-2p-3f-v3")
    runs, left_out = of_folder(Path("."))
    assert short not in [run.folder for run in runs] and len(runs) == 3
    assert left_out == [f"{short}: {long} goes on from it"]
    assert cli.main(["report", "results", "--metric", "nash_con", "--out", "out"]) == 2
    assert "such as results/sacred/happo" in (err := capsys.readouterr().err) and "goes on from it" not in err


def report(*words) -> Path:
    assert cli.main(["report", *(words or ("results",)), "--out", "out"]) == 0
    return Path("out")


def refused(capsys, *words) -> str:
    assert cli.main(["report", *words, "--out", "out"]) == 2 and not Path("out").exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_seeds_of_one_configuration_are_one_experiment():
    """Keys that say where a run is kept or what else it writes make no other."""
    make(seed=2, local_results_path="a", save_model=True, test_nepisode=5)
    make(seed=1, local_results_path="b", save_model=False, test_nepisode=9)
    make("qmix", seed=1)
    make("my_algorithm", seed=1)
    assert names() == [
        (SPREAD, "happo", "HAPPO", 1),
        (SPREAD, "happo", "HAPPO", 2),
        (SPREAD, "qmix", "QMIX", 1),
        (SPREAD, "my_algorithm", "my_algorithm", 1),
    ]


def test_configurations_that_differ_are_named_after_how():
    make(lr=0.001, epochs=5, key="rware:small")
    make(lr=0.0005, epochs=5)
    make(lr=0.001, epochs=10)
    for lr, too in ((1, 1), (2, 2)):
        make("qmix", lr=lr, too=too)
    assert names() == [
        (SPREAD, "happo epochs=10 lr=0.001", "HAPPO epochs=10 lr=0.001", 1),
        (SPREAD, "happo epochs=5 lr=0.0005", "HAPPO epochs=5 lr=0.0005", 1),
        (SPREAD, "qmix lr=1 too=1", "QMIX too=1", 1),  # in pictures, what is enough to tell them apart
        (SPREAD, "qmix lr=2 too=2", "QMIX too=2", 1),
        ("rware:small", "happo epochs=5 lr=0.001", "HAPPO epochs=5 lr=0.001", 1),
    ]


def test_many_differences_are_a_number():
    make(a=1, b=1, c=1, d=1)
    make(a=2, b=2, c=2, d=2)
    assert [name for _, name, _, _ in names()] == ["happo #1", "happo #2"]


def test_a_key_that_only_some_versions_have_makes_no_difference():
    make(seed=1)
    make(seed=2, new_key=3)
    assert {name for _, name, _, _ in names()} == {"happo"}


def test_tasks_that_differ_in_their_arguments_are_several():
    make(env_args={"N": 5})
    make()
    make(common_reward=False, metric="test_total_return_mean")
    tasks = [task for task, *_ in names()]
    assert tasks == [
        f"{SPREAD} common_reward=false",
        f"{SPREAD} common_reward=true",
        f"{SPREAD} common_reward=true N=5",
    ]


def test_shorter_runs_are_an_experiment_of_their_own():
    make(t_max=300)
    make(t_max=1000, seed=2)
    assert [name for _, name, _, _ in names()] == ["happo t_max=1000", "happo t_max=300"]


def test_what_went_on_from_a_checkpoint_is_no_seed_of_what_did_not():
    make(checkpoint_path="")
    make(seed=2, checkpoint_path="results/models/x")
    assert [name for _, name, _, _ in names()] == ["happo continued=false", "happo continued=true"]


def test_epymarls_own_runs_are_read_beside_ours(capsys):
    """Three seeds of each: means 2 and 12 at the end, of which the second is better in each pair."""
    plugin = {"epymarl_trust_region": "0.1", "plugin_commit": "abc", "host": "lite", "host_commit": None}
    for seed in (1, 2, 3):
        make("happo", seed, values=[0.0, 10.0 + seed], plugin=plugin)
        make("qmix", seed, values=[0.0, float(seed)])
    out = report()
    rows = (out / "final.csv").read_text().splitlines()
    assert rows[1].startswith(f"{SPREAD},happo,happo,3,100,12.0,11.") and rows[2].startswith(
        f"{SPREAD},qmix,qmix,3,100,2.0,"
    )
    found = json.loads((out / "versions.json").read_text())
    assert found["runs"] == {"abc": {"happo": [1, 2, 3]}, "None": {"qmix": [1, 2, 3]}}
    assert found["plugin_commit"] == ["abc"] and found["host_commit"] == []
    assert "| happo | 3 | 0.00 ± 0.00 | 12.00 ± 1.00 |" in capsys.readouterr().out


def test_runs_that_are_of_no_use_are_named_in_a_line_each(capsys):
    make(seed=1)
    bad = {
        make(seed=2, status="RUNNING"): "it is RUNNING, or was killed",
        make(seed=3, status="FAILED"): "it is FAILED",
        make(seed=4, values=[]): "it ended before its first test of test_return_mean or test_total_return_mean",
        make(seed=5, evaluate=True): "it is an evaluation",
        (cut := make(seed=6)): "info.json cannot be read: ",
        (odd := make(seed=7)): "its info.json holds no curve (",
        (gone := make(seed=8)): "it has no config.json",
        make(seed=1, start="2025-01-01T00:00:00"): "the same configuration and seed as results/sacred/",
    }
    (cut / "info.json").write_text('{"test_return_mean": [1.0, ')
    (odd / "info.json").write_text('{"test_return_mean": [[1.0], "x"], "test_return_mean_T": [1, 2]}')
    (gone / "config.json").unlink()
    aside = Path("results/sweeps/x/happo/seed1.before1/sacred/happo/spread/1")
    aside.parent.mkdir(parents=True)
    bad[make(seed=9).rename(aside)] = "`epymarl-tr sweep --anew` put it aside"
    out = report()
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert len(said) == len(bad) and all(any(f"{run}: {why}" in line for line in said) for run, why in bad.items())
    page = (out / "report.html").read_text()
    assert all(str(run) in page for run in bad)
    assert len((out / "curves.csv").read_text().splitlines()) == 1 + 2


def test_tests_without_a_number_are_named_and_left_out(capsys):
    make(values=[1.0, float("nan")])
    out = report()
    assert "its 1 tests without a number (the first at 100 steps)" in capsys.readouterr().out
    assert len((out / "curves.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "error: nowhere does not exist; name a folder with runs"),
        (["file.txt"], "error: file.txt is no folder, sweep file (.yaml) or curves (.csv); name"),
        (["empty", "--less-is-better"], "error: --less-is-better is said of a metric; name one with --metric"),
        (["empty"], "error: no completed run in empty; run `epymarl-tr sweep`"),
        (["bad"], "error: no completed run in bad (1 left out, such as bad/1: run.json cannot be read: "),
        (["odd"], "error: no completed run in odd (1 left out, such as odd/1: run.json is no group of keys)"),
    ],
)
def test_what_cannot_be_reported_is_one_clear_error(words, said, capsys):
    Path("empty").mkdir()
    Path("file.txt").touch()
    for name, text in (("bad", '{"status"'), ("odd", "[1]")):
        Path(name, "1").mkdir(parents=True)
        Path(name, "1", "run.json").write_text(text)
    assert refused(capsys, *words).startswith(said)


def test_runs_of_a_task_without_a_common_metric_are_refused(capsys):
    make("happo")
    make("qmix", metric="test_total_return_mean")
    said = refused(capsys, "results")
    assert said == (
        f"error: no metric is common to all runs of {SPREAD}: happo has test_return_mean and qmix "
        "test_total_return_mean; report them apart, or name one with --metric"
    )


def test_a_sum_that_a_team_is_paid_is_the_total_of_its_agents():
    """VDN is paid the sum of what each of ours is paid: one test return, under two names, on one task of a sweep."""
    make("happo", values=[1.0, 2.0], metric="test_total_return_mean", common_reward=False, reward_scalarisation="sum")
    make("vdn", values=[3.0, 4.0], reward_scalarisation="sum")
    found, left_out = study([dataclasses.replace(entry, task="t") for entry in named(of_folder(Path("results"))[0])[0]])
    assert found.metric == {"t": "test_total_return_mean"} and not left_out
    assert sorted(found.rows["value"]) == [1.0, 2.0, 3.0, 4.0]
    make("qmix", reward_scalarisation="mean")
    with pytest.raises(ConfigError, match="no metric is common to all runs of t: "):
        study([dataclasses.replace(entry, task="t") for entry in named(of_folder(Path("results"))[0])[0]])


def test_another_metric_may_be_named():
    run = make(metric="test_battle_won_mean", values=[0.25, 0.5])
    assert run.exists() and cli.main(["report", "results", "--out", "out"]) == 2
    assert "0.5000" in (report("results", "--metric", "test_battle_won_mean") / "curves.csv").read_text()
    assert Path("out/summary.md").read_text().startswith("`test_battle_won_mean`: mean ± ")
    assert "The `test_battle_won_mean` at the last step" in Path("out/final.md").read_text()


def test_missing_packages_are_named_with_the_remedy(capsys, monkeypatch):
    from epymarl_trust_region.experiments.report import command

    find = command.importlib.util.find_spec
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    make()
    assert refused(capsys, "results") == (
        "error: epymarl-tr report needs jinja2, not installed: pip install -c constraints.txt -e '.[report]'"
    )


def test_a_folder_that_cannot_be_written_is_one_clear_error(capsys):
    make()
    Path("out.txt").touch()
    assert cli.main(["report", "results", "--out", "out.txt/x"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: out.txt/x cannot be written: Not a directory; name another --out"
    ]


def test_folders_and_sweep_files_go_together(capsys):
    """A run that a sweep file names is not counted again below a folder."""
    make("qmix")
    run = make("happo")
    place = Path("results/sweeps/study/spread-happo/seed1/sacred/happo/spread/1")
    place.parent.mkdir(parents=True)
    run.rename(place)
    Path("study.yaml").write_text(
        f"experiments: [{{name: spread-happo, task: {SPREAD}, config: happo, seeds: [1, 2, 3]}}]"
    )
    rows = (report("study.yaml", "results") / "final.csv").read_text().splitlines()
    assert [row.split(",")[1:4] for row in rows[1:]] == [["spread-happo", "happo", "1"], ["qmix", "qmix", "1"]]
    assert "left out: results/sweeps/study/spread-happo: there is no run of seeds 2, 3\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("happo", "HAPPO"), ("qmix_ns", "QMIX-NS"), ("il_pp", "IL-PP"), ("theirs", "theirs"), ("theirs_ns", "theirs_ns")],
)
def test_names_of_algorithms(algorithm, name):
    assert readable(algorithm) == name


def test_names_of_tasks():
    assert readable_task(f"{SPREAD} N=5") == "MPE simple-spread N=5"
    assert readable_task("lbforaging:Foraging-8x8-2p-3f-v3") == "LBF 8x8-2p-3f"
    assert readable_task("3s_vs_5z") == "3s_vs_5z"


def test_every_algorithm_has_its_style_for_ever():
    """That of one does not depend on who else is there; variants differ in colour, and in marker or line as well."""
    assert style("happo") == ("#2f7fd0", "o", "-") and style("qmix")[0] == "#e39a13"
    assert style("somebodys") == ("#cf5f5a", "^", "-")  # by its name
    variants = [style("happo", k) for k in range(4)]
    assert len({v.colour for v in variants}) == 4 and len({(v.marker, v.line) for v in variants}) == 4


def test_all_algorithms_of_both_hosts_are_in_the_table():
    from epymarl_trust_region.suite import algorithms

    assert [name for name in algorithms.algorithm_files() if readable(name) == name] == []
    known = {
        readable(name) for name in ("mappo", "ippo", "qmix", "vdn", "iql", "coma", "ia2c", "maa2c", "maddpg", "pac_ns")
    }
    assert len(known) == 10 and all(name[:2].isupper() or name.startswith("Pareto") for name in known)
