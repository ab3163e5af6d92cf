"""`epymarl-tr crossplay`: known actions have known tables, a pair always plays the same, faults are one line."""

from __future__ import annotations

import csv
import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from epymarl_trust_region import cli
from epymarl_trust_region.crossplay import command, matches, teams
from epymarl_trust_region.crossplay.matches import Versus
from epymarl_trust_region.crossplay.outcome import cycles, outcome_of
from epymarl_trust_region.crossplay.picture import labels_of
from epymarl_trust_region.crossplay.roles import roles_of
from epymarl_trust_region.errors import ConfigError
from opponents import RPS, TAG, Constant, trained
from PIL import Image


@pytest.fixture(autouse=True)
def folder(own_folder):
    return own_folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, str]:
    """Runs that are not to be changed."""
    at = tmp_path_factory.mktemp("runs")
    return {
        "il": trained(at / "il", "il", RPS, seed=1),
        "matrl": trained(at / "matrl", "matrl", RPS, seed=2, batch_size_run=5, batch_size=5, buffer_size=5),
        "recurrent": trained(at / "recurrent", "il_pp", RPS, seed=3, use_rnn=True, obs_last_action=True),
        "tag": trained(at / "tag", "il", TAG),
    }


def of_constants(monkeypatch, *actions: int) -> None:
    """The checkpoints that are named play these instead, each under its action's name."""

    def gather(*arguments):
        found, table = teams.gather(*arguments)
        team = found[0]._replace(gains=None)
        return [team._replace(mac=Constant(action), name="rps"[action]) for action in actions], table

    monkeypatch.setattr(command, "gather", gather)


