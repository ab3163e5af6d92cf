"""`epymarl-tr study meta-game`: the games are what they are called, and every answer is verified."""

from __future__ import annotations

import json

import numpy as np
import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.studies import meta_games


def test_a_short_study_solves_everything_and_writes_it_down(tmp_path, capsys):
    assert cli.main(["study", "meta-game", "--out", str(tmp_path), "--games", "3", "--most-players", "3"]) == 0
    rows = json.loads((tmp_path / "meta-game.json").read_text())["rows"]
    assert [(row["form"], row["players"]) for row in rows] == [("table", 2)] * 4 + [("table", 3)] * 4 + [
        ("batch", 2)
    ] * 2
    for row in rows:
        assert row["solved"] == row["games"] == sum(row["solvers"].values()) == 3
        assert 0 <= row["worst_deviation"] < 1e-3
    assert "written to" in capsys.readouterr().out
    assert (tmp_path / "meta-game.md").read_text().count("3 of 3") == len(rows)


@pytest.mark.parametrize("option", [("--games", "0"), ("--most-players", "1"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused(option, tmp_path, capsys):
    assert cli.main(["study", "meta-game", "--out", str(tmp_path), *option]) == 2
    assert capsys.readouterr().err.startswith("error: --games must be at least 1")


def test_the_kinds_of_games():
    rng = np.random.default_rng(0)
    assert np.ptp(meta_games.table_game(rng, 3, "common").table, axis=0).max() == 0
    assert np.abs(meta_games.table_game(rng, 3, "zero-sum").table.sum(0)).max() < 1e-12
    cyclic = meta_games.table_game(rng, 4, "cyclic").table
    stable = np.all([own >= own.max(axis=i, keepdims=True) for i, own in enumerate(cyclic)], axis=0)
    assert not stable.any()
    batch = meta_games.batch_game(rng, 4, "trial")
    assert np.abs(batch.advantages.mean(1)).max() < 1e-12
    assert (batch.derivatives(np.ones(4)) < 0).all()  # alone, everybody gains by its trial step
