"""Environments shared out among processes: what comes back, and what happens when one of them fails or dies."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data import record
from epymarl_trust_region.errors import ConfigError, EnvironmentFaultError, NonFiniteError, WorkerDiedError
from epymarl_trust_region.runners import workers
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch, OneHot
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

TROUBLED = "data.troubled:Troubled-v0"  # with its module, so that a spawned worker finds it too


BUG = r"\(Troubled-v0\) failed in step\(\) at step 1 .*: ZeroDivisionError: a bug of .* \(.*troubled.py, line \d+"


class AlwaysOne:
    action_selector = None

    def init_hidden(self, batch_size: int) -> None:
        pass

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        return torch.ones(len(bs), 2, dtype=torch.long)


def make_runner(
    trouble="none", who=0, processes=2, n_envs=5, episode_batch=EpisodeBatch, env_timeout=None
) -> VectorRunner:
    args = SimpleNamespace(
        env="gymma", env_args={"key": TROUBLED, "time_limit": 9, "seed": 0, "trouble": trouble, "who": who},
        env_processes=processes, common_reward=True, reward_scalarisation="sum", batch_size_run=n_envs, device="cpu",
        render=False, test_nepisode=5, runner_log_interval=10**9, n_agents=2, env_timeout=env_timeout,
    )  # fmt: skip
    runner = VectorRunner(args, SimpleNamespace(log_stat=lambda *_: None), episode_batch, GymmaEnv)
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=2)])}
    runner.setup(record._scheme(runner.get_env_info(), True), {"agents": 2}, preprocess, AlwaysOne())
    return runner


@pytest.mark.parametrize(
    "processes, n_envs, blocks",
    [(2, 5, [[0, 1], [2, 3, 4]]), (3, 5, [[0], [1, 2], [3, 4]]), (1, 3, [[0, 1, 2]]), (9, 2, [[0], [1]])],
)
def test_environments_are_shared_out_in_blocks_and_the_first_process_has_the_fewest(processes, n_envs, blocks):
    runner = make_runner(processes=processes, n_envs=n_envs)
    try:
        assert [list(runner.own.envs), *runner._blocks] == blocks
        batch = runner.run()
        assert batch["obs"][:, 0, 0, 0].tolist() == list(range(n_envs))  # each environment in its own row
        pids = batch["obs"][:, 0, 1, 0].tolist()  # and in its block's process
        assert [len({pids[i] for i in block}) for block in blocks] == [1] * len(blocks)
        assert len(set(pids)) == len(blocks)
        assert batch["reward"][..., 0].tolist() == [[2, 2, 2, 2, 2, 0, 0, 0, 0, 0]] * n_envs
    finally:
        runner.close_env()


def test_each_rollout_has_its_own_memory_and_starts_from_zeros():
    runner = make_runner()
    first = runner.run()
    kept = first["obs"].clone()
    second = runner.run()
    second["obs"][:] = -1
    assert torch.equal(first["obs"], kept)
    runner.close_env()


@pytest.mark.parametrize("trouble, code", [("die", -9), ("exit", 3)])
def test_a_worker_that_dies_is_reported_within_seconds(trouble, code):
    runner = make_runner(trouble, who=3)
    signal.alarm(300)  # instead of waiting for ever
    with pytest.raises(WorkerDiedError, match=rf"worker 1 \(environments 2 to 4 of Troubled-v0\).*exit code {code};"):
        runner.run()
    with pytest.raises(WorkerDiedError):
        runner.run()  # and again, for who tries once more
    signal.alarm(0)
    runner.close_env()


@pytest.mark.parametrize("trouble", ["stop", "hang"])
def test_a_worker_that_does_not_answer_is_named_and_ended(trouble):
    runner = make_runner(trouble, who=3, env_timeout=1)
    signal.alarm(60)  # instead of waiting for ever
    with pytest.raises(
        WorkerDiedError, match=r"worker 1 \(environments 2 to 4 .*\) gave no answer for env_timeout=1 s:"
    ):
        runner.run()
    signal.alarm(0)
    assert runner.workers[0].process.exitcode == -signal.SIGKILL
    runner.close_env()


def test_a_run_that_is_over_waits_a_moment_for_all_workers_that_do_not_heed_it(monkeypatch):
    monkeypatch.setattr(workers, "_CLOSING_S", 0.5)
    runner = make_runner(processes=3)
    runner.run()
    for worker in runner.workers:
        os.kill(worker.process.pid, signal.SIGSTOP)
    runner.close_env()
    assert [worker.process.exitcode for worker in runner.workers] == [-signal.SIGKILL] * 2


def test_a_death_is_seen_though_a_child_of_the_worker_holds_its_pipe():
    runner = make_runner("leave-child", who=3)
    signal.alarm(60)
    with pytest.raises(WorkerDiedError, match="worker 1 .* ended with exit code 3;"):
        runner.run()
    signal.alarm(0)
    runner.close_env()


def test_a_worker_that_cannot_make_its_environment_is_reported():
    runner = make_runner("make", who=4)
    with pytest.raises(WorkerDiedError, match="exit code 7"):
        runner.run()
    runner.close_env()


def test_an_error_in_a_workers_environment_is_shown_with_the_workers_traceback():
    runner = make_runner("raise", who=2)
    with pytest.raises(EnvironmentFaultError, match=rf"^environment 2 {BUG}") as caught:
        runner.run()
    if sys.version_info >= (3, 11):
        assert "in step" in caught.value.__notes__[0]
    runner.close_env()


def test_the_same_error_in_this_process_is_said_in_the_same_words():
    runner = make_runner("raise", who=0)
    with pytest.raises(EnvironmentFaultError, match=rf"^environment 0 {BUG}"):
        runner.run()
    runner.close_env()


@pytest.mark.parametrize("who", [0, 4])
def test_an_error_in_this_process_and_an_error_of_ours_keep_their_type(who):
    runner = make_runner("refuse", who)
    with pytest.raises(ConfigError, match="env_args.x=1: choose 2"):
        runner.run()
    runner.close_env()
    runner = make_runner("nan", who)
    with pytest.raises(NonFiniteError, match=rf"environment {who} \(Troubled-v0\) gave the reward nan at step 1"):
        runner.run()
    runner.close_env()


def test_closing_ends_the_processes():
    runner = make_runner(processes=3)
    processes = [worker.process for worker in runner.workers]
    runner.run()
    runner.close_env()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0


def test_closing_closes_every_environment(tmp_path):
    runner = make_runner("note", str(tmp_path))
    runner.run()
    runner.close_env()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]


def test_ctrl_c_is_left_to_this_process():
    """A terminal sends it to the workers as well; the run is to end in good order all the same."""
    runner = make_runner()
    runner.run()
    os.kill(runner.workers[0].process.pid, signal.SIGINT)
    assert runner.run()["filled"].sum() == 5 * 6
    runner.close_env()


def test_a_program_that_never_closes_its_runner_ends(tmp_path):
    program = "from runners.test_workers import make_runner; make_runner().run(); print('played')"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (0, "played\n"), done.stderr


def test_a_worker_ends_when_its_parent_is_gone():
    runner = make_runner()
    (worker,) = runner.workers
    worker.connection.close()
    worker.process.join(300)
    assert worker.process.exitcode == 0


def test_environments_that_draw_or_seed_when_made_do_not_move_the_networks_random_numbers():
    states = []
    for trouble in ("none", "draw"):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        make_runner(trouble, processes=1).close_env()
        states.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert states[0] == states[1]


def test_without_fork_the_rollouts_are_the_same(monkeypatch):
    """Started with "spawn", a worker shares nothing with this process but what is handed to it."""
    case = record.CASES["lbf-each"]
    pytest.importorskip("lbforaging")

    def vector(args, logger):
        return VectorRunner(args, logger, EpisodeBatch, GymmaEnv)

    fields, notes = record.drive(vector, OneHot, case, env_processes=1)
    monkeypatch.setitem(sys.modules, "jax", None)  # a process in which JAX runs must not be forked
    methods = []
    get_context = multiprocessing.get_context
    monkeypatch.setattr(
        multiprocessing, "get_context", lambda method=None: methods.append(method) or get_context(method)
    )
    spawned, spawned_notes = record.drive(vector, OneHot, case, env_processes=3)
    assert notes == spawned_notes and methods == ["spawn"] * 2
    for key, value in fields.items():
        assert np.array_equal(spawned[key], value), key
