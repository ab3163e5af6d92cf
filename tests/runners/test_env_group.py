"""A batched environment whose copies end at different steps, against the same copies stepped one by one."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.environments.batched import Played, Seen
from epymarl_trust_region.errors import NonFiniteError
from epymarl_trust_region.runners.env_group import BatchedEnvGroup, EnvGroup, Field

B, T, N = 4, 6, 2


class Single:
    """Copy i ends after i + 2 steps and pays what was done: 0 by itself, 1 too but it calls that the time limit, 2 by
    being truncated, and 3 says both."""

    def __init__(self, i: int, bad_step: int | None = None) -> None:
        self.i, self.bad_step = i, bad_step

    def reset(self) -> None:
        self.t = 0
        self.total = 0.1 * self.i

    def step(self, actions):
        self.t += 1
        self.total += float(actions.sum())
        over = self.t == self.i + 2
        reward = float("nan") if self.t == self.bad_step else self.total + 1e-9 * self.t
        flags = over and self.i != 2, over and self.i >= 2
        return None, reward, *flags, {"episode_limit": self.i == 1, "won": self.i}

    def get_obs(self):
        return np.full((N, 3), self.total, np.float32)

    def get_state(self):
        return np.full(N * 3, -self.total, np.float32)

    def get_avail_actions(self):
        return [[1, 1, self.i % 2]] * N

    def close(self) -> None:
        self.i = None


class Batched:
    """All of them as one; what the ended ones give is nonsense, as it may be."""

    def __init__(self, bad: dict[int, int] | None = None) -> None:
        self.copies = [Single(i, (bad or {}).get(i)) for i in range(B)]

    def reset(self) -> Seen:
        for copy in self.copies:
            copy.reset()
        self.over = np.zeros(B, bool)
        return self._seen()

    def _seen(self) -> Seen:
        look = [(copy.get_obs(), copy.get_state(), copy.get_avail_actions()) for copy in self.copies]
        seen = Seen(*(np.array(part) for part in zip(*look, strict=True)))
        seen.obs[self.over] = seen.state[self.over] = np.nan
        return seen

    def step(self, actions: np.ndarray) -> Played:
        steps = [copy.step(own) for copy, own in zip(self.copies, actions, strict=True)]
        rewards = np.array([step[1] for step in steps])
        rewards[self.over] = np.nan
        terminated, truncated = np.array([s[2:4] for s in steps]).T
        played = Played(self._seen(), rewards, terminated, truncated, [s[4] for s in steps])
        self.over |= terminated | truncated
        return played

    def close(self) -> None:
        for copy in self.copies:
            copy.close()


def fields(extended: bool = True) -> dict[str, Field]:
    shapes = {
        "obs": ((N, 3), np.float32), "state": ((N * 3,), np.float32), "avail_actions": ((N, 3), np.int32),
        "actions": ((N, 1), np.int64), "reward": ((1,), np.float32), "terminated": ((1,), np.uint8),
        "filled": ((1,), np.int64),
    }  # fmt: skip
    shapes |= {"truncated": ((1,), np.uint8)} if extended else {}
    return {key: Field.like(np.zeros((B, T + 1, *shape), dtype)) for key, (shape, dtype) in shapes.items()}


def play(share, limit: int, extended: bool = True):
    """All that comes of one rollout in which agents do 1, 2, 1, 2, ..."""
    shared = fields(extended)
    share.attach(shared)
    share.reset()
    ended = []
    for t in range(limit):
        shared["actions"].array()[share.alive, t] = 1 + t % 2
        ended += share.step(t)
        if not share.alive:
            break
    return {key: field.array() for key, field in shared.items()}, ended


def single_share(bad: dict[int, int] | None = None) -> EnvGroup:
    return EnvGroup(lambda i: Single(i, (bad or {}).get(i)), range(B), "toy")


def batched_share(bad: dict[int, int] | None = None, limit: int = 99) -> BatchedEnvGroup:
    return BatchedEnvGroup(Batched(bad), B, limit, lambda rewards: rewards, "toy")


def test_copies_that_end_at_different_steps_leave_the_same_batch():
    (single, ends), (batched, batched_ends) = play(single_share(), 6), play(batched_share(), 6)
    for key, value in single.items():
        np.testing.assert_array_equal(batched[key], value, err_msg=key)
    assert [(e.index, e.length, e.info) for e in ends] == [(e.index, e.length, e.info) for e in batched_ends]
    assert [float(e.episode_return) for e in batched_ends] == [e.episode_return for e in ends]  # in double precision
    assert single["filled"].sum((1, 2)).tolist() == [3, 4, 5, 6]
    assert single["terminated"].sum((1, 2)).tolist() == [1, 0, 1, 1]
    assert single["truncated"].sum((1, 2)).tolist() == [0, 1, 1, 0]
    assert [single["truncated"][i, i + 1, 0] for i in (1, 2)] == [1, 1]  # at its last step
    assert [e.cut for e in ends] == [e.cut for e in batched_ends] == [False, True, True, False]


def test_the_time_limit_ends_what_goes_on():
    """Copies 0 and 1 end by themselves before it and at it; 1 calls that a limit, too."""
    batch, ends = play(batched_share(limit=3), 6)
    assert [(e.index, e.length, e.cut) for e in ends] == [(0, 2, False), (1, 3, True), (2, 3, True), (3, 3, True)]
    assert batch["filled"].sum((1, 2)).tolist() == [3, 4, 4, 4]
    assert batch["truncated"][:, :, 0].tolist() == [[0] * 7, *[[0, 0, 1, 0, 0, 0, 0]] * 3]
    assert batch["terminated"].sum((1, 2)).tolist() == [1, 0, 1, 1]


def test_an_end_at_the_step_of_the_limit_is_no_cut():
    _, ends = play(batched_share(limit=2), 6)
    assert [(e.index, e.length, e.cut) for e in ends] == [(i, 2, i > 0) for i in range(B)]


@pytest.mark.parametrize("make", [single_share, batched_share])
def test_a_scheme_that_was_not_extended_gets_the_rest(make):
    whole, ends = play(make(), 6)
    plain, _ = play(make(), 6, extended=False)
    assert plain.keys() == whole.keys() - {"truncated"}
    for key, value in plain.items():
        np.testing.assert_array_equal(value, whole[key], err_msg=key)
    assert len(ends) == B


class PerAgent(Single):
    """Flags per agent: copy i's agents end at steps 2 and i + 2, the first by a cut and the second by itself."""

    def step(self, actions):
        _, reward, *_ = super().step(actions)
        return None, reward, np.array([False, self.t >= self.i + 2]), [self.t >= 2, False], {}


