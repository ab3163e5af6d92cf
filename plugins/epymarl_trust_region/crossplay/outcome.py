"""What came of all matches: means with intervals, who leads whom, and where that goes round.

Shape letters: C teams, E episodes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

#: Half of a 95% interval of a normal distribution, in standard errors.
WIDTH = 1.96


class Outcome(NamedTuple):
    """Statistics of returns [C, C, E, 2]: team i in role 0, team j in role 1, both roles' returns."""

    means: np.ndarray  # [C, C, 2]
    widths: np.ndarray  # [C, C, 2]: half of each mean's interval
    leads: np.ndarray  # [C, C]: i's return less j's, the mean over both ways to seat them
    lead_widths: np.ndarray  # [C, C]
    zero_sum: bool  # in every episode

    @property
    def beats(self) -> np.ndarray:
        """Whether i leads j by more than the interval is wide, [C, C]."""
        return self.leads > self.lead_widths


def outcome_of(returns: np.ndarray) -> Outcome:
    """The statistics of returns [C, C, E, 2]. With one episode there are no intervals: they are infinite."""
    episodes = returns.shape[2]
    gap = returns[..., 0] - returns[..., 1]  # of role 0's team
    # The same random numbers begin both seatings: they are taken together, episode by episode.
    lead = (gap - gap.swapaxes(0, 1)) / 2
    return Outcome(
        returns.mean(2),
        _width(returns, 2, episodes),
        lead.mean(-1),
        _width(lead, -1, episodes),
        bool((np.abs(returns.sum(-1)) <= 1e-9 * (1 + np.abs(returns).max())).all()),
    )


def _width(samples: np.ndarray, axis: int, count: int) -> np.ndarray:
    if count < 2:
        return np.full(np.delete(samples.shape, axis), np.inf)
    return WIDTH * samples.std(axis, ddof=1) / np.sqrt(count)


def cycles(beats: np.ndarray) -> list[tuple[int, int, int]]:
    """Non-transitive triples: i beats j, j beats k, and k beats i. Each once, with i < j, k."""
    triples = itertools.permutations(range(len(beats)), 3)
    return [(i, j, k) for i, j, k in triples if i < j and i < k and beats[i, j] and beats[j, k] and beats[k, i]]
