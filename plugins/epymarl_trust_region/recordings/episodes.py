"""Recorded episodes: written as they come, read back as the padded fields that learners know.

Shape letters: B episodes, T steps of the longest, L steps of one, N agents, A actions, O observation, S state,
K reward columns (1 for a common reward, N for individual ones).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DataError
from . import guarded
from .guarded import check_fits, check_plain_file
from .hdf5 import add_array, add_group, add_number, library
from .journal import before, change, put_back
from .layout import OURS, data_file, is_continuous, make_place, new_metadata, read_metadata, write_metadata

_WAIT_S = 600  # for another process that reads the file: a run must not die of being looked at
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Episode:
    """One episode, without padding."""

    obs: np.ndarray  # [L+1, N, O], float32; the last is seen after the last step
    state: np.ndarray  # [L+1, S], float32
    avail_actions: np.ndarray  # [L+1, N, A], int8: 0 or 1
    actions: np.ndarray  # [L, N], int64; real-valued ones [L, N, A], float32, as they were drawn
    rewards: np.ndarray  # [L], or [L, N] where rewards are individual; float32
    truncated: bool  # cut by a time limit; else it ended by itself
    marked: bool  # the suite's batch has `terminated` at its last step
    t_env: int  # training steps taken before the rollout that it is of
    log_probs: np.ndarray | None = None  # [L, N], float32: the acting policy's log-probability of each action

    @property
    def length(self) -> int:
        """L."""
        return len(self.actions)


class EpisodeWriter:
    """Appends episodes to a recording. The file is closed between two calls; what `append` has written stays, also if a
    later call is killed on its way."""

    def __init__(self, path: str | Path, about: dict[str, Any], overwrite: bool = False) -> None:
        """
        Args:
            path: the folder to make.
            about: facts of the run for metadata.json, among them n_agents, n_actions, obs_dim, state_dim and
                common_reward.
            overwrite: replace an older recording.

        Raises:
            DataError: h5py is missing, the place is taken, or it cannot be made.
        """
        library()
        make_place(path, overwrite)
        self.path = Path(path)
        self.metadata = new_metadata(path, about)
        with self._writing():
            library().File(data_file(path), "w").close()
            write_metadata(path, self.metadata)

    def append(self, episodes: Sequence[Episode]) -> None:
        """Write complete episodes behind those that are there.

        Raises:
            DataError: they cannot be written, say because the disk is full.
        """
        with self._writing(), self._file() as raw:
            with library().File(raw, "r+") as file:
                for number, episode in enumerate(episodes, self.metadata["total_episodes"]):
                    _write(file.id, number, episode)
            self.metadata["total_episodes"] += len(episodes)
            self.metadata["total_steps"] += sum(episode.length for episode in episodes)
            write_metadata(self.path, self.metadata)

    @contextmanager
    def _file(self) -> Iterator[Any]:
        """The HDF5 file, to be written; waits while another process reads it."""
        for attempt in range(_WAIT_S * 10):
            with ExitStack() as stack:
                try:
                    raw = stack.enter_context(change(data_file(self.path), self.metadata["total_episodes"]))
                except BlockingIOError:
                    if not attempt:
                        _log.warning(f"{data_file(self.path)} is open in another process: waiting for it to be closed")
                    time.sleep(0.1)
                    continue
                yield raw
                return
        raise OSError(f"{data_file(self.path)} has been open in another process for {_WAIT_S} s")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # HDF5 has either
            raise DataError(
                f"cannot write to save_episodes={self.path}: {error}; make room, or name another place"
            ) from error


def _write(file, number: int, episode: Episode) -> None:
    group = add_group(file, f"episode_{number}")
    add_number(group, "id", number)
    add_number(group, "total_steps", episode.length)
    add_number(group, "t_env", episode.t_env)
    add_number(group, "marked_terminated", episode.marked)
    observations = add_group(group, "observations")
    for name in ("obs", "state", "avail_actions"):
        add_array(observations, name, getattr(episode, name))
    add_array(group, "actions", episode.actions)
    add_array(group, "rewards", episode.rewards)
    last = np.arange(episode.length) == episode.length - 1
    add_array(group, "terminations", last & (not episode.truncated))
    add_array(group, "truncations", last & episode.truncated)
    infos = add_group(group, "infos")
    if episode.log_probs is not None:
        add_array(infos, "log_probs", episode.log_probs)


class Episodes(dict):
    """Fields by the suite's names, torch tensors; what learners read of an EpisodeBatch.

    obs [B, T+1, N, O], state [B, T+1, S], avail_actions [B, T+1, N, A] (int32), actions [B, T+1, N, 1] (int64),
    actions_onehot [B, T+1, N, A], reward [B, T+1, K], terminated [B, T+1, 1] (uint8), filled [B, T+1, 1] (int64) are as
    the runner gave them, but for the actions that it chooses at an episode's last observation and never plays: they
    are 0. `terminated` is 1 at the last step also where the suite took a time limit for an end. Beside them are
    truncated [B, T+1, 1] (uint8), 1 at the last step of an episode that a time limit cut, and log_probs [B, T+1, N]
    where every episode has them. Real-valued actions are [B, T+1, N, A] (float32), as they were drawn, and have no
    actions_onehot; what was played is `played_actions`.
    """

    device = "cpu"

    def __init__(self, fields: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
        """
        Args:
            about: the facts of the run that recorded them.
        """
        super().__init__(fields)
        self.about = about

    @property
    def batch_size(self) -> int:
        """B."""
        return self["filled"].shape[0]

    @property
    def max_seq_length(self) -> int:
        """T+1."""
        return self["filled"].shape[1]

    @property
    def lengths(self) -> torch.Tensor:
        """Steps of each episode, [B]."""
        return self["filled"].sum((1, 2)) - 1

    def played_actions(self) -> torch.Tensor:
        """What reached the environments, [B, T+1, N, 1 or A]: real-valued actions clipped to their bounds."""
        if not is_continuous(self.about):
            return self["actions"]
        dtype = getattr(torch, self.about["action_dtype"])
        low, high = (torch.tensor(self.about[key], dtype=dtype) for key in ("action_low", "action_high"))
        return self["actions"].to(dtype).clamp(low, high)

    def part(self, indices: Sequence[int] | torch.Tensor) -> Episodes:
        """These episodes, padded to the longest of them."""
        rows = torch.as_tensor(indices)
        end = int(self.lengths[rows].max()) + 1
        return Episodes({key: field[rows, :end] for key, field in self.items()}, self.about)

    def check_matches(self, n_agents: int, n_actions: int, obs_dim: int) -> None:
        """Refuse episodes of a task of other sizes.

        Raises:
            DataError: names each size that differs.
        """
        asked = {"n_agents": n_agents, "n_actions": n_actions, "obs_dim": obs_dim}
        wrong = [f"{key} {self.about[key]}, not {value}" for key, value in asked.items() if self.about[key] != value]
        if wrong:
            raise DataError(
                f"the recorded episodes are of another task: they have {'; '.join(wrong)}; record episodes of this "
                "task, or train on the task that they are of"
            )


def read_episodes(path: str | Path, first: int = 0, count: int | None = None) -> Episodes:
    """The complete episodes of a recording, all in memory.

    Args:
        path: what `save_episodes` named.
        first: the first episode wanted.
        count: how many, at most; None: all from `first` on.

    Raises:
        DataError: nothing is there; no episode is complete; it is damaged, of another tool or version, or at odds with
            itself; or h5py is missing.
    """
    metadata = read_metadata(path)
    total, about = metadata["total_episodes"], metadata[OURS]
    wanted = range(first, total if count is None else min(first + count, total))
    if not wanted:
        raise DataError(f"{path} holds {total} complete episodes, and none from number {first} on; record more")
    with open_data(path) as file:
        with damage(path, "an episode"):
            lengths = [episode_length(file, path, number) for number in wanted]
        if wanted == range(total) and sum(lengths) != metadata["total_steps"]:
            raise DataError(_at_odds(path, f"{sum(lengths)} steps, and metadata.json says {metadata['total_steps']}"))
        check_fits(_bytes(len(wanted), max(lengths), about), f"{path}: {len(wanted)} episodes of {max(lengths)} steps")
        fields = _empty(len(wanted), max(lengths), about)
        for row, number in enumerate(wanted):
            place = f"{path}, episode {number}"
            with damage(path, f"episode {number}"):
                _fill(fields, row, guarded.group(file, f"episode_{number}", place), lengths[row], about, place)
    return _finished(fields, about)


def episode_length(file, path: str | Path, number: int) -> int:
    """L of one episode, as it says itself."""
    place = f"{path}, episode {number}"
    return guarded.number(guarded.group(file, f"episode_{number}", place), "total_steps", place, 1, 2**31 - 1)


@contextmanager
def open_data(path: str | Path) -> Iterator[Any]:
    """The HDF5 file, to be read.

    Raises:
        DataError: it is missing, damaged or being written.
    """
    h5, file = library(), data_file(path)
    check_plain_file(file)
    with ExitStack() as stack:
        try:
            old = stack.enter_context(before(file, lambda: read_metadata(path)["total_episodes"]))
            opened = stack.enter_context(h5.File(file if old is None else old, "r"))
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError(f"{file} is missing; record the episodes again") from None
        except BlockingIOError:
            raise DataError(f"{file} is being written just now; try again in a moment") from None
        except Exception as error:  # h5py has any
            raise DataError(_damaged(path, f"it cannot be opened: {error}")) from None
        yield opened


def mend(path: str | Path) -> None:
    """Put the file back to what it was before a rollout that was never finished, for tools that do not see through it.

    Raises:
        DataError: it cannot be written, is being written, or is damaged or a link.
    """
    check_plain_file(data_file(path))
    metadata = read_metadata(path)
    try:
        put_back(data_file(path), lambda: metadata["total_episodes"])
    except OSError as error:
        raise DataError(
            f"{data_file(path)} cannot be put back: {error.strerror}; make it writable, or copy it"
        ) from None


def _damaged(path, what: str) -> str:
    return f"{data_file(path)} is damaged or truncated ({what}): was its run killed while it wrote? Record it again"


def _at_odds(path, what: str) -> str:
    return f"{data_file(path)} is at odds with itself: it holds {what}; record the episodes again"


@contextmanager
def damage(path, what: str) -> Iterator[None]:
    """What h5py raises on the way through a broken file becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(_damaged(path, f"{what} cannot be read: {guarded.plain(error)}")) from None


