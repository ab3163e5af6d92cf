"""MPE's cooperative tasks as arrays over all environments, equal to `mpe2` bit for bit.

Stepping B copies of `mpe2`'s own environment takes most of a rollout's time, nearly all of it Python. Here each
operation is done for all copies at once, in the order in which `mpe2` does it for one, so that not even the last bit
differs. Shape letters: B environments, N agents, L landmarks, O observation (padded to the longest), A dimensions of an
action where it is continuous: how far an agent is drawn to each of four sides (the first means nothing), then its
message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from .batched import Played, Seen

_DT, _DAMPING, _SENSITIVITY = 0.1, 0.25, 5.0
_CONTACT_FORCE, _CONTACT_MARGIN, _DIST_MIN = 1e2, 1e-3, 0.15 + 0.15
_MOVES = np.array([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]) * _SENSITIVITY


class BatchedMPE:
    """B copies of one task, under the wrapper that the suite puts around PettingZoo's environments.

    A task says how it begins (`_begin`), what actions do (`_act`), what is paid (`_rewards`) and seen (`_observe`). All
    copies end together, at their limit.
    """

    n_agents: int
    n_actions: tuple[int, ...]  # per agent; set by the class, or before `__init__`
    dimensions: tuple[int, ...]  # the same, of continuous actions
    _begin: Callable[[], None]
    _act: Callable[[np.ndarray], None]
    _rewards: Callable[[], np.ndarray]
    _observe: Callable[[], np.ndarray]

    def __init__(
        self, seeds: Sequence[int], max_cycles: int = 25, continuous_actions: bool = False, state: str = "observations"
    ) -> None:
        """
        Args:
            seeds: one per copy, [B]; a copy is seeded by a first reset, as the suite seeds it.
            state: "observations" or, where a task has it, "compact" (see `mpe.ParallelMPE`).
            max_cycles: steps of an episode.
            continuous_actions: float32 in [0, 1] instead of a choice.
        """
        self.max_cycles, self.continuous, self._compact = max_cycles, bool(continuous_actions), state == "compact"
        self._generators = [seeding.np_random(seed)[0] for seed in seeds]
        counts = self.dimensions if self.continuous else self.n_actions
        actions = np.arange(max(counts)) < np.array(counts)[:, None]
        self._avail = np.repeat(actions[None].astype(np.int32), len(seeds), axis=0)
        self._never, self._always = np.zeros(len(seeds), bool), np.ones(len(seeds), bool)
        self._infos: list[dict[str, Any]] = [{} for _ in seeds]
        self.reset()

    def reset(self) -> Seen:
        """Start a new episode in every copy."""
        self._begin()
        self._steps = 0
        return self._look()

    def step(self, actions: np.ndarray) -> Played:
        """Take one step in every copy: actions [B, N], as in `mpe2`; or [B, N, A] float32, which are clipped.

        The last step repeats the observations of the one before and pays nothing, as under the suite's wrapper; no
        task of MPE ends by itself.
        """
        self._act(np.clip(actions, 0, 1) if self.continuous else actions)
        self._steps += 1
        if self._steps >= self.max_cycles:
            return Played(self._seen, np.zeros(actions.shape[:2]), self._never, self._always, self._infos)
        return Played(self._look(), self._rewards(), self._never, self._never, self._infos)

    def meeting_actions(self) -> np.ndarray:
        """Moves [B, N] by which all come together and push each other."""
        x, y = np.moveaxis(self._agents.mean(axis=1, keepdims=True) - self._agents, -1, 0)
        return np.where(abs(x) >= abs(y), np.where(x > 0, 2, 1), np.where(y > 0, 4, 3))

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> Seen:
        obs = self._observe().astype(np.float32)
        self._seen = Seen(obs, self._everything() if self._compact else obs.reshape(len(obs), -1), self._avail)
        return self._seen

    def _everything(self) -> np.ndarray:
        """The compact state, [B, S]: each agent's place and velocity, then the landmarks' places."""
        agents = np.concatenate([self._agents, self._velocity], axis=-1).reshape(len(self._agents), -1)
        return np.concatenate([agents, self._landmarks.reshape(len(agents), -1)], axis=-1).astype(np.float32)

    def _place(self, n_agents: int, n_landmarks: int) -> None:
        """Random places for agents, then landmarks, and agents at rest."""
        places = np.stack([g.uniform(-1, +1, 2 * (n_agents + n_landmarks)) for g in self._generators])
        places = places.reshape(len(places), -1, 2)
        self._agents, self._landmarks = places[:, :n_agents].copy(), places[:, n_agents:]
        self._velocity = np.zeros_like(self._agents)

    def _force(self, actions: np.ndarray) -> np.ndarray:
        """[..., 2], of moves [...]; or of [..., A], whose differences `mpe2` takes in float32."""
        if not self.continuous:
            return _MOVES[actions]
        return (actions[..., 2:5:2] - actions[..., 1:4:2]).astype(np.float64) * _SENSITIVITY

    def _integrate(self, force: np.ndarray) -> None:
        """Newton's laws with damping: force [B, N, 2]."""
        self._agents += self._velocity * _DT
        self._velocity = self._velocity * (1 - _DAMPING)
        self._velocity += force * _DT

    def _landmarks_seen(self) -> np.ndarray:
        """Landmarks from each agent's place, [B, N, 2L]."""
        seen = self._landmarks[:, None] - self._agents[:, :, None]
        return seen.reshape(*seen.shape[:2], -1)


