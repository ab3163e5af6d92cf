"""SMAX stepped as one: against the package stepped by hand, and against what its own state says.

The oracles read the world state, which holds per unit: health (share of full), x, y, weapon cooldown, one-hot of 6
types; the dead are all zero. The teams and types of all units follow.
"""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys

import numpy as np
import pytest
from epymarl_trust_region.environments.batched_smax import BatchedSMAX
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError

# Not importorskip: it would start JAX, and its threads, before the tests that fork workers.
if importlib.util.find_spec("jaxmarl") is None:
    pytest.skip("jaxmarl is not installed; it needs Python 3.11", allow_module_level=True)
pytestmark = pytest.mark.jax

# Under `focus_fire` on 3m: a defeat, a victory without losses, a draw (all die in one step), a victory.
SEEDS = [2, 52, 963, 7]
WON = [False, True, False, True]
NORTH, EAST, SOUTH, WEST, STOP, FIRST_ATTACK = range(6)
MAPS = {
    "3m": (3, 3),
    "2s3z": (5, 5),
    "25m": (25, 25),
    "3s5z": (8, 8),
    "8m": (8, 8),
    "5m_vs_6m": (5, 6),
    "10m_vs_11m": (10, 11),
    "27m_vs_30m": (27, 30),
    "3s5z_vs_3s6z": (8, 9),
    "3s_vs_5z": (3, 5),
    "6h_vs_8z": (6, 8),
    "smacv2_5_units": (5, 5),
    "smacv2_10_units": (10, 10),
    "smacv2_20_units": (20, 20),
}
RANGES = np.array([5, 6, 6, 2, 2, 5], np.float32)  # by type: marine, marauder, stalker, zealot, zergling, hydralisk


def units(state: np.ndarray, n: int) -> np.ndarray:
    """[B, n, 10] of a world state of n units."""
    return state[:, : 10 * n].reshape(len(state), n, 10)


def focus_fire(avail: np.ndarray) -> np.ndarray:
    """Everybody stops, and shoots at the first enemy in range: actions [B, N]."""
    shots = avail[..., FIRST_ATTACK:]
    return np.where(shots.any(-1), FIRST_ATTACK + shots.argmax(-1), STOP)


def at_random(seen, episode: int, seeds) -> np.ndarray:
    """Available actions, drawn for each copy from its own seed and step: [B, N]."""
    rngs = [np.random.default_rng((seed, episode, int(seen.state[i].sum() * 100))) for i, seed in enumerate(seeds)]
    return np.array(
        [[rng.choice(np.flatnonzero(a)) for a in avail] for rng, avail in zip(rngs, seen.avail_actions, strict=True)]
    )


def battle(env: BatchedSMAX, steps: int, policy=focus_fire):
    """The first observation and what came of `steps` steps."""
    first = seen = env.reset()
    played = []
    for _ in range(steps):
        played.append(env.step(policy(seen.avail_actions)))
        seen = played[-1].seen
    return first, played


def check_availability(seen, n_allies: int, n_enemies: int) -> None:
    """Movement for the living, stop for all, and attacks on living enemies within the weapon's range."""
    unit = units(seen.state, n_allies + n_enemies)
    alive = unit[..., 0] > 0
    allies, enemies = unit[:, :n_allies], unit[:, n_allies:]
    distance = np.linalg.norm(allies[:, :, None, 1:3] - enemies[:, None, :, 1:3], axis=-1)
    reach = RANGES[allies[..., 4:].argmax(-1)][..., None]
    attack = (distance < reach) & alive[:, :n_allies, None] & alive[:, None, n_allies:]
    np.testing.assert_array_equal(seen.avail_actions[..., FIRST_ATTACK:], attack)
    np.testing.assert_array_equal(
        seen.avail_actions[..., :STOP], np.repeat(alive[:, :n_allies, None], 4, axis=-1).astype(int)
    )
    assert (seen.avail_actions[..., STOP] == 1).all()


@pytest.fixture
def env() -> BatchedSMAX:
    return BatchedSMAX(SEEDS, "3m", time_limit=60)


