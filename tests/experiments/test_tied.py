"""A run ends with whoever started it, and is told so once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from epymarl_trust_region.experiments import tied

CHILD = """
import pathlib, signal, sys, threading, time
from epymarl_trust_region.experiments.tied import end_with_input
def note(*_):
    pathlib.Path("told").touch()
    sys.exit()
signal.signal(signal.SIGTERM, note)
threading.Thread(target=end_with_input, daemon=True).start()
pathlib.Path("ready").touch()
time.sleep(60)
"""


def wait_for(file: str) -> None:
    for _ in range(600):
        if Path(file).exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {file}")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_ends_when_its_starter_is_killed(own_folder):
    script = (
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE).wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, CHILD])
    wait_for("ready")
    time.sleep(0.5)
    assert not Path("told").exists()
    parent.kill()  # without a chance to say anything
    parent.wait()
    wait_for("told")


class _Exited(Exception):
    pass


@pytest.mark.parametrize(("signalled", "expected"), [(False, [15, 20.0, 15, 5.0]), (True, [20.0, 15, 5.0])])
def test_a_signal_that_has_come_already_is_the_first(signalled, expected, monkeypatch):
    """15 is SIGTERM, floats are seconds. The second one would end the run at once, without its checkpoint."""
    done: list = []

    def end(code):
        raise _Exited(code)

    monkeypatch.setattr(tied.os, "read", lambda *_: b"")
    monkeypatch.setattr(tied.os, "kill", lambda _, number: done.append(int(number)))
    monkeypatch.setattr(tied.os, "_exit", end)
    monkeypatch.setattr(tied.time, "sleep", done.append)
    monkeypatch.setattr(tied.signals, "has_come", lambda: signalled)
    with pytest.raises(_Exited, match="143"):
        tied.end_with_input()
    assert done == expected
