"""MPE simple_spread as arrays over all environments, equal to `mpe2` bit for bit.

Stepping B copies of `mpe2`'s own environment takes most of a rollout's time, nearly all of it Python. Here each
operation is done for all copies at once, in the order in which `mpe2` does it for one, so that not even the last bit
differs. Shape letters: B environments, N agents and landmarks, O observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

_DT, _DAMPING, _SENSITIVITY = 0.1, 0.25, 5.0
_CONTACT_FORCE, _CONTACT_MARGIN, _DIST_MIN = 1e2, 1e-3, 0.15 + 0.15
_MOVES = np.array([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]) * _SENSITIVITY

SPREAD = "pz-mpe-simple-spread-v3"
_ARGUMENTS = {"N", "local_ratio", "max_cycles"}


def supports(key: str, arguments: Mapping[str, Any]) -> bool:
    """Whether `BatchedSpread` plays the Gymnasium id `key` with these arguments."""
    return key.rpartition(":")[2] == SPREAD and set(arguments) <= _ARGUMENTS


class BatchedSpread:
    """B copies of `simple_spread_v3`, under the wrapper that the suite puts around PettingZoo's environments."""

    def __init__(self, seeds: Sequence[int], N: int = 3, local_ratio: float = 0.5, max_cycles: int = 25) -> None:
        """
        Args:
            seeds: one per copy, [B]; a copy is seeded by a first reset, as the suite seeds it.
            N: agents, and as many landmarks.
            local_ratio: weight of an agent's own collisions; the rest goes to the distance to the landmarks.
            max_cycles: steps of an episode.
        """
        self.n_agents, self.local_ratio, self.max_cycles = N, local_ratio, max_cycles
        self._generators = [seeding.np_random(seed)[0] for seed in seeds]
        self._others = np.array([[j for j in range(N) if j != i] for i in range(N)], dtype=int).reshape(N, N - 1)
        self.reset()

    def reset(self) -> np.ndarray:
        """Start a new episode in every copy; observations [B, N, O], float32."""
        places = np.stack([g.uniform(-1, +1, 4 * self.n_agents) for g in self._generators])
        places = places.reshape(len(places), 2, self.n_agents, 2)
        self._agents, self._landmarks = places[:, 0].copy(), places[:, 1]
        self._velocity = np.zeros_like(self._agents)
        self._steps = 0
        self._obs = self._observe()
        return self._obs

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Take one step in every copy.

        Args:
            actions: [B, N]: stay, left, right, down, up.

        Returns:
            Observations [B, N, O], rewards [B, N], and whether the episodes have ended. The last step repeats the
            observations of the one before and pays nothing, as under the suite's wrapper.
        """
        self._move(_MOVES[actions])
        self._steps += 1
        if self._steps >= self.max_cycles:
            return self._obs, np.zeros(actions.shape), True
        self._obs = self._observe()
        return self._obs, self._rewards(), False

    def _move(self, force: np.ndarray) -> None:
        for a in range(self.n_agents):
            for b in range(a + 1, self.n_agents):
                delta = self._agents[:, a] - self._agents[:, b]
                distance = _norm(delta)[:, None]
                penetration = np.logaddexp(0, -(distance - _DIST_MIN) / _CONTACT_MARGIN) * _CONTACT_MARGIN
                push = _CONTACT_FORCE * delta / distance * penetration
                force[:, a] = push + force[:, a]
                force[:, b] = -push + force[:, b]
        self._agents += self._velocity * _DT
        self._velocity = self._velocity * (1 - _DAMPING)
        self._velocity += force * _DT

    def _rewards(self) -> np.ndarray:
        everyone = np.zeros(len(self._agents))
        for landmark in range(self.n_agents):
            distances = _norm(self._agents - self._landmarks[:, landmark, None])
            everyone = everyone - distances.min(axis=1)
        distances = _norm(self._agents[:, :, None] - self._agents[:, None])
        own = -((distances < _DIST_MIN).sum(axis=2) - 1.0)  # less the agent itself
        return everyone[:, None] * (1 - self.local_ratio) + own * self.local_ratio

    def _observe(self) -> np.ndarray:
        size, n = len(self._agents), self.n_agents
        landmarks = (self._landmarks[:, None] - self._agents[:, :, None]).reshape(size, n, -1)
        others = (self._agents[:, self._others] - self._agents[:, :, None]).reshape(size, n, -1)
        silence = np.zeros((size, n, 2 * (n - 1)))
        parts = [self._velocity, self._agents, landmarks, others, silence]
        return np.concatenate(parts, axis=-1).astype(np.float32)


def _norm(vectors: np.ndarray) -> np.ndarray:
    """Length of vectors [..., 2], squared and summed in `mpe2`'s order."""
    return np.sqrt(np.square(vectors[..., 0]) + np.square(vectors[..., 1]))
