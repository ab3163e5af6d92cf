"""Ctrl-C, SIGTERM (of batch queues) and SIGHUP (of a terminal that is closed) end a run in good order.

The first one raises Interrupted in the main thread, at once or at the end of a block that is `held`. A second one ends
the process there and then, its workers with it. This module imports next to nothing: the command sets it up before
the packages, which take seconds to import.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Interrupted(KeyboardInterrupt):
    """A signal has asked the run to end; Sacred calls such a run INTERRUPTED.

    Attributes:
        number: of the signal.
        models: the folder of the models that were saved because of it, if any.
    """

    models: str | None = None

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    first: int | None = None  # the signal that asked first
    raised = False
    held = 0  # blocks that are not to be interrupted


_state = _State()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While this lasts, the signals work as described above. One that is ignored, as under `nohup`, stays so.

    Only the main thread can set them up: in others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.first, _state.raised, _state.held = None, False, 0
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    previous = {number: signal.getsignal(number) for number in numbers}
    for number, handler in previous.items():
        if handler not in (signal.SIG_IGN, None):  # None: not Python's own, and not to be put back
            signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A block that the first signal does not cut in two: it is raised at its end."""
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if _state.first is not None and not _state.raised and not _state.held:
        _raise(_state.first)


def has_come() -> bool:
    """Whether a signal has asked the run of this process to end."""
    return _state.first is not None


def end_at_once_on_ctrl_c() -> None:
    """For the time in which there is nothing to put in order: no traceback, whatever is being imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.first is not None:
        _end_at_once(number, frame)
    _state.first = number
    if not _state.held:
        _raise(number)


def _raise(number: int) -> NoReturn:
    _state.raised = True
    raise Interrupted(number)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing else ():
        with contextlib.suppress(OSError, ValueError):
            child.kill()
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")  # not `print`: its buffer may be in use
    os._exit(128 + number)
