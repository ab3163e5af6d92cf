"""What an environment gives: what is right comes through, and everything else is one line, the same on both hosts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from epymarl_trust_region.environments.scene import Scene
from epymarl_trust_region.environments.values import Availability, is_over
from epymarl_trust_region.errors import EnvironmentFaultError as Fault
from epymarl_trust_region.errors import NonFiniteError
from gymnasium.spaces import Box, Discrete
from gymnasium.spaces import Dict as DictSpace

NAN, INF = float("nan"), float("inf")
ENV = r"environment 0 \(Faulty-v0\) "
AT = " at step 2 of its episode"  # observations: two actions after the reset
PLAYED = " at step 1 of its episode"  # what the second action brought


def play(env, steps: int = 4) -> list[tuple]:
    """Read all that there is to read at each step, as runners do; gives what `step` gave."""
    env.reset()
    came = []
    for t in range(steps + 1):
        state, obs = env.get_state(), env.get_obs()
        assert np.array_equal(np.ravel(obs), state)
        env.get_avail_actions()
        if t < steps:
            came.append(env.step(np.array([1, 2])))
    return came


def line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


BAD_OBSERVATIONS = [
    ("seen", np.array([0, NAN], np.float32), NonFiniteError, f"agent 1 an observation with nan at place 1{AT}; the"),
    ("seen", np.array([0, -INF], np.float32), NonFiniteError, f"gave agent 1 an observation with -inf at place 1{AT}"),
    ("seen", np.array([1e39, 0.0]), NonFiniteError, r"with 1e\+39 \(too large for 32 bits\) at place 0" + AT),
    ("seen", [INF, 0.0], NonFiniteError, f"gave agent 1 an observation with inf at place 0{AT}"),
    ("seen", np.zeros(1, np.float32), Fault, rf"agent 1 the observation array.*shape \(1,\) instead of \(2,\),{AT}"),
    ("seen", np.zeros(3, np.float32), Fault, r"has the shape \(3,\) instead of \(2,\)"),
    ("seen", np.zeros((1, 2), np.float32), Fault, r"has the shape \(1, 2\) instead of \(2,\)"),
    ("seen", np.float32(0.5), Fault, r"has the shape \(\) instead of \(2,\)"),
    ("seen", None, Fault, "gave agent 1 the observation None, which is no array of numbers"),
    ("seen", "far away", Fault, "gave agent 1 the observation 'far away', which is no array of numbers"),
    ("seen", np.array(["a", "b"]), Fault, "which is no array of numbers"),
    ("seen", np.array([1j, 0]), Fault, "which is no array of numbers"),
    ("seen", [[0.0], [0.0, 1.0]], Fault, "which is no array of numbers"),
    ("observations", (np.zeros(2),) * 3, Fault, f"gave 3 observations for 2 agents{AT}"),
    ("observations", (np.zeros(2),), Fault, f"gave 1 observation for 2 agents{AT}"),
    ("observations", None, Fault, f"gave the observations None{AT}; return a tuple of 2, one per agent"),
    ("observations", {"a": np.zeros(2), "b": np.zeros(2)}, Fault, "gave the observations {'a':"),
    ("observations", "xy", Fault, "gave the observations 'xy'"),
]  # fmt: skip


@pytest.mark.parametrize("field, value, kind, message", BAD_OBSERVATIONS)
def test_bad_observations(field: str, value: Any, kind: type, message: str, make_gymma) -> None:
    env = make_gymma(field=field, value=value)
    with pytest.raises(kind, match=ENV + ".*" + message) as error:
        play(env)
    line(error)


@pytest.mark.parametrize("value", [np.array([0, NAN], np.float32), None])
def test_bad_observations_of_the_reset_and_of_the_last_step(value: Any, make_gymma) -> None:
    with pytest.raises((NonFiniteError, Fault), match="at step 0 of its episode"):
        play(make_gymma(field="seen", value=value, at=0))
    with pytest.raises((NonFiniteError, Fault), match="at step 4 of its episode"):
        play(make_gymma(field="seen", value=value, at=4))


@pytest.mark.parametrize(
    "value",
    [
        np.array([3e38, -3e38], np.float32),  # as large as 32 bits allow
        np.array([1e30, 1e-30]),
        np.array([100.0, -100.0], np.float32),  # outside of its Box, whose bounds nobody uses
        [7, 8],
        (0.5, 0.25),
        np.array([1, 2], np.int64),
        np.array([True, False]),
        np.array([0.5, 0.25], np.float16),
    ],
)
@pytest.mark.filterwarnings("error")
def test_numbers_of_the_right_shape_are_observations(value: Any, make_gymma) -> None:
    env = make_gymma(field="seen", value=value, at=4)
    play(env)
    assert np.array_equal(env.get_obs()[1], np.asarray(value, np.float32))


def test_ragged_observations_are_padded_and_empty_ones_are_allowed(make_gymma) -> None:
    env = make_gymma(observations=(Box(-1, 1, (3,)), Box(-1, 1, (1,))))
    play(env)
    assert np.array_equal(env.get_obs(), np.float32([[0.4, 0.4, 0.4], [0.4, 0, 0]]))
    env = make_gymma(observations=(Box(-1, 1, (0,)), Box(-1, 1, (0,))))
    play(env)
    assert np.shape(env.get_obs()) == (2, 0) and env.get_env_info()["state_shape"] == 0


BYTES, DISCRETE = Box(0, 255, (2, 2), np.uint8), Discrete(3, start=1)
NESTED = DictSpace({"a": Box(-1, 1, (1,)), "b": Discrete(3)})


@pytest.mark.parametrize(
    "space, value, kind, message",
    [
        (BYTES, np.array([[0, 0.5], [0, 0]]), Fault, "which its type uint8 cannot hold"),
        (BYTES, np.array([[0, 256], [0, 0]]), Fault, "which its type uint8 cannot hold"),
        (BYTES, np.array([[0, 0], [NAN, 0]]), NonFiniteError, "an observation with nan at place 1, 0"),
        (Box(0, 9, (2,), np.uint8), np.array([0.5, 1]), Fault, "which its type uint8 cannot hold"),
        (BYTES, np.zeros(4, np.uint8), Fault, r"the shape \(4,\) instead of \(2, 2\)"),
        (DISCRETE, 0, Fault, r"the observation 0, which is not in it.*Discrete\(3, start=1\)"),
        (DISCRETE, 1.0, Fault, "the observation 1.0, which is not in it"),
        (NESTED, {"a": np.array([NAN]), "b": 1}, NonFiniteError, r"with nan at place 0 in \['a'\]"),
        (NESTED, {"a": np.array([0.0]), "b": 7}, Fault, r"the observation 7 in \['b'\], which"),
        (NESTED, {"a": np.array([0.0])}, Fault, "the observation {'a': .*which is not in it"),
    ],
)
def test_bad_observations_of_other_spaces(space, value: Any, kind: type, message: str, make_gymma) -> None:
    env = make_gymma(field="seen", value=value, observations=(Box(-1, 1, (1,)), space))
    with pytest.raises(kind, match=ENV + ".*" + message) as error:
        play(env)
    line(error)


@pytest.mark.parametrize(
    "space, value, flat",
    [
        (BYTES, np.array([[1.0, 2.0], [3.0, 255.0]]), [1, 2, 3, 255]),
        (Box(-1, 1, (1,), np.float16), np.array([0.1]), [np.float16(0.1)]),  # rounded as its space says
        (DISCRETE, np.int64(3), [0, 0, 1]),
        (DISCRETE, np.array(2), [0, 1, 0]),
        (NESTED, {"a": np.array([3.0]), "b": 2, "more": None}, [3, 0, 0, 1]),
    ],
)
def test_observations_of_other_spaces_are_flattened(space, value: Any, flat: list, make_gymma) -> None:
    env = make_gymma(field="seen", value=value, at=4, observations=(Box(-1, 1, (1,)), space))
    play(env)
    assert np.array_equal(env.get_obs()[1], flat)


GOOD_REWARDS = [  # what is given, the team's reward (sum), the agents' own
    ([1.0, 2.0], 3.0, [1, 2]),
    ([1, 2], 3.0, [1, 2]),
    ((1.0, 2.5), 3.5, [1, 2.5]),
    (np.array([1.0, 2.0]), 3.0, [1, 2]),
    (np.array([1.0, 2.0], np.float32), 3.0, [1, 2]),
    ([np.float32(1), np.int64(2)], 3.0, [1, 2]),
    ([np.array(1.0), np.array(2.0)], 3.0, [1, 2]),
    ([True, False], 1.0, [1, 0]),
    (7.0, 7.0, None),
    (7, 7, None),
    (np.float32(7), 7.0, None),
    (np.int32(7), 7, None),
    (np.array(7.0), 7.0, None),
    (True, 1.0, None),
    (1e38, 1e38, None),
]


@pytest.mark.parametrize("reward, team, _", GOOD_REWARDS)
def test_rewards_of_the_team(reward: Any, team: float, _, make_gymma) -> None:
    got = play(make_gymma(field="reward", value=reward))[1][1]
    assert np.isscalar(got) and got == team


@pytest.mark.parametrize("reward, _, own", GOOD_REWARDS)
def test_rewards_of_each_agent(reward: Any, _, own: list | None, make_gymma) -> None:
    env = make_gymma(common_reward=False, field="reward", value=reward)
    if own is None:
        with pytest.raises(Exception, match=ENV + "gives one reward for the team; set common_reward=True"):
            play(env)
    else:
        got = play(env)[1][1]
        assert np.shape(got) == (2,) and list(got) == own


def test_the_mean_of_rewards_is_taken_of_what_there_is(make_gymma) -> None:
    assert play(make_gymma(scalarisation="mean", field="reward", value=[1.0, 2.0]))[1][1] == 1.5


@pytest.mark.parametrize("reward", [3.0, np.float32(3), np.array(3.0), [3.0], np.array([3.0])])
def test_one_agents_reward_is_its_own_and_the_teams(reward: Any, make_gymma) -> None:
    alone = {"actions": (Discrete(3),), "observations": (Box(-1, 1, (2,)),), "field": "reward", "value": reward}
    for common_reward in (True, False):
        env = make_gymma(common_reward, **alone)
        env.reset()
        env.step([0])
        got = env.step([0])[1]
        assert np.shape(got) == (() if common_reward else (1,)) and np.sum(got) == 3.0


@pytest.mark.parametrize("common_reward", [True, False])
@pytest.mark.parametrize(
    "reward, kind, message",
    [
        (NAN, NonFiniteError, "the reward nan" + PLAYED),
        (np.array(INF), NonFiniteError, "the reward inf" + PLAYED),
        (1e39, NonFiniteError, r"the reward 1e\+39 \(too large for 32 bits\)" + PLAYED),
        ([1.0, NAN], NonFiniteError, rf"the reward nan{PLAYED} \(agent 1\); the environment is at fault"),
        (np.array([-INF, 1.0]), NonFiniteError, rf"the reward -inf{PLAYED} \(agent 0\)"),
        ([1.0, 2.0, 3.0], Fault, rf"the reward \[1.0, 2.0, 3.0\] of shape \(3,\){PLAYED}; return"),
        ([1.0], Fault, r"the reward \[1.0\] of shape \(1,\)"),
        (np.array([[1.0], [2.0]]), Fault, r"the reward array.* of shape \(2, 1\)"),
        ({"a": 1.0, "b": 2.0}, Fault, r"the reward \{'a': 1.0, 'b': 2.0\} at"),
        (None, Fault, "the reward None at"),
        ("abc", Fault, "the reward 'abc' at"),
        ([None, 1.0], Fault, r"the reward \[None, 1.0\] at"),
        (1j, Fault, "the reward 1j at"),
    ],
)
def test_bad_rewards(reward: Any, kind: type, message: str, common_reward: bool, make_gymma) -> None:
    env = make_gymma(common_reward, field="reward", value=reward)
    with pytest.raises(kind, match=ENV + "gave " + message) as error:
        play(env)
    wanted = "return a number, or a list of 2 numbers" if common_reward else "return a list of 2 numbers"
    assert kind is NonFiniteError or line(error).endswith(wanted)


def test_rewards_that_are_together_too_large_for_32_bits(make_gymma) -> None:
    assert list(play(make_gymma(False, field="reward", value=[3e38, 3e38]))[1][1]) == [3e38, 3e38]
    with pytest.raises(NonFiniteError, match=ENV + r"gave the rewards \[3e\+38, 3e\+38\], together too large"):
        play(make_gymma(True, field="reward", value=[3e38, 3e38]))


BAD_MASKS = [
    ([[1, 1, 1], [0, 0, 0]], f"left agent 1 without an available action{AT}; let get_avail_actions"),
    ([[1, 1, 1], [0.5, 0.5, 0.5]], rf"gave 0.5 for action 0 of agent 1 in get_avail_actions\(\){AT}; return 2 lists"),
    ([[NAN, 1, 1], [1, 1, 1]], r"gave nan for action 0 of agent 0 in get_avail_actions\(\)"),
    ([[1, 1, 1], [1, 2, 1]], "gave 2 for action 1 of agent 1"),
    ([[1, 1], [1, 1]], r"gave masks of shape \(2, 2\) in get_avail_actions\(\)"),
    ([[1, 1, 1]], r"gave masks of shape \(1, 3\)"),
    ([[1, 1, 1], [1, 1]], r"gave masks of the lengths 3, 2 in get_avail_actions\(\).*with 0 where an agent has fewer"),
    (None, r"gave the masks None in get_avail_actions\(\)"),
    ("yes", r"gave the masks 'yes' in get_avail_actions\(\)"),
]  # fmt: skip


@pytest.mark.parametrize("masks, message", BAD_MASKS)
def test_bad_masks(masks: Any, message: str, make_gymma) -> None:
    with pytest.raises(Fault, match=ENV + message) as error:
        play(make_gymma(field="avail", value=masks))
    line(error)


def test_a_mask_offers_no_more_than_there_is(make_gymma) -> None:
    two_and_three = (Discrete(2), Discrete(3))
    env = make_gymma(field="avail", value=[[1, 1, 1], [1, 1, 1]], actions=two_and_three)
    env.reset()
    assert env.get_avail_actions() == [[1, 1, 0], [1, 1, 1]]
    env.step([0, 0]), env.step([0, 0])
    with pytest.raises(Fault, match=ENV + "gave action 2 to agent 0, which has 2 actions"):
        env.get_avail_actions()


@pytest.mark.parametrize(
    "masks",
    [
        [[1, 0, 0], [0, 0, 1]],
        np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        [[True, False, False], [False, False, True]],
    ],
)
def test_masks_of_zeros_and_ones_come_through_as_they_are(masks: Any, make_gymma) -> None:
    env = make_gymma(field="avail", value=masks, at=1)
    env.reset()
    assert env.get_avail_actions() == [[1, 1, 1], [1, 1, 1]]
    env.step([0, 0])
    assert env.get_avail_actions() is masks
    env.step([0, 2])
    assert env.get_avail_actions() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("ends", [{}, {"at": 2, "length": 9}])
def test_nobody_needs_an_action_once_the_episode_has_ended(ends: dict, make_gymma) -> None:
    nothing = [[0, 0, 0], [0, 0, 0]]
    env = make_gymma(field="avail", value=nothing, **{"at": 4, **ends})
    if not ends:
        play(env)
        assert env.get_avail_actions() is nothing
        with pytest.raises(Fault, match="without an available action at step 0"):
            play(make_gymma(field="avail", value=nothing, at=0))
    else:
        with pytest.raises(Fault, match="left agent 0 without"):
            play(env)


def test_what_nobody_needs_at_the_end_is_missed_in_the_next_episode() -> None:
    availability, scene = Availability(np.ones((2, 3), bool)), Scene("Toy-v0")
    availability.check([[0, 0, 0], [1, 1, 1]], True, scene)
    with pytest.raises(Fault, match="left agent 0 without"):
        availability.check([[0, 0, 0], [1, 1, 1]], False, scene)


@pytest.mark.parametrize(
    "terminated, truncated, over",
    [
        (False, False, False), (True, False, True), (np.False_, np.True_, True), ([True, False], [False, False], False),
        ([True, False], [False, True], True), ([False, False], True, True), ({"a": True, "b": False}, False, False),
        ({"a": True, "b": True}, False, True),
    ],
)  # fmt: skip
def test_an_episode_is_over_when_it_is_for_every_agent(terminated: Any, truncated: Any, over: bool) -> None:
    assert is_over(terminated, truncated) is over


@pytest.mark.parametrize("field", ["terminated", "truncated"])
@pytest.mark.parametrize("value", [None, "yes", 2, 0.5, [True], [True, None], [[True, False]], NAN])
def test_bad_ends(field: str, value: Any, make_gymma) -> None:
    message = f"{ENV}gave {field}={re.escape(repr(value))}{PLAYED}; return True or False, or a list of 2 of them"
    with pytest.raises(Fault, match=message) as error:
        play(make_gymma(field=field, value=value))
    line(error)


@pytest.mark.parametrize("value", [True, 1, np.True_, np.array(True), [True, True], np.array([True, True]), (1, 1)])
def test_ends_come_through(value: Any, make_gymma) -> None:
    terminated = play(make_gymma(field="terminated", value=value))[1][2]
    assert np.all(terminated)


@pytest.mark.parametrize(
    "result, message",
    [
        (((0, 0), 1.0, False, {}), "gave 4 values from step"),
        (((0, 0), 1.0, False, False, {}, 0), "gave 6 values from step"),
        (None, "gave a NoneType from step"),
    ],
)
@pytest.mark.parametrize("limited", [{}, {"max_episode_steps": 5}])  # a limit of its own takes it apart first
def test_a_step_of_another_form(result: Any, message: str, limited: dict, make_gymma) -> None:
    with pytest.raises(Fault, match=ENV + message + r".*return \(observations, reward, terminated"):
        play(make_gymma(field="result", value=result, at=2, **limited))


@pytest.mark.parametrize("result", [None, np.zeros((2, 2)), (np.zeros(2), np.zeros(2)), ((np.zeros(2),) * 2, {}, 0)])
def test_a_reset_of_another_form(result: Any, make_gymma) -> None:
    with pytest.raises(Fault, match=ENV + r"gave no pair \(observations, info\) from reset\(\) at step 0"):
        play(make_gymma(field="reset", value=result, at=0))


@pytest.mark.parametrize("info", [None, "text", [1], 7])
def test_an_info_that_is_no_dictionary(info: Any, make_gymma) -> None:
    with pytest.raises(Fault, match=f"{ENV}gave the info .*{PLAYED}; return a dictionary"):
        play(make_gymma(field="info", value=info))


def test_actions_count_from_the_start_of_their_space(make_gymma) -> None:
    env = make_gymma(actions=(Discrete(3, start=1), Discrete(3, start=-5)))
    inner = env._env.unwrapped
    play(env)
    assert inner.played == [[2, -3]] * 4  # of [1, 2]
    assert all(type(action) is int for action in inner.played[0])
    assert env.get_avail_actions() == [[1, 1, 1], [1, 1, 1]]
    assert env.get_env_info()["n_actions"] == 3


def test_a_contract_changes_nothing_of_what_is_right(make_gymma) -> None:
    """The numbers of a run without faults, written down."""
    env = make_gymma(masked=True)
    came = play(env)
    assert [step[1:] for step in came] == [(3.0, t == 3, False, {"won": t == 3}) for t in range(4)]
    assert np.array_equal(env.get_obs(), np.full((2, 2), 0.4, np.float32))
    assert env._env.unwrapped.played == [[1, 2]] * 4
