"""Streams of SMAX: all battles as one, some of which begin anew while others go on, against the same one by one."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from epymarl_trust_region.environments.batched_smax import BatchedSMAX
from epymarl_trust_region.runners.streams import BatchedStreamGroup, StreamGroup
from streamed import Chance, Reflex, assert_same, assert_whole_episodes, drive

# Not importorskip: it would start JAX, and its threads, before the tests that fork workers.
if importlib.util.find_spec("jaxmarl") is None:
    pytest.skip("jaxmarl is not installed; it needs Python 3.11", allow_module_level=True)
pytestmark = pytest.mark.jax

STOP, FIRST_ATTACK = 4, 5
SEED = 76


class Marksmen(Chance):
    """Everybody stops and shoots at the first enemy in range, so battles end by themselves after 13 steps or more."""

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        shots = ep_batch["avail_actions"][bs, t_ep, :, FIRST_ATTACK:]
        return shots.argmax(-1).add(FIRST_ATTACK).where(shots.any(-1), shots.argmax(-1) * 0 + STOP)


def battles(time_limit: int, **arguments) -> dict:
    return {"map_name": "3m", "time_limit": time_limit, "seed": SEED, **arguments}


@pytest.mark.parametrize(
    "mac, time_limit, rollout_steps",
    [(Marksmen, 60, 25), (Marksmen, 16, 50), (Chance, 9, 30), (Chance, 40, 16)],
)
def test_streams_are_those_of_the_battles_one_by_one(mac, time_limit, rollout_steps):
    runner, batches, counted = drive(battles(time_limit), rollout_steps, mac=mac, env="smax")
    assert isinstance(runner.env_group, BatchedStreamGroup) and isinstance(runner.env_group.env, BatchedSMAX)
    plain, expected, others = drive(battles(time_limit), rollout_steps, mac=mac, env="smax", batched_envs="none")
    assert type(plain.env_group) is StreamGroup
    assert_same(batches, expected)
    assert counted == others and len(counted[0]) > 20
    if mac is Marksmen:
        borders = [(batch["mask"][:, :-1, 0] == 0).sum(0) for batch in batches if "mask" in batch]
        assert any(0 < number < runner.batch_size for number in np.concatenate(borders))  # some begin, others go on
        ended, cut = (sum(int(batch[key].sum()) for batch in batches) for key in ("terminated", "truncated"))
        assert ended > 2 * cut and (cut > 0) == (time_limit == 16)  # a cut is stored as an end, too


@pytest.mark.parametrize("mac, time_limit, rollout_steps", [(Marksmen, 60, 25), (Marksmen, 16, 40), (Reflex, 9, 12)])
def test_streams_are_whole_battles_one_after_the_other(mac, time_limit, rollout_steps):
    assert min(assert_whole_episodes(battles(time_limit), rollout_steps, mac, env="smax")) > 50


def test_some_battles_begin_anew_and_the_others_do_not_notice():
    """Copy i's second episode is the same whenever it begins, and copies 0 and 2 fight on as if nothing had been."""
    env, undisturbed = (BatchedSMAX([5, 6, 7], "3m", time_limit=8) for _ in range(2))
    actions = np.full((3, 3), STOP)
    for one in (env, undisturbed):
        one.reset(), one.step(actions), one.step(actions)
    begun = env.restart(np.array([False, True, False]))
    second = BatchedSMAX([5, 6, 7], "3m", time_limit=8)
    second.reset()
    expected = second.reset()
    for t in range(8):
        for field, wanted in zip(begun, expected, strict=True):
            np.testing.assert_array_equal(field[1], wanted[1])
        played, on, anew = (one.step(actions) for one in (env, undisturbed, second))
        for field, wanted in zip(played.seen, on.seen, strict=True):
            np.testing.assert_array_equal(field[[0, 2]], wanted[[0, 2]])
        np.testing.assert_array_equal(played.rewards, [on.rewards[0], anew.rewards[1], on.rewards[2]])
        assert played.truncated.tolist() == [t >= 5, t == 7, t >= 5]
        begun, expected = played.seen, anew.seen


def test_beginning_anew_compiles_no_step_anew():
    import jax

    env = BatchedSMAX([5, 6, 7], "3m", time_limit=8)
    env.reset()
    fresh = [leaf.aval for leaf in jax.tree.leaves(env._battles)]
    env.restart(np.array([False, True, False]))
    assert [leaf.aval for leaf in jax.tree.leaves(env._battles)] == fresh
