"""`python -m epymarl_trust_region.experiments.tied COMMAND`: a run that ends when the process that started it has gone.

Whoever starts it holds the other end of its standard input and writes nothing there. Once that end is closed, be it
because its holder was killed, the run is told to end (it may have a checkpoint to write), and soon after made to.
So no run that is made again elsewhere goes on here as well.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time

from ..suite import signals

_PATIENCE_S = (20.0, 5.0)  # for a run to end by itself; and then, at once, with its workers


def end_with_input() -> None:
    """Watch the standard input from a thread; once it ends, SIGTERM, SIGTERM again, and then no questions asked.

    Where a signal has come already, as batch queues send them to all processes of a job, it is the first.
    """
    while os.read(0, 1024):
        pass
    if not signals.has_come():
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S[0])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S[1])
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    if hasattr(signal, "SIGUSR2"):  # Slurm sends it to all processes of a job; it is meant for the one that started us
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    threading.Thread(target=end_with_input, daemon=True).start()
    runpy.run_module(__package__.partition(".")[0], run_name="__main__", alter_sys=True)
