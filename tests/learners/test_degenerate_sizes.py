"""The smallest of everything: one agent, one action, one step, no reward, observations without numbers. All train.

Right: every parameter stays finite, every statistic is a number, no step is skipped, and nothing warns.
"""

from __future__ import annotations

import math
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from epymarl_trust_region import main
from epymarl_trust_region.errors import ConfigError
from gymnasium.spaces import Box, Discrete, Tuple
from support import logged, make_batch, make_learner

ALGORITHMS = (
    *("happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "inpg", "ipg", "log_linear_ppo"),
    *("matrl", "matrl_no_br", "il", "il_pp"),
)


def one_available():
    batch = make_batch()
    batch["avail_actions"][:] = torch.tensor([1, 0, 0, 0])
    batch["actions"][:] = 0
    return batch


def paid(reward: float, **sizes):
    batch = make_batch(**sizes)
    batch["reward"] *= reward
    return batch


SIZES = {
    "one agent": lambda: make_batch(N=1),
    "one action": lambda: make_batch(A=1),
    "one action available": one_available,
    "zero reward": lambda: paid(0.0),
    "large rewards": lambda: paid(1e8),
    "episodes of one step": lambda: make_batch(T=1),
    "one valid step": lambda: make_batch(B=1, T=1),
    "one valid step of many": lambda: make_batch(B=1, T=5, lengths=[1]),
    "two valid steps": lambda: make_batch(B=1, T=2),
    "one of everything": lambda: make_batch(B=1, T=1, N=1, A=1, obs_dim=1),
    "no observation": lambda: make_batch(obs_dim=0),
    "no observation, one agent": lambda: make_batch(N=1, obs_dim=0),
    "no observation, one step": lambda: make_batch(B=1, T=1, obs_dim=0),
}


def check_training(batch, algorithm, **settings):
    learner = make_learner(batch, algorithm, learner_log_interval=0, **settings)
    learner.mac.init_hidden(batch.batch_size)
    for t in range(3):
        learner.mac.select_actions(batch, 0, t)
        learner.train(batch, t, 0)
    assert all(parameter.isfinite().all() for parameter in learner.mac.parameters())
    assert all(parameter.isfinite().all() for parameter in learner.critic.state_dict().values())
    stats = learner.logger.stats
    assert {name for name, values in stats.items() if not all(math.isfinite(x) for _, x in values)} == set()
    assert sum(count for _, count in stats["skipped_steps"]) == 0
    return learner


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.filterwarnings("error")
def test_every_algorithm_trains(algorithm, size):
    check_training(SIZES[size](), algorithm)


@pytest.mark.parametrize("size", ["zero reward", "one valid step", "no observation"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.filterwarnings("error")
def test_every_algorithm_trains_with_popart(algorithm, size):
    check_training(SIZES[size](), algorithm, value_norm="popart")


@pytest.mark.parametrize("size", ["no observation", "no observation, one step"])
@pytest.mark.parametrize(
    "algorithm, setting",
    [
        ("happo", {"use_rnn": True}),
        ("hatrpo", {"use_rnn": True}),
        ("jr_ppo", {"use_rnn": True}),
        ("ir_ippo", {"share_parameters": False, "obs_agent_id": False, "use_rnn": True}),
        ("ir_mappo", {"share_parameters": True, "obs_agent_id": False}),
        ("matrl", {"critic": "central", "obs_individual_obs": True}),
        ("log_linear_ppo", {"features": "fourier"}),
        ("log_linear_ppo", {"policy_input": "obs", "conditioning": "product"}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_no_observation_in_other_forms(algorithm, setting, size):
    check_training(SIZES[size](), algorithm, **setting)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "ipg"])
def test_without_an_observation_the_better_action_is_learnt_all_the_same(algorithm):
    """The biases are all that there is to learn."""
    batch = make_batch(B=200, T=1, N=2, A=2, obs_dim=0)
    batch["reward"][:, 0, 0] = (batch["actions"][:, 0, :, 0] == 1).float().sum(1)
    settings = {} if algorithm in ("hatrpo", "inpg", "ipg", "log_linear_ppo") else {"entropy_coef": 0.0}
    learner = check_training(batch, algorithm, **settings)
    learner.mac.init_hidden(200)
    assert (learner.mac.forward(batch, 0)[..., 1] > 0.501).all()


@pytest.mark.parametrize("algorithm", ["inpg", "ipg"])
def test_a_table_of_no_observation_is_refused(algorithm):
    with pytest.raises(ConfigError, match="tabular=True learns for each observation, .* length 0; set tabular=False"):
        make_learner(make_batch(obs_dim=0), algorithm, tabular=True)


# Through the built-in suite ----------------------------------------------------------------------------------------


class Blind(gym.Env):
    """Two agents that see nothing, not even a number that stays the same."""

    n_agents = 2
    action_space = Tuple([Discrete(3), Discrete(2)])
    observation_space = Tuple([Box(-1, 1, (0,)), Box(-1, 1, (0,))])

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return (np.zeros(0, np.float32),) * 2, {}

    def step(self, actions):
        self.t += 1
        return (np.zeros(0, np.float32),) * 2, float(sum(actions)), self.t == 3, False, {}


gym.register("Blind-v0", entry_point=Blind)
SMALL = (
    "t_max=12 batch_size_run=2 batch_size=2 buffer_size=2 test_nepisode=2 test_interval=1000 log_interval=6 "
    "runner_log_interval=1 learner_log_interval=1 env_processes=1 use_cuda=False env_args.time_limit=5"
)


@pytest.mark.parametrize("algorithm", ["happo", "jr_ppo", "matrl", "inpg", "log_linear_ppo"])
def test_a_run_without_observations(algorithm, own_folder):
    flags = ["--suite=lite", "--progress=off", "--quiet", f"--config={algorithm}", "--env-config=gymma"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main.main([*flags, "with", "env_args.key=Blind-v0", *SMALL.split()]) == 0
    (info,) = own_folder.glob("results/sacred/**/info.json")
    stats = logged(info)
    assert {name for name, values in stats.items() if not np.isfinite(values).all()} == set()
    assert sum(stats["skipped_steps"]) == 0 and len(stats["critic_loss"]) >= 2