def test_an_episode_goes_on_until_every_agent_has_ended():
    batch, ends = play(EnvGroup(lambda i: PerAgent(i), range(B), "toy"), 6)
    assert [(e.index, e.length, e.cut) for e in ends] == [(i, i + 2, True) for i in range(B)]
    assert batch["truncated"].sum((1, 2)).tolist() == batch["terminated"].sum((1, 2)).tolist() == [1] * B


@pytest.mark.parametrize("make", [single_share, batched_share])
def test_a_bad_reward_counts_only_while_its_episode_goes_on(make):
    play(make(), 6)  # the batched form gives NaN for ended copies, and nobody minds
    with pytest.raises(NonFiniteError, match=r"environment 2 \(toy\) gave the reward nan at step 1"):
        play(make({2: 2}), 6)


@pytest.mark.parametrize("field, what", [("obs", "an observation"), ("state", "a state")])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_seen_as_one_is_finite_while_the_episode_goes_on(field: str, what: str, value: float, monkeypatch):
    see = Batched._seen

    def seen(batched: Batched) -> Seen:
        look = see(batched)
        if batched.copies[0].t == 2:  # copy 0 ends with this step, copy 2 goes on
            getattr(look, field)[2].flat[1] = value
        return look

    monkeypatch.setattr(Batched, "_seen", seen)
    with pytest.raises(NonFiniteError, match=rf"environment 2 \(toy\) gave {what} with {value} at step 2 of"):
        play(batched_share(), 6)


@pytest.mark.parametrize("make", [single_share, batched_share])
def test_a_reward_too_large_for_32_bits_is_named(make, monkeypatch):
    step = Single.step
    monkeypatch.setattr(Single, "step", lambda single, actions: (None, 1e39, *step(single, actions)[2:]))
    with pytest.raises(NonFiniteError, match=r"environment 0 \(toy\) gave the reward 1e\+39 \(too large.* at step 0"):
        play(make(), 6)


@pytest.mark.parametrize("make", [single_share, batched_share])
def test_a_second_rollout_starts_afresh(make):
    share = make()
    first, _ = play(share, 6)
    second, ends = play(share, 6)
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value, err_msg=key)
    assert len(ends) == B
