"""The stochastic congestion game of "Independent natural policy gradient always converges in Markov potential games".

Example 1 and section 4.2: agents walk together from s through two fully connected layers of two vertices to t, and an
edge pays each agent on it the inverse of how many there are. Vertices are numbered s = 0, first layer 1 and 2, second
layer 3 and 4, t = 5. Shapes: N agents, S configurations, A = 2 actions (up or down).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from epymarl_trust_region.games.markov import MarkovGame

N_VERTICES = 6
SOURCE, TARGET = 0, 5
#: Where each action leads from each vertex, [V, A]; both to the same where there is only one edge.
NEXT = np.array([[1, 2], [3, 4], [3, 4], [5, 5], [5, 5], [5, 5]])


def available(vertices: np.ndarray) -> np.ndarray:
    """1 where an action is a choice: both at s and in the first layer, the first alone elsewhere; [...] -> [..., A]."""
    choice = np.ones((*np.shape(vertices), 2), dtype=int)
    choice[..., 1] = np.asarray(vertices) < 3
    return choice


def move(vertices: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of all agents: where they are then, and 1 / (agents on the own edge), 0 once at t.

    Args:
        vertices: [..., N].
        actions: [..., N].

    Returns:
        next vertices and rewards, each [..., N].
    """
    after = NEXT[vertices, actions]
    edge = vertices * N_VERTICES + after
    load = (edge[..., :, None] == edge[..., None, :]).sum(-1)
    return after, np.where(vertices == TARGET, 0.0, 1.0 / load)


def configurations(n_agents: int) -> np.ndarray:
    """All configurations that can be reached, [S, N] vertices; the first is the start and the last the end."""
    layers = [(SOURCE,), (1, 2), (3, 4), (TARGET,)]
    return np.array([c for layer in layers for c in itertools.product(layer, repeat=n_agents)])


def congestion_game(n_agents: int, gamma: float = 0.99, reward_scale: float = 1.0) -> MarkovGame:
    """The game as an exact Markov game over configurations, individual rewards; t is absorbing and pays nothing.

    Args:
        n_agents: N; the tables grow as 2^N times the square of the number of configurations.
        reward_scale: multiplies every reward.
    """
    states = configurations(n_agents)
    index = {tuple(c): k for k, c in enumerate(states.tolist())}
    joint = np.array(list(itertools.product(range(2), repeat=n_agents)))  # [A^N, N]
    after, rewards = move(states[:, None], joint[None])  # [S, A^N, N]
    transition = np.zeros((len(states), len(joint), len(states)))
    for s, successors in enumerate(after.tolist()):
        transition[s, np.arange(len(joint)), [index[tuple(c)] for c in successors]] = 1
    table = (len(states), *(2,) * n_agents)
    initial = np.zeros(len(states))
    initial[0] = 1
    return MarkovGame(
        transition.reshape(*table, len(states)),
        reward_scale * np.moveaxis(rewards, -1, 0).reshape(n_agents, *table),
        initial,
        gamma,
    )


def own_vertex_policies(policies: Sequence[np.ndarray], n_agents: int) -> list[np.ndarray]:
    """Policies of agents that see their own vertex, N x [V, A], as policies on configurations, N x [S, A]."""
    states = configurations(n_agents)
    return [policy[states[:, i]] for i, policy in enumerate(policies)]


def potential(game: MarkovGame, joint: np.ndarray, n_agents: int, reward_scale: float = 1.0) -> float:
    """E sum_t gamma^t sum_e sum_{k <= load_e} 1 / k, from the start: Example 1's potential as a value.

    Exact (a change of one agent's policy changes it by as much as that agent's return) for policies that see their own
    vertex. For policies on whole configurations and N >= 3 it is not: what an agent does then changes what the others
    will do.

    Args:
        game: `congestion_game(n_agents, ...)`.
        joint: joint policy, [S, A^1, ..., A^N].
    """
    return float(
        MarkovGame(game.transition, _stage_potential(n_agents, reward_scale), game.initial, game.gamma).objective(joint)
    )


def _stage_potential(n_agents: int, reward_scale: float) -> np.ndarray:
    """sum_e H(load_e), H(l) = 1 + 1/2 + ... + 1/l, per configuration and joint action: [S, A^1, ..., A^N]."""
    states = configurations(n_agents)
    joint = np.array(list(itertools.product(range(2), repeat=n_agents)))
    after, rewards = move(states[:, None], joint[None])
    edge = states[:, None] * N_VERTICES + after
    # Agent by agent: the k-th on an edge adds 1 / k.
    rank = np.tril(edge[..., :, None] == edge[..., None, :]).sum(-1)
    stage = np.where(rewards > 0, 1.0 / rank, 0.0).sum(-1)
    return reward_scale * stage.reshape(len(states), *(2,) * n_agents)
