"""Recorded episodes as single steps, with the features that a policy sees.

Shape letters: M transitions, B episodes, N agents, A actions, P features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..controllers.log_linear_mac import LogLinearMAC
from ..recordings.episodes import Episodes


@dataclass(frozen=True)
class Transitions:
    """The valid steps of recorded episodes."""

    features: Tensor  # psi, [M, N, P]
    avail: Tensor  # [M, N, A]
    actions: Tensor  # [M, N], int64
    rewards: Tensor  # [M]
    goes_on: Tensor  # [M], 0 where the episode truly ended
    next_features: Tensor  # [M, N, P]
    next_avail: Tensor  # [M, N, A]
    first: Tensor  # [B], the transitions that episodes begin with

    def horizon(self) -> int | None:
        """Steps of the longest episode; None if a time limit cut one: nobody knows how long it would have been."""
        ends = torch.cat([self.first[1:], self.first.new_tensor([len(self.rewards)])])
        return None if self.goes_on[ends - 1].any() else int((ends - self.first).max())


def transitions(episodes: Episodes, mac: LogLinearMAC) -> Transitions:
    """Of a mapping with the suite's fields and `truncated`; a step cut by a time limit goes on."""
    valid = episodes["filled"][:, 1:, 0].bool()  # a step is one whose next observation is there
    psi, avail = mac.features_of(episodes, slice(0, episodes.max_seq_length)), episodes["avail_actions"]
    ended = (episodes["terminated"] * (1 - episodes["truncated"]))[:, :-1, 0]
    lengths = valid.sum(1)
    return Transitions(
        features=psi[:, :-1][valid],
        avail=avail[:, :-1][valid],
        actions=episodes["actions"][:, :-1, :, 0][valid],
        rewards=episodes["reward"][:, :-1, 0][valid],
        goes_on=1.0 - ended[valid].float(),
        next_features=psi[:, 1:][valid],
        next_avail=avail[:, 1:][valid],
        first=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)[:-1]]),
    )
