"""The product game r = a_1 a_2: payoffs, clipping, one by one and as one; and the paper's Figure 1 played on it."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from data import record
from epymarl_trust_region.environments.batched_games import BatchedGame
from epymarl_trust_region.environments.games import PRODUCT_ID
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.runners.env_group import BatchedEnvGroup, EnvGroup
from epymarl_trust_region.suite.lite.registries import vector_runner
from streamed import assert_same, drive
from support import CONTROLLERS, LEARNERS, RecordingLogger, algorithm

KEY = f"epymarl_trust_region.environments.games:{PRODUCT_ID}"


def actions(*numbers: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([number], np.float32) for number in numbers)


def test_both_are_paid_the_product_of_their_actions_from_the_start_on():
    env = gymnasium.make(KEY)
    observations, _ = env.reset(seed=0)
    assert all(
        seen == 0 and space.contains(seen) for seen, space in zip(observations, env.observation_space, strict=True)
    )
    for (one, two), paid in {(0, 0): -0.0625, (1, -1): -0.5625, (1, 1): 0.9375, (-1, -1): 0.9375, (0.25, 9): 0}.items():
        env.reset()
        _, rewards, terminated, truncated, info = env.step(actions(one, two))
        assert rewards == [paid, paid] and (terminated, truncated, info) == (True, False, {})
    other = gymnasium.make(KEY, start=[2, 3], bound=1)
    other.reset()
    assert other.step(actions(0.5, -1))[1] == [5.0, 5.0]
    assert [space.high.tolist() for space in other.action_space] == [[1], [1]]


@pytest.mark.parametrize("common_reward", [True, False])
def test_as_one_it_is_what_it_is_one_by_one_and_draws_beyond_the_bound_are_clipped(common_reward):
    env_args = {"key": KEY, "time_limit": 1, "bound": 0.5}
    changes = {"batch_size_run": 50, "test_nepisode": 50, "common_reward": common_reward}
    runner, batches, counted = drive(env_args, None, **changes)
    assert type(runner.env_group) is BatchedEnvGroup and isinstance(runner.env_group.env, BatchedGame)
    plain, expected, others = drive(env_args, None, batched_envs="none", **changes)
    assert type(plain.env_group) is EnvGroup
    assert_same(batches, expected)
    assert counted == others
    drawn = batches[0]["actions"][:, 0, :, 0]
    assert (drawn.abs() > 0.5).any()
    played = drawn.double().clamp(-0.5, 0.5) + torch.tensor([-0.25, 0.25], dtype=torch.float64)
    paid = played.prod(1) * (2 if common_reward else 1)
    torch.testing.assert_close(batches[0]["reward"][:, 0, 0], paid.float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"start": 0.5}, "env_args.start is 0.5: give two finite numbers"),
        ({"start": [1]}, r"env_args.start is \[1\]"),
        ({"start": [0, float("nan")]}, "env_args.start is"),
        ({"start": "ab"}, "env_args.start is 'ab'"),
        ({"bound": 0}, "env_args.bound is 0: give a positive number"),
        ({"bound": True}, "env_args.bound is True"),
        ({"bound": float("inf")}, "env_args.bound is inf"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        gymnasium.make(KEY, **wrong)


# Figure 1 ------------------------------------------------------------------------------------------------------------

K = 20_000  # episodes of one step
UPDATES = {
    "together": dict(name="inpg", kl_cap=0.5, eta=100.0),  # a natural gradient as long as its region is wide
    "in turn": dict(name="hatrpo", kl_threshold=0.5, accept_ratio=0.01, agent_order="fixed"),
    "in turn, drawn": dict(name="hatrpo", kl_threshold=0.5, accept_ratio=0.01, agent_order="random"),
}


def update(name: str, seed: int, **settings) -> SimpleNamespace:
    """What a run's first rollout pays, and its test after one update, by the means: each with unit deviations."""
    config = algorithm(name, runner="vector", batch_size_run=K, batch_size=K, buffer_size=K, test_greedy=True)
    config |= dict(
        env="gymma", env_args={"key": KEY, "time_limit": 1, "seed": seed}, env_processes=1, rollout_steps=None,
        reward_scalarisation="mean", render=False, test_nepisode=K, runner_log_interval=1, t_max=K, cg_damping=0.0,
        log_std_init=0.0, log_std_min=0.0, log_std_max=0.0, n_agents=2, n_actions=1,
    )  # fmt: skip
    args = SimpleNamespace(**config | settings)
    logger, preprocess = RecordingLogger(), {}
    runner = vector_runner(args, logger)
    scheme = record._scheme(runner.get_env_info(), True)
    runner.extend_scheme(scheme, preprocess)
    torch.manual_seed(seed)
    mac = CONTROLLERS[args.mac](scheme, {"agents": 2}, args)
    runner.setup(scheme, {"agents": 2}, preprocess, mac)
    learner = LEARNERS[args.learner](mac, scheme, logger, args)
    learner.train(runner.run(), runner.t_env, 0)
    runner.run(test_mode=True)
    logged = {key: values[-1][1] for key, values in logger.stats.items()}
    means = [actor.network.head.bias.item() for actor in mac.agent.agents]
    return SimpleNamespace(before=logged["return_mean"], after=logged["test_return_mean"], means=means, logged=logged)


@pytest.mark.parametrize("how, means, paid", [("together", (1, -1), -0.5625), ("in turn", (1, 1), 0.9375)])
def test_figure_1_simultaneous_steps_fall_and_sequential_ones_rise(how, means, paid):
    """From J = mu_1 mu_2 = -0.0625 by steps of KL 1/2, that is of length 1 (seed 1).

    A rollout's mean return has standard error sqrt((1 + 1/16)^2 - 1/256) / sqrt(K) = 0.0075. A step's length falls
    short of 1 by what the batch's noise makes of the deviations' gradient, which is 0: g_s has standard error
    3.3 / sqrt(K) = 0.023, and the shortfall (g_s / g_mu)^2 / 4 is 0.002 in the mean, where g_mu is 1/4.
    """
    played = update(**UPDATES[how], seed=1)
    assert played.before == pytest.approx(-0.0625, abs=3 * 0.0075)
    assert played.means == pytest.approx(means, abs=0.01)
    assert played.after == pytest.approx(paid, abs=0.015)
    assert played.after == pytest.approx((played.means[0] - 0.25) * (played.means[1] + 0.25), rel=1e-6)
    assert played.logged["kl_mean"] == pytest.approx(0.5, abs=0.01) and played.logged["kl_max"] <= 0.5


def test_figure_1_whoever_comes_first_the_other_follows():
    played = [update(**UPDATES["in turn, drawn"], seed=seed) for seed in (1, 2, 3, 4)]
    assert {tuple(round(mean) for mean in one.means) for one in played} == {(1, 1), (-1, -1)}
    assert [one.after for one in played] == pytest.approx([0.9375] * 4, abs=0.02)
