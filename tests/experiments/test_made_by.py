"""Nothing is published that no commit stands for: studies and benchmarks ask before they measure, reports look back."""

from __future__ import annotations

import importlib
import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
from epymarl_trust_region import cli, provenance
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import bench, made_by
from epymarl_trust_region.experiments import sweep as sweeps
from epymarl_trust_region.studies import command as study

FILES = ("plugins/a.py", "configs/b.yaml")


@pytest.fixture
def modified(monkeypatch) -> tuple[str, ...]:
    for module in (provenance, made_by):
        monkeypatch.setattr(module, "modified_files", lambda: FILES)
    return FILES


@pytest.mark.parametrize("name", study.STUDIES)
def test_a_study_of_modified_files_is_refused_before_it_begins(name, modified, tmp_path, monkeypatch, capsys):
    module = importlib.import_module(f"epymarl_trust_region.studies.{study.STUDIES[name]}")
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("measured before it was refused"))
    assert cli.main(["study", name, "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr()
    remedy = "commit or stash them, or add --allow-dirty, which records their names"
    assert said.err == f"error: modified files: plugins/a.py, configs/b.yaml; {remedy}\n" and said.out == ""
    assert not (tmp_path / "x").exists()


def test_a_study_of_modified_files_that_is_allowed_names_them(modified, tmp_path):
    options = ["--games", "1", "--most-players", "2", "--allow-dirty"]
    assert cli.main(["study", "meta-game", "--out", str(tmp_path), *options]) == 0
    made = json.loads((tmp_path / "meta-game.json").read_text())["made_by"]
    assert made["plugin_commit"].endswith("-dirty") and made["plugin_modified"] == list(FILES)


def test_a_clean_study_has_nothing_to_name(tmp_path):
    assert cli.main(["study", "meta-game", "--out", str(tmp_path), "--games", "1", "--most-players", "2"]) == 0
    made = json.loads((tmp_path / "meta-game.json").read_text())["made_by"]
    assert "plugin_modified" not in made and not made["plugin_commit"].endswith("-dirty")


@pytest.mark.parametrize("ours", [True, False])
def test_a_benchmark_that_is_kept_is_refused_when_either_side_is_modified(ours, request, tmp_path, monkeypatch):
    if ours:
        request.getfixturevalue("modified")
    status = SimpleNamespace(path=tmp_path, commit="cbc", dirty=() if ours else ("src/run.py",))
    monkeypatch.setattr(bench.epymarl, "check", lambda path: status)
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured before it was refused"))
    names = ", ".join(FILES) if ours else "src/run.py"
    with pytest.raises(ConfigError, match=f"^modified files: {names}; commit or stash"):
        bench.main(["--against", str(tmp_path), "--json", str(tmp_path / "bench.json")])
    with pytest.raises(pytest.fail.Exception, match="measured before"):  # without a file there is nothing to refuse
        bench.main(["--against", str(tmp_path)])
    with pytest.raises(pytest.fail.Exception, match="measured before"):
        bench.main(["--against", str(tmp_path), "--json", str(tmp_path / "bench.json"), "--allow-dirty"])


def test_many_files_are_counted(monkeypatch):
    monkeypatch.setattr(provenance, "modified_files", lambda: tuple(f"f{i}" for i in range(8)))
    with pytest.raises(ConfigError, match="^modified files: f0, f1, f2, f3, f4 and 3 more; commit"):
        made_by.made_by(Namespace(allow_dirty=False))


def test_a_sweep_of_modified_files_is_warned_of(modified, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeps, "_run_all", lambda *_: 0)
    monkeypatch.setattr(sweeps.rehearsal, "check", lambda *_: None)
    (tmp_path / "study.yaml").write_text("experiments: [{name: a, task: t, config: happo, seeds: [0]}]")
    assert cli.main(["sweep", "study.yaml"]) == 0
    warning = "warning: modified files: plugins/a.py, configs/b.yaml; `epymarl-tr report` will refuse these runs\n"
    assert capsys.readouterr().err == warning
    monkeypatch.setattr(made_by, "modified_files", lambda: ())
    assert cli.main(["sweep", "study.yaml"]) == 0
    assert capsys.readouterr().err == ""


def test_modified_runs_by_commit():
    runs = [
        {"plugin_commit": "abc", "host_commit": None},
        {"plugin_commit": None, "host_commit": "h-dirty", "host_modified": ["src/run.py"]},
        {"plugin_commit": "abc-dirty", "plugin_modified": ["b"], "host_commit": "h"},
        {"plugin_commit": "abc-dirty", "plugin_modified": ["a", "b"], "host_commit": "h"},
        {"plugin_commit": "old-dirty", "host_commit": None},  # made before names were recorded
    ]
    assert made_by.modified_runs(runs) == {"abc-dirty": ["a", "b"], "h-dirty": ["src/run.py"], "old-dirty": []}
