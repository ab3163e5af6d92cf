"""A rollout's fields in memory that processes share, and who fills them: environments one by one, or all as one.

Shape letters: B environments, T+1 observations per episode, N agents.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.sharedctypes import RawArray
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from ..environments import snapshot
from ..environments.batched import BatchedEnv, Played, Seen
from ..environments.ends import fold
from ..environments.interface import Checked, under_contract, wrapped_by_known_form
from ..environments.scene import Scene, broken
from ..environments.values import check_info, first_not_finite, is_finite, told
from ..errors import TrustRegionError

#: Makes environment i, behind the suite's environment interface; with another number, from a seed of that and its own.
MakeEnv = Callable[..., Any]


_ALIGNED = 64  # bytes


class Field(NamedTuple):
    """One field of the batch, [B, T+1, ...], in shared memory; a worker gets it when it starts."""

    memory: Any
    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def like(cls, array: np.ndarray) -> Field:
        """A field of zeros, of this array's type and shape."""
        return cls(RawArray("b", array.nbytes + _ALIGNED), array.dtype, array.shape)

    def array(self) -> np.ndarray:
        """The field, writable. It begins where PyTorch's own tensors may: matrix products round by where it is."""
        bytes_ = np.frombuffer(self.memory, np.uint8)
        first = -bytes_.ctypes.data % _ALIGNED  # in every process the same: what is mapped begins with a page
        return bytes_[first : first + len(bytes_) - _ALIGNED].view(self.dtype).reshape(self.shape)


def _views(fields: dict[str, Field]) -> dict[str, np.ndarray]:
    views = {key: field.array() for key, field in fields.items()}
    # A host whose scheme was not extended has no place for it.
    views.setdefault("truncated", np.zeros_like(views["terminated"]))
    return views


class Ended(NamedTuple):
    """One environment's episode, when it is over."""

    index: int  # type: ignore[assignment]  # hides a method of tuples
    length: int  # steps
    episode_return: Any  # a number, or one per agent
    info: dict[str, Any]  # of the last step
    cut: bool  # by a limit; not if it ended by itself at the same step


