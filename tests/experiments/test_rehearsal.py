"""Every run of a sweep is checked whole before the first: what is refused, and by which run's name."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import rehearsal

FLAGS = ["run", "--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off", "with"]
GOOD = [*FLAGS, "env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "seed=1"]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("eps_clip=-1", "eps_clip=-1.0 is out of range"),  # a value
        ("test_interval=0", "test_interval=0 is out of range"),  # of the loop's
        ("share_parameters=True", "share_parameters"),  # a combination
        ("env_args.key=no-such-game-v0", "no-such-game-v0"),  # an environment
        ("checkpoint_path=nowhere", "nowhere"),  # a file
    ],
)
def test_what_a_dry_run_refuses_is_refused(setting, why, own_folder):
    name, text = rehearsal.first_refused({"a": GOOD, "b": [*GOOD, setting], "c": [*GOOD, "lr=-1"]})
    assert name == "b" and why in text and "\n" not in text
    assert list(own_folder.iterdir()) == []


def test_what_a_dry_run_takes_is_taken_and_nothing_is_said(own_folder, capsys):
    assert rehearsal.first_refused({"a": GOOD, "b": [*GOOD, "lr=0.1"]}) is None
    assert list(own_folder.iterdir()) == [] and capsys.readouterr() == ("", "")


def test_each_suite_is_asked_in_a_process_of_its_own(monkeypatch):
    asked = []

    def run(command, input, **how):
        asked.append(input)
        return SimpleNamespace(
            returncode=0, stdout='a greeting\nfound: ["q", "no such key"]\n' if "epy" in input else "found: null\n"
        )

    monkeypatch.setattr(rehearsal, "subprocess", SimpleNamespace(run=run))
    commands = {"h": ["run", "--suite=lite"], "q": ["run", "--suite=epymarl"], "i": ["run", "--suite=lite"]}
    with pytest.raises(ConfigError, match="^experiment q in a.yaml: no such key$"):
        rehearsal.check(commands, "a.yaml")
    assert ["h" in one and "i" in one and "q" not in one for one in asked] == [True, False]


def test_a_check_that_dies_is_told_of(monkeypatch):
    done = subprocess.CompletedProcess([], -11, stdout="", stderr="one\nSegmentation fault")
    monkeypatch.setattr(rehearsal, "subprocess", SimpleNamespace(run=lambda *args, **how: done))
    with pytest.raises(
        ConfigError, match=r"^experiment h in a.yaml: its check ended with exit code -11 \(Segmentation"
    ):
        rehearsal.check({"h": ["run", "--suite=lite"]}, "a.yaml")
