"""The batched MPE tasks against `mpe2` itself: every observation and reward, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.environments.batched_mpe import (
    TASKS,
    BatchedReference,
    BatchedSpeakerListener,
    BatchedSpread,
    find,
)
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

pytest.importorskip("mpe2")

SPREAD, SPEAKER, REFERENCE = TASKS
SEEDS = [3, 4, 99]


def originals(key, **arguments):
    key = f"epymarl_trust_region.environments.mpe:{key}"
    common = dict(key=key, time_limit=10_000, common_reward=False, reward_scalarisation="sum")
    return [GymmaEnv(**common, seed=seed, **arguments) for seed in SEEDS]


def random_actions(rng, single, corner: bool) -> np.ndarray:
    """[B, N]; with `corner` those who can move mostly go left and down, so that they meet."""
    avail = np.array(single[0].get_avail_actions(), dtype=float)
    if "action_low" in single[0].get_env_info():
        pull = np.eye(5)[3] + np.eye(5)[1] if corner else 0.0  # some are beyond the bounds
        actions = rng.normal(0.5, 0.4, (len(single), *avail.shape)).astype(np.float32)
        actions[..., :5] += np.float32(0.5) * np.resize(pull, (5,))[: avail.shape[1]].astype(np.float32)
        return actions
    if corner:
        avail[:, [1, 3]] *= np.where(avail.sum(1, keepdims=True) > 3, 25, 1)
    probs = avail / avail.sum(1, keepdims=True)
    return np.array([[rng.choice(len(p), p=p) for p in probs] for _ in single])


@pytest.mark.parametrize(
    "key, arguments, episodes",
    [
        (SPREAD, {}, 60),
        (SPREAD, {"N": 5, "local_ratio": 0.3}, 12),
        (SPREAD, {"N": 2, "max_cycles": 40}, 12),
        (SPREAD, {"N": 1}, 4),
        (SPREAD, {"N": 8}, 4),
        (SPREAD, {"N": 27, "max_cycles": 12}, 2),
        (SPEAKER, {}, 60),
        (SPEAKER, {"max_cycles": 60}, 10),
        (REFERENCE, {}, 60),
        (REFERENCE, {"local_ratio": 0.2, "max_cycles": 60}, 10),
        (SPREAD, {"continuous_actions": True}, 20),
        (SPREAD, {"continuous_actions": True, "N": 5}, 6),
        (SPEAKER, {"continuous_actions": True}, 20),
        (REFERENCE, {"continuous_actions": True}, 20),
    ],
    ids=str,
)
def test_every_step_is_the_same_bit_for_bit(key, arguments, episodes):
    batched, single = TASKS[key][0](SEEDS, **arguments), originals(key, **arguments)
    rng = np.random.default_rng(0)
    paid = set()
    for episode in range(episodes):
        obs = batched.reset().obs
        for env in single:
            env.reset()
        ended = False
        while not ended:
            np.testing.assert_array_equal(obs, np.stack([env.get_obs() for env in single]))
            actions = random_actions(rng, single, corner=episode % 2 == 0)
            (obs, state, avail), rewards, terminated, truncated, _ = batched.step(actions)
            steps = [env.step(action) for env, action in zip(single, actions, strict=True)]
            np.testing.assert_array_equal(state, np.stack([env.get_state() for env in single]))
            np.testing.assert_array_equal(avail, np.stack([env.get_avail_actions() for env in single]))
            ended = truncated.all()  # MPE's episodes are cut, and none ends by itself
            assert truncated.any() == ended and np.array_equal(terminated, [step[2] for step in steps])
            np.testing.assert_array_equal(rewards, np.array([step[1] for step in steps], dtype=float))
            assert {step[3] for step in steps} == {ended} and not terminated.any()
            paid |= set(rewards.ravel())
        np.testing.assert_array_equal(obs, np.stack([env.get_obs() for env in single]))
    assert len(paid) > 10 * episodes  # the episodes differ, and so do their steps


def test_agents_push_each_other_in_the_spread_episodes_above():
    batched, single = BatchedSpread(SEEDS), originals(SPREAD)
    rng = np.random.default_rng(0)
    apart = 0
    for _ in range(24):
        rewards = batched.step(random_actions(rng, single, corner=True)).rewards
        apart += (rewards.max(axis=1) != rewards.min(axis=1)).sum()  # only collisions tell agents apart
    assert apart > 0


def test_only_what_it_can_play_is_claimed():
    assert find(SPREAD, {}) is BatchedSpread
    assert find(f"epymarl_trust_region.environments.mpe:{SPREAD}", {"N": 8, "max_cycles": 50}) is BatchedSpread
    assert find(SPEAKER, {}) is BatchedSpeakerListener and find(REFERENCE, {"local_ratio": 1}) is BatchedReference
    assert find(SPREAD, {"continuous_actions": True}) is BatchedSpread
    assert find(SPEAKER, {"N": 3}) is None
    assert find("pz-mpe-simple-tag-v3", {}) is None