class EnvGroup:
    """Some of the environments, stepped one after the other in this process."""

    def __init__(self, make_env: MakeEnv, indices: Sequence[int], name: str) -> None:
        """
        Args:
            indices: which of the rollout's environments.
            name: of the task, for messages.
        """
        self._make_env, self.name = make_env, name
        with own_random_numbers():
            self.envs = {i: under_contract(make_env, i, name) for i in indices}

    def attach(self, fields: dict[str, Field]) -> None:
        """Write into these fields from now on."""
        self.views = _views(fields)
        self.continuous = self.views["actions"].dtype.kind == "f"
        #: Each environment's own part of every field, [T+1, ...]: to find it anew at each step takes its time.
        self._of = {i: SimpleNamespace(**{key: view[i] for key, view in self.views.items()}) for i in self.envs}
        for env in self.envs.values():
            self._say_what_is_wanted(env)
        self._team_up()

    def replace(self, i: int, env: Any) -> None:
        """Step this one, around environment i, from now on."""
        self.envs[i] = env
        self._team_up()

    def _team_up(self) -> None:
        """Let environments that can be stepped together be; they tell themselves who sends indices for floats."""
        own = [wrapped_by_known_form(env) for env in self.envs.values()]
        together = getattr(own[0], "together", None) if own and self.continuous else None
        self._team: Any = together(own) if together else None
        self._row = {i: row for row, i in enumerate(self.envs)}

    def _say_what_is_wanted(self, env: Any) -> None:
        if isinstance(env, Checked):
            env.expect({key: view.shape[2:] for key, view in self.views.items()})

    def reset(self) -> None:
        """Start an episode in every environment, and write down what is seen at step 0."""
        self.returns: dict[int, Any] = dict.fromkeys(self.envs, 0)
        self.alive = list(self.envs)
        for i, env in self.envs.items():
            env.reset()
            self._observe(i, 0)

    def step(self, t: int) -> list[Ended]:
        """Play step t with the actions in the field `actions`, where episodes go on; gives those that end with it.

        Raises:
            EnvironmentFaultError, NonFiniteError: an environment gives what nothing can be learnt from.
        """
        ended = self._play(self.alive, t)
        if ended:
            over = {episode.index for episode in ended}
            self.alive = [i for i in self.alive if i not in over]
        return ended

    def _play(self, playing: Sequence[int], t: int) -> list[Ended]:
        """Play step t in these environments; gives the episodes that end with it."""
        if self._team is not None and playing:
            return self._play_together(playing, t)
        return [episode for i in playing if (episode := self._step(i, t))]

    def _play_together(self, playing: Sequence[int], t: int) -> list[Ended]:
        views, rows = self.views, self._places(playing)
        moved = self._team.step([self._row[i] for i in playing], views["actions"][rows, t])
        views["reward"][rows, t] = moved.rewards[:, None]
        width = views["reward"].shape[-1]
        for i, reward in zip(playing, moved.rewards.tolist(), strict=True):
            self.envs[i].count(reward)
            self.returns[i] = self.returns[i] + (reward if width == 1 else np.full(width, reward))
        self._observe_together(playing, rows, moved.states, t + 1)
        if not (moved.terminated.any() or moved.truncated.any()):
            return []
        ended = []
        for i, terminated, truncated in zip(playing, moved.terminated.tolist(), moved.truncated.tolist(), strict=True):
            if terminated or truncated:
                of = self._of[i]
                of.terminated[t], of.truncated[t] = terminated, not terminated
                info = {} if terminated else {"episode_limit": True}
                ended.append(Ended(i, t + 1, self.returns[i], info, not terminated))
        return ended

    def _places(self, playing: Sequence[int]) -> Any:
        """A slice where nobody is left out: indexing by a list copies."""
        everyone = len(playing) == len(self.envs) == playing[-1] - playing[0] + 1
        return slice(playing[0], playing[-1] + 1) if everyone else list(playing)

    def _observe_together(self, playing: Sequence[int], rows: Any, states: np.ndarray, t: int) -> None:
        views, one = self.views, self.envs[playing[0]]
        if not one.state_is_seen:  # agents see something else
            for i in playing:
                self._observe(i, t)
            return
        views["state"][rows, t] = states
        if not is_finite(views["state"][rows, t]):
            for i in playing:
                self.envs[i].get_state()  # says which
        views["obs"][rows, t] = views["state"][rows, t][:, None]
        views["avail_actions"][rows, t] = one.get_avail_actions()
        views["filled"][rows, t] = 1

    def _step(self, i: int, t: int) -> Ended | None:
        of = self._of[i]
        actions = of.actions[t] if self.continuous else of.actions[t, :, 0]
        _, reward, terminated, truncated, info = self.envs[i].step(actions)
        of.reward[t] = reward
        # One for the team is added up as it comes, individual ones in double precision, as in the suite.
        plain = type(reward) is float or np.isscalar(reward)
        self.returns[i] = self.returns[i] + (reward if plain else np.asarray(reward, np.float64))
        self._observe(i, t + 1)
        if terminated is False and truncated is False:  # as in most steps; the rollout's fields were zero before
            return None
        terminated, truncated = fold(terminated, truncated)
        if not (terminated or truncated):
            return None
        said_so = bool(info.get("episode_limit", False))
        cut = said_so or not terminated
        of.terminated[t], of.truncated[t] = not said_so, cut
        return Ended(i, t + 1, self.returns[i], info, cut)

    def _observe(self, i: int, t: int) -> None:
        env, of = self.envs[i], self._of[i]
        of.state[t] = env.get_state()
        of.obs[t] = env.get_obs()
        of.avail_actions[t] = env.get_avail_actions()
        of.filled[t] = 1

    # Between two rollouts -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[Any, Any]:
        """What the next rollouts depend on, by environment: plain data and NumPy's arrays."""
        return {i: {"env": snapshot.take(env)._asdict()} for i, env in self.envs.items()}

    def load_state_dict(self, state: dict[Any, Any], t_env: int) -> list[str]:
        """Go on from `state_dict`, of these environments or more.

        Args:
            t_env: with it an environment is seeded that could not be written down, so that it does not play again what
                it has played.

        Returns:
            What does not go on as it was, in words; empty if all does.
        """
        with own_random_numbers():
            lost = [self._put_back(i, state.get(i, _NOTHING), t_env) for i in self.envs]
        return [text for text in lost if text]

    def _put_back(self, i: int, state: dict[str, Any], t_env: int) -> str | None:
        tree, generators, unknown = state["env"].values()
        with contextlib.suppress(snapshot.DoesNotFit):
            self.envs[i].reset()  # some make their parts there
            if not unknown:
                snapshot.put(self.envs[i], tree)
                return None
        with contextlib.suppress(snapshot.DoesNotFit):
            if generators:
                self._make_anew(i)
                snapshot.put(self.envs[i], tree, generators_only=True)
                return f"only its random numbers go on: it holds {', '.join(unknown) or 'things without an order'}"
        self._make_anew(i, t_env)
        return f"it cannot be written down, and is seeded anew, by its seed and t_env={t_env}"

    def _make_anew(self, i: int, *seeded_with: int) -> None:
        self.envs[i].close()
        self.envs[i] = under_contract(lambda index: self._make_env(index, *seeded_with), i, self.name)
        self._say_what_is_wanted(self.envs[i])
        self._team_up()
        self.envs[i].reset()

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs.values():
            env.close()


