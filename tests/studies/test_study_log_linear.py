"""`epymarl-tr study log-linear`: its tables and pictures, the counts of the ratio game, and the options it refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.studies import log_linear, log_linear_offline, log_linear_online
from epymarl_trust_region.studies.log_linear_exact import optimal_values


def test_a_short_study_writes_its_tables_and_pictures(tmp_path, monkeypatch, capsys):
    for name, value in {"RATIO_RATES": (0.5,), "ITERATIONS": (1, 5), "BETAS": (1.0,), "START_ITERATIONS": 30}.items():
        monkeypatch.setattr(log_linear_online, name, value)
    monkeypatch.setattr(log_linear_online, "FEATURE_ITERATIONS", 5)
    for name, value in {"ITERATIONS": 5, "RESAMPLES": 3, "COVERAGES": (0.5, 1.0)}.items():
        monkeypatch.setattr(log_linear_offline, name, value)
    options = ["--out", str(tmp_path / "x"), "--seeds", "2", "--starts", "5", "--samples", "40"]
    assert cli.main(["study", "log-linear", *options]) == 0
    content = json.loads((tmp_path / "x/log-linear.json").read_text())
    assert "numpy" in content["made_by"]
    assert content["options"] == {"seeds": 2, "seed": 0, "starts": 5, "samples": 40}
    for part, keys in log_linear.KEYS.items():
        with open(tmp_path / f"x/{part}.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        assert lines and all({*keys} <= line.keys() for line in lines)
        assert len({tuple(line[key] for key in keys) for line in lines}) == len(lines)
    assert {row["seed"] for row in content["offline"]} == {0, 1} and {row["game"] for row in content["starts"]}
    assert all(row["mean_gap"] <= row["fast_bound"] for row in content["gap"])
    for picture in ("ratio", "gap", "offline"):
        assert (tmp_path / f"x/{picture}.png").read_bytes()[:4] == b"\x89PNG"
    text = (tmp_path / "x/log-linear.md").read_text()
    assert text in capsys.readouterr().out and text.count("### ") == 9


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("exponential weights, autoregressive", 248),
        ("exponential weights, product in turn", 218),
        ("exponential weights, product at once (INPG)", 219),
        ("independent policy gradient, softmax", 2196),
        ("independent policy gradient, projected", 50),
    ],
)
def test_the_ratio_game_takes_these_iterations_at_step_005(method, count):
    path = log_linear_online.ratio_path(method, 0.05, 3000)
    assert len(path) - 1 == count
    assert path[-2] <= 0.99 < path[-1] <= 1
    # Uniform start: x'Ry = 1/4, x'Sy = 0.55.
    assert path[0] == pytest.approx(0.25 / 0.55)
    assert len(log_linear_online.ratio_path(method, 0.05, 20)) == 21


def test_the_policy_gradients_of_the_ratio_game_are_derivatives_of_its_value():
    game = log_linear_online.ratio_game(log_linear_online.RATIO_REWARD, log_linear_online.RATIO_STOP)
    x, y, step = np.array([0.3, 0.7]), np.array([0.6, 0.4]), 1e-6

    def value(x, y):
        return (x @ log_linear_online.RATIO_REWARD @ y) / (x @ log_linear_online.RATIO_STOP @ y)

    def softmax(logits):
        return np.exp(logits) / np.exp(logits).sum()

    logs = [np.log(np.stack([p, [0.5, 0.5]])) for p in (x, y)]
    joint = log_linear_online.joint_of(logs)
    moved = log_linear_online._softmax_pg(game, joint, logs, step)
    slope = [(value(softmax(np.log(x) + d), y) - value(softmax(np.log(x) - d), y)) / 2e-6 for d in step * np.eye(2)]
    found = (moved[0] - logs[0])[0] / step
    np.testing.assert_allclose(found - found.mean(), slope - np.mean(slope), atol=1e-5)
    moved = np.exp(log_linear_online._projected_pg(game, joint, logs, step)[0][0])
    along = (value(x + step * np.array([1, -1]), y) - value(x - step * np.array([1, -1]), y)) / (2 * step)
    np.testing.assert_allclose((moved - x) / step, np.array([1, -1]) * along / 2, atol=1e-5)


def test_data_hold_the_optimal_action_and_the_share_of_actions_that_is_asked_for():
    for coverage, count in ((0.25, 2), (0.5, 4), (1.0, 9)):
        rng = np.random.default_rng(0)
        game = log_linear_offline.cost_game(rng)
        assert -1 <= game.reward.min() and game.reward.max() <= 0
        weights = log_linear_offline.data_weights(game, coverage, rng).reshape(4, 9)
        np.testing.assert_allclose(weights.sum(-1), 0.25)
        assert ((weights > 0).sum(-1) == count).all()
        q = (game.reward + game.gamma * game.transition @ optimal_values(game)).reshape(4, 9)
        np.testing.assert_allclose(weights[np.arange(4), q.argmax(-1)], (0.3 + 0.7 / count) / 4)


def test_rows_are_combined():
    rows = [{"seed": s, "K": 1, "gap": g, "bound": None} for s, g in ((0, 1.0), (1, 3.0))]
    (line,) = log_linear.combine(rows, ("K",))
    assert line == {"K": 1, "bound": None, "bound_std": None, "gap": 2.0, "gap_std": pytest.approx(2**0.5)}
    assert log_linear.combine(rows[:1], ("K",))[0]["gap_std"] is None


@pytest.mark.parametrize(
    ("options", "limits"),
    [(["--seeds", "0"], "1 to 1000"), (["--samples", "9"], "10 to 1000000"), (["--starts", "0"], "1 to 100000")],
)
def test_numbers_out_of_range_are_refused(options, limits, tmp_path, capsys):
    assert cli.main(["study", "log-linear", "--out", str(tmp_path / "x"), *options]) == 2
    assert capsys.readouterr().err == f"error: {options[0]}={options[1]} is out of range; {limits}\n"
    assert not (tmp_path / "x").exists()
