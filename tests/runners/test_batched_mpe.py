"""The batched simple_spread against `mpe2` itself: every observation and reward, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.runners.batched_mpe import SPREAD, BatchedSpread, supports
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

pytest.importorskip("mpe2")


def originals(seeds, time_limit=10_000, **arguments):
    key = f"epymarl_trust_region.suite.mpe:{SPREAD}"
    common = dict(key=key, time_limit=time_limit, common_reward=False, reward_scalarisation="sum")
    return [GymmaEnv(**common, seed=seed, **arguments) for seed in seeds]


@pytest.mark.parametrize(
    "arguments, episodes",
    [({}, 60), ({"N": 5, "local_ratio": 0.3}, 12), ({"N": 2, "max_cycles": 40}, 12), ({"N": 1}, 4), ({"N": 8}, 4)],
    ids=str,
)
def test_every_step_is_the_same_bit_for_bit(arguments, episodes):
    seeds = [3, 4, 99]
    batched, single = BatchedSpread(seeds, **arguments), originals(seeds, **arguments)
    rng = np.random.default_rng(0)
    collisions = 0
    for episode in range(episodes):
        obs = batched.reset()
        for env in single:
            env.reset()
        # Half the episodes drive everybody to one corner, so that agents push each other.
        weights = [0.2] * 5 if episode % 2 else [0.02, 0.47, 0.02, 0.47, 0.02]
        ended = False
        while not ended:
            np.testing.assert_array_equal(obs, np.stack([env.get_obs() for env in single]))
            actions = rng.choice(5, size=(3, batched.n_agents), p=weights)
            obs, rewards, ended = batched.step(actions)
            steps = [env.step(action) for env, action in zip(single, actions, strict=True)]
            np.testing.assert_array_equal(rewards, np.array([step[1] for step in steps], dtype=float))
            assert {step[2] for step in steps} == {ended}
            collisions += (rewards.max(axis=1) != rewards.min(axis=1)).sum()
        np.testing.assert_array_equal(obs, np.stack([env.get_obs() for env in single]))
    assert collisions > 0 or batched.n_agents < 3


def test_only_what_it_can_play_is_claimed():
    assert supports(SPREAD, {}) and supports(f"epymarl_trust_region.suite.mpe:{SPREAD}", {"N": 8, "max_cycles": 50})
    assert not supports(SPREAD, {"continuous_actions": True})
    assert not supports("pz-mpe-simple-tag-v3", {})
