"""Random 2x2 games of three classes. Payoffs [..., 2, 2, 2] and gains [..., 2, 2] as in `two_by_two`."""

from __future__ import annotations

import numpy as np

from epymarl_trust_region.games.two_by_two import gains_of

CLASSES = ("coordination", "anti-coordination", "cyclic")


def is_of_class(gains: np.ndarray, name: str) -> np.ndarray:
    """Whether each game is of the class, [...]: all best replies strict, and 3, 3 or 1 equilibria.

    Coordination: each player's best reply is the other's action; anti-coordination: the other action; cyclic: the
    former for one player and the latter for the other (Pangallo et al., 2017).
    """
    matches = (gains[..., 0] > 0) & (gains[..., 1] < 0)
    avoids = (gains[..., 0] < 0) & (gains[..., 1] > 0)
    if name == "coordination":
        return np.all(matches, axis=-1)
    if name == "anti-coordination":
        return np.all(avoids, axis=-1)
    if name == "cyclic":
        return (matches | avoids).all(-1) & (matches[..., 0] != matches[..., 1])
    raise ValueError(f"class must be one of {CLASSES}, but is {name!r}")


def normal_games(name: str, n_games: int, rng: np.random.Generator) -> np.ndarray:
    """Payoffs [G, 2, 2, 2] of independent standard normal numbers, drawn until the game is of the class."""
    kept = np.empty((0, 2, 2, 2))
    while len(kept) < n_games:
        drawn = rng.standard_normal((16 * n_games, 2, 2, 2))
        kept = np.concatenate([kept, drawn[is_of_class(gains_of(drawn), name)]])
    return kept[:n_games]


def structured_games(name: str, n_games: int, rng: np.random.Generator) -> np.ndarray:
    """Payoffs [G, 2, 2, 2] with the structure of the MATRL authors' generator.

    Row [[a, b], [c, d]], column [[e, g], [f, h]]; all increments uniform on [0, 1], "little" ones on [0, 0.1]:
    coordination has b < d < c < a; in anti-coordination and cyclic games one action of the row player stakes much when
    the column player takes action 0, and b and d are nearly what it stakes.
    """
    build = {"coordination": _coordination, "anti-coordination": _anti_coordination, "cyclic": _cyclic}
    if name not in build:
        raise ValueError(f"class must be one of {CLASSES}, but is {name!r}")
    return build[name](n_games, rng)


def _coordination(n: int, rng: np.random.Generator) -> np.ndarray:
    b, d, c, a = rng.random((4, n)).cumsum(0)
    return _table(a, b, c, d, *_matching_column(n, rng))


def _anti_coordination(n: int, rng: np.random.Generator) -> np.ndarray:
    kept = np.empty((0, 2, 2, 2))
    while len(kept) < n:
        a = -1 - rng.random(n)
        c = a + rng.random(n)
        little = 0.1 * rng.random((4, n))
        high = -a - little[0]  # one half of the games: b near |a|, and d just below the smaller of b and |c|
        low = c + little[2]  # the other half: d just above c, and b just above d
        b = np.where(half := rng.random(n) < 0.5, high, low + little[3])
        d = np.where(half, np.minimum(-c, high) - little[1], low)
        games = _table(a, b, c, d, *_swapped(*_matching_column(n, rng)))
        kept = np.concatenate([kept, games[np.abs(d) < np.abs(c)]])  # fails for c near 0; |b| < |a| always holds
    return kept[:n]


def _cyclic(n: int, rng: np.random.Generator) -> np.ndarray:
    stake = 0.5 + rng.random(n)
    little = 0.1 * rng.random((3, n))
    loss = -stake + little[0]
    better = -loss - little[1]
    worse = better - little[2]
    column = _matching_column(n, rng)
    follows = _table(stake, worse, loss, better, *_swapped(*column))
    avoids = _table(loss, better, stake, worse, *column)
    return np.where((rng.random(n) < 0.5)[:, None, None, None], follows, avoids)


def _matching_column(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """e, f, g, h with e > g and h > f."""
    (g, e), (f, h) = rng.random((2, n)).cumsum(0), rng.random((2, n)).cumsum(0)
    return e, f, g, h


def _swapped(e: np.ndarray, f: np.ndarray, g: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, ...]:
    """The column player's actions exchanged, so that it avoids what it matched."""
    return g, h, e, f


def _table(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    e: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
) -> np.ndarray:
    return np.moveaxis(np.array([[[a, b], [c, d]], [[e, g], [f, h]]]), -1, 0)
