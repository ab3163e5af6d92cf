"""Recurrent policies and last actions in rollouts of a fixed number of steps.

Shape letters: B streams, K steps, N agents, H hidden units.
"""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from data import record
from epymarl_trust_region.modules.actors import Actor, ActorSet, GaussianActor, OwnNetwork
from epymarl_trust_region.modules.memory import Memory
from epymarl_trust_region.numerics.autograd import autograd_linear, autograd_vjp
from epymarl_trust_region.onpolicy.minibatch import Minibatch
from epymarl_trust_region.onpolicy.rollout import make_rollout
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner
from gymnasium.spaces import Box, Discrete, Tuple
from my_networks import Recurrent
from support import CONTROLLERS, LEARNERS, algorithm, make_batch
from torch import nn

K = 5


class Noisy(gym.Env):
    """Two agents who see noise. The environment with seed s ends its e-th episode after 1 + (s + e) % 7 steps; with
    `length`, after so many."""

    n_agents = 2
    action_space = Tuple([Discrete(3), Discrete(3)])
    observation_space = Tuple([Box(-9, 9, (2,))] * 2)

    def __init__(self, length: int = 0) -> None:
        self.length = length

    def seed(self, seed: int) -> None:
        self.n, self.episode = seed, -1

    def _observe(self):
        return tuple(np.random.default_rng([self.n, self.episode, self.t]).normal(size=(2, 2)).clip(-9, 9))

    def reset(self, *, seed=None, options=None):
        self.t, self.episode = 0, self.episode + 1
        return self._observe(), {}

    def step(self, actions):
        self.t += 1
        over = self.t == (self.length or 1 + (self.n + self.episode) % 7)
        return self._observe(), [float(actions[0]), float(self.t % 2)], over, False, {}


gym.register("Noisy-v0", entry_point=Noisy)


class Quiet:
    console_logger = SimpleNamespace(warning=print)

    def log_stat(self, key, value, t, to_sacred=True) -> None: ...


def made(name: str = "happo", **changes) -> SimpleNamespace:
    """A runner of three environments with a MAC and a learner, as a host makes them."""
    config = algorithm(name, runner="vector", batch_size_run=3, batch_size=3, buffer_size=3, use_rnn=True, hidden_dim=6)
    config |= dict(
        obs_last_action=True, env="gymma", env_args={"key": "Noisy-v0", "time_limit": 50, "seed": 1}, env_processes=1,
        rollout_steps=K, render=False, test_nepisode=3, runner_log_interval=10**9, t_max=10**6,
    )  # fmt: skip
    args = SimpleNamespace(**config | changes)
    runner = vector_runner(args, Quiet())
    info = runner.get_env_info()
    args.n_agents, args.n_actions = info["n_agents"], info["n_actions"]
    scheme = record._scheme(info, True)
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=info["n_actions"])])}
    runner.extend_scheme(scheme, preprocess)
    torch.manual_seed(0)
    mac = CONTROLLERS[args.mac](scheme, {"agents": 2}, args)
    runner.setup(scheme, {"agents": 2}, preprocess, mac)
    return SimpleNamespace(runner=runner, mac=mac, learner=LEARNERS[args.learner](mac, scheme, Quiet(), args))


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, learner.episode_limit)


def with_large_weights(mac) -> None:
    """So that what is remembered matters: the first heads are near zero."""
    for parameter in mac.agent.parameters():
        nn.init.normal_(parameter, std=0.7)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("network", [None, "my_networks:Recurrent"])
