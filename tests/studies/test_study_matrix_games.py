"""`epymarl-tr study matrix-games`: its tables, what they are made of, and the options that it refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.games.two_by_two import gains_of
from epymarl_trust_region.games.two_by_two_classes import CLASSES, normal_games
from epymarl_trust_region.studies import matrix_games
from epymarl_trust_region.studies.matrix_learning import first_stay, iga_step, learn, meta_weights

IGA, MATRL, NO_META_GAME, WOLF = (matrix_games.METHODS[i] for i in (0, 2, 9, 10))


def test_a_short_study_writes_its_tables_and_its_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(matrix_games, "METHODS", (IGA, MATRL, NO_META_GAME, WOLF))
    monkeypatch.setattr(matrix_games, "STEPS", 150)
    assert cli.main(["study", "matrix-games", "--out", str(tmp_path / "x"), "--games", "20", "--seeds", "2"]) == 0
    content = json.loads((tmp_path / "x/table1.json").read_text())
    assert "numpy" in content["made_by"] and (content["games"], content["seed"], content["seeds"]) == (20, 0, 2)
    assert content["parameters"][MATRL.name] == {"lr": 0.02, "lr_br": 0.03}
    assert len(content["table"]) == 2 * 3 * 4 * 2 and len(content["seeds_one_by_one"]) == 2 * 2 * 3 * 4 * 2
    for row in content["table"]:
        keys = ("generator", "class", "method", "criterion")
        same = [one for one in content["seeds_one_by_one"] if all(one[key] == row[key] for key in keys)]
        assert [one["seed"] for one in same] == [0, 1]
        assert row["rate"] == np.mean([one["rate"] for one in same])
        on_paper = (row["generator"], row["criterion"]) == ("structured", "first entry") and row["method"] in (
            IGA.name,
            MATRL.name,
        )
        assert (row["paper_rate"] is not None) == (row["paper_steps"] is not None) == on_paper
        assert (row["undecided"] is not None) == (row["method"] == MATRL.name)
    with open(tmp_path / "x/table1.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [row["method"] for row in content["table"]]
    assert float(lines[0]["rate"]) == pytest.approx(content["table"][0]["rate"], abs=1e-6)
    text = (tmp_path / "x/table1.md").read_text()
    assert text.count("\n### ") + 1 == 4 and text in capsys.readouterr().out
    assert "| *the paper's MATRL* | 0.99 / 86.5 | 0.9825 / 75.5 | 0.846 / 369.4 |" in text
    assert (tmp_path / "x/matching-pennies.png").read_bytes()[:4] == b"\x89PNG"


def test_the_papers_rows_are_reproduced(monkeypatch):
    # 500 games: the paper's numbers and ours differ by no more than 4 standard errors of the two together.
    monkeypatch.setattr(matrix_games, "METHODS", (IGA, MATRL))
    for name in CLASSES:
        for row in matrix_games.measure("structured", name, 500, seed=0):
            if row["criterion"] == "first entry":
                rate, steps = {m.name: m.paper for m in (IGA, MATRL)}[row["method"]][name]
                assert abs(row["rate"] - rate) < 4 * np.sqrt(1.5) * row["rate_se"]
                assert abs(row["steps"] - steps) < 4 * np.sqrt(1.5) * row["steps_se"]


def test_sets_of_games_differ_by_seed_and_repeat(monkeypatch):
    monkeypatch.setattr(matrix_games, "METHODS", (IGA,))
    first, again, other = (matrix_games.measure("normal", "cyclic", 50, seed) for seed in (3, 3, 4))
    assert first == again
    assert first[0]["steps"] != other[0]["steps"]


def test_summary_and_its_errors():
    found = matrix_games.summary(np.array([10, 20, -1, 30]))
    assert found == {"rate": 0.75, "rate_se": pytest.approx((0.75 * 0.25 / 4) ** 0.5), "steps": 20.0} | {
        "steps_se": pytest.approx((200 / 3) ** 0.5 / 3**0.5)
    }
    assert matrix_games.summary(np.array([-1, -1])) == {"rate": 0.0, "rate_se": 0.0, "steps": None, "steps_se": None}


def test_seeds_are_combined():
    same = {"generator": "structured", "class": "cyclic", "method": IGA.name, "games": 4}
    first = same | {"criterion": "first entry", "rate": 0.5, "rate_se": 0.25, "steps": 10.0, "steps_se": 2.0}
    second = first | {"rate": 1.0, "rate_se": 0.0, "steps": 30.0, "steps_se": 4.0}
    never = first | {"rate": 0.0, "rate_se": 0.0, "steps": None, "steps_se": None}
    (row,) = matrix_games.combine([first, second, never])
    assert (row["rate"], row["rate_std_seeds"]) == (0.5, 0.5)
    assert (row["steps"], row["steps_se_games"]) == (20.0, 3.0)
    assert row["steps_std_seeds"] == pytest.approx(200**0.5)
    assert (row["paper_rate"], row["paper_steps"]) == (0.78, 452.92)
    (alone,) = matrix_games.combine([never | {"criterion": "stays 100 steps"}])
    assert alone["rate_std_seeds"] is alone["steps"] is alone["paper_rate"] is None


def test_undecided_counts_steps_before_the_first_entry():
    gains = gains_of(normal_games("cyclic", 30, np.random.default_rng(0)))
    path = learn(MATRL.on(np.zeros(0)), gains, matrix_games.START, 40)
    entry = first_stay(np.zeros((41, 30), dtype=bool))
    entry[:15] = 20  # as if half of the games had converged there
    expected = [
        (meta_weights(gains[k], path[t, k], iga_step(gains[k], path[t, k], 0.2)) != 0).any()
        for k in range(30)
        for t in range(20 if k < 15 else 40)
    ]
    assert 0 < sum(expected) < len(expected)
    assert matrix_games.undecided(gains, path, entry, 0.2) == pytest.approx(np.mean(expected))
    assert matrix_games.undecided(gains, path, np.zeros(30, dtype=int), 0.2) == 0


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (["--games", "0"], "1 to 10000"),
        (["--games", "10001"], "1 to 10000"),
        (["--seeds", "0"], "1 to 100"),
        (["--seed", "-1"], "0 to 2147483648"),
    ],
)
def test_numbers_out_of_range_are_refused(options, limits, tmp_path, capsys):
    assert cli.main(["study", "matrix-games", "--out", str(tmp_path / "x"), *options]) == 2
    assert capsys.readouterr().err == f"error: {options[0]}={options[1]} is out of range; {limits}\n"
    assert not (tmp_path / "x").exists()
