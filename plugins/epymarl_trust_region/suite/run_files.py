"""Sacred's folder of a run, written so that what stands there is valid JSON, and that a run which lost some fails."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from ..errors import StorageError


class RunFiles(FileStorageObserver):
    """Replaces each file whole, and remembers the first that could not be written.

    Sacred itself writes half a file over the old one, says nothing, and calls the run completed: it writes in a thread,
    whose errors it swallows. So the run has to ask: `failing` does it with each number that is logged.

    Attributes:
        failure: what could not be written, and why.
    """

    failure: StorageError | None = None

    def failing(self, log_scalar: Callable[..., None]) -> Callable[..., None]:
        """A run's `log_scalar`, which then raises StorageError once something could not be written."""

        @functools.wraps(log_scalar)
        def log(*args: Any, **kwargs: Any) -> None:
            self.check()
            log_scalar(*args, **kwargs)

        return log

    def check(self) -> None:
        """Raise StorageError if something could not be written."""
        if self.failure:
            raise self.failure

    # Sacred's events ------------------------------------------------------------------------------------------------

    def save_json(self, obj: Any, filename: str) -> None:
        file = Path(self.dir) / filename
        unfinished = file.with_name(filename + ".unfinished")
        try:
            with open(unfinished, "w") as stream:
                json.dump(flatten(obj), stream, sort_keys=True, indent=2)
            os.replace(unfinished, file)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise StorageError.of(file, error) from error

    def save_cout(self) -> None:
        try:
            super().save_cout()
        except OSError as error:
            raise StorageError.of(Path(self.dir) / "cout.txt", error) from error

    def started_event(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().started_event(*args, **kwargs)
        except OSError as error:
            raise StorageError.of(self.basedir, error) from error

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        with self._noted():
            super().log_metrics(*args, **kwargs)

    def heartbeat_event(self, *args: Any, **kwargs: Any) -> None:
        with self._noted():
            super().heartbeat_event(*args, **kwargs)

    def completed_event(self, stop_time: Any, result: Any) -> None:
        if self.failure:
            self.failed_event(stop_time, [str(self.failure)])
            return
        with self._noted():
            super().completed_event(stop_time, result)

    def interrupted_event(self, *args: Any, **kwargs: Any) -> None:
        with self._noted():
            super().interrupted_event(*args, **kwargs)

    def failed_event(self, *args: Any, **kwargs: Any) -> None:
        if self.dir is None or self.run_entry is None:
            return  # it could not even be begun
        with self._noted():
            super().failed_event(*args, **kwargs)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self.failure = self.failure or error
