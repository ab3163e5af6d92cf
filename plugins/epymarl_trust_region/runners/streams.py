"""Rollouts of a fixed number of steps: B environments play on, episode after episode, and are cut into batches.

Slot t of a batch holds the observation before action t. Where an episode ends at step t, slot t+1 holds its final
observation, at which no action counts (`mask` 0, and its value may be bootstrapped from), and slot t+2 the first of the
next episode. The last slot is an observation without a counted action: where the episode goes on, the next batch begins
with it. So in a batched form, too (`batched_envs`): at each step all copies are stepped, unless all are over, and then
those that are over begin anew, in their order. Shape letters: B environments, K steps of a rollout, N agents.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from ..environments.batched import Restartable
from ..errors import ConfigError
from ..interfaces import Args, Logger, Scheme
from .env_group import BatchedEnvGroup, Ended, EnvGroup
from .vector import VectorRunner

# Tests are played in environments of their own, with other random numbers than those of training.
_TEST_SEEDS = 1_000_003


class StreamGroup(EnvGroup):
    """Some of the environments; after an episode's end each spends one step on beginning the next."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.returns, self.lengths = dict.fromkeys(self.envs, 0), dict.fromkeys(self.envs, 0)
        self.over = set(self.envs)  # those that have to begin an episode

    def reset(self) -> None:
        """Go on where the last rollout stopped, and write down what is seen at slot 0."""
        for i in self.envs:
            if i in self.over:
                self._begin(i)
            self._observe(i, 0)

    def step(self, t: int) -> list[Ended]:
        """Play step t, or begin an episode where one is over; gives those that end with it."""
        if self._team is not None:  # each has random numbers of its own: nobody's depend on who comes first
            playing = [i for i in self.envs if i not in self.over]
            for i in sorted(self.over):
                self._begin_anew(i, t)
            return self._ended(self._play(self._counted(playing, t), t))
        ended = []
        for i in self.envs:
            if i in self.over:
                self._begin_anew(i, t)
            else:
                ended += self._ended(self._play(self._counted([i], t), t))
        return ended

    def _begin_anew(self, i: int, t: int) -> None:
        self._begin(i)
        self._observe(i, t + 1)

    def _counted(self, playing: list[int], t: int) -> list[int]:
        self.views["mask"][playing, t] = 1
        for i in playing:
            self.lengths[i] += 1
        return playing

    def _ended(self, episodes: list[Ended]) -> list[Ended]:
        self.over.update(episode.index for episode in episodes)
        return [episode._replace(length=self.lengths[episode.index]) for episode in episodes]

    def state_dict(self) -> dict[Any, Any]:
        found = super().state_dict()
        for i, state in found.items():
            state |= {"return": self.returns[i], "length": self.lengths[i], "over": i in self.over}
        return found

    def _put_back(self, i: int, state: dict[str, Any], t_env: int) -> str | None:
        lost = super()._put_back(i, state, t_env)
        if not lost:
            self.returns[i], self.lengths[i] = state["return"], state["length"]
        if not lost and not state["over"]:
            self.over.discard(i)
        return lost and f"the episode that it was in is lost, and {lost}"

    def _begin(self, i: int) -> None:
        self.envs[i].reset()
        self.over.discard(i)
        self.returns[i], self.lengths[i] = 0, 0


