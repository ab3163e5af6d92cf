"""A rollout's fields in memory that processes share, and who fills them: environments one by one, or all as one.

Shape letters: B environments, T+1 observations per episode, N agents.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import NonFiniteError
from .batched import BatchedEnv, Played, Seen
from .ends import fold

#: Makes environment i, behind the suite's environment interface.
MakeEnv = Callable[[int], Any]


class Field(NamedTuple):
    """One field of the batch, [B, T+1, ...], in shared memory; a worker gets it when it starts."""

    memory: Any
    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def like(cls, array: np.ndarray) -> Field:
        """A field of zeros, of this array's type and shape."""
        return cls(RawArray("b", array.nbytes), array.dtype, array.shape)

    def array(self) -> np.ndarray:
        """The field, writable."""
        return np.frombuffer(self.memory, self.dtype).reshape(self.shape)


class Ended(NamedTuple):
    """One environment's episode, when it is over."""

    index: int
    length: int  # steps
    episode_return: Any  # a number, or one per agent
    info: dict[str, Any]  # of the last step
    cut: bool  # by a limit; not if it ended by itself at the same step


class Share:
    """Some of the environments, stepped one after the other in this process."""

    def __init__(self, make_env: MakeEnv, indices: Sequence[int], name: str) -> None:
        """
        Args:
            indices: which of the rollout's environments.
            name: of the task, for messages.
        """
        with _own_random_numbers():
            self.envs = {i: make_env(i) for i in indices}
        self.name = name

    def attach(self, fields: dict[str, Field]) -> None:
        """Write into these fields from now on."""
        self.views = {key: field.array() for key, field in fields.items()}
        # A host whose scheme was not extended has no place for it.
        self.views.setdefault("truncated", np.zeros_like(self.views["terminated"]))

    def reset(self) -> None:
        """Start an episode in every environment, and write down what is seen at step 0."""
        n_rewards = self.views["reward"].shape[-1]
        # As the suite adds them up: from 0, or from zeros where there is one reward per agent.
        self.returns = {i: 0 if n_rewards == 1 else np.zeros(n_rewards) for i in self.envs}
        self.alive = list(self.envs)
        for i, env in self.envs.items():
            env.reset()
            self._observe(i, 0)

    def step(self, t: int) -> list[Ended]:
        """Play step t with the actions in the field `actions`, where episodes go on; gives those that end with it.

        Raises:
            NonFiniteError: a reward is NaN or infinite.
        """
        ended = [episode for i in self.alive if (episode := self._step(i, t))]
        if ended:
            over = {episode.index for episode in ended}
            self.alive = [i for i in self.alive if i not in over]
        return ended

    def _step(self, i: int, t: int) -> Ended | None:
        views = self.views
        _, reward, terminated, truncated, info = self.envs[i].step(views["actions"][i, t, :, 0])
        check_reward(reward, i, t, self.name)
        terminated, truncated = fold(terminated, truncated)
        over = terminated or truncated
        said_so = bool(info.get("episode_limit", False))
        views["reward"][i, t] = reward
        views["terminated"][i, t] = over and not said_so
        self.returns[i] += reward
        self._observe(i, t + 1)
        if not over:
            return None
        cut = said_so or not terminated
        views["truncated"][i, t] = cut
        return Ended(i, t + 1, self.returns[i], info, cut)

    def _observe(self, i: int, t: int) -> None:
        env, views = self.envs[i], self.views
        views["state"][i, t] = env.get_state()
        views["obs"][i, t] = env.get_obs()
        views["avail_actions"][i, t] = env.get_avail_actions()
        views["filled"][i, t] = 1

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs.values():
            env.close()


class BatchedShare:
    """All environments as one."""

    def __init__(self, env: BatchedEnv, size: int, limit: int, reward: Callable, name: str) -> None:
        """
        Args:
            size: B.
            limit: steps after which an episode is cut.
            reward: agents' rewards [B, N] to what the run wants, [B] or [B, N].
            name: of the task, for messages.
        """
        self.env, self.size, self.limit, self.reward, self.name = env, size, limit, reward, name

    attach = Share.attach

    def reset(self) -> None:
        """As `Share.reset`."""
        n_rewards = self.views["reward"].shape[-1]
        self.returns = np.zeros(self.size) if n_rewards == 1 else np.zeros((self.size, n_rewards))
        self.alive = list(range(self.size))
        self._observe(self.env.reset(), slice(None), 0)

    def step(self, t: int) -> list[Ended]:
        """As `Share.step`."""
        # A slice where all play: indexing by a list copies.
        rows = slice(None) if len(self.alive) == self.size else self.alive
        played = self.env.step(self.views["actions"][:, t, :, 0])
        rewards = self.reward(played.rewards)
        if not np.isfinite(rewards[rows]).all():
            for i in self.alive:
                check_reward(rewards[i], i, t, self.name)
        over = (played.terminated | played.truncated | (t + 1 >= self.limit))[rows]
        self.views["reward"][rows, t] = rewards[rows].reshape(len(self.alive), -1)
        self.returns[rows] += rewards[rows]
        self._observe(played.seen, rows, t + 1)
        if not over.any():
            return []
        ended = [self._ended(i, t, played) for i, end in zip(self.alive, over, strict=True) if end]
        self.alive = [i for i, end in zip(self.alive, over, strict=True) if not end]
        return ended

    def _ended(self, i: int, t: int, played: Played) -> Ended:
        info = played.infos[i]
        said_so = bool(info.get("episode_limit", False))
        cut = said_so or not played.terminated[i]
        self.views["terminated"][i, t] = not said_so
        self.views["truncated"][i, t] = cut
        return Ended(i, t + 1, self.returns[i], info, cut)

    def _observe(self, seen: Seen, rows, t: int) -> None:
        views = self.views
        views["obs"][rows, t] = seen.obs[rows]
        views["state"][rows, t] = seen.state[rows]
        views["avail_actions"][rows, t] = seen.avail_actions[rows]
        views["filled"][rows, t] = 1

    def close(self) -> None:
        """Close the environments."""
        self.env.close()


def check_reward(reward, index: int, t: int, name: str) -> None:
    """Raise NonFiniteError if a reward is NaN or infinite; nothing has been learnt from it."""
    if not np.isfinite(reward).all():
        raise NonFiniteError(
            f"environment {index} ({name}) gave the reward {reward} at step {t} of its episode; "
            "training stops before it learns from that. Look for a division by zero in the environment"
        )


@contextlib.contextmanager
def _own_random_numbers() -> Iterator[None]:
    """What is drawn or seeded inside leaves the global generators as they were.

    Under the suite's own runner environments are made in processes of their own, so nothing there can move the numbers
    from which networks are initialised.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
