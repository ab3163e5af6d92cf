"""VMAS's batching against its environments one at a time: from the same state, the same numbers."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch as th
from epymarl_trust_region.environments import batched_vmas
from epymarl_trust_region.environments.batched_vmas import BatchedVMAS, OwnRandomness, find
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

pytest.importorskip("vmas")
from vmas.simulator.core import Box, Line  # noqa: E402
from vmas.simulator.environment import Environment  # noqa: E402
from vmas.simulator.utils import LINE_MIN_DIST  # noqa: E402

SIZE = 3


def by_itself(scenario: str, seed: int, **kwargs) -> GymmaEnv:
    """The suite's environment, behind `gymma`."""
    key = f"epymarl_trust_region.environments.vmas:vmas-{scenario}"
    return GymmaEnv(key, 10_000, seed, common_reward=False, reward_scalarisation="sum", **kwargs)


def world_of(env: GymmaEnv) -> Environment:
    return env._env.unwrapped._env.unwrapped


def take_over(source, target, copy: int, visited: set[int]):
    """`target`, a part of an environment by itself, with the state that copy number `copy` has in `source`."""
    if isinstance(source, th.Tensor):
        return source.clone() if source.shape == target.shape else source[copy : copy + 1].clone()
    if isinstance(source, list):
        return [take_over(one, other, copy, visited) for one, other in zip(source, target, strict=True)]
    if type(source).__module__.partition(".")[0] in ("vmas", "") and id(source) not in visited:  # "": the scenario's
        visited.add(id(source))
        for name, value in vars(source).items():
            vars(target)[name] = take_over(value, vars(target)[name], copy, visited)
    return target