def _empty(B: int, T: int, about: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.zeros((B, T + 1, *shape), dtype) for key, (shape, dtype) in _shapes(about).items()}


def _bytes(B: int, T: int, about: dict[str, Any]) -> int:
    """Of all fields, in whole numbers of any size."""
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in _shapes(about).values()]
    onehot = 4 * about["n_agents"] * about["n_actions"]
    return B * (T + 1) * (sum(sizes) + onehot)


def _shapes(about: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], type]]:
    N, A, O, S = (about[key] for key in ("n_agents", "n_actions", "obs_dim", "state_dim"))  # noqa: E741
    return {
        "obs": ((N, O), np.float32),
        "state": ((S,), np.float32),
        "avail_actions": ((N, A), np.int32),
        "actions": ((N, A), np.float32) if is_continuous(about) else ((N, 1), np.int64),
        "reward": ((1 if about["common_reward"] else N,), np.float32),
        "terminated": ((1,), np.uint8),
        "truncated": ((1,), np.uint8),
        "filled": ((1,), np.int64),
        "log_probs": ((N,), np.float32),
    }


def _fill(fields: dict[str, np.ndarray], row: int, group, L: int, about: dict[str, Any], place: str) -> None:
    """Copy one episode in; drops the field log_probs where the episode has none."""
    observations = guarded.group(group, "observations", place)
    for key, kinds in (("obs", "f"), ("state", "f"), ("avail_actions", "iu")):
        fields[key][row, : L + 1] = guarded.array(observations, key, fields[key][row, : L + 1].shape, kinds, place)
    fields["actions"][row, :L] = _actions(group, L, about, place)
    fields["reward"][row, :L] = rewards(group, L, about, place).reshape(L, -1)
    fields["truncated"][row, :L, 0] = truncations(group, L, place)
    fields["terminated"][row, L - 1] = guarded.number(group, "marked_terminated", place, 0, 1)
    fields["filled"][row, : L + 1] = 1
    infos = guarded.group(group, "infos", place)
    if not guarded.has(infos, "log_probs"):
        fields.pop("log_probs", None)
    elif "log_probs" in fields:
        fields["log_probs"][row, :L] = guarded.array(infos, "log_probs", (L, about["n_agents"]), "f", place)


