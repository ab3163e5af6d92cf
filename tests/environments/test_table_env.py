"""Games with opponents as Gymnasium environments: what is seen, paid, available, and refused."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from epymarl_trust_region.environments import snapshot
from epymarl_trust_region.environments.games import (
    CHICKEN_ID,
    INSPECTION_ID,
    MATCHING_PENNIES_ID,
    PRISONERS_DILEMMA_ID,
    REPEATED_ID,
    ROCK_PAPER_SCISSORS_ID,
)
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.competitive import inspection_states

MODULE = "epymarl_trust_region.environments.games:"

# id, arguments, joint action, what it pays
PAID = [
    (MATCHING_PENNIES_ID, {}, [0, 0], [1, -1]),
    (MATCHING_PENNIES_ID, {"heads": 3}, [0, 0], [3, -3]),
    (MATCHING_PENNIES_ID, {}, [1, 0], [-1, 1]),
    (ROCK_PAPER_SCISSORS_ID, {}, [0, 1], [-1, 1]),
    (ROCK_PAPER_SCISSORS_ID, {}, [0, 2], [1, -1]),
    (PRISONERS_DILEMMA_ID, {}, [0, 1], [1, 4]),
    (PRISONERS_DILEMMA_ID, {}, [1, 1], [2, 2]),
    (CHICKEN_ID, {}, [0, 1], [2, 4]),
    (CHICKEN_ID, {}, [1, 1], [1, 1]),
]


@pytest.mark.parametrize("key, arguments, actions, paid", PAID)
def test_a_play_of_a_matrix(key, arguments, actions, paid):
    env = gymnasium.make(MODULE + key, **arguments)
    assert [one.tolist() for one in env.reset(seed=0)[0]] == [[1.0]] * 2
    observations, rewards, terminated, truncated, _ = env.step(actions)
    assert rewards == paid and terminated and not truncated and [one.tolist() for one in observations] == [[1.0]] * 2


def test_the_last_joint_action_is_seen():
    env = gymnasium.make(MODULE + REPEATED_ID, game="rock-paper-scissors", plays=3)
    seen, ends = [env.reset()[0]], []
    for actions in ([0, 1], [2, 2], [1, 0]):
        observations, _, terminated, _, _ = env.step(actions)
        seen.append(observations)
        ends.append(terminated)
    assert [int(both[0].argmax()) for both in seen] == [0, 1 + 1, 1 + 8, 1 + 3] and ends == [False, False, True]
    assert all(both[0].sum() == 1 and (both[0] == both[1]).all() and both[0].dtype == np.float32 for both in seen)


def test_the_inspector_has_so_many_inspections_and_a_violation_ends_it():
    env, states = gymnasium.make(MODULE + INSPECTION_ID, periods=3, inspections=1), inspection_states(3, 1)
    game = env.unwrapped
    for actions, paid in (([0, 0], [1, -1]), ([1, 0], [-1, 1])):
        env.reset()
        assert env.step(actions)[1:3] == (paid, True)
    assert states[int(env.reset()[0][0].argmax())] == (3, 1) and game.get_avail_actions() == [[1, 1], [1, 1]]
    observations, rewards, terminated, *_ = env.step([0, 1])
    assert states[int(observations[1].argmax())] == (2, 0) and rewards == [0, 0] and not terminated
    assert game.get_avail_actions() == [[0, 1], [1, 1]]
    assert states[int(env.step([1, 1])[0][0].argmax())] == (1, 0)
    assert env.step([1, 1])[1:4] == ([0, 0], True, False)  # the last period


def test_the_tables_are_those_that_are_played():
    """Every step of every state gives what the tables of `exact` say, and shows what they show."""
    env = gymnasium.make(MODULE + INSPECTION_ID).unwrapped
    game, looks, masks = env.exact()
    for s in range(game.n_states):
        for joint in np.ndindex(*game.n_actions):
            if not all(game.masks[i][s, a] for i, a in enumerate(joint)):
                continue
            env.reset()
            env._state = np.array(s)
            assert np.array_equal(env.look(), looks[s]) and np.array_equal(env.available(), masks[s])
            observations, rewards, terminated, *_ = env.step(joint)
            assert rewards == np.moveaxis(game.reward, 0, -1)[(s, *joint)].tolist()
            after = game.next_state[(s, *joint)]
            assert terminated == (after == game.n_states) and (terminated or np.array_equal(observations, looks[after]))


def test_it_goes_on_after_a_stop():
    env, other = (gymnasium.make(MODULE + REPEATED_ID, plays=4).unwrapped for _ in range(2))
    env.reset()
    env.step([1, 0])
    taken = snapshot.take(env)
    assert not taken.unknown
    other.reset()
    snapshot.put(other, taken.tree)
    for actions in ([1, 1], [0, 1], [0, 0]):
        (a, *one), (b, *two) = env.step(actions), other.step(actions)
        assert one == two and np.array_equal(a, b)


@pytest.mark.parametrize(
    "key, arguments, message",
    [
        (MATCHING_PENNIES_ID, {"heads": -1}, "env_args.heads is -1: give what two heads pay"),
        (MATCHING_PENNIES_ID, {"heads": "a"}, "env_args.heads is 'a'"),
        (MATCHING_PENNIES_ID, {"heads": float("inf")}, "env_args.heads is inf"),
        (CHICKEN_ID, {"max_steps": 0}, "env_args.max_steps is 0: give a whole number from 1"),
        (REPEATED_ID, {"game": "go"}, "env_args.game is 'go': choose matching-pennies"),
        (REPEATED_ID, {"plays": 1.5}, "env_args.plays is 1.5"),
        (INSPECTION_ID, {"periods": 1}, "env_args.periods is 1: give a whole number from 2"),
        (INSPECTION_ID, {"periods": 3, "inspections": 3}, "env_args.inspections is 3: give a whole number from 1 to 2"),
    ],
)
def test_bad_arguments_are_refused_by_name(key, arguments, message):
    with pytest.raises(ConfigError, match=message):
        gymnasium.make(MODULE + key, **arguments)