def test_a_battle_begins_with_two_teams_of_healthy_marines_out_of_each_others_range(env):
    seen = env.reset()
    assert env.env_info == {"state_shape": 72, "obs_shape": 75, "n_actions": 8, "n_agents": 3, "episode_limit": 60}
    assert (seen.obs.shape, seen.state.shape, seen.avail_actions.shape) == ((4, 3, 75), (4, 72), (4, 3, 8))
    assert seen.obs.dtype == seen.state.dtype == np.float32
    unit = units(seen.state, 6)
    np.testing.assert_array_equal(unit[..., [0, 3]], np.broadcast_to([1.0, 0.0], (4, 6, 2)))
    np.testing.assert_array_equal(unit[..., 4:], np.broadcast_to([1, 0, 0, 0, 0, 0], (4, 6, 6)))
    centres = np.repeat([[8.0, 16.0], [24.0, 16.0]], 3, axis=0)
    assert (np.abs(unit[..., 1:3] - centres) < 2.5).all()  # drawn within 2, and pushed apart
    np.testing.assert_array_equal(seen.state[:, 60:], np.broadcast_to([0] * 3 + [1] * 3 + [0] * 6, (4, 12)))
    np.testing.assert_array_equal(seen.avail_actions, np.broadcast_to([1, 1, 1, 1, 1, 0, 0, 0], (4, 3, 8)))


@pytest.mark.parametrize(("action", "way"), [(NORTH, (0, 1)), (EAST, (1, 0)), (SOUTH, (0, -1)), (WEST, (-1, 0))])
def test_a_step_moves_a_marine_by_its_speed_in_state_and_observation(env, action, way):
    env.reset()
    before = env.step(np.full((4, 3), STOP)).seen  # lets units that overlapped come apart
    actions = np.array([[action, STOP, STOP], [STOP] * 3, [action] * 3, [STOP] * 3])
    after = env.step(actions).seen
    moved = (units(after.state, 6) - units(before.state, 6))[:, :3, 1:3]
    expected = 3.15 * 8 / 16 * np.array(way)  # a marine's speed times eight simulated steps of 1/16 second
    assert np.allclose(moved[2], expected, atol=1e-4)
    assert np.allclose(moved[[1, 3]], 0, atol=1e-4)
    positions = units(after.state, 6)[:, :3, 1:3]
    np.testing.assert_allclose(after.obs[..., -9:-7], positions / 32, rtol=1e-6)  # own x and y in map widths
    seen_by_first = after.obs[2, 0, 1:5]  # of ally 1: place in sight ranges, then its last movement
    np.testing.assert_allclose(seen_by_first, [*(positions[2, 1] - positions[2, 0]) / 9, *way], atol=1e-6)


def test_availability_rewards_ends_and_infos_are_what_the_state_says(env):
    first, played = battle(env, 25)
    health = units(first.state, 6)[..., 0]
    returns, ended = np.zeros(4), np.zeros(4, bool)
    for step in played:
        check_availability(step.seen, 3, 3)
        now = units(step.seen.state, 6)[..., 0]
        allies_dead, enemies_dead = (now[:, :3] == 0).sum(1), (now[:, 3:] == 0).sum(1)
        won = (enemies_dead == 3) & (allies_dead < 3)
        np.testing.assert_allclose(step.rewards, (health - now)[:, 3:].sum(1) / 3 + won, atol=1e-6)
        np.testing.assert_array_equal(step.terminated, (enemies_dead == 3) | (allies_dead == 3))
        assert not step.truncated.any()
        for i, info in enumerate(step.infos):
            expected = {"battle_won": won[i], "dead_allies": allies_dead[i], "dead_enemies": enemies_dead[i]}
            assert info == (expected if step.terminated[i] else {})
        returns += np.where(ended, 0, step.rewards)
        health, ended = now, ended | step.terminated
    assert ended.all()
    assert [info["battle_won"] for info in played[-1].infos] == WON
    assert played[-1].infos[2] == {"battle_won": False, "dead_allies": 3, "dead_enemies": 3}
    np.testing.assert_allclose(returns[WON], 2.0, atol=1e-6)  # 1 for the enemies' health, 1 for the victory
    np.testing.assert_allclose(returns[2], 1.0, atol=1e-6)  # a draw pays no bonus


