"""SMAX behind the vector runner: all battles as one against the same battles one by one."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from data import record
from epymarl_trust_region.environments.batched_smax import BatchedSMAX
from epymarl_trust_region.environments.smax import SMAXEnv
from epymarl_trust_region.errors import CapabilityError
from epymarl_trust_region.runners.env_group import BatchedEnvGroup, EnvGroup
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch, OneHot

# Not importorskip: it would start JAX, and its threads, before the tests that fork workers.
if importlib.util.find_spec("jaxmarl") is None:
    pytest.skip("jaxmarl is not installed; it needs Python 3.11", allow_module_level=True)
pytestmark = pytest.mark.jax

N_ENVS, N_AGENTS, STOP, FIRST_ATTACK = 4, 3, 4, 5
SEED = 76  # under `Marksmen` one environment of four wins in each of four rollouts, none in one


class Marksmen(record.ScriptedMAC):
    """Everybody stops and shoots at the first enemy in range; it remembers as ScriptedMAC does."""

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        by_arithmetic = super().select_actions(ep_batch, t_ep, t_env, bs, test_mode)
        shots = ep_batch["avail_actions"][bs, t_ep, :, FIRST_ATTACK:]
        stopping = by_arithmetic * 0 + STOP
        return shots.argmax(-1).add(FIRST_ATTACK).where(shots.any(-1), stopping)


def drive(monkeypatch, batched_envs: str, time_limit: int, mac=record.ScriptedMAC, common_reward=True):
    """Five rollouts: the runner, its batches' fields, and what was logged, asked of the MAC and counted."""
    runners = []

    def make_runner(args, logger):
        runners.append(VectorRunner(args, logger, EpisodeBatch, SMAXEnv))
        return runners[0]

    monkeypatch.setattr(record, "ScriptedMAC", mac)
    changes = {
        "env": "smax",
        "env_args": {"map_name": "3m", "time_limit": time_limit, "seed": SEED},
        "env_processes": 1,  # JAX starts here, so nothing may be forked
        "batched_envs": batched_envs,
    }
    fields, notes = record.drive(make_runner, OneHot, ({}, common_reward, "sum"), n_envs=N_ENVS, **changes)
    return runners[0], fields, notes


def logged(notes: dict, key: str) -> list[float]:
    return [value for _, name, value, _ in notes["logged"] if name == key]


def lengths(fields: dict, rollout: int) -> np.ndarray:
    return fields[f"{rollout}/filled"].sum((1, 2)) - 1


@pytest.mark.parametrize("mac, time_limit", [(record.ScriptedMAC, 40), (Marksmen, 60), (Marksmen, 9)])
def test_batches_and_statistics_are_those_of_the_battles_one_by_one(mac, time_limit, monkeypatch):
    runner, fields, notes = drive(monkeypatch, "exact", time_limit, mac)
    plain, expected, expected_notes = drive(monkeypatch, "none", time_limit, mac)
    assert isinstance(runner.env_group, BatchedEnvGroup) and isinstance(runner.env_group.env, BatchedSMAX)
    assert type(plain.env_group) is EnvGroup and len(plain.env_group.envs) == N_ENVS
    assert set(fields) == set(expected)
    for key, values in expected.items():
        assert fields[key].dtype == values.dtype
        np.testing.assert_array_equal(fields[key], values, err_msg=key)
    assert notes == expected_notes and len(notes["logged"]) > 20
    assert all(notes["shown"])


def test_episodes_end_by_themselves_at_different_steps_and_victories_are_counted(monkeypatch):
    _, fields, notes = drive(monkeypatch, "exact", 60, Marksmen)
    lasted = np.array([lengths(fields, rollout) for rollout in range(len(record.ROLLOUTS))])
    assert (lasted < 60).all() and len(set(lasted[0])) > 1
    won, returns = [], []
    for rollout, steps in enumerate(lasted):
        state, reward = fields[f"{rollout}/state"], fields[f"{rollout}/reward"][..., 0]
        last = state[np.arange(N_ENVS), steps][:, : 2 * N_AGENTS * 10].reshape(N_ENVS, 2, N_AGENTS, 10)
        ally, enemy = (last[..., 0] > 0).any(-1).T  # does somebody live?
        assert not (ally & enemy).any()
        won.append(ally & ~enemy)
        returns.append(reward.sum(1))
        np.testing.assert_array_equal(fields[f"{rollout}/terminated"][..., 0].argmax(1), steps - 1)
        assert (fields[f"{rollout}/terminated"].sum((1, 2)) == 1).all()
        # The bonus for victory, and no more than 1 for the enemies' health.
        np.testing.assert_array_equal(returns[-1] > 1.001, won[-1])
    won, returns = np.array(won), np.array(returns)
    assert won.any() and not won.all()
    training = [rollout for rollout, test in enumerate(record.ROLLOUTS) if not test]
    tests = [rollout for rollout, test in enumerate(record.ROLLOUTS) if test]
    np.testing.assert_allclose(logged(notes, "test_battle_won_mean"), [won[tests].mean()])
    np.testing.assert_allclose(logged(notes, "test_return_mean"), [returns[tests].mean()], rtol=1e-6)
    np.testing.assert_allclose(logged(notes, "test_ep_length_mean"), [lasted[tests].mean()])
    np.testing.assert_allclose(logged(notes, "battle_won_mean"), won[training].mean(1))
    assert notes["t_env"][-1] == lasted[training].sum()


def test_the_time_limit_cuts_all_battles_as_it_does_one_by_one(monkeypatch):
    _, fields, notes = drive(monkeypatch, "exact", 5)
    for rollout in range(len(record.ROLLOUTS)):
        assert lengths(fields, rollout).tolist() == [5] * N_ENVS
        # No battle is over after 5 steps; the suite's runners store a cut one as terminated all the same.
        assert fields[f"{rollout}/terminated"][..., 0].tolist() == [[0, 0, 0, 0, 1, 0]] * N_ENVS
    assert logged(notes, "test_battle_won_mean") == [0] and logged(notes, "test_ep_length_mean") == [5]


def test_each_environment_has_its_own_seed(monkeypatch):
    _, fields, _ = drive(monkeypatch, "exact", 5)
    for i in range(N_ENVS):
        env = SMAXEnv("3m", 5, seed=SEED + i, common_reward=True, reward_scalarisation="sum")
        env.reset()
        np.testing.assert_array_equal(fields["0/state"][i, 0], env.get_state())


@pytest.mark.parametrize("batched_envs", ["exact", "none"])
def test_rewards_for_each_agent_are_refused(batched_envs, monkeypatch):
    with pytest.raises(CapabilityError, match="common_reward=False has no meaning"):
        drive(monkeypatch, batched_envs, 5, common_reward=False)
