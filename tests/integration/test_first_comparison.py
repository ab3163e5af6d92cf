"""docs/first_comparison.md, typed from top to bottom; the runs are shorter than there, and nothing else differs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from epymarl_trust_region import cli
from epymarl_trust_region.experiments.sweep import read_sweep
from epymarl_trust_region.suite import epymarl
from PIL import Image
from support import ROOT

SWEEP = Path("configs/sweeps/first.yaml")
SHORT = {"climbing": {"t_max": 40, "test_interval": 10}, "spread": {"t_max": 100, "test_interval": 50}}


def typed() -> list[list[str]]:
    """Every line of code of the page's numbered sections and of those after them, in order."""
    text = (ROOT / "docs/first_comparison.md").read_text()
    return [shlex.split(line) for line in re.findall(r"^ {4,}(\S.*)$", text, re.M)]


def test_the_page_says_how_to_install_and_then_types_one_command_after_the_other():
    install = [
        "git clone THIS_REPOSITORY epymarl-trust-region",
        "cd epymarl-trust-region",
        "python3 -m venv .venv",
        ". .venv/bin/activate",
        "pip install -c constraints.txt -e '.[envs,report,watch]'",
    ]
    assert typed()[:5] == [shlex.split(line) for line in install]
    assert [words[:2] for words in typed()[5:]] == [
        ["epymarl-tr", command] for command in ("suite", "sweep", "report", "watch", "run")
    ]


def test_the_sweep_is_what_the_page_says():
    sweep = read_sweep(ROOT / SWEEP)
    found = {(one.task, one.config): one for one in sweep.experiments}
    assert set(found) == {(task, name) for task in ("climbing", "spread") for name in ("happo", "mappo", "qmix")}
    assert all(one.seeds == (1, 2, 3) and one.suite == "epymarl" for one in found.values())
    assert {(task, one.overrides["t_max"]) for (task, _), one in found.items()} == {
        ("climbing", 5000),
        ("spread", 20000),
    }


@pytest.fixture
def checkout(own_folder, epymarl_home, monkeypatch) -> Path:
    """A folder with the sweep file, shortened, and no EPyMARL yet."""
    data = yaml.safe_load((ROOT / SWEEP).read_text())
    data["defaults"]["with"]["test_nepisode"] = 2
    for task in data["tasks"]:
        task["with"] |= SHORT[task["task"]]
    for algorithm in data["algorithms"]:
        algorithm["with"] = algorithm.get("with", {}) | {"batch_size": 2, "buffer_size": 2, "batch_size_run": 2}
        if algorithm["config"] == "qmix":
            algorithm["with"] |= {"batch_size_run": 1}
    SWEEP.parent.mkdir(parents=True)
    SWEEP.write_text(yaml.safe_dump(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_folder / "cache"))
    monkeypatch.delenv("EPYMARL_HOME", raising=False)
    return epymarl_home


@pytest.mark.thorough
@pytest.mark.integration
def test_from_a_clone_to_a_page_and_a_film(checkout, capsys):
    more = {
        "suite": ["--from", str(checkout)],  # no network
        "sweep": [],
        "report": ["--allow-dirty"],  # a developer's files
        "watch": [],
        "run": ["t_max=20", "local_results_path=elsewhere"],
    }
    for _, command, *words in typed()[5:]:
        words = [str(path) for word in words for path in (Path().glob(word) if "*" in word else [word])]
        assert cli.main([command, *words, *more[command]]) == 0, capsys.readouterr()
    assert epymarl.find()[0].is_relative_to(Path("cache").resolve())
    page = Path("results/first/report.html").read_text()
    assert all(name in page for name in ("HAPPO", "MAPPO", "QMIX", "climbing", "spread"))
    rows = Path("results/first/final.csv").read_text().splitlines()
    assert len(rows) == 1 + 6 and all(",3," in row for row in rows[1:])  # three seeds each
    assert Path("results/first/curves.pdf").stat().st_size > 5000
    with Image.open("spread-happo.gif") as film:
        assert film.n_frames > 3 * 25
