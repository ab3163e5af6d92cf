"""The offline example of `epymarl-tr study log-linear`: LSTD and pessimism on data with holes.

Random games of two agents with rewards in [-1, 0], where an estimate of 0 for what is unknown is the best there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..games.markov import MarkovGame, random_game
from ..numerics.pessimistic import Evaluation, confident_lam, lstd, noise_scale, pessimistic
from .log_linear_exact import joint_of, optimal_values, uniform_autoregressive
from .log_linear_features import tabular_features
from .offline_improvement import Transitions, evaluate, improve, sample_transitions

COVERAGES = (0.25, 0.5, 1.0)
LAMS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
Z = (1.0, 2.0, 3.0)
N_STATES, N_ACTIONS, GAMMA = 4, (3, 3), 0.8
BETA, ITERATIONS, RIDGE = 2.0, 150, 1e-3
RESAMPLES, QUANTILE = 30, 0.1
Solver = Callable[[Evaluation], np.ndarray]


def offline_rows(seed: int, coverage: float, n_samples: int) -> list[dict[str, Any]]:
    """One game and one data set: the true and the promised return of every method's last policy."""
    rng = np.random.default_rng([seed, 1])
    game = cost_game(rng)
    weights = data_weights(game, coverage, rng)
    data = sample_transitions(game, weights, n_samples, rng)
    noise = noise_scale(data.rewards, GAMMA)
    lams: dict[str, Solver] = {f"lam {lam:g}": partial(pessimistic, lam=lam) for lam in LAMS}
    solvers: dict[str, Solver] = {"LSTD": lstd, **lams, **{f"confident, z {z:g}": _careful(z, noise) for z in Z}}
    found = {method: learn_offline(game, data, solve) for method, solve in solvers.items()}
    # With positive rewards the ridge takes what is unknown for the worst, and not for the best.
    found["LSTD, rewards raised by 1"] = learn_offline(game, data._replace(rewards=data.rewards + 1), lstd, raised=1.0)
    true = {method: float(game.objective(one.joint)) for method, one in found.items()}
    rows = [
        {"method": method, "true": true[method], "mixture": one.mixture, "promised": one.promised}
        for method, one in found.items()
    ]
    chosen = select(game, data, lams, {method: one.joint for method, one in found.items()})
    others = {f"{rule} of the grid": true[method] for rule, method in chosen}
    others["the best lam of the grid, told by the game"] = max(true[method] for method in lams)
    others["the data's own policy"] = float(game.objective(weights / weights.sum((1, 2), keepdims=True)))
    others["optimum"] = float(optimal_values(game) @ game.initial)
    rows += [{"method": method, "true": value, "mixture": None, "promised": None} for method, value in others.items()]
    return [{"seed": seed, "coverage": coverage, "samples": n_samples} | row for row in rows]


def cost_game(rng: np.random.Generator) -> MarkovGame:
    """A random game with rewards in [-1, 0]."""
    game = random_game(rng, N_STATES, N_ACTIONS, GAMMA)
    return MarkovGame(game.transition, (game.reward - 1) / 2, game.initial, GAMMA)


def data_weights(game: MarkovGame, coverage: float, rng: np.random.Generator) -> np.ndarray:
    """Shares of (s, a), [S, A^1, A^2]: in every state a part `coverage` of the joint actions, the optimal one included.

    States are equally frequent. In each, 0.3 is on the optimal action and 0.7 is spread evenly over those that occur.
    """
    n_joint = math.prod(game.n_actions)
    q = game.reward + game.gamma * game.transition @ optimal_values(game)
    weights = np.zeros((game.n_states, n_joint))
    for row, best in zip(weights, q.reshape(game.n_states, -1).argmax(-1), strict=True):
        others = rng.permutation(np.delete(np.arange(n_joint), best))
        kept = [best, *others[: round(coverage * n_joint) - 1]]
        row[kept] = 0.7 / len(kept)
        row[best] += 0.3
    return weights.reshape(game.n_states, *game.n_actions) / game.n_states


class Learned(NamedTuple):
    """The last joint policy, the return that it promises, and the true return of the mixture of all iterates."""

    joint: np.ndarray
    promised: float
    mixture: float


def learn_offline(game: MarkovGame, data: Transitions, solve: Solver, raised: float = 0.0) -> Learned:
    """Improve a uniform policy on the data, whose rewards are `raised` above those of the game."""
    features = tabular_features(N_STATES, N_ACTIONS)[-1]
    found = improve(partial(_problem, game, data), features, uniform_autoregressive(game), solve, BETA, ITERATIONS)
    joints = [joint_of(one.log_policies) for one in found]
    mixture = float(np.mean([game.objective(joint) for joint in joints]))
    return Learned(joints[-1], found[-1].estimate - raised / (1 - GAMMA), mixture)


def select(
    game: MarkovGame, data: Transitions, lams: dict[str, Solver], policies: dict[str, np.ndarray]
) -> list[tuple[str, str]]:
    """What three rules choose from the grid, on data alone: (rule, method).

    Held-out: policies learned from the first half, the largest LSTD estimate on the second. Bootstrap: the largest 10%
    quantile of LSTD estimates on resampled data. Bound: the largest lower bound of LSTD at z = 2 standard errors.
    """
    half = len(data.rewards) // 2
    first, second = Transitions(*(x[:half] for x in data)), Transitions(*(x[half:] for x in data))
    of_half = {name: learn_offline(game, first, solve).joint for name, solve in lams.items()}
    rng, n = np.random.default_rng(0), len(data.rewards)
    resampled = [Transitions(*(x[i] for x in data)) for i in rng.integers(n, size=(RESAMPLES, n))]
    noise = noise_scale(data.rewards, GAMMA)

    def low(name: str) -> float:
        return float(np.quantile([_promise(game, one, policies[name], lstd) for one in resampled], QUANTILE))

    rules = {
        "largest held-out LSTD estimate": lambda name: _promise(game, second, of_half[name], lstd),
        "largest bootstrap quantile of LSTD": low,
        "largest lower bound, z 2,": lambda name: _promise(game, data, policies[name], _careful(2.0, noise)),
    }
    return [(rule, max(lams, key=score)) for rule, score in rules.items()]


def _problem(game: MarkovGame, data: Transitions, joint: np.ndarray) -> Evaluation:
    return evaluate(data, tabular_features(N_STATES, N_ACTIONS)[-1], joint, game.initial, GAMMA, RIDGE)


def _promise(game: MarkovGame, data: Transitions, joint: np.ndarray, solve: Solver) -> float:
    problem = _problem(game, data, joint)
    return problem.estimate(solve(problem))


def _careful(z: float, noise: float) -> Solver:
    """Pessimistic, with the lam that the data set."""
    return lambda problem: pessimistic(problem, confident_lam(problem, z, noise))
