"""The cheapest play of a deterministic game, by best-first search over states that are numbered by whole numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np


def cheapest(
    start: int,
    expand: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    ended: Callable[[np.ndarray], np.ndarray],
    bound: Callable[[np.ndarray], np.ndarray],
) -> int | None:
    """The least total cost of a play from `start` to a state that has ended; None if no play gets there.

    Args:
        expand: K states to M moves: which of the K each starts from, the state it leads to, its cost (from 0 on).
        ended: K states to K truths.
        bound: K states to K numbers, each at most what has still to be paid from there.
    """
    paid = {start: 0}
    waiting = defaultdict(set, {int(bound(np.array([start]))[0]): {start}})  # by the least total that is possible
    while waiting:
        total = min(waiting)
        states = np.array(sorted(waiting.pop(total)))
        so_far = np.array([paid[state] for state in states.tolist()])
        fresh = so_far + bound(states) == total  # the others have been reached at less cost since
        if ended(states[fresh]).any():
            return total
        origin, after, costs = expand(states[fresh])
        costs = costs + so_far[fresh][origin]
        order = np.lexsort((costs, after))
        cheap = order[np.unique(after[order], return_index=True)[1]]  # of several moves to a state, the cheapest
        least = costs[cheap] + bound(after[cheap])
        for state, cost, at in zip(after[cheap].tolist(), costs[cheap].tolist(), least.tolist(), strict=True):
            if cost < paid.get(state, np.inf):
                paid[state] = cost
                waiting[at].add(state)
    return None
