"""Streams of environments that are stepped as one, against the same environments stepped one by one.

Shape letters: B environments, K steps of a rollout, N agents.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from epymarl_trust_region.environments.batched import Played, Seen
from epymarl_trust_region.environments.batched_games import BatchedGame
from epymarl_trust_region.environments.batched_mpe import TASKS, BatchedMPE
from epymarl_trust_region.environments.games import CHECKERS_ID
from epymarl_trust_region.errors import NonFiniteError
from epymarl_trust_region.runners.env_group import Field
from epymarl_trust_region.runners.streams import BatchedStreamGroup, StreamGroup
from streamed import assert_same, assert_whole_episodes, drive

B, K, N = 4, 5, 2
SPREAD, SPEAKER, REFERENCE = TASKS


# Made environments -------------------------------------------------------------------------------------------------


class Single:
    """Copy i ends its e-th episode after 1 + (3 i + 5 e) % 7 steps: by itself, by a cut, by a limit that it names, by
    both at once, one after the other. It pays its agents differently."""

    def __init__(self, i: int, bad: tuple[int, int] | None = None) -> None:
        self.i, self.episode, self.bad = i, -1, bad

    def reset(self) -> None:
        self.t, self.total, self.episode = 0, 0.1 * self.i, self.episode + 1

    def step(self, actions):
        self.t += 1
        self.total += float(actions.sum())
        over, kind = self.t == 1 + (3 * self.i + 5 * self.episode) % 7, (self.i + self.episode) % 4
        reward = np.array([self.total, 1e-9 * self.t])
        if (self.episode, self.t) == self.bad:
            reward[1] = np.nan
        info = {"episode_limit": over and kind == 2, "won": self.i}
        return None, reward, over and kind != 1, over and kind in (1, 3), info

    def get_obs(self):
        return np.full((N, 3), self.total + 100 * self.episode, np.float32)

    def get_state(self):
        return np.array([self.i, self.episode, self.t], np.float32)

    def get_avail_actions(self):
        return [[1, self.t % 2, self.i % 2]] * N

    def close(self) -> None: ...


class Batched:
    """All of them as one; what nobody looks at is nonsense, as it may be."""

    def __init__(self, bad: dict[int, tuple[int, int]] | None = None) -> None:
        self.copies = [Single(i, (bad or {}).get(i)) for i in range(B)]
        self.over = np.ones(B, bool)
        self.calls: list = []

    def reset(self) -> Seen:
        return self._begin(np.ones(B, bool))

    def restart(self, which: np.ndarray) -> Seen:
        assert which.any() and not which.all()
        return self._begin(which)

    def _begin(self, which: np.ndarray) -> Seen:
        self.calls.append(np.flatnonzero(which).tolist())
        for i in self.calls[-1]:
            self.copies[i].reset()
        self.over &= ~which
        return self._seen(which)

    def _seen(self, readable: np.ndarray) -> Seen:
        look = [(copy.get_obs(), copy.get_state(), copy.get_avail_actions()) for copy in self.copies]
        seen = Seen(*(np.array(part) for part in zip(*look, strict=True)))
        seen.obs[~readable] = seen.state[~readable] = np.nan
        seen.avail_actions[~readable] = 9
        return seen

    def step(self, actions: np.ndarray) -> Played:
        self.calls.append("step")
        steps = [copy.step(own) for copy, own in zip(self.copies, actions, strict=True)]
        rewards = np.array([step[1] for step in steps])
        rewards[self.over] = np.nan
        terminated, truncated = np.array([s[2:4] for s in steps]).T
        seen = self._seen(~self.over)
        self.over |= terminated | truncated
        return Played(seen, rewards, terminated, truncated, [s[4] for s in steps])

    def close(self) -> None: ...


def single_group(bad: dict[int, tuple[int, int]] | None = None) -> StreamGroup:
    return StreamGroup(lambda i: Single(i, (bad or {}).get(i)), range(B), "toy")


def batched_group(bad: dict[int, tuple[int, int]] | None = None, limit: int = 99) -> BatchedStreamGroup:
    return BatchedStreamGroup(Batched(bad), B, limit, lambda rewards: rewards, "toy")


def play(group, rollouts: int = 6, extended: bool = True):
    """All that comes of rollouts in which agents do 1, 2, 1, 2, ..."""
    shapes = {
        "obs": ((N, 3), np.float32), "state": ((3,), np.float32), "avail_actions": ((N, 3), np.int32),
        "actions": ((N, 1), np.int64), "reward": ((N,), np.float32), "terminated": ((1,), np.uint8),
        "filled": ((1,), np.int64), "mask": ((1,), np.uint8),
    }  # fmt: skip
    shapes |= {"truncated": ((1,), np.uint8)} if extended else {}
    shared = {key: Field.like(np.zeros((B, K + 1, *shape), dtype)) for key, (shape, dtype) in shapes.items()}
    group.attach(shared)
    batches, ended = [], []
    for _ in range(rollouts):
        for field in shared.values():
            field.array()[:] = 0
        group.reset()
        ends = []
        for t in range(K):
            shared["actions"].array()[:, t] = 1 + t % 2
            ends += group.step(t)
        batches.append({key: field.array().copy() for key, field in shared.items()})
        ended.append([(e.index, e.length, e.episode_return.tolist(), e.info, e.cut) for e in ends])
    return batches, ended


@pytest.mark.parametrize("extended", [True, False])
def test_copies_that_end_at_different_steps_leave_the_same_batches(extended):
    (single, ends), (batched, batched_ends) = play(single_group(), 6, extended), play(batched_group(), 6, extended)
    for one, other in zip(single, batched, strict=True):
        for key, value in one.items():
            np.testing.assert_array_equal(other[key], value, err_msg=key)
    assert batched_ends == ends  # the returns in double precision, and of each episode alone
    flat = [end for rollout in ends for end in rollout]
    assert len(flat) > 20 and {length for _, length, *_ in flat} == set(range(1, 8))
    assert {cut for *_, cut in flat} == {True, False}


def test_at_each_step_all_are_stepped_and_then_those_begin_that_have_to():
    """Episodes of copy 0 last 1, 6, 4 steps, of 1: 4, 2, 7; of 2: 7, 5; of 3: 3, 1, 6; the last slot is 3's end."""
    group = batched_group()
    play(group, 1)
    assert group.env.calls == [[0, 1, 2, 3], "step", "step", [0], "step", "step", [3], "step", [1]]
    play(group, 1)
    assert group.env.calls[9:] == [[3], "step", "step", "step", [1, 2], "step", [0], "step"]


