"""`epymarl-tr study potential-games`: a short run writes every figure and every number; wrong options are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.studies import command as study
from epymarl_trust_region.studies import potential_games


def test_a_short_study_writes_figures_and_numbers(tmp_path, monkeypatch, capsys):
    few = [s for s in potential_games.SETTINGS if s.n_agents == 4][:2]
    monkeypatch.setattr(potential_games, "SETTINGS", few)
    assert cli.main(["study", "potential-games", "--out", str(tmp_path), "--runs", "2", "--iterations", "70"]) == 0
    content = json.loads((tmp_path / "potential-games.json").read_text())
    assert [row["name"] for row in content["settings"]] == [s.name for s in few]
    inpg, ipg = content["settings"]
    assert all(40 <= k <= 65 for k in inpg["stopped"]) and ipg["stopped"] == [None, None]
    assert all(a <= b for a, b in zip(inpg["to_10_percent"], inpg["to_1_percent"], strict=True))
    (picture,) = tmp_path.glob("*.png")
    assert picture.name == "congestion-game-4-agents-figures-4-and-5.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "(2 of 2)" in capsys.readouterr().out


def test_within_is_for_good():
    accuracy = np.array([[10.0, 10.0], [0.5, 4.0], [3.0, 0.9], [0.2, 0.5], [0.0, 0.0]])
    assert potential_games.within(accuracy, 0.1) == [3, 2]
    assert potential_games.within(accuracy, 0.01) == [4, 4]


@pytest.mark.parametrize("options", [["--runs", "0"], ["--iterations", "-1"]])
def test_wrong_numbers_are_refused(options, tmp_path, capsys):
    assert cli.main(["study", "potential-games", "--out", str(tmp_path), *options]) == 2
    assert f"{options[0]}={options[1]} is out of range; at least 1" in capsys.readouterr().err


def test_settings_are_chosen_by_their_number_of_agents(tmp_path, monkeypatch, capsys):
    """The paper says that IPG did not converge within 3000 iterations for n >= 5."""
    monkeypatch.setattr(potential_games, "draw", lambda *_: None)
    options = ["--runs", "1", "--iterations", "1", "--agents", "5", "6"]
    assert cli.main(["study", "potential-games", "--out", str(tmp_path), *options]) == 0
    rows = json.loads((tmp_path / "potential-games.json").read_text())["settings"]
    assert {(row["n_agents"], row["method"]) for row in rows} == {(n, m) for n in (5, 6) for m in ("inpg", "ipg")}
    assert cli.main(["study", "potential-games", "--out", str(tmp_path), "--agents", "7"]) == 2
    assert "--agents [7]: no setting has so many; choose among [4, 5, 6, 8]" in capsys.readouterr().err


def test_every_study_is_listed_and_has_a_command_line(capsys):
    assert cli.main(["study", "--help"]) == 0
    listed = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    usage = capsys.readouterr().out
    for name in study.STUDIES:
        assert f"  {name} " in listed and f"study {name} " in usage
        with pytest.raises(SystemExit) as stop:
            cli.main(["study", name, "--help"])
        assert stop.value.code == 0 and f"usage: epymarl-tr study {name} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("matrix-game", "`matrix-games`"),
        ("spread", "`potential-games` or `meta-game` or `matrix-games` or `log-linear`"),
    ],
)
def test_an_unknown_study_is_refused(name, remedy, capsys):
    assert cli.main(["study", name, "--out", "x"]) == 2
    assert capsys.readouterr().err == f"error: unknown study `{name}`; use {remedy}; see epymarl-tr study --help\n"
