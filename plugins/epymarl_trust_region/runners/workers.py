"""A share of the environments in a process of its own: one message each way per step, the data in shared memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import cloudpickle
import torch

from ..errors import TrustRegionError, WorkerDiedError
from .env_group import Ended, EnvGroup, Field

_RESET, _STEP, _CLOSE = b"r", b"s", b"c"
_FAILED = b"!"  # no pickle begins with it
_ENDING_S = 30.0  # for a process that is ending: on a busy machine that takes its time


class Worker:
    """The parent's end. `begin_*` sends, `finish` waits for the answer; so all workers work at the same time."""

    def __init__(
        self,
        number: int,
        make_env_group: Callable[[], EnvGroup],
        indices: Sequence[int],
        name: str,
        fields: dict[str, Field],
    ):
        """
        Args:
            make_env_group: makes the environments, in the process.

        Raises:
            WorkerDiedError: from any method, when the process is gone or its environment fails.
            TrustRegionError: what the environment's own code raised as such.
        """
        self.title = f"environment worker {number} (environments {indices[0]} to {indices[-1]} of {name})"
        # A process that is forked after JAX has started its threads waits for ever for one of their locks.
        context = multiprocessing.get_context("spawn" if "jax" in sys.modules else None)
        self.connection, remote = context.Pipe()
        # Pickled by value where need be, so that start methods other than "fork" work too.
        job = cloudpickle.dumps(make_env_group)
        self.process = context.Process(target=_serve, args=(remote, self.connection, job, fields), daemon=True)
        self.process.start()
        remote.close()  # then its death ends the connection, and `finish` does not wait for ever

    def begin_reset(self) -> None:
        """Ask for a new episode in each of its environments."""
        self._send(_RESET)

    def begin_step(self, t: int) -> None:
        """Ask for step t, with the actions in the shared memory."""
        self._send(_STEP + t.to_bytes(4, "little"))

    def finish(self) -> list[Ended]:
        """Wait for the answer: the episodes that have ended."""
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            self._report_death()
        if answer.startswith(_FAILED):
            self._report_failure(answer[1:])
        return pickle.loads(answer) if answer else []

    def close(self) -> None:
        """End the process."""
        try:
            self.connection.send_bytes(_CLOSE)
            self.process.join(_ENDING_S)
        except OSError:
            pass  # it is gone already
        self.process.terminate()

    def _send(self, message: bytes) -> None:
        try:
            self.connection.send_bytes(message)
        except OSError:  # its last words, if any, are still to be read
            self.finish()
            self._report_death()

    def _report_death(self) -> None:
        self.process.join(_ENDING_S)
        raise WorkerDiedError(
            f"{self.title} ended with exit code {self.process.exitcode}; a negative one is a signal (-9: killed, often "
            "for want of memory). Free memory or lower batch_size_run; env_processes=1 runs everything in one process"
        ) from None

    def _report_failure(self, answer: bytes) -> None:
        error, text = pickle.loads(answer)
        if not isinstance(error, TrustRegionError):
            error = WorkerDiedError(
                f"{self.title} failed: {error}; env_processes=1 runs it in this process, where a debugger can reach it"
            )
        if hasattr(error, "add_note"):  # from Python 3.11 on; shown with a traceback only, so under --debug
            error.add_note(f"In the worker:\n{text}")
        raise error


def _serve(connection: Connection, parents_end: Connection, job: bytes, fields: dict[str, Field]) -> None:
    """The worker's life: make the environments, then do as it is told."""
    parents_end.close()  # a forked process has it too, and would never see it closed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    torch.set_num_threads(1)  # the other cores have workers of their own
    try:
        env_group = cloudpickle.loads(job)()
        env_group.attach(fields)
        while (message := connection.recv_bytes()) != _CLOSE:
            ended = env_group.reset() if message == _RESET else env_group.step(int.from_bytes(message[1:], "little"))
            connection.send_bytes(pickle.dumps(ended) if ended else b"")
        env_group.close()
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone
    except Exception as error:
        known = error if isinstance(error, TrustRegionError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(BrokenPipeError):  # it may have gone for another worker's error
            connection.send_bytes(_FAILED + pickle.dumps((known, traceback.format_exc())))