class BatchedSpread(BatchedMPE):
    """`simple_spread_v3`: N agents cover N landmarks and do not collide."""

    def __init__(self, seeds: Sequence[int], N: int = 3, local_ratio: float = 0.5, **common: Any) -> None:
        """
        Args:
            N: agents, and as many landmarks.
            local_ratio: weight of an agent's own collisions; the rest goes to the distance to the landmarks.
            common: as `BatchedMPE`.
        """
        self.n_agents, self.n_actions, self.local_ratio = N, N * (5,), local_ratio
        self.dimensions = self.n_actions
        self._pairs = np.triu_indices(N, 1)
        self._others = np.array([[j for j in range(N) if j != i] for i in range(N)], dtype=int).reshape(N, N - 1)
        super().__init__(seeds, **common)

    def _begin(self) -> None:
        self._place(self.n_agents, self.n_agents)

    def _act(self, actions: np.ndarray) -> None:
        """All pairs at once; an agent's pushes are added up in the order in which `mpe2` comes to them."""
        first, second = self._pairs
        push = _push(self._agents[:, first] - self._agents[:, second])
        pushes = np.full((len(push), self.n_agents, self.n_agents, 2), -0.0)  # x + -0.0 is x, of a zero too
        pushes[:, first, second], pushes[:, second, first] = push, -push
        force = self._force(actions)
        for other in range(self.n_agents):
            force = force + pushes[:, :, other]
        self._integrate(force)

    def _rewards(self) -> np.ndarray:
        away = _norm(self._agents[:, None] - self._landmarks[:, :, None]).min(axis=2)
        everyone = np.zeros(len(self._agents))
        for landmark in range(self.n_agents):  # in the order of mpe2
            everyone = everyone - away[:, landmark]
        distances = _norm(self._agents[:, :, None] - self._agents[:, None])
        own = -((distances < _DIST_MIN).sum(axis=2) - 1.0)  # less the agent itself
        return everyone[:, None] * (1 - self.local_ratio) + own * self.local_ratio

    def _observe(self) -> np.ndarray:
        size, n = len(self._agents), self.n_agents
        others = (self._agents[:, self._others] - self._agents[:, :, None]).reshape(size, n, -1)
        silence = np.zeros((size, n, 2 * (n - 1)))
        return np.concatenate([self._velocity, self._agents, self._landmarks_seen(), others, silence], axis=-1)


