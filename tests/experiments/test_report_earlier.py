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

TABLES = ("runs.csv", "curves.csv", "summary.csv", "summary.md", "final.csv", "efficiency.csv", "improvement.csv")
NONE = "published/curves.csv is no report's curves"
SWEEP = (
    "defaults: {seeds: [1, 2]}\n"
    "experiments: [{name: spread-happo, task: t, config: happo}, {name: spread-qmix, task: t, config: qmix}]\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, undrawn) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(SWEEP)
    return tmp_path


def make(
    algorithm: str,
    seed: int,
    values=(1.0, 2.0),
    commit="a" * 12,
    experiment="",
    metric="test_return_mean",
    env_args=None,
    lr=0.1,
    **said,
) -> Path:
    """A run of the sweep."""
    experiment = experiment or f"spread-{algorithm}"
    run = Path(f"results/sweeps/study/{experiment}/seed{seed}/sacred/{algorithm}/spread/1")
    run.mkdir(parents=True)
    made_by = {"plugin_commit": commit, "host_commit": "e" * 12, "host": "lite", **said}
    files = {
        "config": {"name": algorithm, "seed": seed, "test_interval": 100, "env": "gymma", "plugin": made_by, "lr": lr}
        | {"env_args": env_args or {"key": "t"}},
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
        assert after == before
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
    Path("study.yaml").write_text(SWEEP.replace("spread-happo", "spread-slow-happo"))
    make("happo", 1, experiment="spread-slow-happo")
    report("study.yaml", out="published")
    assert "| t | slow happo |" in (report("published/curves.csv", out="alone") / "final.md").read_text()
    Path("study.yaml").write_text(SWEEP.replace("spread-happo", "spread-slow-happo").replace("spread-qmix", "x-qmix"))
    assert "| t | spread slow happo |" in (report("published/curves.csv", "study.yaml") / "final.md").read_text()
    Path("study.yaml").write_text(SWEEP.replace("spread-happo", "spread-slow-happo"))
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
    """Beside a folder of runs nobody knows whether two of a name are the same; so with earlier reports."""
    for k, place in enumerate(("x/report", "y/report", "z/report")):
        make("happo", 1, (0.0, 1.0 + k))
        make("happo", 10 + k)
        report("results", out=place)
        shutil.rmtree("results")
    make("happo", 1, (0.0, 9.0))
    three = [f"{place}/report/curves.csv" for place in "xyz"]
    out = report("results", *three, f"{Path.cwd()}/x/report/curves.csv")
    found = [(row[1], row[2]) for row in rows(out) if row[3] == "0"]
    assert found[:3] == [("happo", "1"), ("report/happo", "1"), ("report/happo", "10")]
    assert found[3:] == [
        (f"{place}/report/happo", seed) for place, seed in zip("yyzz", ("1", "11", "1", "12"), strict=True)
    ]
    assert "HAPPO (report)" in (out / "final.md").read_text()


def test_a_report_of_a_folder_may_be_made_again():
    """The tests that a folder's runs have themselves are no others'."""
    make("happo", 1)
    report("results", out="mine")
    assert rows(report("results", "mine/curves.csv", out="mine")) == rows(report("results"))


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
    make("happo", 1, metric="test_won")
    report("study.yaml", "--metric", "test_won", out="published")
    assert json.loads(Path("published/versions.json").read_text())["metric"] == {"t": "test_won"}
    end = "leave it out, or say --metric test_won\n"
    for words, other in (["--metric", "nash_conv"], ", not nash_conv"), ([], ""):
        said = refused(capsys, "published/curves.csv", *words)
        assert said == f"error: published/curves.csv has the test_won of t{other}; {end}"
    assert rows(report("published/curves.csv", "--metric", "test_won")) == rows(Path("published"))


def test_whether_less_is_better_is_carried_on():
    for algorithm, values in (("happo", (9.0, 1.0)), ("qmix", (9.0, 5.0))):
        make(algorithm, 1, values, metric="test_gap")
    report("study.yaml", "--metric", "test_gap", "--less-is-better", out="published")
    again = report("published/curves.csv", "--metric", "test_gap")
    assert (again / "aggregate.csv").read_text() == Path("published/aggregate.csv").read_text()
    assert "HAPPO,1.0000" in (again / "aggregate.csv").read_text()


def test_one_name_on_several_tasks_has_its_commits():
    """Folders of runs name experiments after algorithms alone, on every task alike; labels are as they were."""
    for task, commit in (("a", "a" * 12), ("b", "b" * 12)):
        for lr in (0.1, 1e-5):
            make("happo", 1, commit=commit, experiment=f"{task}-{lr}", env_args={"key": task}, lr=lr)
    report("results", out="published")
    again = report("published/curves.csv", out="again")
    assert (again / "final.md").read_text() == Path("published/final.md").read_text()
    assert "HAPPO lr=1e-05" in (again / "final.md").read_text()
    page = (again / "report.html").read_text()
    assert page.count("<code>aaaaaaaaaaaa</code>") == page.count("<code>bbbbbbbbbbbb</code>") == 2
    assert json.loads((again / "versions.json").read_text())["plugin_commit"] == ["a" * 12, "b" * 12]


def test_a_run_without_tests_replaces_none(capsys):
    make("qmix", 1, (1.0, 2.0))
    report("study.yaml", out="published")
    shutil.rmtree("results")
    make("qmix", 1, ())
    out = report("study.yaml", "published/curves.csv")
    assert [row[3:] for row in rows(out)] == [["0", "1.0000"], ["100", "2.0000"]]
    assert "it ended before its first test" in capsys.readouterr().out


def test_the_order_of_sweep_files_is_as_they_were_named():
    Path("other.yaml").write_text(SWEEP.replace("task: t,", "task: u,").replace("spread", "other"))
    make("happo", 1)
    shutil.copytree("results/sweeps/study/spread-happo", "results/sweeps/other/other-happo")
    assert [row[0] for row in rows(report("other.yaml", "study.yaml"))] == ["u", "u", "t", "t"]
    assert [row[0] for row in rows(report("study.yaml", "other.yaml"))] == ["t", "t", "u", "u"]


def test_labels_that_two_sources_share_are_told_apart():
    make("happo", 1, (0.0, 1.0))
    report("study.yaml", out="published")
    shutil.rmtree("results")
    Path("mine.yaml").write_text(SWEEP.replace("spread", "mine"))
    run = make("happo", 1, (0.0, 2.0))
    shutil.copytree(run.parents[4], "results/sweeps/mine/mine-happo")
    table = (report("mine.yaml", "published/curves.csv") / "aggregate.csv").read_text()
    assert "HAPPO (mine-happo),1.0000" in table and "HAPPO (spread-happo),0.5000" in table


def test_seeds_without_a_step_in_common_are_left_out_with_a_line(capsys):
    make("happo", 1, (1.0,))
    late = make("happo", 2, (1.0,))
    info = {"test_return_mean": [3.0], "test_return_mean_T": [500]}
    (late / "info.json").write_text(json.dumps(info))
    assert "spread-happo of t: its seeds have no test in common" in refused(capsys, "study.yaml")
    make("qmix", 1)
    out = report("study.yaml")
    assert {row[1] for row in rows(out)} == {"spread-qmix"}
    report("out/curves.csv", out="again")


def test_words_and_numbers_are_taken_as_they_stand(capsys):
    make("happo", 1)
    published = report("study.yaml", out="published")
    for name in ("curves.csv", "runs.csv", "final.csv"):
        file = published / name
        file.write_text(file.read_text().replace("\nt,spread-happo", "\nNA,007"))
    versions = (published / "versions.json").read_text().replace('"t"', '"NA"')
    (published / "versions.json").write_text(versions)
    curves = (published / "curves.csv").read_text()
    (published / "curves.csv").write_text(curves + "NA,007,1,100,5.0\nNA,007,1,200,\n")
    again = report("published/curves.csv")
    assert rows(again) == [["NA", "007", "1", "0", "1.0000"], ["NA", "007", "1", "100", "5.0000"]]
    assert "published/curves.csv (007, seed 1): its 1 tests without a number" in capsys.readouterr().out
    for bad in ("1.5", "x", ""):
        (published / "curves.csv").write_text(f"{curves}NA,007,{bad},300,5.0\n")
        assert "is no report's curves: invalid literal for int()" in refused(capsys, "published/curves.csv")


def test_reports_from_before_runs_csv_are_read_as_far_as_they_say(capsys):
    make("happo", 1, host_commit="h" * 12)
    published = report("study.yaml", out="published")
    (published / "runs.csv").unlink()
    before = (published / "curves.csv").read_text()
    assert (report("published/curves.csv") / "curves.csv").read_text() == before
    versions = json.loads((published / "versions.json").read_text())
    assert json.loads(Path("out/versions.json").read_text())["runs"] == versions["runs"]
    del versions["metric"]
    (published / "versions.json").write_text(json.dumps(versions))
    assert "does not say what it read; say --metric test_return_mean" in refused(capsys, "published/curves.csv")
    assert rows(report("published/curves.csv", "--metric", "test_return_mean"))


def test_earlier_numbers_of_modified_files_are_refused_as_at_first(capsys):
    make("happo", 1, commit="a" * 12 + "-dirty", plugin_modified=["x.py"])
    cli.main(["report", "study.yaml", "--out", "published", "--allow-dirty"])
    capsys.readouterr()
    said = refused(capsys, "published/curves.csv")
    assert "were made from modified files (aaaaaaaaaaaa-dirty: x.py)" in said
    assert cli.main(["report", "published/curves.csv", "--out", "out", "--allow-dirty"]) == 0
    assert json.loads(Path("out/versions.json").read_text())["modified_files"] == {"a" * 12 + "-dirty": ["x.py"]}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("of", ["plugin", "host"])
def test_modified_files_of_one_of_several_are_refused_too(of, older, capsys):
    """One name on three tasks, as folders of runs give it, of which one run's files were modified."""
    for k, commit in enumerate(("a" * 12, "b" * 12 + "-dirty", "c" * 12)):
        said = {"commit": commit} if of == "plugin" else {"host_commit": commit}
        make("happo", 1, experiment=f"x{k}", env_args={"key": f"t{k}"}, **said, **{f"{of}_modified": ["y.py"]})
    cli.main(["report", "results", "--out", "published", "--allow-dirty"])
    if older:
        Path("published/runs.csv").unlink()
    capsys.readouterr()
    assert f"{'b' * 12}-dirty: y.py" in refused(capsys, "published/curves.csv")


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


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("final.csv", None, "published/final.csv cannot be read: No such file or directory"),
        ("versions.json", None, "published/versions.json cannot be read: No such file or directory"),
        ("versions.json", "[]", NONE + ": "),
        ("versions.json", "{}", NONE + ", for want of 'runs'"),
        ("versions.json", '{"runs": {"a": 3}}', NONE + ": "),
        ("versions.json", '{"runs": {}, "metric": "x"}', NONE + ": metric of"),
        (
            "versions.json",
            '{"runs": {}, "host_commit": null}',
            NONE + ": host_commit of",
        ),
        (
            "versions.json",
            '{"runs": {}, "modified_files": []}',
            NONE + ": modified_files of",
        ),
        (
            "final.csv",
            "task,experiment,algorithm\nt,x,happo\n",
            NONE + ", for want of",
        ),
        ("curves.csv", "a,b\n1,2\n", NONE + ", for want of"),
        (
            "curves.csv",
            "task,experiment,seed,step,value\nt,spread-happo,one,2,3\n",
            NONE,
        ),
        (
            "curves.csv",
            "task,experiment,seed,step,value\n",
            "published/curves.csv has no tests; name",
        ),
        ("curves.csv", b"\xff\x00\xfe", NONE + ": "),
        ("curves.csv", "", NONE + ": "),
    ],
)
def test_a_file_that_is_none_of_a_report_is_one_clear_error(name, text, said, capsys):
    make("happo", 1)
    published = report("study.yaml", out="published")
    (published / "runs.csv").unlink()  # as in older reports
    if text is None:
        (published / name).unlink()
    else:
        (published / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refused(capsys, "published/curves.csv")
    assert error.removeprefix("error: ").removeprefix(f"{Path.cwd()}/").startswith(said), error
    assert error.count("\n") == 1 and "name the curves.csv of" in error