class BatchedStreamGroup(BatchedEnvGroup):
    """All environments as one; after an episode's end each spends one step on beginning the next."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.returns, self.lengths = None, np.zeros(self.size, int)
        self.over = np.ones(self.size, bool)  # those that have to begin an episode
        self.last: dict[str, np.ndarray] = {}  # what was seen at the last slot of a rollout

    def reset(self) -> None:
        """As `StreamGroup.reset`."""
        for key, seen in self.last.items():
            self.views[key][:, 0] = seen
        if self.over.any():
            self._begin(0)

    def step(self, t: int) -> list[Ended]:
        """As `StreamGroup.step`. What the copies that are over did in the step is not looked at."""
        ended: list[Ended] = []
        beginning, self.alive = self.over.any(), np.flatnonzero(~self.over).tolist()
        if self.alive:
            self.views["mask"][self.alive, t] = 1
            ended = super().step(t)
        if beginning:
            self._begin(t + 1)
        self.over[[episode.index for episode in ended]] = True
        if t + 2 == self.views["obs"].shape[1]:
            self.last = {key: self.views[key][:, -1].copy() for key in ("obs", "state", "avail_actions", "filled")}
        return ended

    def _begin(self, t: int) -> None:
        """Begin an episode where one is over, and write down what is seen at slot t."""
        self.alive = np.flatnonzero(self.over).tolist()
        every = len(self.alive) == self.size
        seen = self.env.reset() if every else cast(Restartable, self.env).restart(self.over.copy())
        self.lengths[self.alive] = 0
        if self.returns is not None:  # a new array: episodes that have ended hold rows of the old one
            self.returns = self.returns.copy()
            self.returns[self.alive] = 0
        self._observe(seen, slice(None) if every else self.alive, t)
        self.over[:] = False

    def state_dict(self) -> dict[Any, Any]:
        streams = {"returns": self.returns, "lengths": self.lengths, "over": self.over, "last": self.last}
        return {**super().state_dict(), "streams": streams}

    def load_state_dict(self, state: dict[Any, Any], t_env: int) -> list[str]:
        if lost := super().load_state_dict(state, t_env):
            self.over[:], self.last = True, {}
            return [f"the episodes that they were in are lost, and {text}" for text in lost]
        of = state["streams"]
        if not getattr(self.env, "resumes_episodes", True) and not of["over"].all():
            return ["the episodes that they were in are lost, and only their random numbers go on"]
        self.returns = None if of["returns"] is None else np.array(of["returns"])
        self.lengths[:], self.over[:], self.last = of["lengths"], of["over"], dict(of["last"])
        return []


class StreamRunner(VectorRunner):
    """`vector` with `rollout_steps`: K steps of every environment per rollout, without padding.

    Returns are logged of the episodes that end in a rollout. Tests are whole episodes, as `VectorRunner` plays them, in
    environments of their own: the streams stay where they are.
    """

    env_group_class = StreamGroup
    batched_group_class = BatchedStreamGroup
    streams = True

    def __init__(
        self, args: Args, logger: Logger, episode_batch: Callable[..., Any], make_environment: Callable[..., Any]
    ) -> None:
        """
        Raises:
            ConfigError: a setting that only whole episodes have.
        """
        if getattr(args, "save_episodes", None):
            raise ConfigError("save_episodes records whole episodes; set rollout_steps=None, or save_episodes=None")
        self.steps = args.rollout_steps
        plain = SimpleNamespace(**{**vars(args), "render": False})
        super().__init__(plain, logger, episode_batch, make_environment)
        elsewhere = {**args.env_args, "seed": args.env_args["seed"] + _TEST_SEEDS}
        tests = SimpleNamespace(**{**vars(args), "env_args": elsewhere})
        self.tester = VectorRunner(tests, logger, episode_batch, make_environment)
        self.episode_limit = self.steps  # the length of a batch

    def get_env_info(self) -> dict[str, int]:
        """The sizes that MAC and learner are built from; a batch is as long as a rollout."""
        return {**self.env_info, "episode_limit": self.steps}

    def extend_scheme(self, scheme: dict, preprocess: dict) -> None:
        """As `VectorRunner`, and add `mask`: 1 where an action counted."""
        super().extend_scheme(scheme, preprocess)
        scheme.setdefault("mask", {"vshape": (1,), "dtype": torch.uint8})

    def setup(self, scheme: Scheme, groups: dict[str, int], preprocess: dict[str, Any], mac: Any) -> None:
        super().setup(scheme, groups, preprocess, mac)
        self.tester.setup({key: value for key, value in scheme.items() if key != "mask"}, groups, preprocess, mac)
        self.tester.exploitability = self.exploitability  # which knows the average of the policies that have trained

    def run(self, test_mode: bool = False) -> Any:
        """As `VectorRunner.run`: K slots of every stream and one more observation, or whole test episodes."""
        if not test_mode:
            return super().run()
        self.tester.t_env = self.tester.log_train_stats_t = self.t_env
        self.tester.own_memory = self.own_memory
        return self.tester.run(test_mode=True)

    def _play(self, test_mode: bool) -> list[Ended]:
        self._clear()
        self._all("reset")
        self.mac.carry_on(self.batch_size)
        everyone: list[int] = list(range(self.batch_size))
        episodes: list[Ended] = []
        for t in range(self.steps):
            self._show(t)
            with torch.inference_mode():
                actions = self.mac.select_actions(self.shown, t_ep=t, t_env=self.t_env, bs=everyone)
            self._store(actions, everyone, t)
            episodes += self._all("step", t)
        self._show(self.steps)
        self.mac.leave_off(self.shown, self.steps)
        return episodes

    def _steps_taken(self, episodes: list[Ended]) -> int:
        return int(self.live["mask"].sum())

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "mac": self.mac.streams_state(), "tester": self.tester.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> list[str]:
        lost = super().load_state_dict(state)
        self.mac.load_streams_state(None if lost else state["mac"])  # new episodes remember nothing
        return [*lost, *self.tester.load_state_dict(state["tester"])]

    def save_replay(self) -> None:
        self.tester.save_replay()

    def close_env(self) -> None:
        super().close_env()
        self.tester.close_env()


def make_runner(
    args: Args, logger: Logger, episode_batch: Callable[..., Any], make_environment: Callable[..., Any]
) -> VectorRunner:
    """The runner `vector`: of whole episodes, or with `rollout_steps` of streams."""
    kind = StreamRunner if getattr(args, "rollout_steps", None) else VectorRunner
    return kind(args, logger, episode_batch, make_environment)