def test_what_is_learnt_from_is_what_acted(network, processes) -> None:
    """Log-probabilities of three rollouts, as they were when actions were drawn and as the learner finds them."""
    own = {"actor_network": network, "actor_args": {"width": 6}, "use_rnn": False} if network else {}
    run = made(env_processes=processes, **own)
    with_large_weights(run.mac)
    drawn: list[torch.Tensor] = []
    choose = run.mac._choose

    def noted(policy, test_mode, first=0):
        actions = choose(policy, test_mode, first)
        drawn.append(policy.log_prob(actions))
        return actions

    run.mac._choose = noted
    borders, carried = 0, []
    try:
        for _ in range(3):
            drawn.clear()
            batch = run.runner.run()
            acted = torch.stack(drawn[:K], 2).transpose(0, 1)  # [N, B, K]
            run.runner.run(test_mode=True)  # uses the same MAC, and must not disturb the streams
            rollout = rollout_of(run.learner, batch)
            valid = rollout.mask.bool()
            torch.testing.assert_close(rollout.old_log_probs[:, valid], acted[:, valid])
            some = Minibatch(rollout, torch.tensor([2, 0]))
            found = some.evaluate_all(run.mac)[0], torch.stack([some.evaluate(run.mac, i)[0] for i in range(2)])
            for log_probs in found:
                torch.testing.assert_close(log_probs, rollout.old_log_probs[:, [2, 0]])
            borders += int((~valid).sum())
            carried.append(run.mac.carried)
    finally:
        run.runner.close_env()
    assert borders > 3 and carried[0] is None
    goes_on = ~carried[2].begins
    assert goes_on.any() and not goes_on.all()
    assert (carried[2].hidden[goes_on] != 0).all() and (carried[2].hidden[~goes_on] == 0).all()
    assert (carried[2].last_actions.sum(-1) == goes_on[:, None]).all()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("happo", {"epochs": 2}),
        ("happo", {"actor_network": "my_networks:Recurrent", "actor_args": {"width": 6}, "use_rnn": False}),
        ("happo", {"use_rnn": False}),
        ("happo", {"actor_num_mini_batch": 2, "epochs": 2}),
        ("ir_mappo", {}),
        ("hatrpo", {}),
        ("matrl", {}),
        ("matrl_no_br", {"mixture": "distilled"}),
        ("inpg", {}),
        ("log_linear_ppo", {"use_rnn": False}),
    ],
)
def test_streams_that_are_whole_episodes_teach_what_episodes_teach(name, changes) -> None:
    """Episodes of K steps that end by themselves, in both forms: three updates, bit for bit."""
    task = {"key": "Noisy-v0", "time_limit": 50, "seed": 1, "length": K}
    vectors, actions = [], []
    for steps in (K, None):
        run = made(name, rollout_steps=steps, env_args=task, **changes)
        try:
            for update in range(3):
                torch.manual_seed(update)
                batch = run.runner.run()
                torch.manual_seed(10 + update)  # whole episodes have chosen once more, at their last observation
                actions.append(batch["actions"][:, :K])
                if steps is None:
                    batch = batch[:, : K + 1]
                run.learner.train(batch, 0, 0)
        finally:
            run.runner.close_env()
        vectors.append(torch.cat([o.vector.detach() for o in run.learner.actor_optimisers]))
    for ours, theirs in zip(actions[:3], actions[3:], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(*vectors)


def test_episodes_in_a_stream_have_the_policies_and_inputs_that_they_have_alone() -> None:
    """Three streams, cut up by hand: an episode that goes on, its end at slot 1, the next from slot 3 on."""
    run = made(env_args={"key": "Noisy-v0", "time_limit": 50, "seed": 1, "length": 7})
    with_large_weights(run.mac)
    try:
        batches = [run.runner.run() for _ in range(2)]
    finally:
        run.runner.close_env()
    second = batches[1]
    assert second["mask"][:, :K, 0].tolist() == [[1, 1, 0, 1, 1]] * 3
    rollout = rollout_of(run.learner, second)
    assert (rollout.inputs[:, :, 3, 2:] == 0).all()  # no last action
    assert torch.equal(rollout.inputs[:, :, 0, 2:], batches[0]["actions_onehot"][:, K - 1].transpose(0, 1))
    for agent in range(2):
        alone = run.mac.policy(agent, rollout.inputs[agent][:, 3:], None)
        torch.testing.assert_close(rollout.policy(run.mac, agent).probs[:, 3:], alone.probs)


@pytest.mark.parametrize("kind", ["gru", "gaussian", "own"])
def test_the_fused_recurrence_forgets_where_episodes_begin(kind) -> None:
    """Values and derivatives both ways against PyTorch's layers, piece by piece, and autograd; in double precision."""
    torch.manual_seed(0)
    make = {
        "gru": lambda: Actor(4, 3, 5, True),
        "gaussian": lambda: GaussianActor(Actor(4, 3, 5, True), 3, -0.5, -2.0, 1.0),
        "own": lambda: OwnNetwork(Recurrent(4, 3, 5)),
    }[kind]
    actor = make().double()
    for parameter in actor.parameters():
        nn.init.normal_(parameter, std=0.5)
    begins = torch.rand(6, 9) < 0.3
    memory = Memory(torch.randn(6, 5, dtype=torch.float64), begins)
    inputs = torch.randn(6, 9, 4, dtype=torch.float64)
    plain = actor.unrolled(inputs, memory)
    # By hand: the last beginning before a step decides what the step depends on.
    for row in range(6):
        for t in range(9):
            first = max([s for s in range(t + 1) if begins[row, s]], default=0)
            hidden = None if begins[row, first] else memory.hidden[row : row + 1]
            alone = actor(inputs[row : row + 1, first : t + 1], hidden)[0]
            torch.testing.assert_close(plain[row, t], alone[0, -1])
    weights = torch.randn_like(plain)
    expected = [torch.empty_like(parameter) for parameter in actor.in_order]
    autograd_vjp(lambda: actor.unrolled(inputs, memory), actor.in_order)[1](weights, expected)
    direction = [torch.randn_like(parameter) for parameter in actor.in_order]
    expected_push = autograd_linear(lambda: actor.unrolled(inputs, memory), actor.in_order)[1](direction)
    with torch.no_grad():
        outputs, push, pull = actor.linearise(inputs, memory)
        pushed = push(direction)
    torch.testing.assert_close(outputs, plain.detach())
    torch.testing.assert_close(pushed, expected_push)
    with torch.no_grad():
        pulls = pull, actor.vjp(inputs, memory)[1]
    for function in pulls:
        with torch.no_grad():
            ours = [torch.full_like(parameter, 7.0) for parameter in actor.in_order]
            function(weights, ours)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shared", [True, False])
def test_all_agents_at_once_remember_each_their_own(shared) -> None:
    torch.manual_seed(0)
    actors = ActorSet(3, lambda: Actor(4, 2, 5, True), shared)
    for parameter in actors.parameters():
        nn.init.normal_(parameter, std=0.5)
    memory = Memory(torch.randn(3, 6, 5), torch.rand(6, 9) < 0.3)
    inputs = torch.randn(3, 6, 9, 4)
    with torch.no_grad():
        together, _ = actors.vjp(inputs, memory)
        for i in range(3):
            torch.testing.assert_close(together[i], actors.actor(i).vjp(inputs[i], memory.of(i))[0])


def test_without_a_carried_state_streams_begin_with_nothing() -> None:
    batch = make_batch(T=K, terminated=False)
    batch["mask"] = torch.ones_like(batch["terminated"])
    run = made()
    memory = run.mac.memory(SimpleNamespace(**{}, max_seq_length=K + 1, get=batch.get))
    assert (memory.hidden == 0).all() and memory.begins[:, 0].all() and not memory.begins[:, 1:].any()
    run.runner.close_env()