def test_an_ended_battle_stays_ended_and_finite(env):
    _, played = battle(env, 25)
    ended = played[-1].terminated
    assert ended.all()
    for _ in range(5):
        step = env.step(np.zeros((4, 3), np.int64))
        assert step.terminated.all() and all(step.infos)
        assert np.isfinite(step.seen.obs).all() and np.isfinite(step.seen.state).all()
        assert np.isfinite(step.rewards).all()
        assert (step.seen.avail_actions.any(-1)).all()
    assert (units(env.reset().state, 6)[..., 0] == 1).all()


def test_every_step_is_that_of_the_package_stepped_by_hand(env):
    import jax
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    single = HeuristicEnemySMAX(scenario=map_name_to_scenario("3m"))
    runs = [battle(env, 20) for _ in range(2)]
    for row, (episode, (first, played)) in itertools.product((0, 1), enumerate(runs)):
        start, steps = jax.random.split(jax.random.fold_in(jax.random.key(SEEDS[row]), episode))
        obs, state = single.reset(start)
        seen, total, batched_total = first, 0.0, 0.0
        for t, step in enumerate(played):
            actions = focus_fire(seen.avail_actions)[row]
            compare(first if t == 0 else played[t - 1].seen, row, single, obs, state)
            named = dict(zip(single.agents, actions, strict=True))
            obs, state, rewards, dones, _ = single.step_env(jax.random.fold_in(steps, t), state, named)
            total += float(rewards["ally_0"])
            batched_total += float(step.rewards[row])
            seen = step.seen
            if dones["__all__"]:
                break
        assert step.terminated[row] and not played[t - 1].terminated[row]
        compare(seen, row, single, obs, state)
        assert total == batched_total


def compare(seen, row, single, obs, state) -> None:
    avail = single.get_avail_actions(state)
    np.testing.assert_array_equal(seen.obs[row], np.stack([obs[agent] for agent in single.agents]))
    np.testing.assert_array_equal(seen.avail_actions[row], np.stack([avail[agent] for agent in single.agents]))
    np.testing.assert_array_equal(seen.state[row], obs["world_state"])


def trace(seeds, row: int = 0, lengths=(15, 15)) -> list[np.ndarray]:
    """All that one row gives in two episodes of random actions."""
    env = BatchedSMAX(seeds, "3m", time_limit=60)
    given = []
    for episode, length in enumerate(lengths):
        seen = env.reset()
        for _ in range(length):
            step = env.step(at_random(seen, episode, seeds))
            seen = step.seen
            given += [seen.obs[row], seen.state[row], seen.avail_actions[row], step.rewards[row]]
    return given


def test_a_copy_depends_on_its_own_seed_alone_bit_for_bit():
    alone = trace([7])
    for given, expected in zip(trace(SEEDS, row=3), alone, strict=True):
        np.testing.assert_array_equal(given, expected)
    for given, expected in zip(trace(SEEDS, row=3), trace(SEEDS, row=3), strict=True):
        np.testing.assert_array_equal(given, expected)


def test_the_next_episode_does_not_depend_on_how_long_the_last_one_was():
    short, long = trace(SEEDS, lengths=(2, 3)), trace(SEEDS, lengths=(9, 3))
    for given, expected in zip(short[-12:], long[-12:], strict=True):
        np.testing.assert_array_equal(given, expected)


def test_a_step_is_compiled_once(env):
    import jax

    env.reset()
    fresh = [leaf.aval for leaf in jax.tree.leaves(env._battles)]
    env.step(np.full((4, 3), STOP))
    assert [leaf.aval for leaf in jax.tree.leaves(env._battles)] == fresh  # what a step takes is what it gives


def test_seeds_and_episodes_differ(env):
    starts = np.concatenate([env.reset().state, env.reset().state])
    assert len(np.unique(starts, axis=0)) == 8
    same = BatchedSMAX([5, 5, 5, 5], "3m", time_limit=60).reset().state
    assert len(np.unique(same, axis=0)) == 1


