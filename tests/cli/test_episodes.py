"""`epymarl-tr run ... with save_episodes=PATH` and `epymarl-tr episodes PATH` on the built-in suite."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.recordings.episodes import read_episodes
from support import logged

pytest.importorskip("h5py")

GAME = ("env_args.key=trust-region-climbing-v0", "env_args.time_limit=2")
SHORT = (
    "t_max=30",
    "test_interval=20",
    "test_nepisode=10",
    "learner_log_interval=0",
    "runner_log_interval=1",
    "seed=4",
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


def run(*params, config="happo") -> int:
    flags = ["--suite=lite", f"--config={config}", "--env-config=gymma", "--quiet", "--progress=off"]
    return cli.main(["run", *flags, "with", *GAME, *SHORT, *params])


def info(number: int, config="happo") -> dict:
    return logged(Path(f"results/sacred/{config}/trust-region-climbing-v0/{number}/info.json"))


@pytest.mark.parametrize("config", ["happo", "ir_mappo"])
def test_a_run_keeps_its_training_episodes_and_is_the_run_it_would_have_been(config, capsys):
    assert run(config=config) == 0 and not Path("data").exists()
    assert run("save_episodes=data/climbing", config=config) == 0
    read = read_episodes("data/climbing")
    assert info(1, config) == info(2, config)
    # Four rollouts of ten one-step games, until t_env = 40 > t_max; the run logs the mean return of each.
    assert read.batch_size == 40 and read.lengths.tolist() == [1] * 40
    means = read["reward"].sum((1, 2)).view(4, 10).mean(1)
    assert means.tolist() == pytest.approx(info(2, config)["return_mean"])
    assert not read["truncated"].any() and read["terminated"][:, 0].all()  # the game is over before the limit
    saved = json.loads(Path(f"results/sacred/{config}/trust-region-climbing-v0/2/config.json").read_text())
    assert saved["save_episodes"] == "data/climbing"
    assert (read.about["algorithm"], read.about["seed"], read.about["t_max"]) == (config, 4, 30)
    assert read.about["env_args"]["key"] == "trust-region-climbing-v0" and read.about["host"] == "lite"
    capsys.readouterr()
    assert cli.main(["episodes", "data/climbing"]) == 0
    out = capsys.readouterr().out
    assert "episodes     40, 40 steps, 1 to 1 in an episode" in out
    assert f"algorithm    {config}, seed 4, training steps 0 to 30 of t_max=30" in out


def test_an_evaluation_keeps_its_test_episodes():
    assert run("save_model=True", "save_model_interval=1") == 0
    (folder,) = Path("results/models").iterdir()
    assert run(f"checkpoint_path={folder}", "evaluate=True", "save_episodes=tests") == 0
    read = read_episodes("tests")
    assert read.batch_size == 100 and read.about["evaluation"]  # the suite plays test_nepisode rollouts of ten
    means = read["reward"].sum((1, 2)).view(10, 10).mean(1)
    assert means.tolist() == pytest.approx(info(2)["test_return_mean"])


def test_an_existing_recording_is_refused_and_replaced_on_request(capsys):
    assert run("save_episodes=x") == 0
    capsys.readouterr()
    assert run("save_episodes=x") == 2
    assert "error: save_episodes=x exists; name another folder, or add save_episodes_overwrite=True" in (
        capsys.readouterr().err
    )
    assert not Path("results/sacred/happo/trust-region-climbing-v0/2").exists()  # refused before anything was made
    assert run("save_episodes=x", "save_episodes_overwrite=True", "t_max=10") == 0
    assert read_episodes("x").batch_size == 20


@pytest.mark.parametrize(
    "params, message",
    [
        (["save_episode=x"], "unknown key `save_episode` in the command line (did you mean save_episodes?)"),
        (["save_episodes=3"], "save_episodes=3 is no path"),
        (["save_episodes_overwrite=True"], "save_episodes_overwrite=True overwrites nothing"),
    ],
)
def test_bad_keys_are_one_clear_error(params, message, capsys):
    assert run(*params) == 2
    captured = capsys.readouterr()
    assert f"error: {message}" in captured.err and "Traceback" not in captured.err
    assert not Path("results").exists()


def test_a_path_without_episodes_is_one_clear_error(capsys):
    assert cli.main(["episodes", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere does not exist; give the folder that a run's")
