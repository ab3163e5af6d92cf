"""Robots of one share stepped together, against each by itself: bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")

from epymarl_trust_region.environments import mamujoco_by_heart
from epymarl_trust_region.environments.interface import Checked, KnownForm
from epymarl_trust_region.environments.mamujoco import MaMuJoCoEnv
from epymarl_trust_region.environments.mamujoco_together import Robots
from epymarl_trust_region.errors import CapabilityError, NonFiniteError
from epymarl_trust_region.runners.env_group import EnvGroup, Field
from epymarl_trust_region.runners.streams import StreamGroup

B = 3


def make(index: int, scenario="HalfCheetah", partition="6x1", common_reward=True, time_limit=40, **more) -> MaMuJoCoEnv:
    return MaMuJoCoEnv(scenario, partition, time_limit, 7 + index, common_reward, "sum", **more)


def robots(**arguments) -> list[MaMuJoCoEnv]:
    envs = [make(index, **arguments) for index in range(B)]
    for env in envs:
        env.reset()
    return envs


def draws(env: MaMuJoCoEnv, steps: int) -> np.ndarray:
    shape = env.get_avail_actions().shape
    return np.random.default_rng(0).normal(0, 1, (steps, B, *shape)).astype(np.float32)  # some beyond the box


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ctrl_cost_weight": 0.05, "forward_reward_weight": 2.0, "frame_skip": 3},
        {"scenario": "Hopper", "partition": "3x1"},
        {"scenario": "Hopper", "partition": "3x1", "healthy_state_range": (-3.0, 3.0), "healthy_reward": 0.3},
        {"scenario": "Hopper", "partition": "3x1", "terminate_when_unhealthy": False},
        {"scenario": "Walker2d", "partition": "2x3"},
        {"scenario": "Walker2d", "partition": "6x1", "healthy_angle_range": (-0.1, 0.2), "healthy_z_range": (1.1, 1.4)},
        {"scenario": "Walker2d", "partition": "3x2", "terminate_when_unhealthy": False},
        {"scenario": "Ant", "partition": "4x2", "obs": "local"},
        {"scenario": "Ant", "partition": "2x4", "contact_force_range": (-0.2, 0.5), "healthy_z_range": (0.5, 0.75)},
        {"scenario": "Ant", "partition": "8x1", "healthy_z_range": (0.7, 0.8), "frame_skip": 2},
        {"scenario": "Ant", "partition": "4x2", "terminate_when_unhealthy": False, "contact_cost_weight": 0.3},
        {"scenario": "Swimmer", "partition": "10x2"},
    ],
)
def test_a_step_together_is_each_ones_own(arguments):
    one_by_one, together = robots(**arguments), robots(**arguments)
    team, falls = Robots(together), 0
    for t, actions in enumerate(draws(together[0], 60)):
        rows = [0, 2] if t % 3 == 1 else range(B)  # one may be over
        moved = team.step(rows, actions[list(rows)])
        for at, row in enumerate(rows):
            obs, reward, terminated, truncated, _ = one_by_one[row].step(actions[row])
            assert moved.rewards[at] == reward
            assert (moved.terminated[at], moved.truncated[at]) == (terminated, truncated)
            np.testing.assert_array_equal(together[row].get_obs(), obs, strict=True)
            np.testing.assert_array_equal(together[row].get_state(), one_by_one[row].get_state(), strict=True)
            np.testing.assert_array_equal(moved.states[at].astype(np.float32), one_by_one[row].get_state())
            falls += terminated
            if terminated or truncated:
                one_by_one[row].reset(), together[row].reset()
    assert (team._move == team._one_by_one) == (
        arguments.get("scenario") == "Swimmer"
    )  # the others' are known by heart
    assert falls or not any("healthy" in name and value is not False for name, value in arguments.items())


@pytest.mark.parametrize(
    "arguments",
    [
        {"scenario": "Hopper", "partition": "3x1", "healthy_state_range": (-2.0, 2.0), "healthy_angle_range": (-3, 3)},
        {"scenario": "Walker2d", "partition": "2x3", "healthy_angle_range": (-0.5, 1.0)},
        {"scenario": "Ant", "partition": "4x2"},
    ],
)
def test_who_is_healthy_in_any_state(arguments):
    """Each coordinate by itself beyond what may be, for the robot's own eye and for the one that knows by heart."""
    env = make(0, **arguments)
    env.reset()
    one, rng, found = env.simulator, np.random.default_rng(0), set()
    known = mamujoco_by_heart.by_heart([one])
    for k in range(3 * (one.model.nq + one.model.nv)):
        state = np.concatenate([one.init_qpos, one.init_qvel]) + rng.uniform(-0.1, 0.1, one.model.nq + one.model.nv)
        state[k % len(state)] += rng.choice([-2.5, 2.5])
        if k % 7 == 3:
            state[k % len(state)] = np.nan
        one.data.qpos[:], one.data.qvel[:] = np.split(state, [one.model.nq])
        healthy = not known.told([0], np.zeros((1, one.model.nu)), np.zeros(1))[2][0]
        assert healthy == one.is_healthy, (k, state)
        found.add(healthy)
    assert found == {True, False}


