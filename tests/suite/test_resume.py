"""A run that was killed and resumed logs the numbers of one that never stopped: all of them, each once."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from epymarl_trust_region.config import flatten
from epymarl_trust_region.errors import CheckpointError, ConfigError
from epymarl_trust_region.modules import files
from epymarl_trust_region.modules.plain import packed, unpacked
from epymarl_trust_region.suite import algorithms, resume
from epymarl_trust_region.suite.newest import newest, saving
from epymarl_trust_region.suite.same_run import is_begun_by
from gymnasium.spaces import Box, Discrete, Tuple
from gymnasium.utils import seeding
from resuming import Killed, configured, last_checkpoint, play, resumed

CLIMBING = ("gymma", {"key": "trust-region-climbing-v0", "time_limit": 3, "max_steps": 3})
SPREAD = ("gymma", {"key": "pz-mpe-simple-spread-v3", "time_limit": 6})
FORAGING = ("gymma", {"key": "lbforaging:Foraging-8x8-2p-3f-v3", "time_limit": 7})
ANT = ("mamujoco", {"scenario": "Ant", "partition": "4x2", "time_limit": 15, "obs": "local"})
SMAX = ("smax", {"map_name": "3m", "time_limit": 8})
ONE_BY_ONE = {"batched_envs": "none", "env_processes": 2}
STREAMS = {"rollout_steps": 5, "use_rnn": True, "normalise_inputs": True}
# Several rounds, with tests, logs and saves at some of them, and not at the same.
ROUNDS = {"t_max": 110, "test_interval": 40, "log_interval": 30, "save_model_interval": 50}
FEWER = {"t_max": 40, "test_interval": 20, "log_interval": 15, "save_model_interval": 20}
ONLINE = sorted(name for name in algorithms.algorithm_files() if not name.endswith(("_offline", "_paper")))


def check(folder: Path, algorithm: str, task: tuple, share: float, by: type[BaseException], **changes) -> None:
    """Compare a run with one that is stopped after this share of its steps and resumed."""
    config = configured(folder / "unbroken", algorithm, *task, **changes)
    unbroken, steps = play(config)
    config["local_results_path"] = str(folder / "broken")
    play(config, stop_at=int(steps * share), by=by)
    assert resumed(config, last_checkpoint(folder / "broken")).logged == unbroken.logged
    tests = unbroken.info.get("test_return_mean", unbroken.info.get("test_total_return_mean"))
    assert len(set(unbroken.logged["kl_mean"])) > 2 and len(tests) > 1  # there is something to be compared


def test_all_algorithms_are_in_the_table():
    assert {"happo", "hatrpo", "matrl", "jr_ppo", "ir_mappo", "ir_ippo", "inpg", "ipg", "log_linear_ppo"} < set(ONLINE)


@pytest.mark.parametrize("algorithm", ONLINE)
def test_every_algorithm(algorithm, tmp_path):
    by = Killed if ONLINE.index(algorithm) % 2 else KeyboardInterrupt
    check(tmp_path, algorithm, CLIMBING, 0.65, by, **FEWER)


@pytest.mark.parametrize("by", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize(
    "algorithm, task, changes",
    [
        ("happo", SPREAD, {"use_linear_lr_decay": True}),
        ("happo", SPREAD, ONE_BY_ONE),
        ("happo", SPREAD, {**STREAMS, **ONE_BY_ONE}),
        ("happo", SPREAD, STREAMS),
        ("matrl", SPREAD, {**STREAMS, "common_reward": False}),
        ("matrl", FORAGING, {"common_reward": False}),
        ("happo", FORAGING, STREAMS),
        pytest.param("matrl", SPREAD, {}, marks=pytest.mark.slow),
        pytest.param("matrl", SPREAD, ONE_BY_ONE, marks=pytest.mark.slow),
        pytest.param("log_linear_ppo", SPREAD, {}, marks=pytest.mark.slow),
        pytest.param("hatrpo", FORAGING, ONE_BY_ONE, marks=pytest.mark.slow),
        pytest.param("ir_ippo", FORAGING, {"common_reward": False, "use_rnn": True}, marks=pytest.mark.slow),
    ],
)
def test_other_tasks(algorithm, task, changes, by, tmp_path):
    check(tmp_path, algorithm, task, 0.6, by, **{**ROUNDS, **changes})


@pytest.mark.parametrize(
    "algorithm, changes, by",
    [
        ("happo", {**STREAMS, "rollout_steps": 7, "env_processes": 2}, Killed),
        pytest.param("hatrpo", {}, KeyboardInterrupt, marks=pytest.mark.slow),
        pytest.param("matrl", {"rollout_steps": 7}, KeyboardInterrupt, marks=pytest.mark.slow),
    ],
)
def test_mujoco(algorithm, changes, by, tmp_path):
    pytest.importorskip("gymnasium_robotics")
    check(tmp_path, algorithm, ANT, 0.6, by, **{**ROUNDS, "save_model_interval": 30, **changes})


@pytest.mark.slow
@pytest.mark.jax
@pytest.mark.parametrize("by", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize(
    "algorithm, changes",
    [("happo", {}), pytest.param("matrl", {"batched_envs": "none"}, marks=pytest.mark.thorough), ("happo", STREAMS)],
)
def test_smax(algorithm, changes, by, tmp_path):
    pytest.importorskip("jaxmarl")
    check(tmp_path, algorithm, SMAX, 0.6, by, **{**ROUNDS, **changes})


def test_a_run_may_be_stopped_again_and_go_on_with_another_number_of_processes(tmp_path):
    """The copy of a run that is resumed is one that can be resumed; environments in processes draw from those', too."""
    config = configured(tmp_path / "unbroken", "happo", "gymma", {"key": "Everybodys-v0", "time_limit": 4}, **FEWER)
    unbroken, steps = play({**config, "env_processes": 2})
    for n in (1, 2, 3):
        config |= {"local_results_path": str(tmp_path / f"leg{n}"), "env_processes": 2}
        last, _ = play(config, stop_at=None if n == 3 else steps // 3, by=KeyboardInterrupt)
        if n < 3:
            checkpoint = last_checkpoint(tmp_path / f"leg{n}")
            config |= {"checkpoint_path": str(checkpoint.parent), "load_step": int(checkpoint.name), "resumed": True}
    assert last.logged == unbroken.logged
    config = configured(tmp_path / "other", "happo", *FORAGING, **ROUNDS, env_processes=3)
    unbroken, steps = play(config)
    play({**config, "local_results_path": str(tmp_path / "stopped")}, steps // 2, KeyboardInterrupt)
    assert resumed({**config, "env_processes": 1}, last_checkpoint(tmp_path / "stopped")).logged == unbroken.logged


@pytest.mark.slow
@pytest.mark.parametrize("task", [CLIMBING, SPREAD, FORAGING])
def test_wherever_it_is_stopped(task, tmp_path):
    """At every step of a short run: in rollouts, in tests, before and after each update."""
    config = configured(tmp_path / "unbroken", "happo", *task, **{**FEWER, "save_model_interval": 10})
    unbroken, steps = play(config)
    first = last_checkpoint(tmp_path / "unbroken").parent  # its first checkpoint comes after the first test
    began = min(int(step.name) for step in first.iterdir())
    for stop_at in range(began + 2, steps):
        config["local_results_path"] = str(tmp_path / f"stopped{stop_at}")
        play(config, stop_at, KeyboardInterrupt)
        checkpoint = last_checkpoint(Path(config["local_results_path"]))
        assert resumed(config, checkpoint).logged == unbroken.logged, stop_at


# The table notices what is missing ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A configuration, what its unbroken run logs, and the checkpoint of one that was killed."""
    folder = tmp_path_factory.mktemp("stopped")
    changes = {**ROUNDS, "runner_log_interval": 45, "normalise_inputs": True, "batched_envs": "none"}
    config = configured(folder / "unbroken", "happo", *SPREAD, **changes)
    unbroken, _ = play(config)
    assert unbroken.info["test_return_mean_T"] == unbroken.info["return_mean_T"] == [18, 72, 126]
    assert unbroken.info["episode_T"] == [36, 72, 108]
    config["local_results_path"] = str(folder / "broken")
    play(config, 52, KeyboardInterrupt)  # in the sixth rollout, after two tests of one rollout; each has 7 such steps
    checkpoint = last_checkpoint(folder / "broken")
    assert checkpoint.name == "90"
    return config, unbroken.logged, checkpoint


def copied(checkpoint: Path, folder: Path) -> Path:
    """To change; without its checksums."""
    copy = Path(shutil.copytree(checkpoint, folder / "copy" / checkpoint.name))
    (copy / files.CHECKSUMS_FILE).unlink()
    return copy


def forget(part: str, state: dict) -> None:
    """Let a part of `run.th` be as in a new run."""
    runner, loop = state["runner"], state["loop"]
    if part == "envs":
        for number, of in runner["envs"].items():
            (generator,) = [node for node in nodes(of["env"]["tree"]) if node[0] == "g"]
            fresh = seeding.np_random(4 + number)[0].bit_generator.state
            assert generator[1][1].keys() == fresh.keys() and generator[1][1] != fresh
            generator[1][1].update(fresh)
    elif part in ("train_returns", "test_returns"):
        runner[part] = []
    elif part in ("train_stats", "log_train_stats_t"):
        runner[part] = {"n_episodes": 3, "ep_length": 3} if part == "train_stats" else -100_000
    elif part == "random":
        torch.manual_seed(0)
        state["random"]["torch"] = torch.get_rng_state()
    elif part == "series":
        state["series"] = {}
    else:
        loop[part] = {"episode": 0, "last_test": -41, "last_log": 0, "learnt": False}[part]


def nodes(tree):
    if isinstance(tree, tuple) and tree and isinstance(tree[0], str):
        yield tree
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    for one in inner:
        yield from nodes(one)


@pytest.mark.parametrize(
    "part",
    [
        "nothing", "envs", "train_returns", "train_stats", "log_train_stats_t", "random", "series", "episode",
        "last_test", "last_log", "learnt",
    ],
)  # fmt: skip
def test_every_part_is_needed(part, stopped, tmp_path):
    config, unbroken, checkpoint = stopped
    copy = copied(checkpoint, tmp_path)
    if part != "nothing":
        state = unpacked(files.read(copy / resume.RUN_FILE))
        forget(part, state)
        files.write(copy / resume.RUN_FILE, packed(state))
    again = resumed({**config, "local_results_path": str(tmp_path)}, copy)
    assert (again.logged == unbroken) == (part == "nothing")


def test_what_was_logged_after_a_checkpoint_is_not_logged_twice(stopped, tmp_path):
    """Stopped in the seventh rollout: what goes on is the sixth update, after which the episodes were logged."""
    config, unbroken, _ = stopped
    run, _ = play({**config, "local_results_path": str(tmp_path)}, 59, KeyboardInterrupt)
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint.name == "108" and run.info["episode_T"] == [36, 72, 108]
    assert resumed({**config, "local_results_path": str(tmp_path)}, checkpoint).logged == unbroken


@pytest.mark.parametrize("name", ["bad_updates", "recent_ess", "has_warned", "updates", "as_il_pp", "largest_target"])
def test_what_learners_keep_from_update_to_update_is_saved(name, tmp_path):
    from support import make_batch, make_learner

    algorithm = {"updates": "matrl", "as_il_pp": "matrl", "largest_target": "log_linear_ppo"}.get(name, "happo")
    ones = [make_learner(make_batch(), algorithm, hidden_dim=4, critic_hidden_dim=4) for _ in range(2)]
    kept = {"recent_ess": [0.5, 0.25], "has_warned": True, "largest_target": 2.5}.get(name, 3)
    setattr(ones[0], name, kept)
    ones[0].critic_optimiser.grad_norm = 1.5  # logged once more where the next step is skipped
    ones[0].save_models(str(tmp_path))
    ones[1].load_models(str(tmp_path))
    assert getattr(ones[1], name) == kept and ones[1].critic_optimiser.grad_norm == 1.5


# Other checkpoints --------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_an_older_version_gives_learner_and_steps(stopped, tmp_path):
    config, unbroken, checkpoint = stopped
    copy = copied(checkpoint, tmp_path)
    (copy / resume.RUN_FILE).unlink()
    config = {**config, "local_results_path": str(tmp_path), "checkpoint_path": str(copy.parent)}
    run, _ = play(config)
    step = int(copy.name)
    assert min(run.info["return_mean_T"]) > step and run.info["episode"][0] == 3  # it counts anew
    assert run.info["test_return_mean_T"][0] == run.info["kl_mean_T"][0] > step  # and tests at once
    assert run.info["kl_mean_T"][-1] == int(float(unbroken["kl_mean_T"][-1]))


def test_another_configuration_takes_over_the_learner_alone_and_says_why(stopped, tmp_path, caplog):
    config, _, checkpoint = stopped
    config = {**config, "local_results_path": str(tmp_path), "checkpoint_path": str(checkpoint.parent)}
    with caplog.at_level(logging.INFO, "resuming"):
        run, _ = play({**config, "lr": 0.001})
    (line,) = [line for line in caplog.messages if "Only the learner goes on" in line]
    assert line.endswith("it was written with lr=0.0005, and now 0.001") and run.info["episode"][0] == 3


def test_more_steps_go_on_as_if_they_had_been_asked_for_at_first(tmp_path):
    config = configured(tmp_path / "long", "happo", *SPREAD, **ROUNDS)
    unbroken, _ = play(config)
    play({**config, "local_results_path": str(tmp_path / "short"), "t_max": 50})
    config["checkpoint_path"] = str(last_checkpoint(tmp_path / "short").parent)
    rest, _ = play({**config, "local_results_path": str(tmp_path / "rest")})
    step = int(last_checkpoint(tmp_path / "short").name)
    assert 50 < step < 110 and rest.info.keys() == unbroken.info.keys()
    for key, values in unbroken.logged.items():
        if not key.endswith("_T"):
            late = [v for v, t in zip(values, unbroken.info[f"{key}_T"], strict=True) if t > step]
            assert rest.logged[key] == late, key


def test_a_run_that_had_ended_goes_on_to_a_larger_t_max_as_if_it_had_been_asked_for_at_first(tmp_path, capsys):
    """By `--resume`, and again: the numbers of one run to the last of the three."""
    unbroken, _ = play(configured(tmp_path / "long", "happo", *SPREAD, **ROUNDS))
    config = configured(tmp_path / "short", "happo", *SPREAD, **ROUNDS)
    for t_max in (30, 70, ROUNDS["t_max"]):
        config["t_max"] = t_max
        found = newest(flat(config), {}, "lite")
        assert (found is None) == (t_max == 30)
        rest, _ = play(found.applied(config) if found else config)
    assert rest.logged == unbroken.logged


def test_what_depends_on_how_far_it_goes_is_no_beginning_of_a_longer_run():
    short, long = {"t_max": 100, "lr": 0.1}, {"t_max": 200.0, "lr": 0.1}
    assert is_begun_by(short, long)
    for saved, now in ((long, short), (short, short), ({}, long), (short, {}), ({"t_max": "100"}, long)):
        assert not is_begun_by(saved, now)
    assert not is_begun_by(short, long | {"use_linear_lr_decay": True})
    assert not is_begun_by(short, long | {"beta": "auto"}) and is_begun_by(short, long | {"beta": 1.0})


@pytest.mark.parametrize("content", ["other", {"x": 1}, {"configuration": "{", "saved_at": 1.0, "series": {}}])
def test_what_is_no_state_of_a_run_is_one_line(content, stopped, tmp_path):
    config, _, checkpoint = stopped
    copy = copied(checkpoint, tmp_path)
    torch.save(content, copy / resume.RUN_FILE)
    with pytest.raises(CheckpointError, match="run.th") as caught:
        resumed({**config, "local_results_path": str(tmp_path)}, copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("of", ["runner", "loop", "random"])
def test_parts_that_do_not_fit_are_one_line(of, stopped, tmp_path):
    config, _, checkpoint = stopped
    copy = copied(checkpoint, tmp_path)
    files.write(copy / resume.RUN_FILE, {**files.read(copy / resume.RUN_FILE), of: {"x": 1}})
    with pytest.raises(CheckpointError, match="run.th was made for another task") as caught:
        resumed({**config, "local_results_path": str(tmp_path)}, copy)
    assert "\n" not in str(caught.value)


# Environments that cannot be written down ---------------------------------------------------------------------------


class Everybodys(gymnasium.Env):
    """It draws from the generator that all of its process have in common."""

    n_agents = 1
    action_space = Tuple([Discrete(2)])
    observation_space = Tuple([Box(-9, 9, (1,))])

    def reset(self, *, seed=None, options=None):
        return (np.random.uniform(size=1),), {}

    def step(self, actions):
        return (np.random.uniform(size=1),), np.random.uniform(), False, False, {}


gymnasium.register("Everybodys-v0", entry_point=Everybodys)


class Hidden(gymnasium.Env):
    """Its random numbers come from where nobody sees them; it pays the first of each episode."""

    n_agents = 1
    action_space = Tuple([Discrete(2)])
    observation_space = Tuple([Box(-9, 9, (1,))])

    def seed(self, seed: int) -> None:
        self.numbers = (float(x) for x in np.random.default_rng(seed).uniform(size=999))

    def reset(self, *, seed=None, options=None):
        self.left, self.paid = 2, next(self.numbers)
        return (np.zeros(1),), {}

    def step(self, actions):
        self.left -= 1
        return (np.zeros(1),), self.paid, self.left == 0, False, {}


gymnasium.register("Hidden-v0", entry_point=Hidden)


def test_what_cannot_be_written_down_is_seeded_anew_and_said_once(tmp_path, caplog):
    task = ("gymma", {"key": "Hidden-v0", "time_limit": 2})
    config = configured(tmp_path / "unbroken", "happo", *task, **FEWER)
    unbroken, steps = play(config)
    config["local_results_path"] = str(tmp_path / "broken")
    play(config, steps // 2, Killed)
    again = resumed(config, last_checkpoint(tmp_path / "broken"))
    (line,) = [line for line in caplog.messages if "Not all environments go on as they were" in line]
    assert line.endswith("Hidden-v0: it cannot be written down, and is seeded anew, by its seed and t_env=6")
    returns = again.logged["return_mean"]
    assert returns[:1] == unbroken.logged["return_mean"][:1] and len(set(returns)) == len(returns)  # none comes twice
    assert set(returns[1:]).isdisjoint(unbroken.logged["return_mean"])
    assert again.logged["return_mean_T"] == unbroken.logged["return_mean_T"]


# `--resume` ---------------------------------------------------------------------------------------------------------


def flat(config: dict, *without: str) -> dict:
    """As the command line and the yaml files have it, before a run adds to it."""
    found = {key: value for key, value in flatten(config).items() if key != "env_args.seed"}
    return {key: value for key, value in found.items() if key not in without}


def test_the_newest_complete_checkpoint_of_the_same_configuration(stopped, tmp_path, capsys):
    config, _, checkpoint = stopped
    models = tmp_path / "models"
    older, newer = (models / f"{checkpoint.parent.name}{letter}" for letter in "ba")  # not by their names
    for folder, saved_at in ((older, 1.0), (newer, 2.0)):
        shutil.copytree(checkpoint.parent, folder)
        for step in folder.iterdir():
            (step / files.CHECKSUMS_FILE).unlink()
            files.write(step / resume.RUN_FILE, {**files.read(step / resume.RUN_FILE), "saved_at": saved_at})
    values = flat({**config, "local_results_path": str(tmp_path)})
    found = newest(values, {}, "lite")
    assert found[:2] == (newer, int(checkpoint.name)) and "resume: from " in capsys.readouterr().out
    assert newest(flat({**config, "local_results_path": str(tmp_path)}, "seed"), {}, "lite").seed == config["seed"]
    assert newest({**values, "plugin.plugin_commit": "other"}, {}, "lite").folder == newer
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: it was written by commit ") and "which is other now" in warning
    (newer / checkpoint.name / resume.RUN_FILE).write_bytes(b"")
    earlier = sorted(int(step.name) for step in newer.iterdir())[-2]
    assert newest(values, {}, "lite")[:2] == (newer, earlier)
    assert f"{checkpoint.name}/run.th is damaged" in capsys.readouterr().err
    longer = newest(values, {"t_max": 500}, "lite")
    assert longer[:2] == (newer, earlier) and longer.t_max == ROUNDS["t_max"]
    assert capsys.readouterr().out.endswith(", of t_max=500 steps, further than the t_max=110 of then\n")
    to_its_end = {"t_max": 500, "use_linear_lr_decay": True}
    for change in ({"lr": 0.25}, {"seed": 5}, {"t_max": 99}, to_its_end, {"env_args.sight": 2}):
        assert newest(values, change, "lite") is None
        assert capsys.readouterr().out == (
            "resume: there is no checkpoint of this configuration, so it starts from the beginning\n"
        )
    for change in ({"save_model_interval": 7}, {"env_processes": 2}, {"plugin.host": "x"}, {"use_wandb": False}):
        assert newest(values, change, "lite")[0] == newer


@pytest.mark.parametrize(
    "key, value",
    [("checkpoint_path", "x"), ("load_step", 5), ("evaluate", True), ("save_replay", True), ("save_episodes", "x")],
)
def test_what_cannot_stand_beside_resume(key, value):
    with pytest.raises(ConfigError, match=f"^{key}={value} cannot stand beside --resume"):
        saving({"save_model": False}, {key: value})
    with pytest.raises(ConfigError, match="^save_model=False cannot stand"):
        saving({"save_model": False}, {"save_model": False})
    assert saving({"save_model": False, key: None}, {"lr": 1}) == {"save_model": True, key: None}
