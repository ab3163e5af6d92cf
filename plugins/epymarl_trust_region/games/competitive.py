"""Games with opponents whose equilibria are known: zero-sum and social-dilemma matrices, repeated play, inspection.

Payoffs are individual, [2, A, A]: player, its action in rows, the other's in columns.
"""

from __future__ import annotations

from math import comb

import numpy as np

from epymarl_trust_region.games.table_game import TableGame


def matching_pennies(heads: float = 1.0) -> np.ndarray:
    """The first player wins 1 where both show the same, `heads` where both show heads (action 0), and loses 1 else.

    Zero-sum. In equilibrium both show heads with probability 2 / (heads + 3), and the first wins (heads - 1) /
    (heads + 3); 1/2 and 0 in the usual game.

    Raises:
        ValueError: `heads` is not a finite number above -1, so that there is another equilibrium.
    """
    if not -1 < heads < np.inf:
        raise ValueError(f"heads must be a finite number above -1, but is {heads}")
    first = np.array([[heads, -1.0], [-1.0, 1.0]])
    return _zero_sum(first)


def rock_paper_scissors() -> np.ndarray:
    """Zero-sum: rock (0) loses to paper (1), paper to scissors (2), scissors to rock; uniform in equilibrium."""
    first = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return _zero_sum(first)


def chicken() -> np.ndarray:
    """Chicken as in the official code of MATRL (its Figure 9 prints no payoffs): swerve (0) or go straight (1).

    Two pure equilibria, in each of which one swerves (2) and the other does not (4); and one in which both swerve with
    probability 1/2.
    """
    first = np.array([[3.0, 2.0], [4.0, 1.0]])
    return np.stack([first, first.T])


def prisoners_dilemma() -> np.ndarray:
    """The Prisoner's Dilemma as in the official code of MATRL: cooperate (0) or defect (1), which dominates."""
    first = np.array([[3.0, 1.0], [4.0, 2.0]])
    return np.stack([first, first.T])


def _zero_sum(first: np.ndarray) -> np.ndarray:
    return np.stack([first, 0.0 - first])  # which makes no zeros with a sign


#: By the names that the repeated game has them under.
PAYOFFS = {
    "matching-pennies": matching_pennies,
    "rock-paper-scissors": rock_paper_scissors,
    "chicken": chicken,
    "prisoners-dilemma": prisoners_dilemma,
}


def played_blindly(payoff: np.ndarray, plays: int = 1) -> TableGame:
    """A matrix game, played so often by players who see nothing of the plays before."""
    return TableGame(payoff[:, None], np.zeros((1, *payoff.shape[1:]), int), None, plays)


def repeated(payoff: np.ndarray, plays: int) -> TableGame:
    """A matrix game, played so often by players who see the last joint action.

    State 0 is the beginning, state 1 + a_1 A + a_2 follows (a_1, a_2). In a zero-sum game the past is of no use: the
    value is `plays` times that of the matrix. In others what agents see may change what is an equilibrium.
    """
    states = 1 + payoff[0].size
    after = 1 + np.arange(payoff[0].size).reshape(payoff.shape[1:])
    reward = np.repeat(payoff[:, None], states, axis=1)
    return TableGame(reward, np.repeat(after[None], states, axis=0), None, plays)


def inspection(periods: int, inspections: int) -> TableGame:
    """The recursive inspection game of Dresher (1962), zero-sum, of several states.

    In each of `periods` an inspector, agent 0, inspects (0) or does not (1), at most `inspections` times in all, and an
    inspectee, agent 1, violates (0) or does not (1). A violation ends the game: caught, it pays the inspector 1;
    uncaught, it costs 1. Who never violates ends it with 0. Both see how many periods and inspections are left, which
    is state 0 at the beginning; the next states are in `inspection_states`.

    M. Dresher, "A sampling inspection problem in arms control agreements: a game-theoretic analysis", RM-2972-ARPA,
    The RAND Corporation (1962).

    Raises:
        ValueError: not 1 <= inspections < periods, where nobody has anything to choose.
    """
    if not 1 <= inspections < periods:
        raise ValueError(f"inspections must be from 1 to periods - 1 = {periods - 1}, but is {inspections}")
    states = inspection_states(periods, inspections)
    number = {state: k for k, state in enumerate(states)}
    end = len(states)
    first = np.zeros((end, 2, 2))
    after = np.full((end, 2, 2), end)
    for k, (left, more) in enumerate(states):
        first[k, :, 0] = 1.0, -1.0
        after[k, 0, 1] = number.get((left - 1, more - 1), end)
        after[k, 1, 1] = number.get((left - 1, more), end)
    may_inspect = np.array([[more > 0, True] for _, more in states])
    value = inspection_value(periods, inspections)
    masks = may_inspect, np.ones_like(may_inspect)
    return TableGame(_zero_sum(first), after, masks, periods, (value, -value))


def inspection_states(periods: int, inspections: int) -> list[tuple[int, int]]:
    """(periods left, inspections left), the first state first."""
    found = [(left, more) for left in range(periods, 0, -1) for more in range(inspections, -1, -1)]
    return [(left, more) for left, more in found if inspections - more <= periods - left]


def inspection_value(periods: int, inspections: int) -> float:
    """What the inspector wins in equilibrium: -C(n - 1, m) / sum_{i <= m} C(n, i), for n periods and m inspections."""
    return -comb(periods - 1, inspections) / sum(comb(periods, i) for i in range(inspections + 1))
