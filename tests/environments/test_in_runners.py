"""Faults reach the user from every runner of either host, with the environment's number; and rewards of one agent."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data import record
from data.faulty import KEY
from epymarl_trust_region.errors import ConfigError, EnvironmentFaultError, NonFiniteError
from epymarl_trust_region.suite.last_words import last_words
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner
from epymarl_trust_region.suite.worker_watch import watch_workers
from gymnasium.spaces import Box, Discrete

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")

ALONE = {"actions": (Discrete(3),), "observations": (Box(-1, 1, (2,)),)}


class ActsAlike:
    """Everybody does 1 where it can; for one environment or several."""

    action_selector = SimpleNamespace()

    def init_hidden(self, batch_size: int) -> None:
        self.size = batch_size

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        avail = ep_batch["avail_actions"][bs, t_ep]
        return torch.ones(avail.shape[:2], dtype=torch.long)


def rollout(make_runner, one_hot, env_args: dict, common_reward: bool = True, **changes):
    """One training rollout of three environments (or as many as are asked for), and its log."""
    args = SimpleNamespace(
        env="gymma", env_args={"key": KEY, "time_limit": 9, "seed": 0, "pretrained_wrapper": None, **env_args},
        common_reward=common_reward, reward_scalarisation="sum", batch_size_run=3, device="cpu", render=False,
        test_nepisode=3, runner_log_interval=1, t_max=99, runner="any", learner="any",
    )  # fmt: skip
    vars(args).update(changes)
    log: dict[str, float] = {}
    runner = make_runner(args, SimpleNamespace(log_stat=lambda key, value, t: log.update({key: float(value)})))
    try:
        info = runner.get_env_info()
        args.n_agents = info["n_agents"]
        preprocess = {"actions": ("actions_onehot", [one_hot(out_dim=info["n_actions"])])}
        runner.setup(record._scheme(info, common_reward), {"agents": info["n_agents"]}, preprocess, ActsAlike())
        return runner.run(), log
    finally:
        runner.close_env()


OF_EPYMARL = [pytest.param(name, marks=pytest.mark.integration) for name in ("parallel", "vector", "episode")]


@pytest.fixture(params=["lite-1", "lite-2", *OF_EPYMARL])
def play(request: pytest.FixtureRequest):
    """Plays a rollout on one of the runners."""
    if request.param.startswith("lite"):
        processes = int(request.param[-1])
        yield lambda *a, **k: rollout(vector_runner, OneHot, *a, env_processes=processes, **k)
        return
    host = request.getfixturevalue("of_epymarl")
    changes = {"batch_size_run": 1} if request.param == "episode" else {}
    if request.param == "vector":
        changes["env_processes"] = 2
    with watch_workers():
        yield lambda *a, **k: rollout(host.runners[request.param], host.batch_parts().one_hot, *a, **{**changes, **k})


@pytest.mark.parametrize(
    "field, value, kind, message",
    [
        ("seen", np.array([np.nan, 0], np.float32), NonFiniteError, "gave agent 1 an observation with nan"),
        ("reward", [1.0, 2.0, 3.0], EnvironmentFaultError, "gave the reward"),
        ("avail", [[0, 0, 0], [1, 1, 1]], EnvironmentFaultError, "left agent 0 without an available action"),
        ("result", (), EnvironmentFaultError, "gave 0 values from step"),
    ],
)
def test_a_fault_is_one_line_with_the_environments_number(field, value, kind, message, play, capfd) -> None:
    with pytest.raises(kind, match=rf"^environment 0 \(Faulty-v0\) {message}"):
        play({"field": field, "value": value, "who": 0})
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("at", [0, 3])
def test_the_number_is_that_of_the_environment_in_the_rollout(at: int, play, request) -> None:
    who = 0 if "episode" in request.node.name else 2  # it has one environment
    with pytest.raises(
        EnvironmentFaultError, match=rf"^environment {who} \(Faulty-v0\) gave agent 1 .* at step {at} of"
    ):
        play({"field": "seen", "value": None, "who": who, "at": at})


def test_actions_reach_the_environment_counted_from_their_start(play) -> None:
    batch, _ = play({"actions": (Discrete(3, start=1), Discrete(2, start=7)), "echo": True})
    assert (batch["obs"][:, 1:5] == torch.tensor([[2.0, 2.0], [8.0, 8.0]])).all()
    assert (batch["actions"][:, :4] == 1).all()  # in the batch they count from 0


@pytest.mark.parametrize("reward", [3.0, [3.0], np.array([3.0])])
def test_one_agent_with_individual_rewards(reward, play) -> None:
    batch, log = play({**ALONE, "field": "reward", "value": reward, "at": 1}, common_reward=False)
    assert batch["reward"][:, :4, 0].tolist() == [[3.0, 1.0, 1.0, 1.0]] * batch.batch_size
    assert (log["agent_0_return_mean"], log["total_return_mean"]) == (6.0, 6.0)
    assert "return_mean" not in log


def test_one_agent_of_mpe_with_individual_rewards(play) -> None:
    _, log = play({"key": "pz-mpe-simple-v3"}, common_reward=False)
    assert log["agent_0_return_mean"] == log["total_return_mean"] < 0


def test_individual_rewards_are_wanted_and_there_is_one_for_the_team(play) -> None:
    with pytest.raises(ConfigError, match=r"environment \d \(Faulty-v0\) gives one reward .*set common_reward=True"):
        play({"field": "reward", "value": 3.0, "at": 1}, common_reward=False)


def test_one_agent_with_individual_rewards_in_a_batched_form() -> None:
    """It gives a column of rewards for each agent, here one."""
    case = {"key": "pz-mpe-simple-spread-v3", "N": 1}, False
    one, one_log = rollout(vector_runner, OneHot, *case)
    each, each_log = rollout(vector_runner, OneHot, *case, batched_envs="none", env_processes=1)
    assert one["reward"].shape == (3, 10, 1) and torch.equal(one["reward"], each["reward"])
    assert one_log == each_log and one_log["agent_0_return_mean"] == one_log["total_return_mean"] != 0


def test_a_worker_that_has_said_its_last_words_waits_to_be_closed() -> None:
    """Else the parent might hear of its death before it reads its answer."""
    said, orders = [], [("step", 0), ("reset", None), ("close", None), ("never asked for", None)]
    connection = SimpleNamespace(send=lambda words: said.append(pickle.dumps(words)), recv=lambda: orders.pop(0))
    with last_words(connection, 3):
        raise ConfigError("choose 2")
    assert [what for what, _ in orders] == ["never asked for"]
    with pytest.raises(ConfigError, match="^choose 2$"):
        pickle.loads(said[0])
    with pytest.raises(ZeroDivisionError), last_words(connection, 3):  # not of this plugin: the host's own way
        raise ZeroDivisionError
    assert len(said) == 1