def test_the_time_limit_cuts_those_that_still_fight(env):
    free = battle(env, 14)[1]
    cut = battle(BatchedSMAX(SEEDS, "3m", time_limit=14), 14)[1]
    assert free[-1].terminated.any() and not free[-1].terminated.all()
    for step in cut[:-1]:
        assert not step.truncated.any()
    np.testing.assert_array_equal(cut[-1].terminated, free[-1].terminated)
    np.testing.assert_array_equal(cut[-1].truncated, ~free[-1].terminated)
    health = units(cut[-1].seen.state, 6)[..., 0]
    for row in np.flatnonzero(cut[-1].truncated):
        dead = [int((side == 0).sum()) for side in (health[row, :3], health[row, 3:])]
        assert cut[-1].infos[row] == {"battle_won": False, "dead_allies": dead[0], "dead_enemies": dead[1]}


def test_options_reach_the_package_and_types_have_their_ranges():
    options = {"enemy_shoots": False, "won_battle_bonus": 5, "attack_mode": "random"}
    env = BatchedSMAX([0, 1, 2, 3], "2s3z", time_limit=100, **options)
    first, played = battle(env, 80)
    returns, ended = np.zeros(4), np.zeros(4, bool)
    for step in played:
        check_availability(step.seen, 5, 5)
        assert (units(step.seen.state, 10)[:, :5, 0] == 1).all()  # nobody shoots at the allies
        returns += np.where(ended, 0, step.rewards)
        ended |= step.terminated
    assert [info["battle_won"] for info in step.infos] == [True] * 4
    np.testing.assert_allclose(returns, 6.0, atol=1e-5)
    types = units(first.state, 10)[..., 4:].argmax(-1)
    np.testing.assert_array_equal(types, np.broadcast_to([2, 2, 3, 3, 3] * 2, (4, 10)))


@pytest.mark.parametrize("name", MAPS)
def test_maps_have_their_sizes(name):
    allies, enemies = MAPS[name]
    info = BatchedSMAX([0], name, time_limit=9).env_info
    assert (info["n_agents"], info["n_actions"]) == (allies, 5 + enemies)
    assert info["state_shape"] == 12 * (allies + enemies)
    assert info["obs_shape"] == 13 * (allies + enemies - 1) + 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"map_name": "3s5x"}, r"no such map \(did you mean 3s5z\?\); it has 3m, 2s3z, .*smacv2_20_units"),
        ({"map_name": None}, "env_args.map_name=None"),
        ({"map_name": ["3m"]}, "env_args.map_name=.*3m.*: SMAX has no such map"),
        ({"time_limit": None}, "env_args.time_limit=None"),
        ({"time_limit": 0}, "env_args.time_limit=0"),
        ({"time_limit": True}, "env_args.time_limit=True"),
        ({"atack_mode": "random"}, r"unknown key `env_args.atack_mode` .*did you mean attack_mode\?"),
        ({"max_steps": 5}, "unknown key `env_args.max_steps`"),
        ({"attack_mode": "weakest"}, "env_args.attack_mode=weakest: SMAX needs closest or random"),
        ({"enemy_shoots": 1}, "env_args.enemy_shoots=1"),
        ({"walls_cause_death": None}, "env_args.walls_cause_death=None"),
        ({"see_enemy_actions": "no"}, "env_args.see_enemy_actions=no"),
        ({"won_battle_bonus": float("nan")}, "env_args.won_battle_bonus=nan"),
        ({"world_steps_per_env_step": 0}, "env_args.world_steps_per_env_step=0"),
    ],
    ids=str,
)
def test_what_it_cannot_play_is_refused_by_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        BatchedSMAX([0], **{"map_name": "3m", "time_limit": 5, **wrong})


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxmarl.environments", None)
    with pytest.raises(EnvironmentMissingError, match="jaxmarl .*pip install jaxmarl"):
        BatchedSMAX([0], "3m", 5, won_battle_bonus=0.125)  # options that nobody has asked for yet


def test_the_import_loads_no_jax_and_the_package_leaves_the_streams_alone():
    code = """
import sys, io
import epymarl_trust_region.environments.smax
from epymarl_trust_region.environments import batched_smax
assert "jax" not in sys.modules and "jaxmarl" not in sys.modules
sys.stdout, sys.stderr = streams = io.StringIO(), io.StringIO()
own = sys.__stdout__
batched_smax._package()
assert (sys.stdout, sys.stderr) == streams and sys.__stdout__ is own
assert streams[0].getvalue() == ""
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
