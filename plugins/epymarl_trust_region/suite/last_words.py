"""What goes wrong in a worker of EPyMARL's parallel runner is raised in the process that waits for its answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from ..environments.scene import numbered
from ..errors import TrustRegionError


@contextlib.contextmanager
def last_words(connection: Connection, number: int) -> Iterator[None]:
    """In a worker, around all that it does: an error of this plugin's becomes the answer that the parent waits for.

    The worker then lives on, without its environment, until it is told to close: the parent reads the answers one after
    the other, and is not to hear first that somebody has died.

    Args:
        connection: the worker's end of the pipe.
        number: of the worker, which is that of its environment.
    """
    try:
        with numbered(number):
            yield
    except TrustRegionError as error:
        with contextlib.suppress(EOFError, OSError):  # the parent may have gone
            connection.send(_Raised(error))
            while connection.recv()[0] != "close":
                pass


class _Raised:
    """Raises an error where it is unpickled."""

    def __init__(self, error: TrustRegionError) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self._error,)


def _raise(error: TrustRegionError) -> NoReturn:
    raise error
