"""Flags per agent as one pair for the team."""

import numpy as np
import pytest
from epymarl_trust_region.environments.ends import fold

ENDS = [  # terminated, truncated, what the team's are
    (False, False, (False, False)),
    (True, False, (True, False)),
    (False, True, (False, True)),
    (True, True, (True, True)),  # by itself, at the step of a limit
    ([False, False], [False, False], (False, False)),
    ([True, False], [False, False], (False, False)),  # one agent goes on
    ([False, False], [True, False], (False, False)),
    ([True, True], [False, False], (True, False)),
    ([False, False], [True, True], (False, True)),
    ([True, True], [True, True], (True, True)),
    ([True, False], [False, True], (False, True)),  # all are gone, and one of them was cut off
    ([True, True], [False, True], (True, False)),
    ([False, False], True, (False, True)),  # Gymnasium's TimeLimit puts one flag in the place of a list
    ([True, True], True, (True, True)),
    ([True, False], True, (False, True)),
    (False, [True, True], (False, True)),
    (True, [False, False], (True, False)),
    (0, 1, (False, True)),
]


@pytest.mark.parametrize("kind", [lambda x: x, np.array, lambda x: {"a": x[0], "b": x[1]} if np.ndim(x) else x])
@pytest.mark.parametrize("terminated, truncated, team", ENDS)
def test_the_teams_flags(terminated, truncated, team, kind):
    found = fold(kind(terminated), kind(truncated))
    assert found == team and all(type(flag) is bool for flag in found)
