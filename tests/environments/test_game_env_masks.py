"""A game says what actions there are in one method, played by itself and as one."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.environments.games.game_env import GameEnv
from epymarl_trust_region.environments.games.potential_env import CongestionEnv


class Masked(GameEnv):
    def __init__(self) -> None:
        super().__init__(n_actions=[3, 2], size=1)

    def available(self) -> np.ndarray:
        return np.array([[True, False, True], [True, True, False]])


def test_the_rows_follow_from_available():
    assert Masked().get_avail_actions() == [[1, 0, 1], [1, 1, 0]]
    game = CongestionEnv()
    game.reset()
    assert game.get_avail_actions() == game.available().tolist()


def test_a_game_without_masks_of_its_own_has_no_such_method():
    assert not hasattr(GameEnv([2, 2], 1), "get_avail_actions")


def test_rows_alone_are_refused_for_many_copies_would_not_have_them():
    with pytest.raises(TypeError, match=r"Half has get_avail_actions\(\) and no available\(\), from which it follows"):

        class Half(GameEnv):
            def get_avail_actions(self):
                return [[1]]
