"""Which environment did it, and when: the words of every message about what an environment gave."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from ..errors import EnvironmentFaultError, NonFiniteError

_log = logging.getLogger(__name__)
_number: contextvars.ContextVar[int] = contextvars.ContextVar("environment_number", default=0)


@contextlib.contextmanager
def numbered(index: int) -> Iterator[None]:
    """Environments that are made inside are number `index` of the rollout; their wrappers are not told by the host."""
    token = _number.set(index)
    try:
        yield
    finally:
        _number.reset(token)


class Scene:
    """One environment and where it is in its episode.

    Steps are those of the batch: the actions at step t bring the reward, the ends and the info of step t, and the
    observations of step t + 1. Those of a reset are at step 0.
    """

    def __init__(self, name: str, index: int | None = None) -> None:
        """
        Args:
            name: of the task.
            index: of the environment in the rollout; by default the one that `numbered` says, else 0.
        """
        self.name, self.index = name, _number.get() if index is None else index
        self.t = 0  # observations seen since the reset
        self._told: set[str] = set()

    def __str__(self) -> str:
        return f"environment {self.index} ({self.name})"

    def fault(self, what: str, remedy: str, t: int | None = None) -> EnvironmentFaultError:
        """The error for something of a wrong kind, number or shape, at step `t` (by default the present one)."""
        return EnvironmentFaultError(f"{self} {what} {self.when(t)}; {remedy}")

    def not_finite(self, what: str, t: int | None = None, more: str = "") -> NonFiniteError:
        """The error for NaN, an infinity, or what a 32-bit float cannot hold."""
        return NonFiniteError(
            f"{self} {what} {self.when(t)}{more}; the environment is at fault, and training stops before it learns "
            "from that. Look for a division by zero or a missing value in the environment"
        )

    def broken(self, method: str, error: Exception) -> EnvironmentFaultError:
        """The error for what the environment's own code raised in one of its methods."""
        return EnvironmentFaultError(f"{self} failed in {method}() {self.when()}: {_told(error)}")

    def when(self, t: int | None = None) -> str:
        return f"at step {self.t if t is None else t} of its episode"

    def warn_once(self, key: str, text: str) -> None:
        """Warn, once for each key, and of the first environment alone: the others are like it."""
        if self.index == 0 and key not in self._told:
            self._told.add(key)
            _log.warning(f"{self} {text}")


def broken(name: str, method: str, error: Exception) -> EnvironmentFaultError:
    """The same where all environments are one."""
    text = f"the environments ({name}), as one, failed in {method}(): {_told(error)}"
    return EnvironmentFaultError(f"{text}; batched_envs=none steps them one by one")


def _told(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def short(value: Any, limit: int = 90) -> str:
    """A value as it looks in Python, on one line and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
