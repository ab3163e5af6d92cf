"""What a host gives to this plugin, as types: for readers and the type checker, and held to by nothing at run time.

Both hosts' classes have more; this is what the plugin relies on.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:  # nothing that uses a type alone has to load torch
    from torch import Tensor

#: The configuration of a run, a key an attribute.
Args: TypeAlias = SimpleNamespace

#: The suite's batch scheme: a field -> its `vshape`, `group` and `dtype`.
Scheme: TypeAlias = dict[str, dict[str, Any]]


class Batch(Protocol):
    """An EpisodeBatch: B episodes in T+1 slots."""

    @property
    def batch_size(self) -> int:
        """B."""

    @property
    def max_seq_length(self) -> int:
        """T+1."""

    def __getitem__(self, key: str, /) -> Tensor:
        """A field, [B, T+1, ...]."""


class Logger(Protocol):
    """A host's logger."""

    console_logger: logging.Logger

    def log_stat(self, key: str, value: Any, t: int, /) -> None:
        """Note a number at so many environment steps."""
