"""`epymarl-tr best-response`: against known opponents the known answer, against a real team the exact one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from epymarl_trust_region import cli
from epymarl_trust_region.crossplay import best_response, teams
from opponents import RPS, TAG, Constant, trained

BIASED = {"key": "trust-region-rock-paper-scissors-v0", "time_limit": 1}


@pytest.fixture(autouse=True)
def folder(own_folder):
    return own_folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, str]:
    at = tmp_path_factory.mktemp("runs")
    return {
        "il": trained(at / "il", "il", RPS, seed=1),
        "biased": trained(at / "biased", "il", BIASED, seed=1, lr=0.01, t_max=300),
        "streams": trained(at / "streams", "matrl", RPS, seed=2, use_rnn=True, rollout_steps=6),
        "tag": trained(at / "tag", "il", TAG),
    }


def said(capsys, *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["best-response", *words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["best-response", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def bound(text: str) -> tuple[float, float]:
    found = re.search(r"NashConv is at least (\S+) ± (\S+):", text)
    assert found
    return float(found[1]), float(found[2])


def test_the_response_to_rock_is_paper(runs, monkeypatch, capsys):
    """Two plays an episode: paper wins 2 in either role, where rock against itself has 0."""
    original = teams.gather_one

    def gather_one(*arguments):
        team, table = original(*arguments)
        return team._replace(mac=Rock(0), gains=None), table

    class Rock(Constant):
        def select_actions(self, batch, t_ep, t_env, bs, test_mode=False):
            return super().select_actions(batch, t_ep, t_env, bs, test_mode)

    monkeypatch.setattr(best_response, "gather_one", gather_one)
    text = said(capsys, runs["il"], "--steps", "900", "--seeds", "1", "--episodes", "50", "with", "lr=0.03")
    gain, width = bound(text)
    assert gain == pytest.approx(4, abs=0.3) and width < 0.2
    assert "exact" not in text


def test_what_is_found_is_what_the_solver_knows(runs, capsys):
    """A lower bound up to its interval, and in so small a game no less either."""
    text = said(capsys, runs["biased"], "--steps", "500", "--seeds", "2", "with", "lr=0.03")
    gain, width = bound(text)
    exact = float(re.search(r"exact best responses it is (\S+)\.\n", text)[1])
    assert exact > 0.5 and gain == pytest.approx(exact, abs=2 * width) and 0 < width < 0.3
    assert "seeds 0 to 1, 200 episodes" in text and len(re.findall(r"^\| [01] \(", text, re.M)) == 2


def test_the_team_stays_as_it_is_and_the_other_role_is_always_its_own(runs, monkeypatch):
    options = best_response._parser().parse_args([runs["il"], "--steps", "300", "--seeds", "1", "--episodes", "4"])
    team, table = teams.gather_one(runs["il"], {}, None, 0, 4)
    before = [p.clone() for p in team.mac.parameters()]
    roles, config = ((0,), (1,)), best_response.training(table.own, {})
    asked, original = [], best_response.Versus

    class Noted(original):
        def select_actions(self, *arguments, **keywords):
            asked.append((self._first is team.mac, self._second is team.mac))
            return super().select_actions(*arguments, **keywords)

    monkeypatch.setattr(best_response, "Versus", Noted)
    own = best_response._trained(team, roles, 0, config, options.steps, 0)
    assert own is not team.mac and set(asked) == {(False, True)}
    other = best_response._trained(team, roles, 1, config, options.steps, 0)
    assert set(asked[-10:]) == {(True, False)}
    mine, theirs = ([p.detach() for p in mac.agent_parameters(0)] for mac in (own, other))
    assert not all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))  # role 0 has learnt in the first alone
    assert all(torch.equal(a, b) for a, b in zip(before, team.mac.parameters(), strict=True))


def test_the_same_words_give_the_same_numbers_with_memory_and_streams(runs, capsys):
    words = (runs["streams"], "--steps", "400", "--seeds", "1", "--episodes", "6")
    first = said(capsys, *words)
    assert first == said(capsys, *words) and "use_rnn" not in first


def test_each_seed_has_the_response_that_it_has_alone(runs):
    """The team has a memory, and with streams keeps it from rollout to rollout: not from seed to seed."""
    team, table = teams.gather_one(runs["streams"], {}, None, 0, 4)
    config = best_response.training(table.own, {})

    def parameters(seed: int) -> list[torch.Tensor]:
        own = best_response._trained(team, ((0,), (1,)), 0, config, 100, seed)
        return [p.detach().clone() for p in own.parameters()]

    alone, left = parameters(1), team.mac.streams_state()
    assert left["hidden"] is not None
    team.mac.load_streams_state({**left, "hidden": 100 * torch.ones_like(left["hidden"])})  # of whoever was before
    assert all(torch.equal(a, b) for a, b in zip(alone, parameters(1), strict=True))


def test_sides_of_several_agents(runs, capsys):
    text = said(capsys, runs["tag"], "--steps", "50", "--seeds", "1", "--episodes", "3")
    assert "| 0 (agents 0, 1) |" in text and "| 1 (agents 2) |" in text


def test_a_gain_below_zero_adds_nothing():
    """A response that is worse than staying shows nothing of the other role's."""
    rows = [best_response.Response(np.ones(3) * b, np.ones(3) * a, [a]) for b, a in ((0.0, 2.0), (1.0, -5.0))]
    team = teams.Team("il", 1, 10, Path(), None, None)
    assert "NashConv is at least 2 ± 0:" in best_response._as_text(rows, team, ((0,), (1,)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "1"], "--episodes=1 has no spread"),
        (["--steps", "0"], "0 is no whole number from 1 on"),
        (["with", "lrr=1"], "lr"),
        (["with", "lr=-1"], "lr=-1"),
        (["with", "t_max=10"], "t_max is not a response's to choose"),
        (["with", "share_parameters=True"], "share_parameters is not"),
        (["with", "meta_game=nash", "selection=welfare", "kl_threshold=1"], "kl_threshold"),
        (["--roles", "0|0"], "has to name each of the 2 agents"),
    ],
)
def test_what_it_cannot_do_is_one_line(words, message, runs, capsys):
    line = refused(capsys, runs["il"], *words)
    assert message in line and line.startswith("error: ")


def test_no_checkpoint_and_no_opponents(tmp_path, capsys):
    assert "is no folder" in refused(capsys, "nowhere")
    spread = {"key": "pz-mpe-simple-spread-v3", "time_limit": 3}
    common = trained(tmp_path / "common", "happo", spread, common_reward=True)
    assert "have no opponents" in refused(capsys, common)
