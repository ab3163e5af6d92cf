"""A watch over EPyMARL's environment workers: a dead one ends the run, and none outlives it.

EPyMARL's `ParallelRunner` keeps both ends of every pipe, so that it waits for ever on the pipe of a dead worker, and
its workers on that of a dead parent. Here each process keeps its own ends only, so that a pipe ends with either of
them, and while the parent waits for one worker it looks at all of them now and then. Nothing depends on signals: an
exception that a signal's handler raises is lost where Python swallows it, in a hook of `os.fork` for one.
"""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NoReturn

from ..errors import WorkerDiedError
from ..runners.workers import OWN_SIGNAL_S, leave_signals_to_parent
from .last_words import last_words

_CLOSE = "close"  # EPyMARL's word for a worker that may end
_LOOK_EVERY_S = 1.0  # while one worker is waited for, all are looked at this often
_GRACE_S = 5.0  # for a process that is told to end, before it is killed
_ENDING_S = 30.0  # for one that is ending: on a busy machine that takes its time
_CLOSING_S = 30.0  # for one that was told to close: its environment may have something to put away


@contextmanager
def watch_workers(runner_module: ModuleType | None = None, timeout_s: float | None = None) -> Iterator[_Watch]:
    """Raise WorkerDiedError where the parallel runner waits for a worker that has ended, whatever its exit code.

    A worker that was told to close may end. When the watch ends, so do all workers that were not told.

    Args:
        runner_module: the module whose `Pipe` and `Process` are watched: `runners.parallel_runner` unless given.
        timeout_s: seconds that a worker has for an answer, else it is ended, and reported too; None: for ever.
    """
    module: Any = runner_module or importlib.import_module("runners.parallel_runner")
    watch = _Watch(timeout_s)
    originals = module.Pipe, module.Process
    module.Pipe, module.Process = watch.pipe, watch.process
    try:
        yield watch
    finally:
        module.Pipe, module.Process = originals
        watch.end_workers()
        watch.end_closing()


class _Watch:
    """The workers of one run, in the order of their pipes."""

    def __init__(self, timeout_s: float | None = None) -> None:
        self.pipes: list[_WatchedPipe] = []
        self.timeout_s = timeout_s
        self._verdict = ""

    def pipe(self, duplex: bool = True) -> tuple[_WatchedPipe, Connection]:
        """Stands in for `multiprocessing.Pipe`."""
        ours, theirs = multiprocessing.Pipe(duplex)
        self.pipes.append(_WatchedPipe(self, ours, theirs))
        return self.pipes[-1], theirs

    def process(self, *args: Any, **kwargs: Any) -> multiprocessing.Process:
        """Stands in for `multiprocessing.Process`; without a pipe of ours among its arguments, it is just that."""
        given = kwargs.get("args", ())
        own = next((pipe for pipe in self.pipes if any(pipe.theirs is value for value in given)), None)
        return _WatchedProcess(own, *args, **kwargs) if own else multiprocessing.Process(*args, **kwargs)

    def look(self) -> None:
        """Report the workers that have ended, if any has."""
        if any(pipe.has_died() for pipe in self.pipes):
            self.report()

    def report(self, seen: _WatchedPipe | None = None) -> NoReturn:
        """End all workers, and name those that had ended before. `seen` is gone, whatever its process seems to do."""
        if not self._verdict:  # else the first one holds: by now all have ended
            if seen and seen.process:
                seen.process.join(_ENDING_S)  # its pipe closes a moment before its exit code is known
            if any(p.has_died() and p.exit_code() == -signal.SIGTERM for p in self.pipes):
                time.sleep(OWN_SIGNAL_S)
            died = {n: p.exit_code() for n, p in enumerate(self.pipes) if p is seen or p.has_died()}
            self.end_workers()
            named = " and ".join(f"worker {n} ended with exit code {code}" for n, code in died.items())
            self._verdict = f"environment {named}; {_advice(set(died.values()))}"
        raise WorkerDiedError(self._verdict) from None

    def report_silence(self, silent: _WatchedPipe) -> NoReturn:
        """End all workers, and name the one that did not answer."""
        number = self.pipes.index(silent)
        self.end_workers()
        self._verdict = (
            f"environment worker {number} gave no answer for env_timeout={self.timeout_s:g} s: it was stopped, or its "
            "environment hangs; it has been ended. Mend the environment (`runner=episode batch_size_run=1` runs it in "
            "one process, where a debugger can reach it), or raise env_timeout if a step may take so long"
        )
        raise WorkerDiedError(self._verdict)

    def end_closing(self) -> None:
        """End those that were told to close and have not, or Python would wait for them for ever."""
        deadline = time.monotonic() + _CLOSING_S
        for pipe in self.pipes:
            if pipe.process and pipe.told_to_close:
                pipe.process.join(max(deadline - time.monotonic(), 0))
                pipe.process.kill()
                pipe.process.join(_GRACE_S)

    def end_workers(self) -> None:
        """End those that were not told to close."""
        processes = [pipe.process for pipe in self.pipes if pipe.process and not pipe.told_to_close]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0))
        for process in processes:
            process.kill()  # a stopped process heeds nothing else
            process.join(_ENDING_S)


