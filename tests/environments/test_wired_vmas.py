"""VMAS behind the vector runner: one by one in one or two processes, and as one where `batched_envs=any` allows it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from data import record
from epymarl_trust_region.environments.batched_vmas import BatchedVMAS
from epymarl_trust_region.runners.batched_form import wanted_rewards
from epymarl_trust_region.runners.env_group import BatchedEnvGroup, EnvGroup
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner

pytest.importorskip("vmas")

N_ENVS, SEED = 3, 11
BALANCE = "epymarl_trust_region.environments.vmas:vmas-balance"


def drive(common_reward: bool = True, limit: int = 10, scalarisation: str = "sum", **changes):
    """Five rollouts under scripted actions: the runner, its batches' fields, and what was logged and counted."""
    runners = []

    def make_runner(args, logger):
        runners.append(vector_runner(args, logger))
        return runners[0]

    case = {"key": BALANCE, "time_limit": limit}, common_reward, scalarisation
    fields, notes = record.drive(make_runner, OneHot, case, n_envs=N_ENVS, **changes)
    return runners[0], fields, notes


def logged(notes: dict, key: str) -> list[float]:
    return [value for _, name, value, _ in notes["logged"] if name == key]


def assert_same(one: dict, other: dict) -> None:
    assert set(one) == set(other)
    for key, values in one.items():
        assert values.dtype == other[key].dtype
        np.testing.assert_array_equal(values, other[key], err_msg=key)


@pytest.mark.parametrize("common_reward", [True, False])
def test_exact_steps_them_one_by_one_and_the_number_of_processes_changes_nothing(common_reward, caplog):
    runner, fields, notes = drive(common_reward, batched_envs="exact", env_processes=1)
    assert type(runner.env_group) is EnvGroup and len(runner.env_group.envs) == N_ENVS and not runner.workers
    said = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert len([text for text in said if "copy by copy; batched_envs=any steps all as one" in text]) == 1
    shared, others, other_notes = drive(common_reward, batched_envs="exact", env_processes=2)
    assert type(shared.env_group) is EnvGroup and len(shared.workers) == 1
    assert_same(fields, others)
    assert notes == other_notes
    starts = fields["0/obs"][:, 0].reshape(N_ENVS, -1)
    assert len(np.unique(starts, axis=0)) == N_ENVS


@pytest.mark.parametrize("common_reward, scalarisation", [(True, "sum"), (True, "mean"), (False, "sum")])
def test_any_plays_and_pays_as_the_batched_environments_do(common_reward, scalarisation, caplog):
    limit = 40  # some episodes end before, when the line has fallen
    runner, fields, notes = drive(common_reward, limit, scalarisation, batched_envs="any")
    assert (
        isinstance(runner.env_group, BatchedEnvGroup)
        and isinstance(runner.env_group.env, BatchedVMAS)
        and not runner.workers
    )
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert len([text for text in warnings if "vmas-balance as one (batched_envs=any)" in text]) == 1
    env = BatchedVMAS(range(SEED, SEED + N_ENVS), "balance")
    returns, lengths = [], []
    for rollout in range(len(record.ROLLOUTS)):
        batch = {key.partition("/")[2]: field for key, field in fields.items() if key.startswith(f"{rollout}/")}
        seen, alive = env.reset(), np.full(N_ENVS, True)
        observed = alive  # an episode's last observation is kept too
        total, length = np.zeros_like(batch["reward"][:, 0], dtype=np.float64), np.zeros(N_ENVS)
        for t in range(limit + 1):
            np.testing.assert_array_equal(batch["filled"][:, t, 0], observed)
            for key, values in seen._asdict().items():
                np.testing.assert_array_equal(batch[key][observed, t], values[observed])
                assert not batch[key][~observed, t].any()
            if t == limit:
                break
            played = env.step(batch["actions"][:, t, :, 0])
            paid = wanted_rewards(played.rewards, common_reward, scalarisation).reshape(N_ENVS, -1)
            np.testing.assert_array_equal(batch["reward"][alive, t], paid[alive].astype(np.float32))
            assert not batch["reward"][~alive, t].any()
            total[alive] += paid[alive]
            length += alive
            over = alive & (played.terminated | (t == limit - 1))
            np.testing.assert_array_equal(batch["terminated"][:, t, 0], over)
            seen, observed, alive = played.seen, alive, alive & ~over
        assert not batch["reward"][:, limit].any() and not batch["terminated"][:, limit].any()
        returns.append(total)
        lengths.append(length)
    returns, lengths = np.array(returns), np.array(lengths)
    assert (lengths == limit).any() and (lengths < limit).any()
    name = "test_return_mean" if common_reward else "test_total_return_mean"
    np.testing.assert_allclose(logged(notes, name), [returns[1:3].sum(-1).mean()])
    np.testing.assert_allclose(logged(notes, "test_ep_length_mean"), [lengths[1:3].mean()])
    assert notes["t_env"][-1] == lengths[[0, 3, 4]].sum()
    assert logged(notes, "test_agent_0/ground_rew_mean")
    assert all(notes["shown"])


@pytest.mark.parametrize("batched_envs", ["exact", "any"])
def test_rollouts_do_not_move_the_numbers_from_which_actions_are_sampled(batched_envs):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    drive(batched_envs=batched_envs, env_processes=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seeds_play_the_same_whatever_the_process_has_drawn_before():
    _, fields, notes = drive(batched_envs="any")
    torch.rand(3), np.random.rand(3)
    _, others, other_notes = drive(batched_envs="any")
    assert_same(fields, others)
    assert notes == other_notes
