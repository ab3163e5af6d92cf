"""INPG and IPG on sampled advantages, the estimator of the INPG paper's section 4, many runs at once.

Per iteration: V from K rollouts of T steps from every state; Q_i from K one-step samples and V; the visitation from K
rollouts. Shapes: R runs, N agents, S states, A actions, K samples, M rollouts of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from epymarl_trust_region.games import congestion, distancing
from epymarl_trust_region.studies.policy_gradient import inpg_step, ipg_step


@dataclass(frozen=True, eq=False)
class SampledGame:
    """A game that can be stepped from any state, in arrays.

    Args:
        available: [N, S, A], 1 where an agent has an action; rewards of the others are not read.
        step: (states [...], actions [..., N]) -> (next states [...], rewards [..., N]).
        start: the first state.
        end: the state in which nothing happens any more; None: there is none.
    """

    available: np.ndarray
    step: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    start: int = 0
    end: int | None = None

    def uniform(self, runs: int) -> np.ndarray:
        """Uniform policies over available actions, [R, N, S, A]."""
        policy = self.available / self.available.sum(-1, keepdims=True)
        return np.repeat(policy[None], runs, axis=0)


def sampled_congestion(n_agents: int, reward_scale: float = 1.0) -> SampledGame:
    """The congestion game over whole configurations, as in the paper; t ends it."""
    vertices = congestion.configurations(n_agents)
    bits, offsets = 2 ** np.arange(n_agents)[::-1], np.array([0, 1, 1 + 2**n_agents, 1 + 2 * 2**n_agents])

    def step(states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        after, rewards = congestion.move(vertices[states], actions)
        layer = (after[..., 0] + 1) // 2
        inner = (layer == 1) | (layer == 2)
        return offsets[layer] + np.where(inner, ((after + 1) % 2) @ bits, 0), reward_scale * rewards

    available = np.moveaxis(congestion.available(vertices), 1, 0)
    return SampledGame(available, step, end=len(vertices) - 1)


def sampled_distancing(n_agents: int = 8) -> SampledGame:
    """The distancing game; it never ends."""
    return SampledGame(np.ones((n_agents, 2, 4), dtype=int), distancing.play)


def _act(rng: np.random.Generator, policies: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Actions [R, M, N] of policies [R, N, S, A] in states [R, M]."""
    chosen = policies.transpose(0, 2, 1, 3)[np.arange(len(policies))[:, None], states]  # [R, M, N, A]
    draw = rng.random((*chosen.shape[:-1], 1))
    return (draw >= chosen.cumsum(-1)[..., :-1]).sum(-1)


def _rollout(
    rng: np.random.Generator, game: SampledGame, policies: np.ndarray, states: np.ndarray, steps: int, gamma: float
) -> tuple[Any, np.ndarray]:
    """Discounted returns [R, M, N] of rollouts from states [R, M], and the states gone through, [steps, R, M]."""
    returns: Any = 0.0
    visited = []
    for t in range(steps):
        if game.end is not None and (states == game.end).all():
            break
        visited.append(states)
        states, rewards = game.step(states, _act(rng, policies, states))
        returns = returns + gamma**t * rewards
    return returns, np.array(visited)


@dataclass(frozen=True)
class Estimator:
    """K rollouts of T steps, discounted by gamma.

    Args:
        scale: of the visitation. "sum": sum_t gamma^t Pr(s_t = s); "distribution": divided so that it sums to 1 over
            states; "mean": divided by T, which in a game that ends sooner leaves less than 1.
    """

    samples: int = 20
    steps: int = 20
    gamma: float = 0.99
    scale: str = "distribution"

    def q_values(self, rng: np.random.Generator, game: SampledGame, policies: np.ndarray) -> np.ndarray:
        """Q_i(s, a_i), averaged over samples of the others' actions: [R, N, S, A]."""
        runs, n_agents, n_states, n_actions = policies.shape
        states = np.broadcast_to(np.repeat(np.arange(n_states), self.samples), (runs, n_states * self.samples))
        returns, _ = _rollout(rng, game, policies, states, self.steps, self.gamma)
        values = returns.reshape(runs, n_states, self.samples, n_agents).mean(2)  # [R, S, N]
        joint, q = _act(rng, policies, states), np.empty(policies.shape)
        for i in range(n_agents):
            for action in range(n_actions):
                actions = joint.copy()
                actions[..., i] = action
                after, rewards = game.step(states, actions)
                following = values[np.arange(runs)[:, None], after, i]
                one_step = rewards[..., i] + self.gamma * following
                q[:, i, :, action] = one_step.reshape(runs, n_states, self.samples).mean(-1)
        return q

    def visitation(self, rng: np.random.Generator, game: SampledGame, policies: np.ndarray) -> np.ndarray:
        """Discounted visits of each state by rollouts from the start, [R, S]."""
        runs, _, n_states, _ = policies.shape
        states = np.full((runs, self.samples), game.start)
        _, visited = _rollout(rng, game, policies, states, self.steps, self.gamma)
        visits = np.zeros((runs, n_states))
        for t, at in enumerate(visited):
            np.add.at(visits, (np.arange(runs)[:, None], at), self.gamma**t / self.samples)
        divisor = {"sum": 1, "mean": self.steps, "distribution": visits.sum(-1, keepdims=True)}[self.scale]
        return visits / divisor


def learn(
    game: SampledGame,
    method: str,
    eta: float,
    runs: int,
    iterations: int,
    seed: int,
    estimator: Estimator,
    tolerance: float = 1e-15,
) -> list[np.ndarray]:
    """Policies [R, N, S, A] before each iteration and after the last; it ends early when no run moves any more.

    Args:
        method: "inpg", pi exp(eta A_i / (1 - gamma)); or "ipg", Proj(pi + eta d Q_i).
        tolerance: of the mean over agents of the L1 change of a policy.
    """
    rng, policies = np.random.default_rng(seed), [game.uniform(runs)]
    moving = np.ones(runs, dtype=bool)
    for _ in range(iterations):
        old = policies[-1]
        q = estimator.q_values(rng, game, old)
        if method == "inpg":
            advantage = q - (old * q).sum(-1, keepdims=True)
            new = inpg_step(old, advantage, eta / (1 - estimator.gamma))
        else:
            visits = estimator.visitation(rng, game, old)[:, None]
            new = ipg_step(old, q, np.broadcast_to(visits, q.shape[:-1]), eta, game.available)
        new = np.where(moving[:, None, None, None], new, old)
        moving &= np.abs(new - old).sum((1, 2, 3)) / old.shape[1] >= tolerance
        policies.append(new)
        if not moving.any():
            break
    return policies


def l1_accuracy(policies: list[np.ndarray]) -> np.ndarray:
    """Mean over agents of sum_s sum_a |pi - pi_final|, [iterations, R]."""
    final = policies[-1]
    return np.array([np.abs(p - final).sum((1, 2, 3)) / final.shape[1] for p in policies])


def stopped_at(policies: list[np.ndarray]) -> np.ndarray:
    """The iteration after which each run did not move any more, [R]; the last one for those that still did."""
    moves = np.array([np.abs(b - a).sum((1, 2, 3)) > 0 for a, b in zip(policies, policies[1:], strict=False)])
    return len(moves) - np.argmax(moves[::-1], axis=0)
