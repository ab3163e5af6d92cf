"""This plugin's games with all environments as one against the same ones one by one: every bit of every step."""

from __future__ import annotations

import functools
import json
import math
import operator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from data import record
from epymarl_trust_region.environments.batched_games import BatchedGame, find
from epymarl_trust_region.environments.games import (
    ANTI_COORDINATION_ID,
    CHECKERS_ID,
    CLIMBING_ID,
    CONGESTION_ID,
    DISTANCING_ID,
    MATCHING_PENNIES_ID,
    PENALTY_ID,
    REPEATED_ID,
    SWITCH_ID,
)
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.main import main
from epymarl_trust_region.runners import batched_form
from epymarl_trust_region.runners.env_group import BatchedEnvGroup, EnvGroup
from epymarl_trust_region.suite.lite import gymma
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner

N_ENVS = 4

# id, arguments, time limit, length of every episode (None: they differ)
GAMES = [
    (CHECKERS_ID, {}, 1000, None),
    (CHECKERS_ID, {"observe": "position", "step_cost": -0.3, "clock": 100}, 1000, None),
    (CHECKERS_ID, {"observe": "state", "step_cost": 0, "clock": 7}, 1000, None),
    (SWITCH_ID, {"n_agents": 2}, 400, None),
    (SWITCH_ID, {"n_agents": 2, "observe": "state", "clock": 50}, 400, None),
    (SWITCH_ID, {"observe": "state", "step_cost": -1}, 400, None),
    (SWITCH_ID, {"clock": 3, "step_cost": -0.0}, 400, None),
    (CONGESTION_ID, {}, 4, 3),
    (CONGESTION_ID, {"n_agents": 3, "observe": "configuration", "reward_scale": 0.3}, 4, 3),
    (DISTANCING_ID, {}, 50, 50),
    (DISTANCING_ID, {"n_agents": 4}, 50, 50),
    (CLIMBING_ID, {"max_steps": 10}, 12, 10),
    (PENALTY_ID, {"penalty": -0.7, "max_steps": 5}, 5, 5),
    (ANTI_COORDINATION_ID, {"n_agents": 4}, 2, 1),
    (MATCHING_PENNIES_ID, {"heads": 3.0, "max_steps": 3}, 5, 3),
    (REPEATED_ID, {"game": "rock-paper-scissors", "plays": 6}, 8, 6),
]


def same(one, other) -> bool:
    """Whether two arrays have the same type and the same bytes."""
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def one_by_one(key: str, arguments: dict, limit: int) -> list[gymma.GymmaEnv]:
    common = dict(time_limit=limit, common_reward=False, reward_scalarisation="sum")
    return [gymma.GymmaEnv(key, seed=seed, **common, **arguments) for seed in range(N_ENVS)]


def assert_seen(seen, single, alive) -> None:
    for i in alive:
        assert same(seen.obs[i], single[i].get_obs())
        assert same(seen.state[i], single[i].get_state())
        np.testing.assert_array_equal(seen.avail_actions[i], single[i].get_avail_actions())


@pytest.mark.parametrize("key, arguments, limit, length", GAMES, ids=str)
def test_every_step_is_the_same_bit_for_bit(key, arguments, limit, length):
    batched, single = BatchedGame(find(key, arguments)(**arguments), N_ENVS), one_by_one(key, arguments, limit)
    rng, lengths = np.random.default_rng(1), []
    for _ in range(2):  # the second episode starts anew
        seen, alive = batched.reset(), list(range(N_ENVS))
        for env in single:
            env.reset()
        assert_seen(seen, single, alive)
        for t in range(limit):
            weights = rng.random(seen.avail_actions.shape) * seen.avail_actions
            played = batched.step(weights.argmax(-1))  # the copies that have ended play on
            for i in list(alive):
                _, rewards, terminated, truncated, info = single[i].step(weights[i].argmax(-1))
                assert same(played.rewards[i], rewards) and played.infos[i] == info == {}
                assert played.terminated[i] == terminated and not played.truncated[i]
                assert truncated == (t + 1 >= limit)  # the limit is the runner's to keep
                if terminated or truncated:
                    lengths.append(t + 1)
            seen = played.seen
            assert_seen(seen, single, alive)
            alive = [i for i in alive if not played.terminated[i]]
    assert len(lengths) == 2 * N_ENVS
    assert set(lengths) == {length} if length else len(set(lengths)) > 2


def drive(key: str, arguments: dict, limit: int, common_reward: bool, scalarisation: str, **changes):
    """Five rollouts under scripted actions: the runner, its batches' fields, and what was logged and counted."""
    runners = []

    def make_runner(args, logger):
        runners.append(vector_runner(args, logger))
        return runners[0]

    case = {"key": key, "time_limit": limit, **arguments}, common_reward, scalarisation
    fields, notes = record.drive(make_runner, OneHot, case, n_envs=N_ENVS, **changes)
    return runners[0], fields, notes


