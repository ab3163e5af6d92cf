"""`epymarl-tr offline`: from recorded plays to a policy that plays better, and one line for what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from epymarl_trust_region import cli
from epymarl_trust_region.offline import command as train_offline
from epymarl_trust_region.offline.log_linear import LogLinearOfflineConfig
from recorded import made, write
from support import ROOT

pytest.importorskip("h5py")

CLIMBING = "env_args.key=trust-region-climbing-v0 env_args.time_limit=2 test_interval=100000 test_nepisode=10"


def run(*words: str) -> int:
    flags = ["--suite=lite", "--env-config=gymma", "--quiet", "--progress=off"]
    return cli.main(["run", *flags, words[0], "with", *CLIMBING.split(), *words[1:]])


def test_random_plays_become_a_policy_that_finds_the_best(own_folder, capsys, monkeypatch):
    """Plays of an untrained policy pay -7 on average and the best joint action 22; nothing else was to be seen."""
    assert run("--config=happo", "seed=1", "t_max=1500", "lr=0.0000001", "save_episodes=data/climbing-v0") == 0
    monkeypatch.delenv("EPYMARL_HOME", raising=False)  # `auto` must not find a checkout
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_folder))
    capsys.readouterr()
    command = ["offline", "--config=log_linear_ppo_offline", "--data", "data/climbing-v0", "--evaluate", "60"]
    assert cli.main([*command, "with", "iterations=80", "beta=40.0", "seed=3"]) == 0
    out = capsys.readouterr().out
    assert (
        "iteration    80 of 80: J_lstd " in out
        and "model        results/offline/log_linear_ppo_offline/1/models" in out
    )
    (file,) = Path("results/sacred/log_linear_ppo").rglob("info.json")
    (last,) = json.loads(file.read_text())["test_return_mean"]  # one test, of 60 episodes
    assert re.search(r"test return +[\d.]+ \(at 80 steps\)\n", out)
    assert (last["value"] if isinstance(last, dict) else last) > 20
    record = json.loads(Path("results/offline/log_linear_ppo_offline/1/offline.json").read_text())
    assert len(record["iterations"]) == 80 and record["config"]["beta"] == 40.0
    first, last = record["iterations"][0], record["iterations"][-1]
    assert first["J_lstd"] < 0 < 15 < last["J_lstd"] and last["J_pessimistic"] < last["J_lstd"]


def test_product_policies_are_evaluated_as_such(own_folder, capsys, monkeypatch):
    monkeypatch.delenv("EPYMARL_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_folder))
    assert run("--config=happo", "seed=1", "t_max=20", "save_episodes=data/climbing-v0") == 0
    command = ["offline", "--config=log_linear_ppo_offline", "--data", "data/climbing-v0", "--evaluate", "3"]
    assert cli.main([*command, "with", "iterations=2", "conditioning=product"]) == 0
    assert "(at 2 steps)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config=happo"], "error: --config=happo does not learn from recorded episodes; use log_linear_ppo_offline"),
        (["--config=log_linear_ppo_ofline"], "(did you mean log_linear_ppo_offline?)"),
        (["with", "iteration=3"], "error: unknown key `iteration` in the command line (did you mean iterations?)"),
        (["with", "env_args=3"], "error: unknown key `env_args` in the command line"),
        (["with", "env_arg.key=A"], "error: unknown key `env_arg.key` in the command line"),
        (["with", "iterations=0"], "iterations=0 is out of range; it must be iterations >= 1"),
        (["with", "pessimism=-1.0"], "pessimism=-1.0 is out of range; it must be pessimism > 0"),
        (["with", "pessimism=much"], "pessimism='much' is not of type float"),
        (
            ["with", "batch_size_run=4"],
            "error: key `batch_size_run` in the command line does nothing: log_linear_ppo_off",
        ),
        (["with", "critic_lr=0.1"], "key `critic_lr` in the command line does nothing: "),
        (["with", "t_max=100"], "reads the keys of configs/algs/log_linear_ppo_offline.yaml alone; remove it"),
        (["with", "save_model=True"], "key `save_model` in the command line does nothing"),
        (["with", "learner=happo_learner"], "key `learner` in the command line does nothing"),
        (["with", "target=return"], "key `target` in the command line does nothing"),
        (["with", "pessimism=None", "z=3.0"], "pessimism='None' is not of type float"),
        (
            ["with", "pessimism=null", "z=3.0"],
            "z=3.0 in --config=log_linear_ppo_offline or the command line does nothing",
        ),
        (
            ["with", "fourier_width=3.0"],
            "fourier_width=3.0 in --config=log_linear_ppo_offline or the command line does not",
        ),
        (["with", "name="], "name=None is not of type str"),
        (["with", "seed=-1"], "seed=-1 is out of range"),
        (["--data", "nothing"], "error: "),
    ],
)
def test_what_is_wrong_is_one_line(words, message, own_folder, capsys):
    write(own_folder / "data", [made(3), made(2, seed=1)])
    words = ["--config=log_linear_ppo_offline", *words] if not words[0].startswith("--config") else words
    words = [*words[:1], *([] if "--data" in words else ["--data", "data"]), *words[1:]]
    assert cli.main(["offline", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_data_of_other_sizes_than_the_environment_are_refused_before_anything_is_learnt(own_folder, capsys):
    write(own_folder / "data", [made(3)])
    words = ["offline", "--config=log_linear_ppo_offline", "--data", "data", "--evaluate", "5", "with"]
    elsewhere = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=2"]
    assert cli.main([*words, *elsewhere]) == 2
    error = capsys.readouterr().err
    assert "the recorded episodes are of another task: they have n_actions 4, not 3" in error and error.count("\n") == 1
    without = [word for word in words if word not in ("--evaluate", "5")]
    assert cli.main([*without, *elsewhere]) == 2 and "of another task" in capsys.readouterr().err
    assert cli.main([*words, "env_args.time_limit=2"]) == 2
    assert "environment A-v0 does not exist" in capsys.readouterr().err
    assert not Path("results").exists()


def test_individual_rewards_are_refused(own_folder, capsys):
    write(own_folder / "data", [made(3, common=False)], common_reward=False)
    assert cli.main(["offline", "--config=log_linear_ppo_offline", "--data", "data"]) == 2
    assert "the episodes have a reward for each agent, and this learner needs a common one" in capsys.readouterr().err


def test_the_host_is_not_asked_to_train_it(own_folder, capsys):
    assert run("--config=log_linear_ppo_offline") == 2
    assert "use `epymarl-tr offline --config=log_linear_ppo_offline --data PATH`" in capsys.readouterr().err


def test_its_yaml_is_the_online_one_but_for_what_it_needs():
    root = Path(__file__).resolve().parents[2] / "configs/algs"
    names = ("log_linear_ppo", "log_linear_ppo_offline")
    online, offline = (yaml.safe_load((root / f"{name}.yaml").read_text()) for name in names)
    own = {"iterations", "pessimism", "z", "action_samples", "max_episodes"}
    assert set(offline) - set(online) == own
    assert {k for k in online.keys() & offline.keys() if online[k] != offline[k]} == {"name", "learner"}


def test_every_key_of_its_yaml_is_read(own_folder, monkeypatch, capsys):
    """By the learner, by what makes its checkpoint, or by what plays that; as in tests/suite/test_keys_are_read.py."""
    write(own_folder / "data", [made(3), made(2, seed=1)])
    seen: set[str] = set()

    class Watched(SimpleNamespace):
        def __getattribute__(self, name):
            seen.add(name)
            return super().__getattribute__(name)

    def watched(self, name):
        seen.add(name)
        return object.__getattribute__(self, name)

    played = []
    monkeypatch.setattr(train_offline, "run", lambda words: played.extend(words) or 0)
    monkeypatch.setattr(train_offline, "check_task", lambda episodes, args: None)
    command = ["--config=log_linear_ppo_offline", "--data", "data", "--evaluate", "2"]
    given = train_offline.configuration("log_linear_ppo_offline", ["with", "features=fourier", "iterations=2"])
    monkeypatch.setattr(train_offline, "configuration", lambda name, rest: seen.clear() or given)
    monkeypatch.setattr(train_offline, "SimpleNamespace", Watched)
    monkeypatch.setattr(LogLinearOfflineConfig, "__getattribute__", watched, raising=False)
    assert train_offline.main(command) == 0
    own = yaml.safe_load((ROOT / "configs/algs/log_linear_ppo_offline.yaml").read_text())
    seen |= {word.partition("=")[0] for word in played}
    assert set(own) - seen == {"name", "max_episodes"}  # which `main` reads itself