def test_where_all_are_over_nobody_is_stepped(monkeypatch):
    group = batched_group(limit=2)
    monkeypatch.setattr(Single, "step", lambda single, actions: (None, np.zeros(2), False, False, {}))
    batches, ended = play(group, 1)
    assert group.env.calls == [[0, 1, 2, 3], "step", "step", [0, 1, 2, 3], "step", "step"]
    assert batches[0]["mask"][:, :, 0].tolist() == [[1, 1, 0, 1, 1, 0]] * B
    assert [(index, length, cut) for index, length, *_, cut in ended[0]] == [(i, 2, True) for i in [0, 1, 2, 3] * 2]


@pytest.mark.parametrize("make", [single_group, batched_group])
def test_a_bad_reward_is_named_with_the_step_of_its_own_episode(make):
    """The third episode of copy 1 lasts 7 steps and spans two rollouts."""
    if make is batched_group:
        play(make(), 6)  # it gives NaN for what is over, and nobody minds
    with pytest.raises(NonFiniteError, match=r"environment 1 \(toy\) gave .*nan.* at step 5 of"):
        play(make({1: (2, 6)}), 6)


# Behind the runner -------------------------------------------------------------------------------------------------


def mpe(key: str = SPREAD, **arguments) -> dict:
    return {"key": f"epymarl_trust_region.environments.mpe:{key}", "time_limit": 25, **arguments}


@pytest.mark.parametrize(
    "env_args, steps, changes",
    [
        (mpe(), 60, {}),
        (mpe(), 7, {"common_reward": False}),
        (mpe(time_limit=10), 25, {"reward_scalarisation": "mean"}),
        (mpe(time_limit=40), 30, {}),
        (mpe(continuous_actions=True), 60, {"common_reward": False}),
        (mpe(SPEAKER, max_cycles=6), 20, {}),
        (mpe(REFERENCE, local_ratio=0.3, max_cycles=9), 9, {}),
    ],
    ids=str,
)
def test_streams_of_mpe_are_the_same_bit_for_bit(env_args, steps, changes):
    pytest.importorskip("mpe2")
    runner, batches, counted = drive(env_args, steps, **changes)
    assert isinstance(runner.env_group, BatchedStreamGroup) and isinstance(runner.env_group.env, BatchedMPE)
    for processes in (1, 2):
        plain, expected, others = drive(env_args, steps, batched_envs="none", env_processes=processes, **changes)
        assert type(plain.env_group) is StreamGroup and len(plain.workers) == processes - 1
        assert_same(batches, expected)
        assert counted == others
    borders = torch.stack([batch["mask"][:, :-1] for batch in batches if "mask" in batch]) == 0
    assert borders.any() or steps <= 9


@pytest.mark.parametrize("rollout_steps", [10, 25, 26, 60])
def test_streams_are_whole_episodes_one_after_the_other(rollout_steps):
    """The same numbers, wherever rollouts are cut: inside an episode, at its end, after its last observation."""
    pytest.importorskip("mpe2")
    assert min(assert_whole_episodes(mpe(), rollout_steps)) > 100


def test_games_are_stepped_one_by_one_in_streams():
    key = f"epymarl_trust_region.environments.games:{CHECKERS_ID}"
    runner, batches, _ = drive({"key": key, "time_limit": 9}, 20)
    assert type(runner.env_group) is StreamGroup and isinstance(runner.tester.env_group.env, BatchedGame)
