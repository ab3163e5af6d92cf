"""The vector runner with all environments as one against the same runner stepping them one by one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from epymarl_trust_region.environments import batched_mpe
from epymarl_trust_region.environments.batched_mpe import TASKS, BatchedMPE
from epymarl_trust_region.runners import batched_form
from epymarl_trust_region.runners.env_group import BatchedEnvGroup, EnvGroup
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner
from epymarl_trust_region.suite.scheme import batch_scheme

pytest.importorskip("mpe2")

SPREAD, SPEAKER, REFERENCE = TASKS


class Recorder:
    """A logger and a MAC in one: it keeps what is logged and draws actions from a generator of its own."""

    action_selector = None

    def __init__(self, n_agents: int) -> None:
        self.logged, self.n_agents = [], n_agents
        self.generator = torch.Generator().manual_seed(0)

    def log_stat(self, *stat) -> None:
        self.logged.append(stat)

    def init_hidden(self, batch_size: int) -> None:
        pass

    def select_actions(self, batch, t_ep, t_env, bs, test_mode=False):
        avail = batch["avail_actions"][bs, t_ep].float()
        assert batch["filled"][bs, t_ep].all()
        return torch.multinomial(avail.flatten(0, 1), 1, generator=self.generator).view(len(bs), self.n_agents)


def play(key=SPREAD, common_reward=True, scalarisation="sum", time_limit=25, render=False, n_agents=3, **arguments):
    batched_envs, processes = arguments.pop("batched_envs", "exact"), arguments.pop("processes", 1)
    env_args = {"key": f"epymarl_trust_region.environments.mpe:{key}", "time_limit": time_limit, "seed": 7, **arguments}
    args = SimpleNamespace(
        env="gymma", env_processes=processes, batched_envs=batched_envs, batch_size_run=4,
        env_args={**env_args, "pretrained_wrapper": None}, common_reward=common_reward,
        reward_scalarisation=scalarisation, device="cpu", render=render, test_nepisode=8, runner_log_interval=0,
    )  # fmt: skip
    recorder = Recorder(n_agents)
    runner = vector_runner(args, recorder)
    info = runner.get_env_info()
    scheme, groups, preprocess = batch_scheme(info, common_reward, OneHot)
    runner.setup(scheme, groups, preprocess, recorder)
    batches = [runner.run(test_mode=test_mode).data.transition_data for test_mode in (False, True, True, False)]
    runner.close_env()
    return runner, batches, recorder.logged


CASES = [
    dict(),
    dict(common_reward=False),
    dict(scalarisation="mean"),
    dict(time_limit=10),
    dict(time_limit=40),
    dict(key=SPEAKER, n_agents=2),
    dict(key=SPEAKER, n_agents=2, common_reward=False),
    dict(key=REFERENCE, n_agents=2, local_ratio=0.3),
    dict(time_limit=12, max_cycles=12, N=2, n_agents=2, local_ratio=0.25),
]


def is_batched(runner) -> bool:
    return isinstance(runner.env_group, BatchedEnvGroup) and isinstance(runner.env_group.env, BatchedMPE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_batches_and_statistics_are_the_same_bit_for_bit(case):
    runner, batches, logged = play(**case)
    assert is_batched(runner)
    for processes in (1, 3):
        plain, expected, expected_log = play(**case, batched_envs="none", processes=processes)
        assert isinstance(plain.env_group, EnvGroup) and len(plain.workers) == processes - 1
        for batch, other in zip(batches, expected, strict=True):
            assert set(batch) == set(other)
            for key in batch:
                assert batch[key].dtype == other[key].dtype
                np.testing.assert_array_equal(batch[key].numpy(), other[key].numpy(), err_msg=key)
        assert logged == expected_log and len(logged) > 4
        assert runner.t_env == plain.t_env > 0
        assert runner.cut == plain.cut == [True] * 4  # MPE only ends by limits


def test_rendering_and_unknown_arguments_are_left_to_the_environment_itself():
    assert not is_batched(play(dynamic_rescaling=False)[0])
    args = SimpleNamespace(env="gymma", render=True, env_args={"key": SPREAD, "seed": 0, "time_limit": 25})
    assert batched_form.make_batched(args, None) is None


def test_a_wrapped_environment_is_left_to_itself():
    """EPyMARL's pretrained opponents change what is played."""
    env_args = {"key": SPREAD, "seed": 0, "time_limit": 25, "pretrained_wrapper": "PretrainedTag"}
    args = SimpleNamespace(
        env="gymma", render=False, env_args=env_args, batch_size_run=2, common_reward=True, reward_scalarisation="sum"
    )
    assert batched_form.make_batched(args, None) is None
    args.env_args = {"key": None, "seed": 0, "time_limit": 25}  # the environment itself says what is missing
    assert batched_form.make_batched(args, None) is None


@pytest.mark.parametrize(
    "where, value",
    [
        ("epymarl_trust_region.environments.batched_mpe._DAMPING", 0.2500001),  # seen in the observations
        ("epymarl_trust_region.environments.batched_mpe._DIST_MIN", 0.31),  # and in the rewards
    ],
)
def test_an_mpe2_that_plays_otherwise_is_noticed(where, value, monkeypatch, caplog):
    monkeypatch.setattr(where, value)
    assert not is_batched(play()[0])
    assert "plays otherwise" in caplog.text


@pytest.mark.parametrize("what", ["max_cycles", "n_actions"])
def test_an_mpe2_of_other_sizes_is_noticed(what, monkeypatch, caplog):
    """Its episodes end at another step, or its agents have other actions."""
    make = batched_mpe.BatchedSpeakerListener.__init__

    def other(self, seeds, max_cycles=25):
        if what == "n_actions":
            self.n_actions = (5, 5)
        make(self, seeds, max_cycles - (what == "max_cycles"))

    monkeypatch.setattr(batched_mpe.BatchedSpeakerListener, "__init__", other)
    assert not is_batched(play(key=SPEAKER, n_agents=2)[0])
    assert "plays otherwise" in caplog.text