PAID = [(True, "sum"), (True, "mean"), (False, "sum")]
SHORT = [
    (CHECKERS_ID, {"clock": 20}, 30),
    (SWITCH_ID, {}, 30),
    (CONGESTION_ID, {"n_agents": 3}, 5),
    (DISTANCING_ID, {"n_agents": 4}, 10),
    (PENALTY_ID, {"penalty": -0.7, "max_steps": 3}, 3),
]
LONG = [(CHECKERS_ID, {"observe": "state"}, 400, False, "sum"), (SWITCH_ID, {"n_agents": 2}, 200, True, "sum")]


@pytest.mark.parametrize("game", [(*game, *paid) for game in SHORT for paid in PAID] + LONG, ids=str)
def test_batches_and_statistics_are_the_same_bit_for_bit(game):
    runner, fields, notes = drive(*game, batched_envs="exact")
    assert (
        isinstance(runner.env_group, BatchedEnvGroup)
        and isinstance(runner.env_group.env, BatchedGame)
        and not runner.workers
    )
    plain, expected, expected_notes = drive(*game, batched_envs="none", env_processes=1)
    assert type(plain.env_group) is EnvGroup and len(plain.env_group.envs) == N_ENVS
    assert set(fields) == set(expected)
    for name, values in fields.items():
        assert same(values, expected[name]), name
    assert notes == expected_notes and len(notes["logged"]) > 4
    lengths = {int(length) for k in range(5) for length in fields[f"{k}/filled"].sum((1, 2)) - 1}
    assert game not in LONG or (len(lengths) > 2 and min(lengths) < game[2])  # episodes that end before the limit


def test_totals_are_those_of_the_interpreters_own_sum(monkeypatch):
    """`sum` rounds a list of floats after each number, from Python 3.12 on once, at its end; `fsum` does so in all."""
    game, logged = (CONGESTION_ID, {"n_agents": 7, "reward_scale": 0.1}, 3, True, "sum"), []
    for own_sum in (functools.partial(functools.reduce, operator.add), math.fsum):
        for module in (batched_form, gymma):
            monkeypatch.setattr(module, "sum", own_sum, raising=False)
        _, _, expected = drive(*game, batched_envs="none", env_processes=1)
        _, _, notes = drive(*game)
        assert notes["logged"] == expected["logged"]
        logged.append(notes["logged"])
    assert logged[0] != logged[1]


def test_only_what_it_can_play_is_claimed():
    assert find(f"epymarl_trust_region.environments.games:{CHECKERS_ID}", {"observe": "state"}) is find(CHECKERS_ID, {})
    assert find(CHECKERS_ID, {"render_mode": "rgb_array"}) is None  # Gymnasium may put a wrapper around it
    assert find(SWITCH_ID, {"max_episode_steps": 10}) is None  # as it does here
    assert find(CHECKERS_ID, {"n_agents": 2}) is None
    assert find("CartPole-v1", {}) is None and find("no-such-id", {}) is None


def test_an_id_that_someone_else_has_registered_is_left_to_its_owner(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec(CHECKERS_ID, entry_point="somewhere:Else")
    monkeypatch.setitem(gymnasium.registry, CHECKERS_ID, spec)
    assert find(CHECKERS_ID, {}) is None


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ConfigError, match="env_args.step_cost is 1: give a finite number of at most 0"):
        drive(CHECKERS_ID, {"step_cost": 1}, 10, True, "sum")


@pytest.mark.parametrize("key, extra", [(CHECKERS_ID, "env_args.clock=30"), (SWITCH_ID, "env_args.n_agents=2")])
def test_a_whole_run_logs_the_same(key, extra, own_folder, capsys):
    command = ["--suite=lite", "--config=happo", "--env-config=gymma", "--progress=off", "with", extra]
    command += [f"env_args.key={key}", "env_args.time_limit=30", "t_max=900", "test_interval=300", "test_nepisode=10"]
    for batched_envs in ("exact", "none"):
        options = ["seed=3", "learner_log_interval=0", "env_processes=1", f"batched_envs={batched_envs}"]
        assert main([*command, *options]) == 0
        assert ("as one: BatchedGame" in "".join(capsys.readouterr())) == (batched_envs == "exact")
    exact, none = (json.loads(Path(f"results/sacred/happo/{key}/{n}/info.json").read_text()) for n in (1, 2))
    assert exact == none and len(exact["test_return_mean"]) > 2 and len(exact["kl_mean"]) > 2
