"""Do something in a copy of this process that ends with it, so that this one stays as it is."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from .. import memory
from ..runners.env_group import own_random_numbers
from ..runners.workers import leave_signals_to_parent

try:
    import resource
except ImportError:  # not on this system
    resource = None  # type: ignore[assignment]  # a module, elsewhere


def apart(task: Callable[[], Any]) -> Any:
    """What `task` gives, or raises: computed in a forked process where that is safe, else in this one.

    In a forked one `task` gets a MemoryError for more memory than is free, and not the whole machine into trouble. In
    either case the generators of Python, NumPy and PyTorch stay as they are. In a forked one everything does: what
    `task` imports, starts, counts or opens is gone with it, and nothing that it prints is seen.

    Raises:
        ChildProcessError: the process ended before `task` did.
    """
    # A process that is forked after JAX has started its threads waits for ever for one of their locks.
    if sys.platform != "linux" or "jax" in sys.modules or multiprocessing.current_process().daemon:
        with own_random_numbers():
            return task()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(task, theirs), daemon=True)
    process.start()
    theirs.close()  # then its death ends the wait
    try:
        failed, result = pickle.loads(ours.recv_bytes())
    except EOFError:
        process.join()
        raise ChildProcessError(f"its process ended with exit code {process.exitcode}") from None
    process.join()
    if failed:
        raise result
    return result


def _do(task: Callable[[], Any], connection: Connection) -> None:
    leave_signals_to_parent()
    torch.set_num_threads(1)  # a pool of threads is not forked with the process
    with open(os.devnull, "wb") as nowhere:  # for what libraries print themselves
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    _limit_memory()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answer = False, task()
        except Exception as error:
            if hasattr(error, "add_note"):  # from Python 3.11 on; shown under --debug
                error.add_note(f"In the process that was ended:\n{traceback.format_exc()}")
            answer = True, error
    connection.send_bytes(_pickled(answer))


def _limit_memory() -> None:
    free = memory.available()
    if resource is None or free is None:
        return
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        taken = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = taken + free if hard == resource.RLIM_INFINITY else min(taken + free, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _pickled(answer: tuple[bool, Any]) -> bytes:
    try:
        data = pickle.dumps(answer)
        pickle.loads(data)  # some errors are pickled without what they are made from
    except Exception:
        data = pickle.dumps((True, RuntimeError(f"{type(answer[1]).__name__}: {answer[1]}")))
    return data
