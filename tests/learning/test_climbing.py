"""Games whose equilibria are known: learners find the best one where gradients lead there, and HAPPO always one.

The networks and step sizes are those of `configs/algs`; the batch is larger than ten plays.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from epymarl_trust_region.games.normal_form import climbing_game, penalty_game, pure_equilibria
from epymarl_trust_region.main import main
from support import make_batch, make_learner

pytestmark = pytest.mark.slow

PLAYS = 32  # per update


def final_return(penalty: float, seed: int, updates: int, config: str = "happo") -> float:
    """Greedy test return in the penalty game after training on the built-in suite, summed over the two agents."""
    steps = PLAYS * updates
    params = ["env_args.key=trust-region-penalty-v0", f"env_args.penalty={penalty}", "env_args.time_limit=1"]
    params += [f"seed={seed}", f"t_max={steps - 1}", "test_greedy=True"]
    params += [f"{key}={PLAYS}" for key in ("batch_size_run", "batch_size", "buffer_size", "test_nepisode")]
    params += [f"test_interval={steps - PLAYS}", f"learner_log_interval={steps}", f"name=seed{seed}"]
    flags = ["--suite=lite", f"--config={config}", "--env-config=gymma", "--quiet", "--progress=off"]
    assert main([*flags, "with", *params]) == 0
    (file,) = Path(f"results/sacred/seed{seed}").rglob("info.json")
    info = json.loads(file.read_text())
    assert info["test_return_mean_T"][-1] == steps
    last = info["test_return_mean"][-1]
    return last["value"] if isinstance(last, dict) else last  # how Sacred writes numpy's numbers


@pytest.mark.parametrize(
    "config", ["happo", "hatrpo", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("jr_ppo", "ir_ippo"))]
)
def test_with_a_mild_penalty_every_seed_finds_the_best_joint_action(config, own_folder):
    """Against a uniform partner the two good actions pay (10 + 0 - 1) / 3 = 3 each and the safe one 2 / 3.

    So the first gradients lead to a corner that pays 10, whichever, and from there the penalty is never met again.
    """
    payoff = penalty_game(-1.0)
    assert payoff.mean(1).tolist() == payoff.mean(0).tolist() == [3.0, pytest.approx(2 / 3), 3.0]
    assert [final_return(-1.0, seed, updates=60, config=config) for seed in range(3)] == [20.0] * 3


def trained_policies(payoff: np.ndarray, seed: int, updates: int) -> list[np.ndarray]:
    """The two agents' action probabilities after training on fresh plays, without a host."""
    batch = make_batch(B=PLAYS, T=1, N=2, A=3, obs_dim=1)
    batch["obs"][:] = 1.0
    batch["state"][:] = 1.0
    learner = make_learner(batch, seed=seed, learner_log_interval=10**9, critic_epochs=2)  # one state, one value
    table = torch.tensor(payoff, dtype=torch.float32)
    for _ in range(updates):
        learner.mac.init_hidden(PLAYS)
        actions = learner.mac.select_actions(batch, t_ep=0, t_env=0)
        batch["actions"][:, 0] = actions.unsqueeze(-1)
        batch["reward"][:, 0, 0] = table[actions[:, 0], actions[:, 1]]
        learner.train(batch, 0, 0)
    learner.mac.init_hidden(PLAYS)
    return list(learner.mac.forward(batch, 0)[0].double().detach().numpy())


def test_the_climbing_game_ends_in_an_equilibrium():
    """Most seeds climb from the uniform policy by way of (2, 1), which pays 6, to (1, 1), which pays 7.

    (0, 0) would pay 11, but to find it both must play 0 at once, against -30 for one alone.
    """
    payoff = climbing_game()
    reached = 0
    for seed in range(3):
        first, second = trained_policies(payoff, seed, updates=300)
        joint = int(first.argmax()), int(second.argmax())
        value = first @ payoff @ second
        gain = max((payoff @ second).max(), (first @ payoff).max()) - value  # of the best response of either agent
        reached += joint in pure_equilibria(payoff) and gain < 0.5
    assert reached >= 2


@pytest.mark.parametrize("seed", range(3))
def test_agents_that_see_earlier_actions_find_the_best_joint_action(seed):
    """Log-linear PPO with autoregressive policies, from sampled plays: (0, 0), which pays 11."""
    payoff, updates = torch.tensor(climbing_game(), dtype=torch.float32), 300
    batch = make_batch(B=PLAYS, T=1, N=2, A=3, obs_dim=1)
    batch["obs"][:] = 1.0
    batch["state"][:] = 1.0
    overrides = {"learner_log_interval": 10**9, "critic_epochs": 2, "t_max": PLAYS * updates}
    learner = make_learner(batch, "log_linear_ppo", seed=seed, **overrides)
    for _ in range(updates):
        learner.mac.init_hidden(PLAYS)
        actions = learner.mac.select_actions(batch, t_ep=0, t_env=0)
        batch["actions"][:, 0] = actions.unsqueeze(-1)
        batch["actions_onehot"][:, 0] = torch.nn.functional.one_hot(actions, 3).float()
        batch["reward"][:, 0, 0] = payoff[actions[:, 0], actions[:, 1]]
        learner.train(batch, 0, 0)
    assert batch["reward"][:, 0].mean() > 10
