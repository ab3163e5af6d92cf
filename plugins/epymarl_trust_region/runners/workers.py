"""A share of the environments in a process of its own: one message each way per step, the data in shared memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import cloudpickle
import torch

from ..errors import TrustRegionError, WorkerDiedError
from ..seeding import random_state, restore_random_state
from .env_group import Ended, EnvGroup, Field

_RESET, _STEP, _CLOSE, _GIVE, _TAKE = b"r", b"s", b"c", b"g", b"t"
_FAILED = b"!"  # no pickle begins with it
_LOOK_EVERY_S = 1.0  # while its answer is waited for, a worker is looked at this often
_ENDING_S = 30.0  # for a process that is ending: on a busy machine that takes its time
_CLOSING_S = 10.0  # for one that was asked to end, and may have been stopped
OWN_SIGNAL_S = 1.0  # a batch queue ends all processes of a job: this one's signal may come a moment later


class Worker:
    """The parent's end. `begin_*` sends, `finish` waits for the answer; so all workers work at the same time."""

    def __init__(
        self,
        number: int,
        make_env_group: Callable[[], EnvGroup],
        indices: Sequence[int],
        name: str,
        fields: dict[str, Field],
        timeout_s: float | None = None,
    ):
        """
        Args:
            make_env_group: makes the environments, in the process.
            timeout_s: seconds for an answer; None: for ever.

        Raises:
            WorkerDiedError: from any method, when the process is gone or its environment fails, or there is no answer.
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
        self.timeout_s = timeout_s
        self._ends_at: float | None = None  # once it is asked to end
        # A third of the time of `connection.poll`, which counts: it is asked at every step.
        self._poll = None
        if hasattr(select, "poll"):  # not on Windows
            poller = select.poll()
            poller.register(self.connection.fileno(), select.POLLIN)
            self._poll = lambda seconds: poller.poll(1000 * seconds)

    def begin_reset(self) -> None:
        """Ask for a new episode in each of its environments."""
        self._send(_RESET)

    def begin_step(self, t: int) -> None:
        """Ask for step t, with the actions in the shared memory."""
        self._send(_STEP + t.to_bytes(4, "little"))

    def begin_state_dict(self) -> None:
        """Ask for what the next rollouts of its environments depend on."""
        self._send(_GIVE)

    def begin_load_state_dict(self, state: dict[str, Any], t_env: int) -> None:
        """Let them go on from such states, of all environments, or say what does not."""
        self._send(_TAKE + pickle.dumps((state, t_env)))

    def finish(self) -> list[Ended]:
        """Wait for the answer: the episodes that have ended."""
        return self.answer() or []

    def answer(self) -> Any:
        """Wait for the answer to whatever was asked."""
        self._wait()
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            self._report_death()
        if answer.startswith(_FAILED):
            self._report_failure(answer[1:])
        return pickle.loads(answer) if answer else None

    def begin_close(self) -> None:
        """Ask the process to end."""
        self._ends_at = time.monotonic() + _CLOSING_S
        with contextlib.suppress(OSError):  # it is gone already
            self.connection.send_bytes(_CLOSE)

    def close(self) -> None:
        """End the process: at the latest ten seconds after it was asked."""
        if self._ends_at is None:
            self.begin_close()
        self.process.join(max((self._ends_at or 0.0) - time.monotonic(), 0))
        self.process.kill()  # one that was stopped heeds nothing else
        self.process.join(_ENDING_S)

    def _wait(self) -> None:
        """Until there is something to read, or its end to be read."""
        poll, waited = self._poll or self.connection.poll, 0.0
        look_every = _LOOK_EVERY_S if self.timeout_s is None else min(_LOOK_EVERY_S, self.timeout_s)
        while not poll(look_every):
            waited += look_every  # and no clock: it goes on while the whole job is stopped
            if self.timeout_s is not None and waited >= self.timeout_s:
                self._report_silence()
            if self.process.exitcode is not None and not poll(0):  # a child of its own has kept its end open
                self._report_death()

    def _report_silence(self) -> NoReturn:
        self.process.kill()
        self.process.join(_ENDING_S)
        raise WorkerDiedError(
            f"{self.title} gave no answer for env_timeout={self.timeout_s:g} s: it was stopped, or its environment "
            "hangs; it has been ended. Mend the environment (env_processes=1 runs it in one process, where a debugger "
            "can reach it), or raise env_timeout if a step may take so long"
        )

    def _send(self, message: bytes) -> None:
        try:
            self.connection.send_bytes(message)
        except OSError:  # its last words, if any, are still to be read
            self.finish()
            self._report_death()

    def _report_death(self) -> NoReturn:
        self.process.join(_ENDING_S)
        if self.process.exitcode == -signal.SIGTERM:
            time.sleep(OWN_SIGNAL_S)
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


def _done(env_group: EnvGroup, what: bytes, content: bytes) -> Any:
    if what == _STEP:
        return env_group.step(int.from_bytes(content, "little"))
    if what == _RESET:
        return env_group.reset()
    numbers = str(sorted(env_group.envs))  # some environments draw from the generators of their process
    if what == _GIVE:
        return {"envs": env_group.state_dict(), "processes": {numbers: random_state()}}
    state, t_env = pickle.loads(content)
    lost = env_group.load_state_dict(state["envs"], t_env)
    if numbers in state["processes"]:
        restore_random_state(state["processes"][numbers])
    return lost


def leave_signals_to_parent() -> None:
    """For a worker: what a terminal sends to all processes is the parent's to handle, and SIGTERM ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _serve(connection: Connection, parents_end: Connection, job: bytes, fields: dict[str, Field]) -> None:
    """The worker's life: make the environments, then do as it is told."""
    parents_end.close()  # a forked process has it too, and would never see it closed
    leave_signals_to_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    torch.set_num_threads(1)  # the other cores have workers of their own
    try:
        env_group = cloudpickle.loads(job)()
        env_group.attach(fields)
        while (message := connection.recv_bytes()) != _CLOSE:
            answer = _done(env_group, message[:1], message[1:])
            connection.send_bytes(pickle.dumps(answer) if answer else b"")
        env_group.close()
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone
    except Exception as error:
        known = error if isinstance(error, TrustRegionError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(BrokenPipeError):  # it may have gone for another worker's error
            connection.send_bytes(_FAILED + pickle.dumps((known, traceback.format_exc())))
