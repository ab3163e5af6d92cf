"""Rollouts of a fixed number of steps, on environments whose ends are written down; and what GAE makes of them.

Shape letters: B environments, K steps.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from data import record
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.onpolicy.returns import gae
from epymarl_trust_region.onpolicy.rollout import make_rollout
from epymarl_trust_region.runners.streams import StreamRunner
from epymarl_trust_region.suite.lite.registries import vector_runner
from epymarl_trust_region.suite.progress import follow
from gymnasium.spaces import Box, Discrete, Tuple
from support import HandMadeBatch, make_batch, make_learner

K = 5


class Counting(gym.Env):
    """Two agents. The environment with seed s ends its e-th episode after s + e steps, and pays 1 to each."""

    n_agents = 2
    action_space = Tuple([Discrete(2), Discrete(2)])
    observation_space = Tuple([Box(-(10**7), 10**7, (1,)), Box(-99, 99, (1,))])

    def seed(self, seed: int) -> None:
        self.n, self.episode = seed, -1

    def _observe(self):
        return (np.array([self.episode], np.float32), np.array([self.t], np.float32))

    def reset(self, *, seed=None, options=None):
        self.t, self.episode = 0, self.episode + 1
        return self._observe(), {}

    def step(self, actions):
        self.t += 1
        return self._observe(), [1.0, 1.0], self.t == self.n + self.episode, False, {"won": True}


gym.register("Counting-v0", entry_point=Counting)


class AlwaysOne:
    def init_hidden(self, batch_size: int) -> None: ...

    carry_on = init_hidden

    def leave_off(self, ep_batch, t: int) -> None: ...

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        return torch.ones(len(bs), 2, dtype=torch.long)


class ListLogger(list):
    def log_stat(self, key, value, t, to_sacred=True) -> None:
        self.append((key, float(value), t))


def make_runner(n_envs: int = 2, **changes) -> tuple[StreamRunner, ListLogger]:
    args = SimpleNamespace(
        env="gymma", env_args={"key": "Counting-v0", "time_limit": 4, "seed": 1}, env_processes=1, common_reward=True,
        reward_scalarisation="sum", batch_size_run=n_envs, device="cpu", render=False, test_nepisode=n_envs,
        runner_log_interval=1, n_agents=2, rollout_steps=K, use_rnn=False, obs_last_action=False,
    )  # fmt: skip
    vars(args).update(changes)
    logger = ListLogger()
    runner = vector_runner(args, logger)
    info = runner.get_env_info()
    assert isinstance(runner, StreamRunner) and info["episode_limit"] == K
    scheme = record._scheme(info, True)
    runner.extend_scheme(scheme, {})
    runner.setup(scheme, {"agents": 2}, {}, AlwaysOne())
    return runner, logger


def rows(batch, key: str) -> list:
    return batch[key][..., 0].tolist()


@pytest.mark.parametrize("processes", [1, 2])
def test_episodes_go_on_from_slot_to_slot_and_from_batch_to_batch(processes) -> None:
    """Seeds 1 and 2: episodes of 1, 2, 3, ... and of 2, 3, 4, then cut at 4."""
    runner, logger = make_runner(env_processes=processes)
    try:
        first, second, third = (runner.run() for _ in range(3))
    finally:
        runner.close_env()
    # (episode, step) that is seen at each slot; a * stands where no action counts.
    assert first["state"].int().tolist() == [
        [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 0]],  #  0 0 | 0 1* | 1 0 | 1 1 | 1 2* | 2 0
        [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]],
    ]
    assert rows(first, "mask") == [[1, 0, 1, 1, 0, 0], [1, 1, 0, 1, 1, 0]]
    assert rows(first, "terminated") == [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]
    assert rows(first, "reward") == [[2, 0, 2, 2, 0, 0], [2, 2, 0, 2, 2, 0]]
    assert second["state"].int().tolist() == [
        [[2, 0], [2, 1], [2, 2], [2, 3], [3, 0], [3, 1]],
        [[1, 2], [1, 3], [2, 0], [2, 1], [2, 2], [2, 3]],
    ]
    assert rows(second, "mask") == [[1, 1, 1, 0, 1, 0], [1, 0, 1, 1, 1, 0]]
    assert third["state"].int().tolist() == [
        [[3, 1], [3, 2], [3, 3], [3, 4], [4, 0], [4, 1]],  # the fourth episode ends by itself at its limit of 4
        [[2, 3], [2, 4], [3, 0], [3, 1], [3, 2], [3, 3]],
    ]
    assert rows(third, "terminated")[0] == [0, 0, 1, 0, 0, 0] and not any(map(any, rows(third, "truncated")))
    assert first["filled"].all() and runner.t_env == sum(int(batch["mask"].sum()) for batch in (first, second, third))
    # Returns and lengths are of the episodes that ended in each rollout: 1, 2, 2 steps; 3, 3; 4, 4.
    logged = {(key, t): value for key, value, t in logger}
    assert [logged["return_mean", t] for t in (7, 15, 23)] == [2 * 5 / 3, 6.0, 8.0]
    assert [logged["ep_length_mean", t] for t in (7, 15, 23)] == [5 / 3, 3.0, 4.0]
    assert logged["won_mean", 7] == 1.0


def test_a_limit_is_a_cut_and_a_rollout_without_an_end_logs_nothing() -> None:
    runner, logger = make_runner(1, env_args={"key": "Counting-v0", "time_limit": 7, "seed": 50})
    first, second = runner.run(), runner.run()
    assert rows(first, "mask") == [[1, 1, 1, 1, 1, 0]] and rows(second, "mask") == [[1, 1, 0, 1, 1, 0]]
    assert rows(second, "truncated") == [[0, 1, 0, 0, 0, 0]]
    assert [(key, value, t) for key, value, t in logger if key == "return_mean"] == [("return_mean", 14.0, 9)]


def test_progress_is_shown_the_returns_of_episodes_and_not_of_rollouts() -> None:
    """An episode takes 7 steps at 2 each, a rollout 5; none ends in the first."""
    runner, _ = make_runner(1, env_args={"key": "Counting-v0", "time_limit": 7, "seed": 50})
    shown: list[float | None] = []
    progress: Any = SimpleNamespace(
        start=lambda t_max: None, begin=lambda t_env: None, update=lambda t_env, value: shown.append(value)
    )
    follow(runner, progress, 100)
    for test_mode in (False, False, True, False):
        runner.run(test_mode=test_mode)
    assert shown == [None, 14.0, 14.0]


def test_tests_are_whole_episodes_elsewhere_and_the_streams_stay_where_they_are() -> None:
    runner, logger = make_runner(env_args={"key": "Counting-v0", "time_limit": 4, "seed": 2})
    alone, _ = make_runner(env_args={"key": "Counting-v0", "time_limit": 4, "seed": 2})
    runner.run()
    batch = runner.run(test_mode=True)
    assert batch["reward"].shape == (2, 5, 1) and "mask" not in batch.scheme
    assert [value for key, value, _ in logger if key == "test_ep_length_mean"] == [4.0]
    alone.run()
    for key in ("state", "mask", "reward"):
        assert torch.equal(runner.run()[key], alone.run()[key])


def test_recordings_are_of_whole_episodes() -> None:
    with pytest.raises(ConfigError, match="save_episodes records whole episodes"):
        make_runner(save_episodes="there")


@pytest.mark.parametrize("test_mode", [False, True])
def test_a_host_that_keeps_no_rollout_is_lent_the_runners_own(test_mode) -> None:
    """The same numbers, until the next one is played."""
    runners = [make_runner()[0] for _ in range(2)]
    runners[1].own_memory = False
    try:
        for _ in range(3):
            kept, lent = (runner.run(test_mode=test_mode) for runner in runners)
            assert all(torch.equal(kept[key], lent[key]) for key in kept.data.transition_data)
            before, addresses = kept["obs"].clone(), [batch["obs"].data_ptr() for batch in (kept, lent)]
            again = [runner.run(test_mode=test_mode)["obs"].data_ptr() for runner in runners]
            assert torch.equal(kept["obs"], before)
            assert [old == new for old, new in zip(addresses, again, strict=True)] == [False, True]
    finally:
        for runner in runners:
            runner.close_env()


def test_other_runners_are_refused() -> None:
    with pytest.raises(ConfigError, match="rollout_steps=5 needs runner=vector, not parallel"):
        make_learner(make_batch(), rollout_steps=K, runner="parallel")


def test_a_stream_without_an_end_is_a_whole_episode_that_is_cut() -> None:
    """Advantages, targets and mask, from the same numbers in both forms."""
    whole = make_batch(B=3, T=K, terminated=False)
    whole["truncated"] = torch.zeros_like(whole["terminated"])
    whole["truncated"][:, K - 1] = whole["terminated"][:, K - 1] = 1
    stream = whole.copy()
    stream["truncated"].zero_(), stream["terminated"].zero_()
    stream["mask"] = torch.ones_like(whole["terminated"])
    stream["mask"][:, K] = 0
    rollouts = []
    for batch in (whole, stream):
        learner = make_learner(batch)
        rollouts.append(make_rollout(batch, learner.mac, learner.critic, learner.config, None))
    for name in ("mask", "advantages", "returns", "old_log_probs"):
        assert torch.equal(getattr(rollouts[0], name), getattr(rollouts[1], name)), name


def test_episodes_that_fill_a_stream_have_the_advantages_that_they_have_alone() -> None:
    """3 steps and a cut, 2 steps and an end, 2 steps that go on: slots 0 1 2 (3) 4 5 (6) 7 8 [9]."""
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(1, 9, 1, generator=g), torch.randn(1, 10, 1, generator=g)
    mask = torch.ones(1, 9, 1)
    mask[0, [3, 6]] = 0
    done = torch.zeros(1, 9, 1)
    done[0, 5] = 1
    joined = gae(rewards, values, done, mask, 0.9, 0.8)
    assert (joined[0, [3, 6]] == 0).all()
    for first, last in ((0, 3), (4, 6), (7, 9)):
        steps = slice(first, last)
        alone = gae(
            rewards[:, steps], values[:, first : last + 1], done[:, steps], torch.ones(1, last - first, 1), 0.9, 0.8
        )
        assert torch.equal(joined[:, steps], alone)


def test_a_batch_says_where_actions_count_and_learners_heed_it() -> None:
    """What stands at the border slots changes nothing but the value that a cut bootstraps from."""
    batch = make_batch(B=3, T=K, terminated=False)
    batch["truncated"] = torch.zeros_like(batch["terminated"])
    batch["mask"] = torch.ones_like(batch["terminated"])
    batch["mask"][:, K] = batch["mask"][1, 2] = 0
    batch["terminated"][1, 1] = 1  # so slot 2 is its final observation, and no value of it counts
    other = HandMadeBatch(batch.copy())
    other["reward"][1, 2], other["actions"][1, 2] = 77.0, (other["actions"][1, 2] + 1) % 4
    other["obs"][1, 2] += 5.0
    vectors = []
    for data in (batch, other):
        learner = make_learner(data)
        learner.train(data, 0, 0)
        vectors.append(torch.cat([o.vector.detach() for o in learner.actor_optimisers]))
    assert torch.equal(*vectors)