class BatchedSpeakerListener(BatchedMPE):
    """`simple_speaker_listener_v4`: agent 0 sees the goal's colour and speaks, agent 1 hears it and moves."""

    n_agents, n_actions, dimensions = 2, (3, 5), (3, 5)
    _COLOURS = np.array([[0.65, 0.15, 0.15], [0.15, 0.65, 0.15], [0.15, 0.15, 0.65]])

    def _begin(self) -> None:
        self._goal = np.array([int(g.integers(3)) for g in self._generators])
        self._place(2, 3)
        self._message: np.ndarray = np.zeros((len(self._generators), 3))

    def _act(self, actions: np.ndarray) -> None:
        force = np.zeros_like(self._agents)
        force[:, 1] = self._force(actions[:, 1])
        self._integrate(force)  # the speaker has no velocity and feels no force
        self._message = actions[:, 0, :3] if self.continuous else np.eye(3)[actions[:, 0]]

    def _rewards(self) -> np.ndarray:
        goal = self._landmarks[np.arange(len(self._goal)), self._goal]
        delta = np.square(self._agents[:, 1] - goal)
        return np.repeat(-(delta[:, 0] + delta[:, 1])[:, None], 2, axis=1)

    def _observe(self) -> np.ndarray:
        seen = np.zeros((len(self._goal), 2, 11))
        seen[:, 0, :3] = self._COLOURS[self._goal]
        seen[:, 1] = np.concatenate([self._velocity[:, 1], self._landmarks_seen()[:, 1], self._message], axis=-1)
        return seen


class BatchedReference(BatchedMPE):
    """`simple_reference_v3`: each of two agents knows where the other is to go, and both move and speak."""

    n_agents, n_actions, dimensions = 2, (50, 50), (15, 15)
    _COLOURS = np.array([[0.75, 0.25, 0.25], [0.25, 0.75, 0.25], [0.25, 0.25, 0.75]])

    def __init__(self, seeds: Sequence[int], local_ratio: float = 0.5, **common: Any) -> None:
        """
        Args:
            local_ratio: weight of an agent's own reward; the rest goes to the mean of both.
            common: as `BatchedMPE`.
        """
        self.local_ratio = local_ratio
        super().__init__(seeds, **common)

    def _begin(self) -> None:
        self._goals = np.array([[int(g.integers(3)), int(g.integers(3))] for g in self._generators])
        self._place(2, 3)
        self._messages: np.ndarray = np.zeros((len(self._generators), 2, 10))

    def _act(self, actions: np.ndarray) -> None:
        moves, words = (actions, actions[..., 5:]) if self.continuous else (actions % 5, np.eye(10)[actions // 5])
        self._integrate(self._force(moves))
        self._messages = words

    def _rewards(self) -> np.ndarray:
        goals = np.take_along_axis(self._landmarks, self._goals[:, :, None], axis=1)
        own = -_norm(self._agents[:, ::-1] - goals)  # agent i's goal is where the other one is to be
        both = (own[:, 0] + own[:, 1]) / 2
        return both[:, None] * (1 - self.local_ratio) + own * self.local_ratio

    def _observe(self) -> np.ndarray:
        heard = self._messages[:, ::-1]
        return np.concatenate([self._velocity, self._landmarks_seen(), self._COLOURS[self._goals], heard], axis=-1)


def _push(delta: np.ndarray) -> np.ndarray:
    """The force [..., 2] on the first of two agents, `delta` [..., 2] away from the second."""
    distance = _norm(delta)[..., None]
    penetration = np.logaddexp(0, -(distance - _DIST_MIN) / _CONTACT_MARGIN) * _CONTACT_MARGIN
    return _CONTACT_FORCE * delta / distance * penetration


def _norm(vectors: np.ndarray) -> np.ndarray:
    """Length of vectors [..., 2], squared and summed in `mpe2`'s order."""
    return np.sqrt(np.square(vectors[..., 0]) + np.square(vectors[..., 1]))


_COMMON = frozenset({"max_cycles", "continuous_actions", "state"})

#: Gymnasium id -> its batched form and the arguments that this form knows.
TASKS: dict[str, tuple[type[BatchedMPE], frozenset[str]]] = {
    "pz-mpe-simple-spread-v3": (BatchedSpread, _COMMON | {"N", "local_ratio"}),
    "pz-mpe-simple-speaker-listener-v4": (BatchedSpeakerListener, _COMMON),
    "pz-mpe-simple-reference-v3": (BatchedReference, _COMMON | {"local_ratio"}),
}


def find(key: str, arguments: Mapping[str, Any]) -> type[BatchedMPE] | None:
    """The batched form of a Gymnasium id, with or without its module; None where it or an argument is unknown."""
    batched, known = TASKS.get(key.rpartition(":")[2], (None, frozenset()))
    return batched if set(arguments) <= known else None