_NOTHING: dict[str, Any] = {"env": snapshot.Snapshot(None, 0, ["nothing"])._asdict()}


class BatchedEnvGroup:
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

    def attach(self, fields: dict[str, Field]) -> None:
        """As `EnvGroup.attach`."""
        self.views = _views(fields)
        self.actions = self.views["actions"]
        if self.actions.dtype.kind != "f":
            self.actions = self.actions[..., 0]

    def reset(self) -> None:
        """As `EnvGroup.reset`."""
        self.returns: Any = None
        self.lengths = np.zeros(self.size, int)  # steps of each episode
        self.alive = list(range(self.size))
        try:
            seen = self.env.reset()
        except TrustRegionError:
            raise
        except Exception as error:  # its author's code
            raise broken(self.name, "reset", error) from error
        self._observe(seen, slice(None), 0)

    def step(self, t: int) -> list[Ended]:
        """As `EnvGroup.step`."""
        # A slice where all play: indexing by a list copies.
        rows: slice | list[int] = slice(None) if len(self.alive) == self.size else self.alive
        try:
            played = self.env.step(self.actions[:, t])
        except TrustRegionError:
            raise
        except Exception as error:  # its author's code
            raise broken(self.name, "step", error) from error
        rewards = self.reward(played.rewards)
        if not is_finite(rewards[rows]):
            self._report(rewards, "the reward {}")
        self.lengths[rows] += 1
        over = (played.terminated | played.truncated | (self.lengths >= self.limit))[rows]
        self.views["reward"][rows, t] = rewards[rows].reshape(len(self.alive), -1)
        if self.returns is None:  # one each, or one per agent each
            self.returns = np.zeros(rewards.shape)
        self.returns[rows] += rewards[rows]
        self._observe(played.seen, rows, t + 1)
        if not over.any():
            return []
        ended = [self._ended(i, t, played) for i, end in zip(self.alive, over, strict=True) if end]
        self.alive = [i for i, end in zip(self.alive, over, strict=True) if not end]
        return ended

    def _ended(self, i: int, t: int, played: Played) -> Ended:
        info = check_info(played.infos[i], Scene(self.name, i))
        said_so = bool(info.get("episode_limit", False))
        cut = said_so or not played.terminated[i]
        self.views["terminated"][i, t] = not said_so
        self.views["truncated"][i, t] = cut
        return Ended(i, int(self.lengths[i]), self.returns[i], info, cut)

    def _observe(self, seen: Seen, rows: slice | list[int], t: int) -> None:
        views = self.views
        views["obs"][rows, t] = seen.obs[rows]
        views["state"][rows, t] = seen.state[rows]
        views["avail_actions"][rows, t] = seen.avail_actions[rows]
        views["filled"][rows, t] = 1
        for what, numbers in (("an observation", seen.obs), ("a state", seen.state)):
            if not is_finite(numbers[rows]):
                self._report(numbers, what + " with {}")

    def _report(self, numbers: np.ndarray, what: str) -> None:
        """Raise NonFiniteError for the first of the environments that play whose numbers [B, ...] are not finite."""
        for i in self.alive:
            if (place := first_not_finite(numbers[i])) is not None:
                raise Scene(self.name, i).not_finite(
                    f"gave {what.format(told(numbers[i][place]))}", int(self.lengths[i])
                )

    def state_dict(self) -> dict[Any, Any]:
        """As `EnvGroup.state_dict`, of all as one."""
        return {"all": snapshot.take(self.env)._asdict()}

    def load_state_dict(self, state: dict[Any, Any], t_env: int) -> list[str]:
        """As `EnvGroup.load_state_dict`."""
        tree, _, unknown = state.get("all", _NOTHING["env"]).values()
        self.env.reset()
        try:
            snapshot.put(self.env, tree, generators_only=bool(unknown))
        except snapshot.DoesNotFit as error:
            return [f"they begin afresh: {error}"]
        return [f"only their random numbers go on: they hold {', '.join(unknown)}"] if unknown else []

    def close(self) -> None:
        """Close the environments."""
        self.env.close()


@contextlib.contextmanager
def own_random_numbers() -> Iterator[None]:
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