def rewards(group, L: int, about: dict[str, Any], place: str) -> np.ndarray:
    """[L], or [L, N]."""
    return guarded.array(group, "rewards", (L,) if about["common_reward"] else (L, about["n_agents"]), "f", place)


def truncations(group, L: int, place: str) -> np.ndarray:
    """[L] flags; together with the terminations they mark one end."""
    ends = {key: guarded.array(group, key, (L,), "b", place) for key in ("terminations", "truncations")}
    if int((ends["terminations"] | ends["truncations"]).argmax()) != L - 1 or all(end[-1] for end in ends.values()):
        raise DataError(f"{place}: terminations and truncations do not mark one end, at its last step; record it again")
    return ends["truncations"]


def _actions(group, L: int, about: dict[str, Any], place: str) -> np.ndarray:
    """[L, N, 1] choices, or [L, N, A] draws."""
    N, A = about["n_agents"], about["n_actions"]
    if is_continuous(about):
        actions = guarded.array(group, "actions", (L, N, A), "f", place)
        if actions.dtype != np.float32:
            raise DataError(f"{place}: it has no actions, or some that are no finite float32; record it again")
        return actions
    actions = guarded.array(group, "actions", (L, N), "iu", place)
    if actions.min() < 0 or actions.max() >= A:
        raise DataError(f"{place}: it has no actions, or some outside 0 to {A - 1}; record it again")
    return actions[..., None]


def _finished(fields: dict[str, np.ndarray], about: dict[str, Any]) -> Episodes:
    tensors = {key: torch.from_numpy(field) for key, field in fields.items()}
    if is_continuous(about):
        return Episodes(tensors, about)
    onehot = torch.zeros(tensors["avail_actions"].shape)
    played = (torch.arange(onehot.shape[1]) < tensors["filled"].sum(1) - 1)[..., None, None]
    tensors["actions_onehot"] = onehot.scatter_(-1, tensors["actions"], 1.0) * played
    return Episodes(tensors, about)
