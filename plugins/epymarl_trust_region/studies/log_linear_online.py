"""The online measurements of `epymarl-tr study log-linear`: ratio game, gap against K, random starts, feature sets.

All exact, nothing sampled but games and starts. Every function gives rows, dicts of plain numbers and words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..games.markov import MarkovGame, average_out, random_game
from ..games.normal_form import climbing_game, penalty_game
from ..games.ratio_game import ratio_game
from .log_linear_exact import (
    Tables,
    as_autoregressive,
    autoregressive_step,
    average_gap_bound,
    beta_schedule,
    fast_gap_bound,
    joint_of,
    learn,
    log_softmax,
    optimal_values,
    sequential_step,
    simultaneous_step,
    uniform_autoregressive,
    uniform_product,
)
from .log_linear_features import log_linear_step, log_policies, pairwise_features, tabular_features
from .policy_gradient import ipg_step, softmax_gradient

RATIO_REWARD = np.array([[1.0, 0.5], [-0.5, 0.0]])
RATIO_STOP = np.array([[1.0, 1.0], [0.1, 0.1]])
RATIO_RATES = (0.05, 0.02, 0.001)
RATIO_GOAL = 0.99
RATIO_LIMIT = 150_000
ITERATIONS = (1, 10, 100, 1000, 10_000)  # K of the gap
STEPS = {
    "autoregressive": autoregressive_step,
    "product, in turn": sequential_step,
    "product, at once": simultaneous_step,
}
GAMES = {"climbing": climbing_game, "penalty": penalty_game}
BETAS = (0.01, 0.1, 1.0)
START_ITERATIONS = 2000
FEATURE_ITERATIONS = 300

Update = Callable[[MarkovGame, np.ndarray, Tables, float], Tables]  # (game, joint policy, log-policies, rate)


# The ratio game -------------------------------------------------------------------------------------------------


def _exponential(step: Callable[..., Tables]) -> Update:
    return lambda game, joint, logs, rate: step(game.q_values(joint), logs, 1 / rate)


def _softmax_pg(game: MarkovGame, joint: np.ndarray, logs: Tables, rate: float) -> Tables:
    """theta += rate grad V, everybody at once: independent policy gradient in logits."""
    policies, visits, advantages = [np.exp(log) for log in logs], game.visitation(joint), game.advantages(joint)
    gains = [average_out(advantages, policies, [m]) for m in range(len(logs))]
    gradients = [softmax_gradient(p, gain, visits) for p, gain in zip(policies, gains, strict=True)]
    return [log_softmax(log + rate * gradient) for log, gradient in zip(logs, gradients, strict=True)]


def _projected_pg(game: MarkovGame, joint: np.ndarray, logs: Tables, rate: float) -> Tables:
    """pi <- Proj(pi + rate grad V), everybody at once: independent policy gradient in probabilities."""
    policies, visits, q = [np.exp(log) for log in logs], game.visitation(joint), game.q_values(joint)
    new = [ipg_step(p, average_out(q, policies, [m]), visits, rate) for m, p in enumerate(policies)]
    return [np.log(np.maximum(p, 1e-300)) for p in new]


RATIO_METHODS: dict[str, tuple[Update, Callable[[MarkovGame], Tables]]] = {
    "exponential weights, autoregressive": (_exponential(autoregressive_step), uniform_autoregressive),
    "exponential weights, product in turn": (_exponential(sequential_step), uniform_product),
    "exponential weights, product at once (INPG)": (_exponential(simultaneous_step), uniform_product),
    "independent policy gradient, softmax": (_softmax_pg, uniform_product),
    "independent policy gradient, projected": (_projected_pg, uniform_product),
}


def ratio_path(method: str, rate: float, limit: int) -> list[float]:
    """V of every iterate from a uniform start, until it is above the goal or `limit` iterations are over."""
    game = ratio_game(RATIO_REWARD, RATIO_STOP)
    update, start = RATIO_METHODS[method]
    logs, path = start(game), []
    while True:
        joint = joint_of(logs)
        path.append(float(game.objective(joint)))
        if path[-1] > RATIO_GOAL or len(path) > limit:
            return path
        logs = update(game, joint, logs, rate)


def ratio_rows() -> list[dict[str, Any]]:
    """Iterations that each method takes to V > 0.99; None if more than the limit."""
    rows = []
    for rate in RATIO_RATES:
        for method in RATIO_METHODS:
            path = ratio_path(method, rate, RATIO_LIMIT)
            reached = len(path) - 1 if path[-1] > RATIO_GOAL else None
            rows.append({"method": method, "step": rate, "iterations": reached, "limit": RATIO_LIMIT})
    return rows


# The gap against K ----------------------------------------------------------------------------------------------


def scaled_game(seed: int) -> MarkovGame:
    """A random game of 3 states and 2, 3 and 2 actions with rewards in [0, 1]; gamma 0.9."""
    game = random_game(np.random.default_rng([seed, 0]))
    return MarkovGame(game.transition, (game.reward + 1) / 2, game.initial, game.gamma)


def gap_rows(seed: int) -> list[dict[str, Any]]:
    """Mean and last gap V* - V from the initial distribution, and both bounds: with the scheduled beta and with 1."""
    game, rows = scaled_game(seed), []
    best, q_max, most = optimal_values(game) @ game.initial, 1 / (1 - game.gamma), max(game.n_actions)
    for K in ITERATIONS:
        for schedule in ("scheduled", "1"):
            beta = beta_schedule(q_max, K, most) if schedule == "scheduled" else 1.0
            run = learn(game, uniform_autoregressive(game), autoregressive_step, beta, K)
            gap = best - run.values @ game.initial
            bound = average_gap_bound(q_max, K, most, game.n_agents, game.gamma) if schedule == "scheduled" else None
            fast = fast_gap_bound(beta, K, most, game.n_agents, q_max, game.gamma)
            row: dict[str, Any] = {"seed": seed, "beta": schedule, "K": K, "beta_value": beta}
            row |= {"mean_gap": float(gap[:-1].mean()), "last_gap": float(gap[-1]), "bound": bound, "fast_bound": fast}
            rows.append(row | {"smallest_rise": float(np.diff(run.values, axis=0).min())})
    return rows


# Random starts --------------------------------------------------------------------------------------------------


def start_rows(n_starts: int, seed: int) -> list[dict[str, Any]]:
    """Climbing and penalty game scaled to [0, 1], the same random product policies as starts for every method."""
    rows = []
    for name, make in GAMES.items():
        payoff = make()
        payoff = (payoff - payoff.min()) / np.ptp(payoff)
        rng = np.random.default_rng([seed, len(name)])
        start = [np.log(rng.dirichlet(np.ones(count), size=n_starts)) for count in payoff.shape]
        for beta in BETAS:
            for method, step in STEPS.items():
                rows.append({"game": name, "beta": beta, "method": method, **_from_starts(payoff, start, step, beta)})
    return rows


def _from_starts(payoff: np.ndarray, start: Sequence[np.ndarray], step: Callable, beta: float) -> dict[str, Any]:
    """All starts at once, each as a state of its own: Q of a one-shot game is its payoff."""
    q = np.broadcast_to(payoff, (len(start[0]), *payoff.shape))
    logs = as_autoregressive(start) if step is autoregressive_step else list(start)
    before, fell = (joint_of(logs) * q).sum((1, 2)), np.zeros(len(q))
    for _ in range(START_ITERATIONS):
        logs = step(q, logs, beta)
        value = (joint_of(logs) * q).sum((1, 2))
        fell, before = np.maximum(fell, before - value), value
    return {
        "best": float((value > 1 - 1e-3).mean()),
        "mean": float(value.mean()),
        "worst": float(value.min()),
        "fell": float((fell > 1e-12).mean()),
        "largest_fall": float(fell.max()),
    }


# Feature sets ---------------------------------------------------------------------------------------------------


def feature_rows(seed: int) -> list[dict[str, Any]]:
    """What pairwise features lose: log-linear steps with exact Q, every (s, a) weighted by its visitation."""
    game = scaled_game(seed)
    best = float(optimal_values(game) @ game.initial)
    sets = {
        "onehot(s, a^1..a^m)": tabular_features(game.n_states, game.n_actions),
        "pairwise": pairwise_features(np.eye(game.n_states), game.n_actions),
    }
    rows = []
    for name, features in sets.items():
        for beta in (1.0, 10.0):
            values = _log_linear_values(game, features, beta)
            falls = float((np.diff(values) < -1e-9).mean())
            last = {"last_gap": float(best - values[-1]), "best_gap": float(best - values.max())}
            rows.append({"seed": seed, "features": name, "beta": beta, **last, "share_of_falls": falls})
    return rows


def _log_linear_values(game: MarkovGame, features: Sequence[np.ndarray], beta: float) -> np.ndarray:
    """J of the iterates, [K + 1]."""
    states, *actions = np.indices((game.n_states, *game.n_actions)).reshape(1 + game.n_agents, -1)
    thetas, values = [np.zeros(phi.shape[-1]) for phi in features], []
    for _ in range(FEATURE_ITERATIONS + 1):
        joint = joint_of(log_policies(features, thetas))
        values.append(float(game.objective(joint)))
        weights = (game.visitation(joint).reshape(-1, *(1,) * game.n_agents) * joint).ravel()
        samples = (states, np.array(actions).T, game.q_values(joint).ravel())
        thetas = log_linear_step(features, thetas, samples, beta, ridge=1e-9, weights=weights)
    return np.array(values)
