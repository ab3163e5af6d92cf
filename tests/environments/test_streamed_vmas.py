"""Streams of VMAS as one (`batched_envs=any`): who begins anew, what is drawn, and who does not notice.

Shape letters: B environments.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from epymarl_trust_region.environments import batched_vmas
from epymarl_trust_region.environments.batched_vmas import BatchedVMAS, find
from epymarl_trust_region.runners.streams import BatchedStreamGroup, StreamGroup
from streamed import assert_same, begun, drive

pytest.importorskip("vmas")

BALANCE = "epymarl_trust_region.environments.vmas:vmas-balance"
B = 3


@pytest.mark.parametrize(
    "limit, steps, common_reward, continuous",
    [
        (40, 100, True, False),
        (200, 30, False, True),
        pytest.param(40, 100, True, True, marks=pytest.mark.thorough),
        pytest.param(200, 30, False, False, marks=pytest.mark.thorough),
    ],
)
def test_a_single_stream_is_that_of_the_environment_by_itself(continuous, limit, steps, common_reward):
    """Some of its episodes end by themselves, when the line has fallen; in each form it draws from its own seed."""
    env_args = {"key": BALANCE, "time_limit": limit, "continuous_actions": continuous}
    changes = {"batch_size_run": 1, "test_nepisode": 1, "common_reward": common_reward}
    runner, batches, counted = drive(env_args, steps, rollouts=5, batched_envs="any", **changes)
    assert isinstance(runner.env_group, BatchedStreamGroup) and isinstance(runner.env_group.env, BatchedVMAS)
    plain, expected, others = drive(env_args, steps, rollouts=5, batched_envs="none", **changes)
    assert type(plain.env_group) is StreamGroup
    assert_same(batches, expected)
    assert counted == others
    ended, cut = (sum(int(batch[key].sum()) for batch in batches) for key in ("terminated", "truncated"))
    assert ended > cut + 1


def test_several_streams_are_what_the_batched_environments_give():
    """Written down beside the runner: the steps of all, then the beginnings."""
    env_args, steps, limit = {"key": BALANCE, "time_limit": 40}, 60, 40
    _, batches, _ = drive(env_args, steps, 3, batched_envs="any", batch_size_run=B, tests=False)
    env = BatchedVMAS(range(7, 7 + B), "balance")
    obs, over, length, some = env.reset().obs, np.zeros(B, bool), np.zeros(B, int), 0

    def begin() -> None:
        nonlocal obs, over, length, some
        some += not over.all()
        fresh = env.reset() if over.all() else env.restart(over)
        obs, length = np.where(over[:, None, None], fresh.obs, obs), np.where(over, 0, length)
        over = np.zeros(B, bool)

    for batch in batches:
        if over.any():
            begin()
        for t in range(steps):
            np.testing.assert_array_equal(batch["obs"][:, t], obs)
            np.testing.assert_array_equal(batch["mask"][:, t, 0], ~over)
            if not (beginning := over).all():
                played = env.step(batch["actions"][:, t, :, 0].numpy())
                paid = sum(played.rewards.T)
                np.testing.assert_array_equal(batch["reward"][~beginning, t, 0], paid[~beginning].astype(np.float32))
                obs = played.seen.obs
            assert not batch["reward"][beginning, t].any()
            if beginning.any():
                begin()
            length += ~beginning
            over = ~beginning & (played.terminated | (length == limit))
            np.testing.assert_array_equal(batch["terminated"][:, t, 0], over)
        np.testing.assert_array_equal(batch["obs"][:, steps], obs)
    assert some > 5


def claimed_in_streams() -> list[str]:
    names = {name for name in batched_vmas._scenarios() if "__" not in name}
    return sorted(name for name in names if find(f"vmas-{name}", {}, streams=True))


#: Where the numbers of the others depend on the one stream that all draw from in the midst of their episodes.
STILL = {"discovery": {"targets_respawn": False}}


def of_the_others(scenario: str, restart: bool) -> list[np.ndarray]:
    """What copies 0 and 2 see and earn in ten steps; copy 1 may begin anew twice, drawing from elsewhere."""
    env, rng, given = BatchedVMAS(range(B), scenario, **STILL.get(scenario, {})), np.random.default_rng(0), []
    seen = env.reset()
    for t in range(10):
        if restart and t in (3, 6):
            own = env._randomness._own
            begun = env.restart(np.array([False, True, False]))
            env._randomness._own = own
            assert scenario == "pollock" or not np.array_equal(begun.obs[1], seen.obs[1])  # its agents see nothing
            assert env._env.steps.tolist() == [t, 0, t]
        if t % 3 == 0:
            actions = rng.integers(seen.avail_actions[0].sum(1), size=(B, env.n_agents))
        played = env.step(actions)
        seen = played.seen
        given += [played.seen.obs[[0, 2]], played.rewards[[0, 2]], played.terminated[[0, 2]]]
    return given


@pytest.mark.parametrize(
    "scenario",  # sampling takes as long as all others together
    [pytest.param(name, marks=[pytest.mark.thorough] * (name == "sampling")) for name in claimed_in_streams()],
)
def test_the_others_do_not_notice_that_one_begins_anew(scenario):
    for one, other in zip(of_the_others(scenario, True), of_the_others(scenario, False), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("scenario", ["buzz_wire", "joint_passage", "het_mass"])
def test_what_is_not_claimed_would_disturb_the_others(scenario):
    assert find(f"vmas-{scenario}", {}) and not find(f"vmas-{scenario}", {}, streams=True)
    pairs = zip(of_the_others(scenario, True), of_the_others(scenario, False), strict=True)
    assert not all(np.array_equal(one, other) for one, other in pairs)


def test_where_a_run_goes_on_the_copies_begin_anew_and_it_says_so():
    """VMAS cannot write its worlds down: an old observation would lead to a new world, and two episodes be one."""
    args = {"key": BALANCE, "time_limit": 40}, 15
    changes = {"batched_envs": "any", "batch_size_run": B, "test_nepisode": B}
    before, _ = begun(*args, **changes)
    batch = before.run()
    assert batch["mask"][:, -2].any()  # some are in the midst of an episode
    after, recorder = begun(*args, **changes)
    (lost,) = after.load_state_dict(before.state_dict())
    assert lost == "vmas-balance: the episodes that they were in are lost, and only their random numbers go on"
    first, second, third = (after.run() for _ in range(3))
    assert not np.array_equal(first["obs"][:, 0], batch["obs"][:, -1])
    rewards, mask = (th.cat([b[key][:, :-1, 0] for b in (first, second, third)], 1) for key in ("reward", "mask"))
    lengths = [int((row == 0).nonzero()[0]) if (row == 0).any() else len(row) for row in mask]  # of first episodes
    returns = [float(row[:length].sum()) for row, length in zip(rewards, lengths, strict=True)]
    logged = {key: value for key, value, _ in recorder.logged}  # of these episodes, all over in the third rollout
    assert logged["ep_length_mean"] == np.mean(lengths) and max(lengths) == 40
    assert logged["return_mean"] == pytest.approx(np.mean(returns), rel=1e-5)


def test_copies_begin_in_their_order_as_by_hand():
    env, by_hand = (BatchedVMAS([3, 4, 5], "navigation") for _ in range(2))
    env.reset(), by_hand.reset()
    seen = env.restart(np.array([True, False, True]))
    with by_hand._randomness:
        for copy in (0, 2):
            obs = by_hand._env.reset_at(copy)
    np.testing.assert_array_equal(seen.obs, th.stack(obs, dim=1).numpy())
    assert len(np.unique(seen.obs, axis=0)) == B
