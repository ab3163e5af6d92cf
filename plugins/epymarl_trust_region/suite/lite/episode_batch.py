"""Episodes as tensors, with EPyMARL's interface: what runners fill, buffers keep and learners read.

Shapes: every field is [B, T, *shape], with N agents first in `shape` where the scheme says `group: agents`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch as th

from epymarl_trust_region.interfaces import Args, Scheme

Device = str | th.device


class OneHot:
    """Preprocessing step: class indices [..., 1] to indicators [..., out_dim], float32."""

    def __init__(self, out_dim: int) -> None:
        self.out_dim = out_dim

    def transform(self, tensor: th.Tensor) -> th.Tensor:
        indicators = tensor.new_zeros((*tensor.shape[:-1], self.out_dim), dtype=th.float32)
        return indicators.scatter_(-1, tensor.long(), 1.0)

    def infer_output_info(self, vshape_in: Any, dtype_in: th.dtype) -> tuple[tuple[int], th.dtype]:
        return (self.out_dim,), th.float32


class EpisodeBatch:
    """A block of episodes, all zeros at first. `filled` [B, T, 1] marks the steps that hold an observation.

    Args:
        scheme: per field `vshape` (int or tuple), and optionally `group` (a key of `groups`) and `dtype` (float32).
        groups: group name to its size, such as {"agents": N}.
        batch_size: B.
        max_seq_length: T, observations per episode (one more than steps).
        data: the fields of an existing batch (used by slicing); None allocates.
        preprocess: source field to (derived field, [transforms]); kept up to date by `update`.
        device: a torch device.
    """

    def __init__(
        self,
        scheme: Scheme,
        groups: dict[str, int],
        batch_size: int,
        max_seq_length: int,
        data: SimpleNamespace | None = None,
        preprocess: dict[str, Any] | None = None,
        device: Device = "cpu",
    ) -> None:
        self.scheme = dict(scheme)
        self.groups = groups
        self.batch_size = batch_size
        self.max_seq_length = max_seq_length
        self.preprocess = preprocess or {}
        self.device = device
        self.data = data or self._allocate()

    def _allocate(self) -> SimpleNamespace:
        for source, (derived, transforms) in self.preprocess.items():
            info = self.scheme[source]
            vshape, dtype = info["vshape"], info.get("dtype", th.float32)
            for transform in transforms:
                vshape, dtype = transform.infer_output_info(vshape, dtype)
            self.scheme[derived] = {**info, "vshape": vshape, "dtype": dtype}
        self.scheme["filled"] = {"vshape": (1,), "dtype": th.long}
        fields = {}
        for key, info in self.scheme.items():
            shape = info["vshape"] if isinstance(info["vshape"], tuple) else (info["vshape"],)
            if info.get("group"):
                shape = (self.groups[info["group"]], *shape)
            dtype = info.get("dtype", th.float32)
            fields[key] = th.zeros((self.batch_size, self.max_seq_length, *shape), dtype=dtype, device=self.device)
        return SimpleNamespace(transition_data=fields, episode_data={})

    def to(self, device: Device) -> None:
        """Move every field to `device`, in place."""
        for key, value in self.data.transition_data.items():
            self.data.transition_data[key] = value.to(device)
        self.device = device

    def update(self, data: dict, bs: Any = slice(None), ts: Any = slice(None), mark_filled: bool = True) -> None:
        """Write fields (tensors, or lists of numbers or arrays) at episodes `bs` and steps `ts`.

        Axes of length one may be missing or spare, as in EPyMARL.

        Raises:
            KeyError: a field that the scheme lacks.
            ValueError: a value whose shape does not fit its place.
        """
        where = _slices((bs, ts))
        fields = self.data.transition_data
        for key, value in data.items():
            if key not in fields:
                raise KeyError(f"{key} is no field of this batch; it has {', '.join(fields)}")
            if isinstance(value, list):
                value = np.array(value)
            place = fields[key][where]
            value = th.as_tensor(value, dtype=place.dtype, device=self.device)
            if [n for n in value.shape if n != 1] != [n for n in place.shape if n != 1]:
                raise ValueError(f"{key}: a value of shape {[*value.shape]} does not fit a place of {[*place.shape]}")
            fields[key][where] = value.reshape(place.shape)
            if key in self.preprocess:
                derived, transforms = self.preprocess[key]
                value = fields[key][where]
                for transform in transforms:
                    value = transform.transform(value)
                fields[derived][where] = value
        if mark_filled:
            fields["filled"][where] = 1

    def __getitem__(self, item: Any) -> Any:
        """A field by its name; or the part of the batch at `[episodes]` or `[episodes, steps]` (a view for slices)."""
        if isinstance(item, str):
            return self.data.transition_data[item]
        where = _slices(item if isinstance(item, tuple) else (item, slice(None)))
        part = {key: value[where] for key, value in self.data.transition_data.items()}
        size, length = part["filled"].shape[:2]
        data = SimpleNamespace(transition_data=part, episode_data={})
        return EpisodeBatch(self.scheme, self.groups, size, length, data=data, device=self.device)

    def max_t_filled(self) -> th.Tensor:
        """The length of the longest episode in observations; shape [1]."""
        return self["filled"].sum(1).max(0)[0]


class ReplayBuffer(EpisodeBatch):
    """The last `buffer_size` episodes; a full buffer overwrites its oldest."""

    def __init__(
        self,
        scheme: Scheme,
        groups: dict[str, int],
        buffer_size: int,
        max_seq_length: int,
        preprocess: dict[str, Any] | None = None,
        device: Device = "cpu",
    ) -> None:
        super().__init__(scheme, groups, buffer_size, max_seq_length, preprocess=preprocess, device=device)
        self.buffer_size = buffer_size
        self.buffer_index = 0  # where the next episode goes
        self.episodes_in_buffer = 0

    def insert_episode_batch(self, ep_batch: EpisodeBatch) -> None:
        """Copy the episodes of `ep_batch` in, wrapping around at the end."""
        first = 0
        while first < ep_batch.batch_size:
            n = min(self.buffer_size - self.buffer_index, ep_batch.batch_size - first)
            for key, value in ep_batch.data.transition_data.items():
                place = self[key][self.buffer_index : self.buffer_index + n, : ep_batch.max_seq_length]
                place.copy_(value[first : first + n])
            first += n
            self.episodes_in_buffer = max(self.episodes_in_buffer, self.buffer_index + n)
            self.buffer_index = (self.buffer_index + n) % self.buffer_size

    def can_sample(self, batch_size: int) -> bool:
        return self.episodes_in_buffer >= batch_size

    def sample(self, batch_size: int) -> EpisodeBatch:
        """`batch_size` different episodes, drawn with numpy's global generator unless that is all there are."""
        assert self.can_sample(batch_size), f"{batch_size} episodes asked of {self.episodes_in_buffer}"
        if self.episodes_in_buffer == batch_size:
            return self[:batch_size]
        return self[np.random.choice(self.episodes_in_buffer, batch_size, replace=False)]


