"""Environments that no contract guards from inside (SMAC, SMAClite), in the share of the runner `vector`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from epymarl_trust_region.environments.interface import Checked, under_contract
from epymarl_trust_region.environments.smax import SMAXEnv
from epymarl_trust_region.errors import EnvironmentFaultError, NonFiniteError
from epymarl_trust_region.runners.env_group import EnvGroup, Field

B, T, N, A, OBS, STATE = 2, 5, 2, 3, 4, 6


class Battle:
    """The suite's interface for a team of two; environment 1 gives something else in `field` at step 2."""

    def __init__(self, index: int, field: str = "", value: Any = None) -> None:
        self.index, self.field, self.value, self.t = index, field, value, 0

    def _or(self, field: str, right: Any) -> Any:
        return self.value if (self.index, self.t, self.field) == (1, 2, field) else right

    def reset(self):
        self.t = 0

    def step(self, actions):
        self.t += 1
        over = self.t == T
        info = self._or("info", {"battle_won": over, "map": "3m"})
        step = None, self._or("reward", 1.5), self._or("terminated", over), self._or("truncated", False), info
        return self._or("result", step)

    def get_obs(self):
        return self._or("obs", [np.full(OBS, self.t, np.float32)] * N)

    def get_state(self):
        return self._or("state", np.full(STATE, -self.t, np.float64))

    def get_avail_actions(self):
        dead = self.t == T or self.t == 3
        return self._or("avail", [[0, 1, 1], [1, 0, 0] if dead else [0, 0, 1]])  # the dead have a no-op


def play(field: str = "", value: Any = None) -> tuple[dict[str, np.ndarray], list]:
    share = EnvGroup(lambda i: Battle(i, field, value), range(B), "3m")
    shapes = {
        "obs": ((N, OBS), np.float32), "state": ((STATE,), np.float32), "avail_actions": ((N, A), np.int32),
        "actions": ((N, 1), np.int64), "reward": ((1,), np.float32), "terminated": ((1,), np.uint8),
        "filled": ((1,), np.int64),
    }  # fmt: skip
    fields = {key: Field.like(np.zeros((B, T + 1, *shape), dtype)) for key, (shape, dtype) in shapes.items()}
    share.attach(fields)
    share.reset()
    ended = [end for t in range(T) for end in share.step(t)]
    return {key: field.array() for key, field in fields.items()}, ended


def test_what_is_right_comes_through() -> None:
    batch, ended = play()
    assert [(e.index, e.length, e.episode_return, e.info) for e in ended] == [
        (i, T, T * 1.5, {"battle_won": True}) for i in range(B)
    ]
    steps = np.arange(T + 1)
    assert (batch["obs"] == steps[:, None, None]).all() and (batch["state"] == -steps[:, None]).all()
    assert batch["avail_actions"][1, 2].tolist() == [[0, 1, 1], [0, 0, 1]]
    assert batch["avail_actions"][1, T].tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    "field, value", [("obs", np.full((N, OBS), 3e38)), ("state", np.full(STATE, -1e30, np.float32))]
)
def test_large_numbers_that_32_bits_hold_are_fine(field: str, value: np.ndarray) -> None:
    assert np.array_equal(play(field, value)[0][field][1, 2], value.astype(np.float32))


NAN_ROW = [np.zeros(OBS), np.array([0, np.nan, 0, 0])]


@pytest.mark.parametrize(
    "field, value, kind, message",
    [
        ("obs", NAN_ROW, NonFiniteError, "gave agent 1 an observation with nan at place 1 at step 2 of its episode"),
        (
            "obs",
            [np.zeros(OBS)],
            EnvironmentFaultError,
            r"shape \(1, 4\) from get_obs\(\).*of shape \(2, 4\)",
        ),
        ("obs", [np.zeros(OBS), np.zeros(1)], EnvironmentFaultError, r"gave \[array.*from get_obs\(\)"),
        ("obs", None, EnvironmentFaultError, r"gave None from get_obs\(\)"),
        ("state", np.full(STATE, np.inf), NonFiniteError, "gave a state with inf at place 0 at step 2"),
        ("state", np.full(STATE, 1e39), NonFiniteError, r"gave a state with 1e\+39"),
        ("state", np.zeros(1), EnvironmentFaultError, r"an array of shape \(1,\) from get_state\(\)"),
        ("avail", [[0, 0, 0], [1, 1, 1]], EnvironmentFaultError, "left agent 0 without an available action at step 2"),
        ("avail", [[1, 1, 1]], EnvironmentFaultError, r"gave masks of shape \(1, 3\) in get_avail_actions\(\)"),
        ("avail", [[0.5, 1, 1], [1, 1, 1]], EnvironmentFaultError, "gave 0.5 for action 0 of agent 0"),
        ("reward", np.nan, NonFiniteError, "gave the reward nan at step 1"),
        ("reward", [1.0, 2.0], EnvironmentFaultError, r"gave the reward \[1.0, 2.0\] .*; return a number$"),
        ("reward", None, EnvironmentFaultError, "gave the reward None at step 1"),
        ("terminated", None, EnvironmentFaultError, "gave terminated=None at step 1"),
        ("truncated", "no", EnvironmentFaultError, "gave truncated='no' at step 1"),
        ("info", None, EnvironmentFaultError, "gave the info None at step 1"),
        ("result", (None, 1.5, False, {}), EnvironmentFaultError, r"gave 4 values from step\(\) at step 1"),
    ],
)
def test_what_is_wrong_is_named(field: str, value: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=rf"environment 1 \(3m\) .*{message}") as error:
        play(field, value)
    assert "\n" not in str(error.value)


def test_only_what_has_no_contract_inside_is_checked_from_outside() -> None:
    battle = Battle(0)
    checked = under_contract(lambda i: battle, 0, "3m")
    assert isinstance(checked, Checked) and checked.index == battle.index  # the rest is the environment's own
    assert isinstance(under_contract(lambda i: SMAXEnv.__new__(SMAXEnv), 0, "3m"), Checked)
