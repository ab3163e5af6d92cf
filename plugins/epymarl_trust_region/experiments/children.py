"""Processes that end with this one: what a sweep has started is not left behind when it is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_LOOK_EVERY_S = 5.0
_PATIENCE_S = 30  # a little more than `tied` has


class Stopped(BaseException):
    """A signal has come; not an Exception, which somebody might catch on its way."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number  # as shells count it


class Children:
    """Processes of this plugin, from any thread."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.RLock()  # a signal's handler may ask for the end while `run` has it
        self._stopped = False

    def run(self, command: list[str], log: Path, go_on: Callable[[], bool] | None = None) -> int | None:
        """Wait for `epymarl-tr COMMAND`, its output in `log`; its exit code, or None where it was stopped.

        Args:
            go_on: asked every few seconds; once it says no, this process is ended.
        """
        with open(log, "w") as output:
            with self._lock:
                if self._stopped:
                    return None
                child = subprocess.Popen(
                    [sys.executable, "-m", f"{__package__}.tied", *command],
                    stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.PIPE,  # see `tied`
                    start_new_session=True,  # Ctrl-C is for this process, which then ends them
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
                self._running.add(child)
            code = _wait(child, go_on)
        _let_go(child)
        with self._lock:
            self._running.discard(child)
            return None if self._stopped else code

    def stop(self) -> None:
        """End all, by asking first; none starts afterwards."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        _end(running)


def _end(children: list[subprocess.Popen]) -> None:
    for child in children:
        _let_go(child)
    for child in children:
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _let_go(child: subprocess.Popen) -> None:
    """Once its input ends, a run tells itself to end, unless a signal has: a second one would cost its checkpoint."""
    if child.stdin:
        child.stdin.close()


def _wait(child: subprocess.Popen, go_on: Callable[[], bool] | None) -> int:
    while True:  # not without a limit: a signal's handler may have to wait for it, too
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK_EVERY_S)
        if go_on is not None and not go_on():
            _end([child])


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP, which batch queues and closed terminals send, raise Stopped in the main thread.

    Ctrl-C raises KeyboardInterrupt: the command itself has let it end the process at once until now. A signal that is
    ignored, as SIGHUP under `nohup`, stays so.
    """
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names]
    before = {n: signal.signal(n, _raise) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: object) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(number)