class _WatchedPipe:
    """The parent's end of a worker's pipe, with what is known of the worker."""

    def __init__(self, watch: _Watch, ours: Connection, theirs: Connection) -> None:
        self.watch, self.ours, self.theirs = watch, ours, theirs
        self.process: _WatchedProcess | None = None  # once it is started
        self.told_to_close = False

    def send(self, message: Any) -> None:
        self.told_to_close |= isinstance(message, tuple) and message[0] == _CLOSE
        try:
            self.ours.send(message)
        except OSError:
            if not self.told_to_close:  # who has ended before the end of a run that needs no more of him, may
                self.watch.report(self)

    def recv(self) -> Any:
        try:
            limit, waited = self.watch.timeout_s, 0.0
            while not self.ours.poll(_LOOK_EVERY_S):
                self.watch.look()
                waited += _LOOK_EVERY_S  # and no clock: it goes on while the whole job is stopped
                if limit is not None and waited >= limit:
                    self.watch.report_silence(self)
            return self.ours.recv()
        except (EOFError, OSError):  # the worker has ended, perhaps in the middle of an answer
            self.watch.report(self)

    def exit_code(self) -> int | None:
        return self.process.exitcode if self.process is not None else None

    def has_died(self) -> bool:
        return not self.told_to_close and self.exit_code() is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ours, name)


class _WatchedProcess(multiprocessing.Process):
    """A worker that holds no pipe's end but its own. At module level, so that `spawn` can pickle it."""

    def __init__(self, pipe: _WatchedPipe, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pipe, self._connection = pipe, pipe.theirs
        self._number = pipe.watch.pipes.index(pipe)  # of the environment, too

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pipe": None}  # what is spawned has no copies of the other pipes' ends

    def start(self) -> None:
        super().start()
        self._pipe.process = self
        self._connection.close()  # this process's copy: with the worker's own, the pipe then ends

    def run(self) -> None:
        leave_signals_to_parent()
        for pipe in self._pipe.watch.pipes if self._pipe else ():  # a forked worker has copies of all ends
            pipe.ours.close()
            if pipe.theirs is not self._connection:
                pipe.theirs.close()
        try:
            with last_words(self._connection, self._number):
                super().run()
        except (EOFError, OSError):
            if not _has_ended(self._connection):
                raise  # else the parent is gone, and nobody reads a traceback
        finally:
            self._connection.close()  # the process itself may live on, in a thread of the environment's


def _has_ended(connection: Connection) -> bool:
    try:
        return not connection.closed and connection.poll() and not connection.recv()
    except (EOFError, OSError):
        return True


def _advice(codes: set[int | None]) -> str:
    if codes == {0}:
        what = "something in the environment ends the process (sys.exit, a closed window): take that out"
    elif all(code is not None and code < 0 for code in codes):
        what = "a signal ended it (-9: killed, often for want of memory): free memory, lower batch_size_run"
    else:
        what = "its own traceback stands above. Mend what it names"
    return f"{what}, or see it in one process with `runner=episode batch_size_run=1`"