class LastRollout:
    """In the place of a `ReplayBuffer` of one rollout, all of which is sampled: it is handed on, and not copied."""

    def __init__(self, scheme: Scheme, groups: dict[str, int], preprocess: dict[str, Any] | None = None) -> None:
        self.scheme = EpisodeBatch(scheme, groups, 1, 1, preprocess=preprocess).scheme  # with derived fields
        self.rollout: EpisodeBatch | None = None

    def insert_episode_batch(self, ep_batch: EpisodeBatch) -> None:
        self.rollout = ep_batch

    def can_sample(self, batch_size: int) -> bool:
        return self.rollout is not None and self.rollout.batch_size >= batch_size

    def sample(self, batch_size: int) -> EpisodeBatch:
        assert self.rollout is not None, f"{batch_size} episodes asked of none"
        return self.rollout


def make_buffer(
    args: Args, scheme: Scheme, groups: dict[str, int], max_seq_length: int, preprocess: dict[str, Any], device: Device
) -> ReplayBuffer | LastRollout:
    """What stands between the runner and the learner of a run."""
    if args.buffer_size == args.batch_size == args.batch_size_run:
        return LastRollout(scheme, groups, preprocess)
    return ReplayBuffer(scheme, groups, args.buffer_size, max_seq_length, preprocess, device)


def _slices(items: tuple[Any, Any]) -> tuple:
    episodes, steps = items
    if isinstance(steps, list):
        raise IndexError("steps are indexed by a number or a slice, not by a list")
    return _as_slice(episodes), _as_slice(steps)


def _as_slice(item: Any) -> Any:
    """A single index keeps its axis, with length one."""
    return slice(item, item + 1 or None) if isinstance(item, int) else item
