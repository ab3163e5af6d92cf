"""What this plugin's games share as Gymnasium environments: one copy played by itself, or many copies as one array.

Shapes: N agents, A actions, O observation; [...] is nothing for a single game, or as many copies as `begin` was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class GameEnv(gymnasium.Env):
    """N agents, in the shape that EPyMARL's `gymma` wrapper expects. The games are deterministic.

    A game says how it starts (`begin`), goes on (`play`) and is seen (`look`), each for any number of copies at once;
    `reset` and `step` are Gymnasium's way to play a single one.

    Args:
        n_actions: of each agent, [N]; or the Boxes of their real-valued actions, all of one shape, (A,).
        size: O.
        low: smallest entry of an observation; the largest is 1.
    """

    metadata = {"render_modes": []}

    def __init__(self, n_actions: Sequence[int] | Sequence[spaces.Box], size: int, low: float = 0.0) -> None:
        self.n_agents = len(n_actions)
        own = [one if isinstance(one, spaces.Box) else spaces.Discrete(one) for one in n_actions]
        self.action_space = spaces.Tuple(own)
        self.observation_space = spaces.Tuple([spaces.Box(low, 1.0, (size,), np.float32)] * self.n_agents)
        counts = np.array([one.shape[0] if isinstance(one, spaces.Box) else one for one in n_actions])
        self._existing = (np.arange(counts.max()) < counts[:, None]).astype(int)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A single game and many copies of it have the same availability: one method says it."""
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "available" in own and "get_avail_actions" not in own:
            cls.get_avail_actions = _as_lists  # type: ignore[attr-defined]  # only where there is something to say
        elif "get_avail_actions" in own and "available" not in own:
            raise TypeError(
                f"{cls.__name__} has get_avail_actions() and no available(), from which it follows; write that instead"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[np.ndarray, ...], dict]:
        """The start, always the same: `seed` only seeds the (unused) generator."""
        super().reset(seed=seed)
        self.begin()
        return tuple(self.look()), {}

    def step(  # type: ignore[override]  # Gymnasium knows one reward alone
        self, actions: Sequence[Any]
    ) -> tuple[tuple[np.ndarray, ...], list[float], bool, bool, dict]:
        """One step: observations N x [O], N rewards, terminated (the game is over), truncated (never), info.

        Raises:
            ValueError: an action does not exist (a negative one would otherwise count from the end).
        """
        joint = tuple(actions)
        if not self.action_space.contains(joint):
            raise ValueError(f"joint action {joint} is not in the action space {self.action_space}")
        rewards, ended = self.play(np.array(joint))
        return tuple(self.look()), rewards.tolist(), bool(ended), False, {}

    def begin(self, *copies: int) -> None:
        """Start one game, or so many copies of it, which then go on together."""
        raise NotImplementedError

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step: actions [..., N] (or [..., N, A]) to rewards [..., N], float64, and which are over, [...]."""
        raise NotImplementedError

    def look(self) -> np.ndarray:
        """What the agents see: [..., N, O], float32."""
        raise NotImplementedError

    def available(self) -> np.ndarray:
        """1 where an agent has an action, else 0: [..., N, A], or anything that broadcasts to it.

        A class that overrides it has `get_avail_actions()` by that.
        """
        return self._existing


def _as_lists(game: GameEnv) -> list[list[int]]:
    """N lists of A zeros and ones, as EPyMARL asks for them."""
    return np.broadcast_to(game.available(), game._existing.shape).astype(int).tolist()
