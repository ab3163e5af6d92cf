"""Episodes, with a look at the environment after every step: played by the runner of an evaluation, as it plays them.

Shapes: N agents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..runners.env_group import own_random_numbers
from .drawings import Drawing, drawing_of


class Shot(NamedTuple):
    """What a frame shows."""

    picture: Any  # a Sketch, or an array [height, width, 3]
    episode: int  # from 1
    step: int  # played so far
    total: Any  # return so far: the team's, or one per agent [N]
    words: list[str]  # the agents' last actions
    last: bool  # of its episode


class Film:
    """The shots of all episodes, and what came of these.

    Args:
        env: the environment as a runner has it.
        every: a shot for each so many steps, and of the first and last.
    """

    def __init__(self, env: Any, task: str, every: int = 1) -> None:
        self.core, self._every, self._played = core_of(env), every, as_played(env)
        self._drawing: Drawing = drawing_of(self.core, task)
        self.shots: list[Shot] = []
        self.returns: list[Any] = []
        self.lengths: list[int] = []

    def begin(self) -> None:
        """An episode has begun."""
        self.returns.append(0)
        self.lengths.append(0)
        self._shoot(None, False)

    def note(self, actions: Any, reward: Any, over: bool) -> None:
        """A step was played with the actions [N] or [N, A]."""
        self.lengths[-1] += 1
        # As the runner adds them up.
        self.returns[-1] = self.returns[-1] + (reward if np.isscalar(reward) else np.asarray(reward, np.float64))
        if over or self.lengths[-1] % self._every == 0:
            self._shoot(actions, over)

    def _shoot(self, actions: Any, last: bool) -> None:
        if actions is not None:
            actions = self._played(actions)
        with own_random_numbers():  # of the policies: a drawing may not change what they do
            picture = self._drawing.look(self.core, actions)
            words = [] if actions is None else self._drawing.words(self.core, actions)
        self.shots.append(Shot(picture, len(self.returns), self.lengths[-1], self.returns[-1], words, last))


class Filmed:
    """An environment that is watched; it plays as without."""

    def __init__(self, env: Any, film: Film) -> None:
        self._watched, self._film = env, film

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)

    def reset(self, *arguments: Any, **keywords: Any) -> Any:
        result = self._watched.reset(*arguments, **keywords)
        self._film.begin()
        return result

    def step(self, actions: Any) -> Any:
        played = self._watched.step(actions)
        _, reward, terminated, truncated, _ = played
        self._film.note(actions, reward, bool(terminated or truncated))
        return played


def as_played(env: Any) -> Callable[[Any], list[Any]]:
    """What an environment takes of actions [N], or of draws [N, A]: within their bounds, and without padding."""
    info = env.get_env_info()
    if "action_low" not in info:
        return lambda actions: [int(action) for action in actions]
    own = list(zip(info["action_low"], info["action_high"], np.asarray(env.get_avail_actions(), bool), strict=True))
    return lambda draws: [np.clip(x, low, high)[has] for x, (low, high, has) in zip(draws, own, strict=True)]


def core_of(env: Any) -> Any:
    """The environment itself, below the suite's wrappers."""
    env = vars(env).get("_wrapped", env)
    inner = vars(env).get("_env")
    return env if inner is None else inner.unwrapped


def film(runner: Any, task: str, episodes: int, every: int) -> Film:
    """Play and watch so many episodes.

    Args:
        runner: of one environment, with a team in it.

    Raises:
        CapabilityError: the environment cannot be drawn.
    """
    made = Film(runner.own.envs[0], task, every)
    runner.own.replace(0, Filmed(runner.own.envs[0], made))
    for _ in range(episodes):
        runner.run(test_mode=True)
    return made
