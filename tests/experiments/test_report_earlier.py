"""The curves of an earlier report beside runs, or instead of them: what a study is that grew over several machines."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path

import pytest
from epymarl_trust_region import cli

for _package in ("pandas", "scipy", "jinja2"):
    pytest.importorskip(_package)

TABLES = ("curves.csv", "summary.csv", "summary.md", "final.csv", "efficiency.csv", "improvement.csv", "aggregate.csv")
SWEEP = (
    "defaults: {seeds: [1, 2]}\n"
    "experiments: [{name: spread-happo, task: t, config: happo}, {name: spread-qmix, task: t, config: qmix}]\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, undrawn) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(SWEEP)
    return tmp_path


def make(algorithm: str, seed: int, values=(1.0, 2.0), commit="a" * 12, experiment="", **said) -> Path:
    """A run of the sweep."""
    experiment = experiment or f"spread-{algorithm}"
    run = Path(f"results/sweeps/study/{experiment}/seed{seed}/sacred/{algorithm}/spread/1")
    run.mkdir(parents=True)
    made_by = {"plugin_commit": commit, "host_commit": "e" * 12, "host": "lite", **said}
    metric = "test_return_mean"
    files = {
        "config": {"name": algorithm, "seed": seed, "test_interval": 100, "env": "gymma", "plugin": made_by},
        "run": {"status": "COMPLETED", "start_time": "2026-01-01T00:00:00", "heartbeat": "2026-01-01T01:00:00"},
        "info": {metric: list(values), f"{metric}_T": [100 * k for k in range(len(values))]},
    }
    for name, content in files.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    return run


def report(*words, out="out") -> Path:
    assert cli.main(["report", *words, "--out", out]) == 0
    return Path(out)


def refused(capsys, *words) -> str:
    assert cli.main(["report", *words, "--out", "refused"]) == 2
    assert not Path("refused").exists()
    return capsys.readouterr().err


def rows(out: Path) -> list[list[str]]:
    with (out / "curves.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_a_report_of_a_report_is_that_report(capsys):
    for algorithm in ("happo", "qmix"):
        for seed in (1, 2):
            make(algorithm, seed, (0.5 * seed, 2.25, 3.125))
    first = report("study.yaml")
    shutil.rmtree("results")
    for words in (["study.yaml", "out/curves.csv"], ["out/curves.csv"]):
        again = report(*words, out="again")
        for name in TABLES:
            assert (again / name).read_text() == (first / name).read_text(), name
        before, after = (json.loads((at / "versions.json").read_text()) for at in (first, again))
        assert after == {**before, "epymarl_trust_region": []}  # the test's runs do not say it
        assert "left out" not in capsys.readouterr().out
        assert "taken over from out/curves.csv" in (again / "report.html").read_text()
        assert "EPyMARL&#39;s src/main.py" not in (again / "report.html").read_text()


def test_a_study_grows_over_machines_that_keep_no_runs(capsys):
    """Earlier seeds and experiments stay in the sweep's order; a run that is here goes before its own old tests."""
    make("qmix", 1, (1.0, 2.0))
    make("qmix", 2, (1.0, 3.0))
    report("study.yaml", out="published")
    shutil.rmtree("results")
    make("happo", 1, (5.0, 6.0), commit="b" * 12)
    make("qmix", 2, (7.0, 8.0), commit="b" * 12)
    capsys.readouterr()
    out = report("study.yaml", "published/curves.csv", out="published")
    assert [row[1:] for row in rows(out)] == [
        ["spread-happo", "1", "0", "5.0000"], ["spread-happo", "1", "100", "6.0000"],
        ["spread-qmix", "2", "0", "7.0000"], ["spread-qmix", "2", "100", "8.0000"],
        ["spread-qmix", "1", "0", "1.0000"], ["spread-qmix", "1", "100", "2.0000"],
    ]  # fmt: skip
    versions = json.loads((out / "versions.json").read_text())
    assert versions["runs"] == {
        "b" * 12: {"spread-happo": [1], "spread-qmix": [2]},
        "a" * 12: {"spread-qmix": [1]},
    }
    assert versions["plugin_commit"] == ["a" * 12, "b" * 12] and versions["host_commit"] == ["e" * 12]
    said = capsys.readouterr().out
    assert "spread-happo: there is no run of seed 2\n" in said and "spread-qmix" not in said.partition("\n\n")[0]


def test_names_and_their_order_are_those_of_the_sweep_beside_it():
    names = (
        "experiments: [{name: spread-slow-happo, task: t, config: happo}, {name: spread-qmix, task: t, config: qmix}]"
    )
    Path("study.yaml").write_text(f"defaults: {{seeds: [1]}}\n{names}\n")
    make("happo", 1, experiment="spread-slow-happo")
    report("study.yaml", out="published")
    alone = report("published/curves.csv", out="alone")  # there it has no words in common with others
    assert "| t | HAPPO |" in (alone / "final.md").read_text()
    shutil.rmtree("results")
    make("qmix", 1)
    out = report("published/curves.csv", "study.yaml")
    assert [row[1] for row in rows(out)] == ["spread-slow-happo"] * 2 + ["spread-qmix"] * 2
    assert "| t | slow happo |" in (out / "final.md").read_text()