@pytest.fixture
def independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of bodies are looked at from a little further away: see the last test for what that is about."""
    for shape in (Line, Box):
        reach = shape.circumscribed_radius
        monkeypatch.setattr(shape, "circumscribed_radius", lambda self, reach=reach: reach(self) + LINE_MIN_DIST)


def random_actions(rng: np.random.Generator, avail: np.ndarray, continuous: bool = False) -> np.ndarray:
    if continuous:  # some beyond the bounds, and something in the padding
        return rng.normal(0, 0.7, (SIZE, *avail.shape)).astype(np.float32)
    return rng.integers(avail.sum(1), size=(SIZE, len(avail)))


@pytest.mark.parametrize(
    "scenario, arguments, steps",
    [
        ("balance", {}, 200),  # episodes end early here, and the others' numbers must stay the same
        ("transport", {"package_mass": 1, "package_width": 0.9, "package_length": 0.9}, 200),  # pushed now and then
        ("navigation", {"n_agents": 3}, 120),
        # Targets that are found would else appear elsewhere at random.
        ("discovery", {"targets_respawn": False, "agents_per_target": 1, "n_agents": 2, "n_targets": 3}, 120),
        ("simple_spread", {}, 120),
        ("simple_world_comm", {}, 30),  # unequal observations and actions
        ("balance", {"continuous_actions": True}, 100),
        ("navigation", {"continuous_actions": True, "n_agents": 3}, 60),
        ("simple_world_comm", {"continuous_actions": True}, 30),
    ],
    ids=str,
)
def test_from_the_same_state_every_copy_plays_as_an_environment_by_itself(scenario, arguments, steps, independent):
    batched = BatchedVMAS(range(SIZE), scenario, **arguments)
    singles = [by_itself(scenario, seed=50 + copy, **arguments) for copy in range(SIZE)]
    first = batched.reset()
    for copy, single in enumerate(singles):
        single.reset()
        take_over(batched._env, world_of(single), copy, set())
    np.testing.assert_array_equal(first.avail_actions[1], singles[0].get_avail_actions())
    rng, paid = np.random.default_rng(0), set()
    for t in range(steps):
        if t % 5 == 0:  # kept for a while, so that agents get somewhere
            actions = random_actions(rng, first.avail_actions[0], "continuous_actions" in arguments)
        played = batched.step(actions)
        for copy, (single, action) in enumerate(zip(singles, actions, strict=True)):
            _, rewards, terminated, truncated, info = single.step(action)
            np.testing.assert_allclose(played.seen.obs[copy], single.get_obs(), rtol=0, atol=1e-6)
            np.testing.assert_array_equal(played.seen.state[copy], played.seen.obs[copy].ravel())
            np.testing.assert_allclose(played.rewards[copy], rewards, rtol=0, atol=1e-6)
            assert (played.terminated[copy], played.truncated[copy]) == (terminated, truncated)
            paid |= set(rewards)
        ours = played.infos[SIZE - 1]
        assert ours.keys() == info.keys()
        for name, value in info.items():
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-6)
    assert len(paid) > 1
    if scenario == "balance" and not arguments:
        assert 0 < played.terminated.sum() < SIZE


def test_what_ended_copies_do_changes_nothing_for_the_others(independent):
    seen, ended = [], []
    for moves in (4, 5):  # of copies 1 and 2, while copy 0 stays
        env = BatchedVMAS([4, 5, 6], "balance")
        env.reset()
        one, ends = [], np.zeros(3, dtype=bool)
        for _ in range(80):
            played = env.step(np.array([[0] * 3, [moves] * 3, [moves] * 3]))
            one.append([*played.seen.obs[0].ravel(), *played.rewards[0]])
            ends |= played.terminated
        seen.append(one)
        ended.append(ends.tolist())
    assert ended == [[False, True, True]] * 2
    np.testing.assert_array_equal(*seen)
    assert len(np.unique(seen[0], axis=0)) > 10


@pytest.mark.parametrize("scenario", ["balance", "transport", "navigation", "discovery", "simple_spread"])
def test_one_copy_starts_as_the_environment_with_its_seed(scenario):
    batched, single = BatchedVMAS([11], scenario), by_itself(scenario, seed=11)
    for _ in range(3):
        single.reset()
        np.testing.assert_array_equal(batched.reset().obs[0], single.get_obs())


def test_starts_depend_on_the_first_seed_and_differ_among_copies_and_episodes():
    env, again, other = (BatchedVMAS(seeds, "navigation") for seeds in ([1, 2], [1, 9], [2, 2]))
    first = env.reset().obs
    np.testing.assert_array_equal(first, again.reset().obs)
    assert not np.array_equal(first, other.reset().obs)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, env.reset().obs)


def test_all_copies_begin_anew_together():
    env, fresh = (BatchedVMAS([3, 3], "navigation", max_steps=3) for _ in range(2))
    env.reset(), fresh.reset()
    stay = np.zeros((2, env.n_agents), dtype=np.int64)
    assert [env.step(stay).truncated.tolist() for _ in range(4)] == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    np.testing.assert_array_equal(env.reset().obs, fresh.reset().obs)
    played, expected = env.step(stay), fresh.step(stay)
    np.testing.assert_array_equal(played.seen.obs, expected.seen.obs)
    assert played.truncated.tolist() == [False, False]


def test_types_and_shapes_are_those_of_a_batched_environment():
    env = BatchedVMAS([1, 2], "simple_world_comm")
    seen = env.reset()
    played = env.step(np.zeros((2, env.n_agents), dtype=np.int64))
    for obs, state, avail in (seen, played.seen):
        assert (obs.dtype, state.dtype) == (np.float32, np.float32)
        assert obs.shape[:2] == (2, env.n_agents) and state.shape == (2, obs[0].size)
        assert avail.shape == (2, env.n_agents, 36) and avail[1].sum(1).tolist() == [36, 9, 9, 9, 9, 9]
    assert (played.rewards.dtype, played.rewards.shape) == (np.float64, (2, env.n_agents))
    assert (played.terminated.dtype, played.truncated.dtype) == (bool, bool)
    env.close()


def test_infos_are_one_flat_dictionary_per_copy():
    env = BatchedVMAS([1, 2], "navigation")
    env.reset()
    infos = env.step(np.zeros((2, env.n_agents), dtype=np.int64)).infos
    assert len(infos) == len(list(infos)) == 2
    assert "agent_0/pos_rew" in infos[0] and infos[0].keys() == infos[-1].keys()
    nothing_said = batched_vmas._Infos(["agent_0"], [{}], 2)
    assert nothing_said[1] == {}
    with pytest.raises(IndexError):  # else `for` would never end
        nothing_said[2]


def states() -> str:
    arrays = [th.get_rng_state(), Environment.vmas_random_state[0]]
    rest = [np.random.get_state(), random.getstate(), *Environment.vmas_random_state[1:]]
    return repr([array.tolist() for array in arrays]) + repr(rest)


def test_nobodys_random_numbers_are_disturbed():
    before = states()
    env = BatchedVMAS([1, 2], "discovery")
    env.reset()
    env.step(np.ones((2, env.n_agents), dtype=np.int64))
    assert states() == before
    with pytest.raises(AssertionError, match="out of bounds"):
        env.step(np.full((2, env.n_agents), 99))
    assert states() == before


def test_random_numbers_of_a_gpu_are_swapped_too(monkeypatch):
    now = ["the network's"]
    monkeypatch.setattr(th.cuda, "get_rng_state", lambda device: now[0])
    monkeypatch.setattr(th.cuda, "set_rng_state", lambda state, device: now.__setitem__(0, state))
    randomness = OwnRandomness("cuda")
    randomness._own_cuda = "mine"
    for drawn in ("drawn once", "drawn twice"):
        with randomness:
            assert now[0] in ("mine", "drawn once")
            now[0] = drawn
        assert now[0] == "the network's"
    assert randomness._own_cuda == "drawn twice"


def test_only_what_it_can_play_is_claimed(monkeypatch):
    env = find("epymarl_trust_region.environments.vmas:vmas-navigation", {"n_agents": 2})([1, 2], n_agents=2)
    assert env.n_agents == 2
    assert find("vmas-balance", {"max_steps": 5, "device": "cpu"}) is not None
    assert find("vmas-balance", {"continuous_actions": True}) is not None
    assert find("epymarl_trust_region.environments.vmas:epymarl_trust_region/vmas-balance", {}) is not None
    assert find("vmas-football", {"dict_obs": True}) is None
    assert find("vmas-no-such-scenario", {}) is None
    assert find("vmas-road_traffic", {}) is None
    assert find("pz-mpe-simple-spread-v3", {}) is None
    assert find("pz-vmas-balance", {}) is None
    for goal_drawn_once in ("adversary", "push", "reference", "speaker_listener"):
        assert find(f"vmas-simple_{goal_drawn_once}", {}) is None
    monkeypatch.setattr(batched_vmas.importlib.util, "find_spec", lambda name: None)
    assert find("vmas-balance", {}) is None


@pytest.mark.parametrize("scenario", sorted(batched_vmas._OTHER_TASKS))
def test_what_is_not_claimed_would_be_another_task(scenario):
    """By itself the environment keeps its goals; all copies together get new ones in each episode."""
    single, batched = by_itself(scenario, seed=1), BatchedVMAS([1, 2], scenario)
    kept, drawn = set(), set()
    for _ in range(8):
        single.reset(), batched.reset()
        kept.add(goals(world_of(single)))
        drawn.add(goals(batched._env))
    assert len(kept) == 1 < len(drawn)


def goals(env: Environment) -> tuple:
    aims = [getattr(agent, name, None) for agent in env.agents for name in ("goal", "goal_b")]
    return tuple(aim and aim.name for aim in aims)


def test_observations_that_are_dictionaries_are_refused():
    with pytest.raises(ConfigError, match="vmas-football gives dictionaries"):
        BatchedVMAS([1, 2], "football", dict_obs=True)


def test_a_missing_vmas_is_named_with_its_command(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("vmas.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vmas", None)  # any import of it fails
    with pytest.raises(EnvironmentMissingError, match=r"need the package vmas .*; pip install 'vmas\[gymnasium\]"):
        BatchedVMAS([1], "balance")


def test_a_touch_at_a_lines_very_end_is_felt_only_if_another_copy_has_the_two_nearer():
    """VMAS's batching is not perfect, and the class says so. If this fails, VMAS has been mended: delete it, and that.

    VMAS leaves out a pair of bodies unless some copy has them within reach. The reach of lines and boxes lacks the
    margin at which they push, so that a body in that margin is pushed if, and only if, another copy is nearer.
    """
    velocities = []
    for elsewhere in (0.9, 0.0):  # distance of copy 1's agent from where copy 0's is
        env = BatchedVMAS([1, 2], "balance")
        env.reset()
        agent, line = env._env.agents[0], env._env.scenario.line
        reach = line.shape.length / 2 + agent.shape.radius
        line.set_pos(th.tensor([[0.0, 0.5]]), batch_index=None)
        line.set_rot(th.tensor([[0.0]]), batch_index=None)
        agent.set_pos(th.tensor([[reach + LINE_MIN_DIST / 2, 0.5], [reach - 0.001 + elsewhere, 0.5]]), batch_index=None)
        env.step(np.zeros((2, env.n_agents), dtype=np.int64))
        velocities.append(agent.state.vel[0].clone())
    apart, near = velocities
    assert near[0] - apart[0] > 0.01
