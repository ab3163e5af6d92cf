"""Episodes of two teams, one in each role.

Shape letters: B environments, E episodes, N agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..seeding import seed_everything
from ..suite.lite.run import player
from .roles import Roles
from .teams import LOG, Table, Team


class Versus:
    """The controller of a match: each role's agents act by their own team's policies.

    Every team sees what all agents see, and its policies of the other role's agents are not asked.
    """

    def __init__(self, teams: Sequence[Any], roles: Roles) -> None:
        """
        Args:
            teams: the controllers of role 0 and of role 1; the same one may play both.
        """
        self._first, self._second = teams
        self._roles = roles

    def init_hidden(self, batch_size: int) -> None:
        """Forget the past."""
        for mac in {id(mac): mac for mac in (self._first, self._second)}.values():
            mac.init_hidden(batch_size)

    def carry_on(self, batch_size: int) -> None:
        """Go on where the last rollout of streams left off."""
        self._first.carry_on(batch_size)
        self._second.carry_on(batch_size)

    def leave_off(self, *arguments: Any) -> None:
        """Keep what the next rollout of streams begins with."""
        self._first.leave_off(*arguments)
        self._second.leave_off(*arguments)

    def select_actions(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        """As a team's own: [B, N], or [B, N, A]."""
        actions = self._first.select_actions(*arguments, **keywords)
        if self._second is self._first:  # whose memory is to go one step on, and not two
            return actions
        others, (_, second) = self._second.select_actions(*arguments, **keywords), self._roles
        actions = actions.clone()
        actions[:, list(second)] = others[:, list(second)]
        return actions


def match(first: Team, second: Team, table: Table, roles: Roles, episodes: int, seed: int) -> np.ndarray:
    """The returns of both roles, each the sum of its agents', [E, 2].

    Every match begins with the same random numbers: it plays the same episodes whoever else is compared.
    """
    seed_everything(seed)
    with player(table.config, LOG) as runner:
        runner.mac = Versus((first.mac, second.mac), roles)
        seed_everything(seed)  # what made the networks has drawn some
        while len(runner.test_returns) < episodes:
            runner.run(test_mode=True)
        returns = np.array(runner.test_returns[:episodes], float)
    return np.stack([returns[:, list(role)].sum(-1) for role in roles], axis=-1)


def all_matches(teams: Sequence[Team], table: Table, roles: Roles, episodes: int, seed: int) -> np.ndarray:
    """Every ordered pair, a team against itself among them: returns [C, C, E, 2] of C teams, role 0's team first."""
    from tqdm import tqdm

    pairs = [(i, j) for i in range(len(teams)) for j in range(len(teams))]
    found = np.zeros((len(teams), len(teams), episodes, 2))
    for i, j in tqdm(pairs, desc="pairs", disable=None, leave=False):
        found[i, j] = match(teams[i], teams[j], table, roles, episodes, seed)
    return found
