"""The built-in suite's run: order of events, checkpoints, logging, and bad input. Its learner only takes notes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
import yaml
from epymarl_trust_region.errors import CheckpointError, ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite.lite import registries
from epymarl_trust_region.suite.lite.logger import Logger
from epymarl_trust_region.suite.lite.run import run
from gymnasium.spaces import Box, Discrete, Tuple

LOG = logging.getLogger("test")
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "lite"
EVENTS: list = []


class FiveSteps(gym.Env):
    n_agents = 1
    action_space = Tuple([Discrete(2)])
    observation_space = Tuple([Box(-9, 9, (1,))])

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return (np.zeros(1),), {}

    def step(self, actions):
        self.t += 1
        return (np.ones(1),), 1.0, self.t == 5, False, {}

    def close(self):
        EVENTS.append("close")


gym.register("FiveSteps-v0", entry_point=FiveSteps)


class NoteMAC:
    def __init__(self, scheme, groups, args) -> None:
        assert "actions_onehot" in scheme and "filled" in scheme and groups == {"agents": 1}
        EVENTS.append("mac")

    def init_hidden(self, batch_size) -> None:
        pass

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        if t_ep == 0:
            EVENTS.append("test" if test_mode else "play")
        return th.zeros(len(bs), 1, dtype=th.long)


class NoteLearner:
    def __init__(self, mac, scheme, logger, args) -> None:
        EVENTS.append("learner")

    def train(self, batch, t_env, episode_num) -> None:
        EVENTS.append(("train", batch.batch_size, batch.max_seq_length, t_env, episode_num))

    def save_models(self, path) -> None:
        EVENTS.append(("save", Path(path)))
        (Path(path) / "model").touch()

    def load_models(self, path) -> None:
        EVENTS.append(("load", Path(path).name))


class FakeSacredRun:
    def __init__(self) -> None:
        self.info, self.scalars = {}, []

    def log_scalar(self, key, value, t) -> None:
        self.scalars.append((key, float(value), t))


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registries.LEARNERS, "note_learner", NoteLearner)
    monkeypatch.setitem(registries.CONTROLLERS, "note_mac", NoteMAC)
    EVENTS.clear()


def make_config(tmp_path: Path, **changes) -> dict:
    config = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    config |= yaml.safe_load((CONFIGS / "envs" / "gymma.yaml").read_text())
    config["env_args"] |= {"key": "FiveSteps-v0", "time_limit": 8, "seed": 0}
    config |= {"runner": "parallel", "mac": "note_mac", "learner": "note_learner", "name": "note", "seed": 0}
    config |= {
        "batch_size_run": 2,
        "batch_size": 2,
        "buffer_size": 2,
        "test_nepisode": 4,
        "t_max": 30,
        "env_processes": 1,
    }
    config |= {"test_interval": 20, "log_interval": 20, "local_results_path": str(tmp_path), "use_cuda": False}
    return config | changes


def test_order_of_events(tmp_path: Path) -> None:
    run(FakeSacredRun(), make_config(tmp_path), LOG)
    rollout = [["play", ("train", 2, 6, 10 * n, 2 * (n - 1))] for n in (1, 2, 3, 4)]
    assert EVENTS == [
        "mac",
        "learner",
        *rollout[0],
        "test",
        "test",  # four test episodes, two at a time, after the first rollout and then every 20 steps
        *rollout[1],
        *rollout[2],
        "test",
        "test",
        *rollout[3],  # training goes on while t_env <= t_max = 30
        "close",
        "close",
    ]


def test_learning_waits_for_a_full_sample(tmp_path: Path) -> None:
    run(FakeSacredRun(), make_config(tmp_path, batch_size=3, buffer_size=8, t_max=10), LOG)
    assert [event for event in EVENTS if event[0] == "train"] == [("train", 3, 6, 20, 2)]


def test_saves_go_where_epymarl_puts_them_and_load_again(tmp_path: Path) -> None:
    config = make_config(tmp_path, save_model=True, save_model_interval=15)
    folder = run(FakeSacredRun(), config, LOG)
    saved = [event[1] for event in EVENTS if event[0] == "save"]
    assert [path.name for path in saved] == ["10.unfinished", "30.unfinished", "40.unfinished"]
    assert {path.name for path in Path(folder).iterdir()} == {"10", "30", "40"}  # the last one when training ends
    assert saved[0].parents[1] == tmp_path / "models" and str(saved[0].parent) == folder
    assert saved[0].parent.name.startswith("note_seed0_FiveSteps-v0_")
    for load_step, expected in ((0, "40"), (12, "10")):
        EVENTS.clear()
        again = {"checkpoint_path": str(saved[0].parent), "load_step": load_step, "t_max": 45}
        run(FakeSacredRun(), config | again, LOG)
        assert EVENTS[2] == ("load", expected)
        first = [event for event in EVENTS if event[0] == "train"][0]
        assert first[3] == int(expected) + 10  # goes on counting


@pytest.mark.parametrize("interval, steps", [(1, ["10", "20", "30", "40"]), (50_000, ["10", "40"])])
def test_the_last_policy_is_saved_once(tmp_path: Path, interval: int, steps: list[str]) -> None:
    run(FakeSacredRun(), make_config(tmp_path, save_model=True, save_model_interval=interval), LOG)
    assert [event[1].stem for event in EVENTS if event[0] == "save"] == steps


def test_without_save_model_nothing_is_saved_and_no_folder_is_named(tmp_path: Path) -> None:
    assert run(FakeSacredRun(), make_config(tmp_path), LOG) is None
    assert not [event for event in EVENTS if event[0] == "save"]


def test_evaluation_plays_tests_and_learns_nothing(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "model").touch()
    sacred = FakeSacredRun()
    run(sacred, make_config(tmp_path, checkpoint_path=str(tmp_path), evaluate=True), LOG)
    assert EVENTS == ["mac", "learner", ("load", "7"), *["test"] * 4, "close", "close"]
    assert ("test_return_mean", 5, 7) in sacred.scalars
    assert ("episode", 7, 7) in sacred.scalars


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_checkpoint_folder_without_checkpoint(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=f"{folder} (is not a folder|holds no step folders)"):
        run(FakeSacredRun(), make_config(tmp_path, checkpoint_path=str(tmp_path / folder)), LOG)
    assert EVENTS[-2:] == ["close", "close"]


def test_sacred_gets_epymarls_keys(tmp_path: Path) -> None:
    sacred = FakeSacredRun()
    run(sacred, make_config(tmp_path, runner_log_interval=1, log_interval=15), LOG)
    assert sacred.info["return_mean"] == [5, 5, 5, 5]
    assert sacred.info["return_mean_T"] == [10, 20, 30, 40]
    assert sacred.info["test_return_mean_T"] == [10, 30]
    assert (sacred.info["episode"], sacred.info["episode_T"]) == ([4, 8], [20, 40])
    assert ("ep_length_mean", 5, 10) in sacred.scalars


def test_test_episodes_come_in_whole_rollouts_and_the_config_stays_as_it_is(tmp_path: Path) -> None:
    for asked, rollouts in ((1, 1), (5, 2)):
        EVENTS.clear()
        config = make_config(tmp_path, test_nepisode=asked, t_max=0)
        run(FakeSacredRun(), config, LOG)
        assert EVENTS.count("test") == rollouts
        assert config["test_nepisode"] == asked


def test_cuda_that_is_not_there_is_switched_off(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(th.cuda, "is_available", lambda: False)
    run(FakeSacredRun(), make_config(tmp_path, use_cuda=True, t_max=0), LOG)
    assert "use_cuda=True" in caplog.text
    assert any(event[0] == "train" for event in EVENTS)


def test_keys_that_nothing_reads_are_harmless(tmp_path: Path) -> None:
    run(FakeSacredRun(), make_config(tmp_path, plugin={"version": "1"}, device="x", n_agents=9, t_max=0), LOG)
    assert any(event[0] == "train" for event in EVENTS)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"runner": "paralel"}, ConfigError, "runner=paralel.*did you mean parallel.*epymarl-tr suite fetch"),
        ({"mac": "note_mca"}, ConfigError, "mac=note_mca.*did you mean note_mac"),
        ({"learner": "coma_learner"}, ConfigError, "learner=coma_learner.*epymarl-tr suite fetch"),
        ({"env": "sc2"}, EnvironmentMissingError, "env=sc2.*it has gymma.*epymarl-tr suite fetch"),
        ({"use_wandb": True}, ConfigError, "wandb_team and wandb_project"),
        (
            {"use_wandb": True, "wandb_team": "t", "wandb_project": "p", "wandb_mode": "on"},
            ConfigError,
            "wandb_mode=on",
        ),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        run(FakeSacredRun(), make_config(tmp_path, **changes), LOG)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        Logger(LOG).setup_tb("x")
    with pytest.raises(ConfigError, match="pip install wandb"):
        Logger(LOG).setup_wandb({}, "team", "project", "offline")


def test_wandb_gets_one_row_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, finished = [], []
    fake = SimpleNamespace(id="1", log=lambda row, step: rows.append((step, row)), finish=lambda: finished.append(1))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **kwargs: fake))
    logger = Logger(LOG)
    logger.setup_wandb({"name": "n", "env": "gymma", "env_args": {"key": "k"}}, "team", "project", "offline")
    for key, value, t in (("a", 1, 10), ("b", 2, 10), ("a", 3, 20)):
        logger.log_stat(key, value, t)
    logger.finish()
    assert rows == [(10, {"a": 1, "b": 2}), (20, {"a": 3})]
    assert finished == [1]


def test_recent_stats_are_means_of_the_last_five(caplog) -> None:
    logger = Logger(LOG)
    for t in range(7):
        logger.log_stat("loss", th.tensor(float(t)), t)
        logger.log_stat("epsilon", t / 10, t)
    logger.log_stat("episode", 14, 70)
    with caplog.at_level(logging.INFO, "test"):
        logger.print_recent_stats()
    text = " ".join(caplog.text.split())
    assert "t_env: 70 | Episode: 14" in text
    assert "loss: 4.0000" in text  # of 2 .. 6
    assert "epsilon: 0.6000" in text
