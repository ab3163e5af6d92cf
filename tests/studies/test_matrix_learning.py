"""IGA, IGA-PP, WoLF-IGA and MATRL on 2x2 games: steps by hand, special cases, known orbits, and a plain Python loop."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from epymarl_trust_region.games.two_by_two import deviation_gain, equilibria, gains_of, select, values
from epymarl_trust_region.games.two_by_two_classes import CLASSES, normal_games
from epymarl_trust_region.studies.matrix_learning import (
    META_RULES,
    first_stay,
    iga_pp_step,
    iga_step,
    learn,
    matrl_step,
    meta_gains,
    meta_weights,
    near_equilibrium,
    wolf_iga_step,
)

PENNIES = np.array([[[1.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]])  # dV1/dp = 4q - 2, dV2/dq = 2 - 4p
MATCH = np.array([[[1.0, 0.0], [0.0, 1.0]]] * 2)  # dV1/dp = 2q - 1, dV2/dq = 2p - 1
START = np.array([0.9, 0.2])


def random_games(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2, 2, 2)), rng.random((n, 2))


def close(found, expected, atol=1e-15):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_steps_by_hand_on_matching_pennies():
    gains = gains_of(PENNIES)  # at (0.9, 0.2) the gradients are -1.2 and -1.6
    close(iga_step(gains, START, 0.1), [0.78, 0.04])
    close(iga_step(gains, START, 0.2), [0.66, 0.0])  # 0.2 - 0.32, projected
    # Against the predictions 0.04 and 0.78 the gradients are -1.84 and -1.12.
    close(iga_pp_step(gains, START, 0.1, 0.1), [0.716, 0.088])
    # The first player loses (-0.48 < 0), the second wins.
    close(wolf_iga_step(gains, START, np.array([0.5, 0.5]), 0.05, 0.2), [0.66, 0.12])
    # Whatever the other chooses, the trial policies (0.78, 0.04) are better than the current ones.
    close(meta_gains(gains, START, np.array([0.78, 0.04])), [[-0.144, -0.2208], [-0.256, -0.1792]])
    close(matrl_step(gains, START, 0.1, 0.1), [0.716, 0.088])
    close(matrl_step(gains, START, 0.1, 0.05), [0.808, 0.144])


def test_a_step_of_matrl_that_stays_for_one_player():
    # Trial (0.75, 0.35). Against 0.35 the first player's gradient is -0.6: it had better stay; the second moves anyway.
    gains, profile = gains_of(PENNIES), np.array([0.55, 0.55])
    trial = iga_step(gains, profile, 1.0)
    close(meta_gains(gains, profile, trial), [[-0.04, 0.12], [-0.04, -0.2]])
    close(meta_weights(gains, profile, trial), [1, 0])
    close(matrl_step(gains, profile, 1.0, 0.1), [0.49, 0.53])


@pytest.mark.parametrize(
    ("rule", "weights", "end"),
    [("first", [1, 0], [0.34, 0.58]), ("last", [0.75, 0.75], [0.4, 0.6])],
)
def test_a_step_of_matrl_with_three_solutions(rule, weights, end):
    # Trial (0.8, 0.2); meta-gains (-0.08, 0.24) for both. The interior solution mixes to the saddle (0.5, 0.5).
    gains, profile = gains_of(MATCH), np.array([0.4, 0.6])
    trial = iga_step(gains, profile, 2.0)
    close(meta_weights(gains, profile, trial, rule), weights)
    close(matrl_step(gains, profile, 2.0, 0.1, rule), end)
    drawn = np.broadcast_to(profile, (900, 2))
    rho = meta_weights(gains, drawn, iga_step(gains, drawn, 2.0), "random", np.random.default_rng(0))
    assert 0.28 < np.isclose(rho[:, 0], 0.75).mean() < 0.39 and 0.28 < (rho == [0, 1]).all(-1).mean() < 0.39


def test_special_cases():
    payoffs, profiles = random_games(300)
    gains = gains_of(payoffs)
    iga = iga_step(gains, profiles, 0.3)
    assert (iga_pp_step(gains, profiles, 0.3, 0.0) == iga).all()
    assert (matrl_step(gains, profiles, 0.7, 0.3, rule="current") == iga).all()
    target = select(equilibria(gains), "first")
    assert (wolf_iga_step(gains, profiles, target, 0.3, 0.3) == iga).all()
    ahead, predicted = iga_pp_step(gains, profiles, 0.3, 0.1), matrl_step(gains, profiles, 0.1, 0.3, rule="predicted")
    free = profiles + 0.1 * (iga_step(gains, profiles, 1e-9) - profiles) / 1e-9
    inside = ((free > 0.01) & (free < 0.99)).all(-1)  # no prediction is projected
    assert 100 < inside.sum() < 300
    close(predicted[inside], ahead[inside])
    assert np.abs(predicted - ahead).max() > 0.01


@pytest.mark.parametrize(("lr", "gamma_pp"), [(0.01, 0.0), (0.02, 0.01), (0.02, 0.05)])
def test_radius_of_the_orbit_in_matching_pennies(lr, gamma_pp):
    # The gradient is 4 times a quarter turn of x - centre: the squared radius grows by (1 - 16 lr gamma)^2 + (4 lr)^2.
    path = learn(partial(iga_pp_step, lr=lr, gamma_pp=gamma_pp), gains_of(PENNIES), np.array([0.6, 0.45]), 60)
    radius = ((path - 0.5) ** 2).sum(-1)
    np.testing.assert_allclose(radius[1:] / radius[:-1], (1 - 16 * lr * gamma_pp) ** 2 + 16 * lr**2, rtol=1e-12)


def test_wolf_is_slow_when_it_wins():
    payoffs, profiles = random_games(2000)
    gains = gains_of(payoffs)
    target = select(equilibria(gains), "last")
    step = wolf_iga_step(gains, profiles, target, 1e-3, 1e-2) - profiles
    full = iga_step(gains, profiles, 1e-2) - profiles
    for player in (0, 1):
        instead = profiles.copy()
        instead[:, player] = target[:, player]
        margin = (values(payoffs, profiles) - values(payoffs, instead))[:, player]
        inside = np.abs(profiles[:, player] - 0.5) < 0.4  # no projection
        for wins, share in ((margin > 1e-9, 0.1), (margin < -1e-9, 1.0)):
            chosen = wins & inside
            assert chosen.sum() > 300
            close(step[chosen, player], share * full[chosen, player], atol=1e-15)


def meta_table(payoff, profile, trial):
    """The meta-game written out: V at each pair of choices less V at the current policies, [..., 2, 2, 2]."""
    choices = (profile, trial)
    pairs = [[np.stack([choices[i][..., 0], choices[j][..., 1]], -1) for j in (0, 1)] for i in (0, 1)]
    table = [[values(payoff, pairs[i][j]) - values(payoff, profile) for j in (0, 1)] for i in (0, 1)]
    return np.moveaxis(np.array(table), (0, 1), (-2, -1))


@pytest.mark.parametrize("rule", ["first", "last", "random"])
def test_no_player_gains_by_leaving_the_solution_of_the_meta_game(rule):
    payoffs, profiles = random_games(6000)
    gains = gains_of(payoffs)
    trial = iga_step(gains, profiles, 0.8)
    table = meta_table(payoffs, profiles, trial)
    assert (table[:, :, 0, 0] == 0).all()
    close(meta_gains(gains, profiles, trial), gains_of(table), atol=1e-14)
    rho = meta_weights(gains, profiles, trial, rule, np.random.default_rng(0))
    assert deviation_gain(gains_of(table), rho).max() < 1e-12
    mixed = ((rho > 0) & (rho < 1)).all(-1)
    assert (rho == 0).all(-1).mean() > 0.5 and ((rho == 1).any(-1) & ~mixed).sum() > 100
    assert mixed.sum() > 20 or rule == "first"


def test_matrl_rests_in_every_equilibrium():
    payoffs, _ = random_games(500)
    gains = gains_of(payoffs)
    for rule in ("first", "last"):
        point = select(equilibria(gains), rule)
        for meta in ("first", "last", "current", "predicted"):
            close(matrl_step(gains, point, 0.1, 0.15, meta), point, atol=1e-14)


def test_an_unknown_rule_is_refused():
    assert set(META_RULES) == {"first", "last", "random", "current", "predicted"}
    with pytest.raises(ValueError, match="selection must be one of"):
        matrl_step(gains_of(MATCH), np.array([0.4, 0.6]), 2.0, 0.1, rule="best")


# A plain loop, one game at a time, from payoffs and not from gains.


def clip(x):
    return min(1.0, max(0.0, x))


def v(table, p, q):
    return p * (q * table[0][0] + (1 - q) * table[0][1]) + (1 - p) * (q * table[1][0] + (1 - q) * table[1][1])


def slopes(row, column, p, q):
    return v(row, 1, q) - v(row, 0, q), v(column, p, 1) - v(column, p, 0)


def plain_iga(row, column, p, q, lr):
    dp, dq = slopes(row, column, p, q)
    return clip(p + lr * dp), clip(q + lr * dq)


def plain_iga_pp(row, column, p, q, lr, gamma_pp):
    dp, dq = slopes(row, column, p, q)
    dp, dq = slopes(row, column, p + gamma_pp * dp, q + gamma_pp * dq)
    return clip(p + lr * dp), clip(q + lr * dq)


def plain_wolf(row, column, p, q, target, lr_min, lr_max):
    dp, dq = slopes(row, column, p, q)
    lr_p = lr_min if v(row, p, q) > v(row, target[0], q) else lr_max
    lr_q = lr_min if v(column, p, q) > v(column, p, target[1]) else lr_max
    return clip(p + lr_p * dp), clip(q + lr_q * dq)


def plain_matrl(row, column, p, q, lr, lr_br):
    ps, qs = zip((p, q), plain_iga(row, column, p, q, lr), strict=True)
    x, y = ([[v(t, a, b) for b in qs] for a in ps] for t in (row, column))
    found = [(1.0 - i, 1.0 - j) for i in (0, 1) for j in (0, 1) if x[i][j] >= x[1 - i][j] and y[i][j] >= y[i][1 - j]]
    row_0, row_1, column_0, column_1 = x[0][0] - x[1][0], x[0][1] - x[1][1], y[0][0] - y[0][1], y[1][0] - y[1][1]
    if row_0 * row_1 < 0 and column_0 * column_1 < 0:
        found.append((column_1 / (column_1 - column_0), row_1 / (row_1 - row_0)))
    a, b = found[-1]
    mixed = a * ps[0] + (1 - a) * ps[1], b * qs[0] + (1 - b) * qs[1]
    return clip(p + lr_br * slopes(row, column, *mixed)[0]), clip(q + lr_br * slopes(row, column, *mixed)[1])


@pytest.mark.parametrize("method", ["iga", "iga_pp", "wolf", "matrl"])
def test_many_games_at_once_are_the_same_as_a_plain_loop(method):
    payoffs = np.concatenate([normal_games(name, 8, np.random.default_rng(5)) for name in CLASSES])
    gains = gains_of(payoffs)
    target = select(equilibria(gains), "last")
    fast, plain = {
        "iga": (partial(iga_step, lr=0.2), partial(plain_iga, lr=0.2)),
        "iga_pp": (partial(iga_pp_step, lr=0.2, gamma_pp=0.1),) + (partial(plain_iga_pp, lr=0.2, gamma_pp=0.1),),
        "wolf": (partial(wolf_iga_step, target=target, lr_min=0.1, lr_max=0.3), None),
        "matrl": (partial(matrl_step, lr=0.2, lr_br=0.3), partial(plain_matrl, lr=0.2, lr_br=0.3)),
    }[method]
    path = learn(fast, gains, START, 12)
    assert (path[0] == START).all() and path.shape == (13, 24, 2)
    for k, (row, column) in enumerate(payoffs.tolist()):
        one = plain or partial(plain_wolf, target=target[k].tolist(), lr_min=0.1, lr_max=0.3)
        p, q = START.tolist()
        for t in range(12):
            p, q = one(row, column, p, q)
            close(path[t + 1, k], [p, q], atol=1e-14)
    if method == "matrl":  # the loop has met games whose meta-game is no foregone conclusion
        rho = meta_weights(gains, path[:-1], iga_step(gains, path[:-1], 0.2))
        assert (rho != 0).any((0, 2)).sum() >= 5


def test_near_means_both_probabilities_near_the_same_equilibrium():
    found = np.array([[[1.0, 1.0], [np.nan, np.nan], [0.0, 0.0]]])
    path = np.array([[0.96, 0.97], [0.96, 0.04], [0.04, 0.02], [0.94, 1.0], [0.5, 0.5]])[:, None]
    assert near_equilibrium(path, found)[:, 0].tolist() == [True, False, True, False, False]
    assert near_equilibrium(path, found, radius=0.07)[:, 0].tolist() == [True, False, True, True, False]
    both = np.concatenate([found, found[:, [1, 2, 1]]])  # the second game has (0, 0) alone
    near = near_equilibrium(np.repeat(path, 2, axis=1), both)
    assert near.T.tolist() == [[True, False, True, False, False], [False, False, True, False, False]]


def test_first_stay():
    near = np.array([[0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=bool).T
    assert first_stay(near).tolist() == [1, 4, 0, -1]
    assert first_stay(near, 2).tolist() == [3, 4, 0, -1]
    assert first_stay(near, 3).tolist() == [3, -1, 0, -1]  # a stay that the end cuts short does not count
    assert first_stay(near, 6).tolist() == [-1] * 4
    assert first_stay(near, 7).tolist() == [-1] * 4