def test_runs_that_recorded_no_commit_still_have_none():
    """EPyMARL's own `src/main.py` records none."""
    run = make("happo", 1)
    config = json.loads((run / "config.json").read_text())
    del config["plugin"]
    (run / "config.json").write_text(json.dumps(config))
    report("study.yaml", out="published")
    shutil.rmtree("results")
    versions = json.loads((report("published/curves.csv") / "versions.json").read_text())
    assert versions["plugin_commit"] == [] and versions["runs"] == {"None": {"spread-happo": [1]}}


def test_what_is_called_alike_by_chance_is_told_apart():
    """Beside a folder of runs nobody knows whether two of a name are the same; so with two earlier reports."""
    make("happo", 1)
    report("results", out="mine")
    out = report("results", "mine/curves.csv")
    assert [row[1] for row in rows(out)] == ["happo", "happo", "mine/happo", "mine/happo"]
    assert "HAPPO (mine)" in (out / "final.md").read_text()
    shutil.copytree("mine", "theirs")
    out = report("mine/curves.csv", "theirs/curves.csv", "mine/curves.csv")
    assert [row[1] for row in rows(out)] == ["happo", "happo", "theirs/happo", "theirs/happo"]


def test_packages_of_both_are_named():
    make("happo", 1)
    report("study.yaml", out="published")
    file = Path("published/versions.json")
    versions = json.loads(file.read_text())
    here, versions["torch"] = versions["torch"], "1.0.0"
    file.write_text(json.dumps(versions))
    out = report("published/curves.csv")
    assert json.loads((out / "versions.json").read_text())["torch"] == ["1.0.0", here]


def test_another_metric_is_kept_apart(capsys):
    make("happo", 1)
    report("study.yaml", out="published")
    assert json.loads(Path("published/versions.json").read_text())["metric"] == {"t": "test_return_mean"}
    assert refused(capsys, "published/curves.csv", "--metric", "nash_conv") == (
        "error: published/curves.csv has the test_return_mean of t, not nash_conv; leave it out, or say --metric "
        "test_return_mean\n"
    )


def test_earlier_numbers_of_modified_files_are_refused_as_at_first(capsys):
    make("happo", 1, commit="a" * 12 + "-dirty", plugin_modified=["x.py"])
    cli.main(["report", "study.yaml", "--out", "published", "--allow-dirty"])
    capsys.readouterr()
    said = refused(capsys, "published/curves.csv")
    assert "were made from modified files (aaaaaaaaaaaa-dirty: x.py)" in said
    assert cli.main(["report", "published/curves.csv", "--out", "out", "--allow-dirty"]) == 0
    assert json.loads(Path("out/versions.json").read_text())["modified_files"] == {"a" * 12 + "-dirty": ["x.py"]}


def test_the_folder_of_a_report_is_told_from_one_of_runs(capsys):
    make("happo", 1)
    report("study.yaml", out="published")
    assert refused(capsys, "published") == (
        "error: no completed run in published; an earlier report's tests are named as published/curves.csv\n"
    )


def test_a_report_that_fails_leaves_the_one_that_it_was_made_from(capsys, monkeypatch):
    """Its own folder is where a study that grows is written; a full disk or an interrupt must not cost its tests."""
    from epymarl_trust_region.experiments.report import page

    make("happo", 1)
    published = report("study.yaml", out="published")
    make("happo", 2)
    before = {file.name: file.read_bytes() for file in published.iterdir()}
    for trouble in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(*_, trouble=trouble):
            raise trouble

        monkeypatch.setattr(page, "render", fail)
        with pytest.raises(KeyboardInterrupt) if isinstance(trouble, KeyboardInterrupt) else contextlib.nullcontext():
            assert cli.main(["report", "study.yaml", "published/curves.csv", "--out", "published"]) == 2
            said = "error: published cannot be written: No space left on device; name another --out\n"
            assert capsys.readouterr().err == said
        assert {file.name: file.read_bytes() for file in published.iterdir()} == before


@pytest.mark.parametrize("harm", ["no final", "no versions", "columns", "words", "algorithms", "list", "bytes", "runs"])
def test_a_file_that_is_none_of_a_report_is_one_clear_error(harm, capsys):
    make("happo", 1)
    published = report("study.yaml", out="published")
    if harm in ("no final", "no versions"):
        (published / {"no final": "final.csv", "no versions": "versions.json"}[harm]).unlink()
    elif harm in ("list", "runs"):
        (published / "versions.json").write_text({"list": "[]", "runs": '{"runs": {"a": 3}}'}[harm])
    elif harm == "algorithms":
        (published / "final.csv").write_text("task,experiment,algorithm\nother,x,happo\n")
    else:
        texts = {
            "columns": b"a,b\n1,2\n",
            "words": b"task,experiment,seed,step,value\nt,spread-happo,one,2,3\n",
            "bytes": b"\xff\x00\xfe",
        }
        (published / "curves.csv").write_bytes(texts[harm])
    said = refused(capsys, "published/curves.csv")
    assert said.startswith("error: published/curves.csv cannot be read as an earlier report's curves: "), said
    assert said.count("\n") == 1 and "final.csv and versions.json" in said