def test_a_cheetahs_rewards_are_known_by_heart():
    together = robots()
    team, own_steps = Robots(together), []
    for env in together:
        env.simulator._get_rew = lambda *given, of=env.simulator: own_steps.append(1) or type(of)._get_rew(of, *given)
    for actions in draws(together[0], 5):
        team.step(range(B), actions)
    assert len(own_steps) == B  # the first step's, to which the others are compared


def test_what_differs_in_a_bit_is_not_used(monkeypatch):
    told = mamujoco_by_heart.Cheetahs.told
    wrong = lambda *given: (lambda s, r, e: (s, np.nextafter(r, 9), e))(*told(*given))  # noqa: E731
    monkeypatch.setattr(mamujoco_by_heart.Cheetahs, "told", wrong)
    one_by_one, together = robots(), robots()
    team = Robots(together)
    for actions in draws(together[0], 3):
        own = [env.step(action)[1] for env, action in zip(one_by_one, actions, strict=True)]
        assert team.step(range(B), actions).rewards.tolist() == own


def share(kind: type[EnvGroup], steps: int, make_env=make, discrete: bool = False) -> EnvGroup:
    env = make_env(0)
    info = env.get_env_info()
    n, a, width = info["n_agents"], info["n_actions"], 1 if env.common_reward else info["n_agents"]
    shapes = {
        "obs": ((n, info["obs_shape"]), np.float32), "state": ((info["state_shape"],), np.float32),
        "avail_actions": ((n, a), np.int32), "actions": ((n, a), np.int64 if discrete else np.float32),
        "reward": ((width,), np.float32), "terminated": ((1,), np.uint8), "truncated": ((1,), np.uint8),
        "filled": ((1,), np.int64), "mask": ((1,), np.uint8),
    }  # fmt: skip
    made = kind(make_env, range(B), "HalfCheetah-6x1")
    made.attach({key: Field.like(np.zeros((B, steps + 1, *shape), dtype)) for key, (shape, dtype) in shapes.items()})
    return made


def play(group: EnvGroup, steps: int) -> list:
    np.random.default_rng(1).standard_normal(out=(drawn := np.empty(group.views["actions"].shape)))
    group.views["actions"][:] = drawn
    group.reset()
    return [end for t in range(steps) for end in group.step(t)]


@pytest.mark.parametrize("kind", [EnvGroup, StreamGroup])
@pytest.mark.parametrize("common_reward", [True, False])
def test_a_share_together_fills_the_batch_as_one_by_one(kind, common_reward):
    steps = 9
    limits = lambda index: make(index, common_reward=common_reward, time_limit=4 + 2 * index)  # noqa: E731
    together, one_by_one = share(kind, steps, limits), share(kind, steps, limits)
    assert together._team is not None
    one_by_one._team = None
    ends = [play(group, steps) for group in (together, one_by_one)]
    assert len(ends[0]) >= B and repr(ends[0]) == repr(ends[1])
    for key, view in together.views.items():
        np.testing.assert_array_equal(view, one_by_one.views[key], err_msg=key)


def test_a_promise_of_form_is_kept():
    """What `KnownForm` does not look at is what `Checked` lets through."""
    env, checked = make(0), Checked(make(0), "HalfCheetah-6x1", 0)
    assert env.known_form
    checked.expect({"state": (17,), "obs": (6, 17), "avail_actions": (6, 1), "reward": (1,)})
    checked.reset()
    for actions in draws(env, 45)[:, 0]:
        obs, reward, terminated, truncated, info = checked.step(actions)
        assert type(reward) is float and type(terminated) is type(truncated) is bool and type(info) is dict
        assert checked.get_obs().dtype == checked.get_state().dtype == np.float32 and obs.shape == (6, 17)
        checked.get_avail_actions()


@pytest.mark.parametrize("bad", ["qpos", "ctrl_cost"])
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_not_finite_is_named(bad, alone):
    group = share(StreamGroup, 4)
    if alone:
        group._team = None
    robot = group.envs[1]
    assert type(robot) is KnownForm
    simulator, own = robot._wrapped.simulator, type(robot._wrapped.simulator).step

    def step(action):
        state, reward, *more = own(simulator, action)
        return (state * np.nan, reward, *more) if bad == "qpos" else (state, np.nan, *more)

    simulator.step = step
    what = "gave a state with nan|gave agent 0 an observation with nan" if bad == "qpos" else "gave the reward nan"
    with pytest.raises(NonFiniteError, match=rf"environment 1 \(HalfCheetah-6x1\) ({what})"):
        play(group, 4)


def test_choices_for_floats_are_refused_as_ever():
    with pytest.raises(CapabilityError, match="choose an algorithm with Gaussian policies"):
        play(share(EnvGroup, 4, discrete=True), 4)
