"""`epymarl-tr report` on hand-made runs: two seeds whose means and spreads are worked out by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.experiments import made_by
from epymarl_trust_region.experiments.report.runs import read_run
from epymarl_trust_region.experiments.report.study import curve, read_curve
from epymarl_trust_region.summary import plot_run, print_summary

for _package in ("pandas", "scipy", "jinja2"):
    pytest.importorskip(_package)

SWEEP = """
defaults: {config: happo, seeds: [1, 2, 3]}
experiments:
  - {name: happo, task: spread}
  - {name: mappo, task: spread, seeds: [1]}
  - {name: forage, task: foraging, seeds: [5]}
"""
SPREAD = 2**0.5  # standard deviation of x - 1 and x + 1, with n - 1 = 1 below


def make_run(
    experiment, seed, steps, values, status="COMPLETED", metric="test_return_mean", commit="abc", **more
) -> Path:
    run = Path(f"results/sweeps/study/{experiment}/seed{seed}/sacred/happo/task/1")
    run.mkdir(parents=True)
    plugin = {"epymarl_trust_region": "0.1", "plugin_commit": commit, "host": "lite", "host_commit": None, **more}
    files = {
        "run": {"status": status},
        "info": {metric: values, f"{metric}_T": steps, "return_mean": [99.0]},
        "config": {"test_interval": 100, "plugin": plugin},
    }
    for name, content in files.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    return run


@pytest.fixture(autouse=True)
def only_numbers(undrawn):
    """What is tested here are numbers."""


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """Seeds test at different steps of the same interval; seed 3 did not complete."""
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(SWEEP)
    make_run("happo", 1, [10, 110, 299], [-80.0, -61.0, -40.0])
    numpy_numbers = [{"py/object": "numpy.float64", "value": v} for v in (-82.0, -59.0, -50.0)]
    make_run("happo", 2, [25, 125, 200], numpy_numbers, commit="def")
    make_run("happo", 3, [10], [1000.0], status="FAILED")
    make_run("mappo", 1, [10, 150], [-80.0, -70.5])
    make_run("forage", 5, [50], [0.25], metric="test_total_return_mean")
    return tmp_path


def make_report(*more) -> Path:
    assert cli.main(["report", "study.yaml", "--out", "out/deep", *more]) == 0
    return Path("out/deep")


def test_curves_hold_every_test_of_every_completed_seed(study):
    rows = list(csv.reader((make_report() / "curves.csv").open()))
    assert rows[0] == ["task", "experiment", "seed", "step", "value"]
    assert rows[1:] == [
        ["spread", "happo", "1", "0", "-80.0000"],
        ["spread", "happo", "1", "100", "-61.0000"],
        ["spread", "happo", "1", "200", "-40.0000"],
        ["spread", "happo", "2", "0", "-82.0000"],
        ["spread", "happo", "2", "100", "-59.0000"],
        ["spread", "happo", "2", "200", "-50.0000"],
        ["spread", "mappo", "1", "0", "-80.0000"],
        ["spread", "mappo", "1", "100", "-70.5000"],
        ["foraging", "forage", "5", "0", "0.2500"],
    ]


def test_summary_has_mean_and_sample_standard_deviation_over_seeds(study):
    rows = list(csv.DictReader((make_report() / "summary.csv").open()))
    got = {(row["experiment"], int(row["step"])): row for row in rows}
    assert len(got) == len(rows) == 6
    expected = {0: (-81, SPREAD, -82, -80), 100: (-60, SPREAD, -61, -59), 200: (-45, 5 * SPREAD, -50, -40)}
    for step, numbers in expected.items():
        row = got["happo", step]
        assert [float(row[k]) for k in ("mean", "std", "min", "max")] == pytest.approx(numbers, abs=1e-4)
        assert (row["task"], row["count"]) == ("spread", "2")
    assert (got["mappo", 100]["mean"], got["mappo", 100]["std"], got["mappo", 100]["count"]) == ("-70.5000", "", "1")
    assert got["forage", 0]["task"] == "foraging"


def test_markdown_has_a_table_per_task_at_the_steps_asked_for(study, capsys):
    text = (make_report("--steps", "100", "200") / "summary.md").read_text()
    assert text.splitlines() == [
        "Test return: mean ± sample standard deviation over seeds, where there are several.",
        "",
        "### spread",
        "",
        "| experiment | seeds | 100 steps | 200 steps |",
        "|---|---|---|---|",
        "| happo | 2 | -60.00 ± 1.41 | -45.00 ± 7.07 |",
        "| mappo | 1 | -70.50 |  |",  # one seed has no spread, and it was not tested at 200
        "",
        "### foraging",
        "",
        "| experiment | seeds | 100 steps | 200 steps |",
        "|---|---|---|---|",
        "| forage | 1 |  |  |",
    ]
    out = capsys.readouterr().out
    assert text in out and out.endswith("written to out/deep: see out/deep/report.html\n")


def test_a_cell_of_fewer_seeds_says_so(study):
    make_run("happo", 4, [10, 250], [-81.0, -45.0])
    Path("study.yaml").write_text(SWEEP.replace("seeds: [1, 2, 3]", "seeds: [1, 2, 4]"))
    row = (make_report("--steps", "0", "100") / "summary.md").read_text().splitlines()[6]
    assert row == "| happo | 3 | -81.00 ± 1.00 | -60.00 ± 1.41 (2 of 3) |"
    row = (make_report("--steps", "100", "200") / "summary.md").read_text().splitlines()[6]
    assert row == "| happo | 3 | -60.00 ± 1.41 (2 of 3) | -45.00 ± 5.00 |"


def test_versions_are_those_of_the_runs_and_of_this_machine(study, monkeypatch):
    real = made_by.importlib.metadata.version

    def version(name):
        if name == "lbforaging":
            raise made_by.importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(made_by.importlib.metadata, "version", version)
    found = json.loads((make_report() / "versions.json").read_text())
    assert found["plugin_commit"] == ["abc", "def"] and found["epymarl_trust_region"] == ["0.1"]
    assert found["host_commit"] == []  # the built-in suite has none
    assert found["torch"] == real("torch") and "lbforaging" not in found
    assert found["python"].count(".") == 2
    assert found["runs"] == {"abc": {"happo": [1], "mappo": [1], "forage": [5]}, "def": {"happo": [2]}}
    assert "modified_files" not in found and "packages" not in found
    for config in Path("results").rglob("config.json"):
        saved = json.loads(config.read_text())
        config.write_text(json.dumps({**saved, "plugin": {**saved["plugin"], "package": "haa2c 0.1.0"}}))
    assert json.loads((make_report() / "versions.json").read_text())["packages"] == ["haa2c 0.1.0"]


def test_runs_from_modified_files_are_not_published(study, capsys):
    make_run("happo", 4, [10], [1.0], commit="old-dirty")  # not in the sweep
    make_report()
    make_run("mappo", 2, [10], [1.0], commit="abc-dirty", plugin_modified=["plugins/b.py", "plugins/a.py"])
    make_run("mappo", 3, [10], [1.0], commit="old-dirty")
    Path("study.yaml").write_text(SWEEP.replace("seeds: [1]}", "seeds: [1, 2, 3]}"))
    assert cli.main(["report", "study.yaml", "--out", "other"]) == 2
    made = "runs below study.yaml were made from modified files"
    which = "abc-dirty: plugins/a.py, plugins/b.py; old-dirty: not recorded which"
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {made} ({which}); remove their folders and run them again from a clean commit, or")
    assert not Path("other").exists()
    found = json.loads((make_report("--allow-dirty") / "versions.json").read_text())
    assert found["plugin_commit"] == ["abc", "abc-dirty", "def", "old-dirty"]
    assert found["modified_files"] == {"abc-dirty": ["plugins/a.py", "plugins/b.py"], "old-dirty": []}
    assert found["runs"]["abc-dirty"] == {"mappo": [2]}


def test_nothing_to_report_is_one_clear_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(SWEEP)
    make_run("happo", 1, [10], [1.0], status="RUNNING")
    assert cli.main(["report", "study.yaml", "--out", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: no completed run in study.yaml (4 left out, such as results/sweeps/study/happo/seed1/"
    )
    assert "it is RUNNING, or was killed" in line and line.endswith("run `epymarl-tr sweep` or `epymarl-tr run` first")
    assert not Path("out").exists()


def test_steps_are_rounded_down_to_the_test_interval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run("happo", 1, [0, 99, 100, 250], [1.0, 2, {"value": 3.5}, math.pi])
    assert curve(read_run(run), "test_return_mean") == [(0, 1.0), (0, 2.0), (100, 3.5), (200, math.pi)]


def test_the_common_return_is_preferred_to_the_total(study):
    for info in Path("results").rglob("info.json"):
        info.write_text(
            json.dumps(
                {"test_total_return_mean": [7.0], "test_total_return_mean_T": [0]} | json.loads(info.read_text())
            )
        )
    rows = list(csv.DictReader((make_report() / "curves.csv").open()))
    assert {row["value"] for row in rows if row["task"] == "spread"} >= {"-80.0000"} and len(rows) == 9


# The summary of a single run --------------------------------------------------------------------------------------

INFO = {"test_return_mean": [-80.0, -60.0, -50.125], "test_return_mean_T": [10, 5000, 100_000]}


def summary_of(info, capsys) -> list[str]:
    folder = Path("results/sacred/happo/task/1")
    folder.mkdir(parents=True)
    print_summary(folder.resolve(), info)
    return capsys.readouterr().out.splitlines()


def test_a_runs_summary_has_the_return_before_and_after_and_where_everything_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spread = {"test_return_std": [1.0, 2.0, 3.0], "return_mean": [0.0]}
    assert summary_of(INFO | spread, capsys) == [
        "test return  -80.00 (at 10 steps) -> -50.12 (at 100,000 steps)",
        "run          results/sacred/happo/task/1",
        "curve        results/sacred/happo/task/1/learning_curve.png",
    ]
    assert Path("results/sacred/happo/task/1/learning_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("key", ["test_return_mean", "test_total_return_mean"])
def test_a_single_test_has_no_curve(key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = summary_of({"test_return_mean": [], key: [1.0], f"{key}_T": [10]}, capsys)
    assert lines == [
        "test return  1.00 (at 10 steps)",
        "run          results/sacred/happo/task/1",
    ]
    assert list(Path("results/sacred/happo/task/1").iterdir()) == []


def test_an_evaluation_is_the_mean_of_its_tests(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    info = {"test_return_mean": [1.0, 2.0, 6.0], "test_return_mean_T": [50, 50, 50]}
    assert summary_of(info, capsys)[0] == "test return  3.00 (at 50 steps, mean of 3 tests)"
    assert list(Path("results/sacred/happo/task/1").iterdir()) == []


def test_a_run_without_tests_says_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert summary_of({"return_mean": [1.0]}, capsys) == ["run          results/sacred/happo/task/1"]


def test_the_curves_band_is_the_standard_deviation_over_test_episodes(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **kwargs: drawn.append(figure))
    plot_run(INFO | {"test_return_std": [1.0, 2.0, 3.0]}, "test_return_mean", tmp_path / "task/1/curve.png")
    plot_run(INFO, "test_return_mean", tmp_path / "task/1/curve.png")
    for figure, low, high in ((drawn[0], -81.0, -47.125), (drawn[1], -80.0, -50.125)):
        (axes,) = figure.axes
        edges = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (edges.min(), edges.max()) == (low, high)
        assert list(axes.lines[0].get_ydata()) == INFO["test_return_mean"] and axes.get_title() == "task"


def log_updates(run: Path, joint_tv, agents, **columns) -> None:
    """Add logged updates to a hand-made run: at steps 250, 500, ..."""
    info = json.loads((run / "info.json").read_text())
    steps = [250 * (k + 1) for k in range(len(joint_tv))]
    series = {"joint_tv": joint_tv, **columns} | {f"agent_{i}_tv_max": values for i, values in enumerate(agents)}
    for name, values in series.items():
        info |= {name: values, f"{name}_T": steps}
    (run / "info.json").write_text(json.dumps(info))


def test_distances_are_per_update_and_per_agent(study, capsys):
    """Means of joint measures, extremes of ratios, and quantiles over updates, agents and seeds."""
    folder = Path("results/sweeps/study/happo")
    common = {name: [0.5, 0.5] for name in ("tv_mean", "tv_p90", "tv_max", "clip_fraction", "kl_mean", "entropy")}
    common |= {"joint_tv_sum": [0.4, 0.6], "joint_ratio_min": [0.5, 0.5], "joint_ratio_max": [2.0, 3.0]}
    for seed, low in ((1, 0.7), (2, 0.6)):
        run = next((folder / f"seed{seed}").rglob("info.json")).parent
        ratios = {"ratio_min": [0.9, low], "ratio_max": [1.1, 2.0 - low]}
        log_updates(run, [0.1, 0.3], [[0.1, 0.2], [0.3, 0.4]], **common, **ratios)
    out = make_report("--distances")
    (row,) = csv.DictReader((out / "distances.csv").open())
    expected = {"joint_tv": 0.2, "joint_tv_sum": 0.5, "ratio_min": 0.6, "ratio_max": 1.4, "joint_ratio_max": 3.0}
    expected |= {"agent_tv_max_median": 0.25, "agent_tv_max_p90": 0.4, "updates": 4}
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected)
    assert (row["task"], row["experiment"]) == ("spread", "happo")
    updates = list(csv.DictReader((out / "updates.csv").open()))
    assert [(u["seed"], u["step"], float(u["ratio_min"])) for u in updates] == [
        ("1", "250", 0.9), ("1", "500", 0.7), ("2", "250", 0.9), ("2", "500", 0.6)]  # fmt: skip
    assert (out / "distances-spread.png").exists()
    assert not (out / "distances-foraging.png").exists()  # its run logged none
    assert "| happo | 4 | 0.250 | 0.400 | 0.500 | 0.200 | 0.600 | 1.400 |" in capsys.readouterr().out


def test_the_factors_sample_size_is_reported_of_those_who_have_one(study, capsys):
    """Two seeds of 0.9 but for one's last and the other's first update, of 0.1; and a run without a factor."""
    common = (
        "tv_mean",
        "tv_p90",
        "tv_max",
        "clip_fraction",
        "kl_mean",
        "entropy",
        "joint_tv_sum",
        "ratio_min",
        "ratio_max",
    )
    common += ("joint_ratio_min", "joint_ratio_max")
    for experiment, seed, ess in (
        ("happo", 1, [0.9] * 10 + [0.1]), ("happo", 2, [0.1] + [0.9] * 10), ("mappo", 1, None)
    ):  # fmt: skip
        run = next(Path(f"results/sweeps/study/{experiment}/seed{seed}").rglob("info.json")).parent
        n = len(ess or [0])
        factor = {"factor_ess": ess} if ess else {}
        log_updates(run, [0.1] * n, [[0.1] * n], **{name: [0.5] * n for name in common}, **factor)
    out = make_report("--distances")
    happo, mappo = csv.DictReader((out / "distances.csv").open())
    expected = {"factor_ess": 18.2 / 22, "factor_ess_min": 0.1, "factor_ess_min_of_10": 0.82}
    assert {name: float(happo[name]) for name in expected} == pytest.approx(expected, abs=1e-4)
    assert {mappo[name] for name in expected} == {""}
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("| 0.827 | 0.100 | 0.820 |") for line in lines)
    assert any(line.startswith("| mappo |") and line.endswith("|  |  |  |") for line in lines)
    assert [row["factor_ess"] for row in csv.DictReader((out / "updates.csv").open())][-2:] == ["0.9", ""]


def test_runs_that_logged_no_distances_are_said_to(study, capsys):
    out = make_report("--distances")
    assert "no run logged distances" in capsys.readouterr().out and not (out / "distances.csv").exists()


def test_distances_of_runs_that_clip_nothing_have_no_share_of_clipped(study):
    """IR-MAPPO with `clip_scaling: none` and INPG log no `clip_fraction`."""
    run = next(Path("results/sweeps/study/mappo/seed1").rglob("info.json")).parent
    names = ("tv_mean", "tv_max", "kl_mean", "joint_tv_sum", "ratio_min", "ratio_max", "joint_ratio_max")
    log_updates(run, [0.1, 0.3], [[0.1, 0.2]], **{name: [0.5, 0.5] for name in names})
    (row,) = csv.DictReader((make_report("--distances") / "distances.csv").open())
    assert float(row["joint_tv"]) == pytest.approx(0.2) and "clip_fraction" not in row


def test_a_curve_can_be_read_before_a_run_has_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_curve(make_run("happo", 1, [10, 110], [1.0, 2.0], status="RUNNING")) == [(0, 1.0), (100, 2.0)]
    assert read_curve(make_run("happo", 2, [], [], status="RUNNING")) == []
