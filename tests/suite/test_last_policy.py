"""EPyMARL's run with the last policy saved: once, where it saves its own, and not after an evaluation or a failure."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from epymarl_trust_region.suite.last_policy import run_saving_last, saving_last

TOKEN = "happo_seed1_lbforaging:Foraging-v3_2026-01-02 03:04:05.6"
FOLDER = "happo_seed1_lbforaging-Foraging-v3_2026-01-02-03-04-05.6"


class NoteLearner:
    def __init__(self, mac, scheme, logger, args) -> None:
        self.given, self.trained = (mac, scheme, logger), []

    def train(self, batch, t_env, episode_num) -> str:
        self.trained.append((batch, t_env, episode_num))
        return "trained"

    def save_models(self, path) -> None:
        (Path(path) / "model").write_text(str(len(self.trained)))


class NoteLogger:
    console_logger = logging.getLogger("test")
    stats: dict = {}
    finished = 0

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_epymarl(steps, own_saves=(), fails=False):
    """A run like EPyMARL's: train at these steps, save at some of them, and finish the logger if all went well."""
    learners = {"l": NoteLearner, "other": NoteLearner}

    def run(_run, config, log):
        args = SimpleNamespace(**config, unique_token=TOKEN)
        logger = NoteLogger()
        learner = learners[args.learner]("mac", "scheme", logger, args)
        assert learner.given == ("mac", "scheme", logger)
        for t_env in steps:
            assert learner.train("batch", t_env, 1) == "trained"
            if args.save_model and t_env in own_saves:
                path = Path(args.local_results_path, "models", args.unique_token, str(t_env))
                path.mkdir(parents=True)
                (path / "model").write_text("its own")
        if fails:
            raise ZeroDivisionError
        logger.finish()
        assert logger.finished == 1

    return run_saving_last(run, learners), learners


def config(**changes) -> dict:
    return {"learner": "l", "save_model": True, "local_results_path": "results", "use_wandb": False} | changes


def saved() -> dict[str, str]:
    return {file.parent.name: file.read_text() for file in Path("results").glob(f"models/{FOLDER}/*/model")}


def test_the_last_policy_is_saved_beside_the_hosts_own():
    run, learners = as_epymarl([50, 100, 150], own_saves=[50])
    assert run(None, config(), None) == f"results/models/{FOLDER}"
    assert saved() == {"50": "its own", "150": "3"}
    assert learners == {"l": NoteLearner, "other": NoteLearner}  # as they were


def test_what_the_host_has_just_saved_is_left_alone():
    run, _ = as_epymarl([50, 100], own_saves=[50, 100])
    run(None, config(), None)
    assert saved() == {"50": "its own", "100": "its own"}


@pytest.mark.parametrize("steps, changes", [([], {}), ([50], {"save_model": False})])
def test_an_evaluation_and_a_run_without_save_model_save_nothing(steps, changes):
    run, _ = as_epymarl(steps)
    assert run(None, config(**changes), None) is None
    assert not Path("results").exists()


def test_a_run_that_fails_saves_nothing_more_and_puts_the_learner_back():
    run, learners = as_epymarl([50, 100], own_saves=[50], fails=True)
    with pytest.raises(ZeroDivisionError):
        run(None, config(), None)
    assert saved() == {"50": "its own"} and learners["l"] is NoteLearner


def test_it_goes_to_wandb_with_the_others(tmp_path):
    args = SimpleNamespace(**config(use_wandb=True, wandb_save_model=True), unique_token=TOKEN)
    logger = NoteLogger()
    logger.wandb = SimpleNamespace(dir=str(tmp_path / "wandb"))
    learner = saving_last(NoteLearner)("mac", "scheme", logger, args)
    learner.train("batch", 70, 1)
    logger.finish()
    assert (tmp_path / "wandb/models" / FOLDER / "70/model").read_text() == "1"