def said(capsys, *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["crossplay", *words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["crossplay", *words]) == 2
    *warnings, line = capsys.readouterr().err.splitlines()
    assert all(warning.startswith("warning: ") for warning in warnings)
    return line


def test_rock_paper_and_scissors_go_round(runs, monkeypatch, capsys):
    """Two plays an episode: rock loses 2 to paper, wins 2 from scissors, and so on; one triple, and it is a cycle."""
    of_constants(monkeypatch, 0, 1, 2)
    text = said(capsys, runs["il"], runs["il"], "--episodes", "4", "--out", "made/matrix.png")
    assert "rock-paper-scissors-v0: 3 checkpoints, 4 episodes a pair, seed 0" in text
    assert "| 1 | 0 ± 0 | -2 ± 0 | 2 ± 0 |\n| 2 | 2 ± 0 | 0 ± 0 | -2 ± 0 |\n| 3 | -2 ± 0 | 2 ± 0 | 0 ± 0 |" in text
    assert "role 1 (" not in text  # zero-sum: it is role 0's with another sign
    assert "Non-transitive triples: 1 of 1; by means alone, without intervals, 1. Such as 1 beats 3 beats 2." in text
    assert "| r |  | -4 (0 won, 1 lost of 1) | +4 (1 won, 0 lost of 1) |" in text
    with open("made/matrix.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["role_0_return_mean"]) for row in rows] == [0, -2, 2, 2, 0, -2, -2, 2, 0]
    assert [float(row["lead"]) for row in rows[:3]] == [0, -4, 4] and rows[1]["second"] == "p"
    with Image.open("made/matrix.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**24)) > 10


@pytest.mark.parametrize("ending", ["svg", "pdf", "csv"])
def test_formats_go_by_the_ending(ending, runs, monkeypatch, capsys):
    of_constants(monkeypatch, 0, 1)
    said(capsys, runs["il"], runs["il"], "--episodes", "1", "--out", f"matrix.{ending}")
    assert sorted(path.name for path in Path().glob("matrix.*")) == sorted({f"matrix.{ending}", "matrix.csv"})


def test_labels_of_the_picture_name_an_algorithm_once():
    def team(name, seed, step):
        return teams.Team(name, seed, step, Path(), None, None)

    two = [team("il", 1, 999), team("il", 1, 211_856), team("matrl", 1, 5), team("il", 2, 70), team("il", 3, 4000)]
    assert labels_of(two) == (["1 999", "2 212k", "3 matrl", "4 seed 2 70", "5 seed 3 4k"], {0.5: "il", 3.5: "il"})
    assert labels_of([team("il", 1, None), team("matrl", None, None)]) == (["1 il", "2 matrl"], {})


def test_who_is_compared_besides_changes_nothing_of_a_pair(runs, capsys):
    def rows(*names: str, seed: str = "7") -> dict:
        said(capsys, *(runs[name] for name in names), "--episodes", "9", "--seed", seed, "--out", "m.csv")
        with open("m.csv") as file:
            return {(row["first"], row["second"]): row for row in csv.DictReader(file)}

    two, three, other = rows("il", "recurrent"), rows("recurrent", "il", "il"), rows("il", "recurrent", seed="8")
    assert len(two) == 4 and all(two[pair] == three[pair] for pair in two)
    assert any(two[pair]["role_0_return_mean"] != other[pair]["role_0_return_mean"] for pair in two)


def test_settings_tell_teams_of_one_algorithm_apart(runs, tmp_path, capsys):
    steep = trained(tmp_path / "steep", "il", RPS, seed=1, lr=0.01, epochs=9)
    again = trained(tmp_path / "again", "il", RPS, seed=4)
    out = said(capsys, runs["il"], again, runs["matrl"], steep, "--episodes", "2")
    head = next(line for line in out.splitlines() if "matrl" in line and line.startswith("|  |"))
    assert [name.strip() for name in head.strip("|").split("|")] == ["", "il lr=0.0005", "matrl", "il lr=0.01"]


def test_each_role_is_played_by_its_own_team(runs, monkeypatch):
    """Actions and returns of two real teams: those of role 0 are the first's, and of role 1 the second's."""
    found, table = teams.gather([runs["il"], runs["matrl"]], {}, None, 0, 6)
    assert table.config["batch_size_run"] == 3 and [team.seed for team in found] == [1, 2]
    asked, original = [], teams.player

    class Noted:
        def __init__(self, mac, shift):
            self.mac, self.shift = mac, shift

        def init_hidden(self, batch_size):
            self.mac.init_hidden(batch_size)

        def select_actions(self, *arguments, **keywords):
            actions = self.mac.select_actions(*arguments, **keywords)
            asked.append((self.shift, actions.clone()))
            return actions

    played = []

    def noting(config, log):
        return _noting(original(config, log), played)

    monkeypatch.setattr(matches, "player", noting)
    one, two = (team._replace(mac=Noted(team.mac, k)) for k, team in enumerate(found))
    returns = matches.match(one, two, table, ((0,), (1,)), 6, 0)
    assert returns.shape == (6, 2) and (returns.sum(-1) == 0).all()
    firsts, seconds = ([actions for shift, actions in asked if shift == k] for k in (0, 1))
    chosen = [torch.stack([a[:, 0], b[:, 1]], 1) for a, b in zip(firsts, seconds, strict=True)]
    assert len(played) == len(chosen) and all(torch.equal(a, b) for a, b in zip(played, chosen, strict=True))


class _noting:
    """A player whose runner notes the actions that it stores."""

    def __init__(self, inner, played):
        self.inner, self.played = inner, played

    def __enter__(self):
        runner, played = self.inner.__enter__(), self.played
        store = runner._store
        runner._store = lambda actions, listed, t: (played.append(actions.clone()), store(actions, listed, t))
        return runner

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


def test_a_team_against_itself_is_asked_once_a_step():
    """Its memory would go two steps on."""
    one, two = Constant(0), Constant(1)
    ask = functools.partial(Versus.select_actions, batch=None, t_ep=0, t_env=0, bs=[0, 1], test_mode=True)
    assert ask(Versus((one, one), ((0,), (1,)))).tolist() == [[0, 0], [0, 0]] and one.asked == 1
    assert ask(Versus((one, two), ((1,), (0,)))).tolist() == [[1, 0], [1, 0]]
    assert (one.asked, two.asked) == (2, 1)


def test_statistics_of_known_returns():
    """Two episodes of each seating: team 0 leads by 3 and -1 as role 0, by -3 and -1 as role 1; so by 0 and -1."""
    returns = np.zeros((2, 2, 2, 2))
    returns[0, 1] = [[3, 0], [1, 2]]
    returns[1, 0] = [[3, 0], [1, 0]]
    made = outcome_of(returns)
    assert made.means[0, 1].tolist() == [2, 1] and made.means[1, 0].tolist() == [2, 0] and not made.zero_sum
    assert made.leads[0, 1] == ((3 - 3) / 2 + (-1 - 1) / 2) / 2 == -made.leads[1, 0]
    assert made.lead_widths[0, 1] == pytest.approx(1.96 * np.std([0, -1], ddof=1) / 2**0.5)
    assert made.widths[0, 1] == pytest.approx(1.96 * np.std([[3, 0], [1, 2]], axis=0, ddof=1) / 2**0.5)
    assert not made.beats.any() and np.isinf(outcome_of(returns[:, :, :1]).widths).all()


def test_cycles_are_counted_once_each():
    beats = np.zeros((4, 4), bool)
    for i, j in ((0, 1), (1, 2), (2, 0), (0, 3), (3, 1)):
        beats[i, j] = True
    assert cycles(beats) == [(0, 1, 2)]
    beats[2, 0], beats[0, 2], beats[2, 3] = False, True, True
    assert cycles(beats) == [(1, 2, 3)]


def test_roles():
    assert roles_of(None, 2, None, "t") == ((0,), (1,))
    assert roles_of(None, 4, ["adversary_0", "adversary_1", "adversary_2", "agent_0"], "t") == ((0, 1, 2), (3,))
    assert roles_of("2 0|1", 3, None, "t") == ((2, 0), (1,))
    for words, names, told in (
        (None, None, "t has 3 agents, and crossplay cannot know who play together; say it, as in --roles '0 1|2'"),
        (None, ["a_0", "b_0", "c_0"], r"t has 3 agents \(a_0, b_0, c_0\)"),
        ("0 1 2", None, "no two roles"),
        ("0 1|", None, "no two roles"),
        ("0 x|1", None, "no two roles"),
        ("0 1|1", None, "each of the 3 agents of t once"),
        ("0 1|3", None, "each of the 3 agents of t once"),
    ):
        with pytest.raises(ConfigError, match=told):
            roles_of(words, 3, names, "t")


def test_sides_of_mpe_are_roles_and_returns_are_their_sums(runs, capsys):
    text = said(capsys, runs["tag"], runs["tag"], "--episodes", "3", "--greedy")
    assert "role 0 (agents 0, 1)" in text and "role 1 (agent 2)" in text  # which is not zero-sum
    assert "NashConv" not in text


def test_exact_gains_are_told_where_they_are_known(runs, capsys):
    text = said(capsys, runs["il"], runs["matrl"], "--episodes", "2")
    found, _ = teams.gather([runs["il"], runs["matrl"]], {}, None, 0, 2)
    assert "| NashConv |" in text
    assert all(f"| {team.gains.sum():.3g} |" in text and team.gains.sum() > 0 for team in found)
    assert "NashConv" not in said(capsys, runs["il"], runs["recurrent"], "--episodes", "2")


def test_faults_are_one_line(runs, tmp_path, capsys):
    il, tag = runs["il"], runs["tag"]
    together = trained(tmp_path / "together", "happo", RPS, common_reward=True)
    longer = trained(tmp_path / "longer", "il", RPS | {"max_steps": 1})
    broken = tmp_path / "broken"
    shutil.copytree(il, broken)
    next(broken.glob("*/agent.th")).unlink()
    for words, told in (
        ((il,), "alone has no opponent; name two checkpoints or more"),
        (("pretrained", "pretrained"), "pretrained says no task; name a checkpoint, too"),
        ((il, "pretrained"), "no pretrained opponents for trust-region-rock-paper-scissors-v0"),
        ((il, "nowhere"), "nowhere is no folder"),
        ((il, str(broken)), "incomplete (it lacks agent.th)"),
        ((il, tag), "another task"),
        ((il, longer), "env_args.max_steps=1, and not 2"),
        ((together, il), "one reward for all agents (common_reward=True)"),
        ((il, il, "--out", "matrix.jpg"), "there is no format .jpg here"),
        ((il, il, "--roles", "0|1 2"), "each of the 2 agents"),
        ((il, il, "--episodes", "0"), "0 is no whole number from 1 on"),
        ((il, il, "with", "seed=3"), "by --seed"),
        ((tag, tag, "with", "env_args.pretrained_wrapper=PretrainedTag"), "has the agents of one side alone; test it"),
        ((il, il, "with", "lr=3"), "changes nothing"),
        ((il, il, "with", "reward_scalarisation=mean"), "changes nothing"),
    ):
        line = refused(capsys, *words)
        assert line.startswith("error: ") and told in line


def test_a_task_that_is_set_for_all_is_one(runs, tmp_path, capsys):
    longer = trained(tmp_path / "longer", "il", RPS | {"max_steps": 1})
    text = said(capsys, runs["il"], longer, "--episodes", "2", "with", "env_args.max_steps=3")
    assert "2 checkpoints" in text


def test_out_that_cannot_be_written_is_one_line(runs, monkeypatch, capsys):
    of_constants(monkeypatch, 0, 1)
    Path("file").touch()
    assert "--out=FOLDER" in refused(capsys, runs["il"], runs["il"], "--episodes", "1", "--out", "file/m.png")
