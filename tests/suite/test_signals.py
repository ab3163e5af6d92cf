"""Signals that end a run, on a loop that stands for one, and once on a run as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from epymarl_trust_region.suite import signals
from epymarl_trust_region.suite.signals import Interrupted, held, interruptible

PLACES = (Path(signals.__file__).parents[2], Path(__file__).parents[1])
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_what_goes_on_and_handlers_are_put_back(number):
    before = [signal.getsignal(n) for n in NUMBERS]
    with pytest.raises(Interrupted) as stop, interruptible():
        os.kill(os.getpid(), number)
        time.sleep(60)
    assert stop.value.number == number and isinstance(stop.value, KeyboardInterrupt)
    assert [signal.getsignal(n) for n in NUMBERS] == before


def test_a_held_block_is_finished_first():
    done = []
    with pytest.raises(Interrupted), interruptible():
        with held():
            with held():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("after")
    assert done == ["inner", "outer"]


def test_an_ignored_signal_stays_ignored():
    """As SIGHUP under nohup, and SIGINT in a shell's background."""
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)


_started: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    for process in _started:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    _started.clear()


def start(text: str, *arguments: str, cwd: Path | None = None) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, PLACES), *filter(None, sys.path)])}
    command = [sys.executable, "-W", "ignore", "-c", text, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    _started.append(subprocess.Popen(command, env=env, cwd=cwd, start_new_session=True, **pipes))
    return _started[-1]


def test_the_second_signal_ends_the_process_and_its_children_at_once():
    process = start("""
import multiprocessing, signal, sys, time
from epymarl_trust_region.suite.signals import interruptible
def child():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("child", flush=True)
    time.sleep(600)
with interruptible():
    multiprocessing.get_context("fork").Process(target=child).start()
    try:
        time.sleep(600)
    finally:
        print("tidying up", flush=True)
        time.sleep(600)
""")
    assert process.stdout.readline() == "child\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "tidying up\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)  # which the child would keep open
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


def test_ctrl_c_while_packages_are_imported_brings_no_traceback():
    process = start("""
import sys, time, types
from epymarl_trust_region import cli
def main(argv): pass
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "epymarl_trust_region.main":
            print("importing", flush=True)
            try:
                time.sleep(600)
            except BaseException:  # as a package may
                time.sleep(600)
sys.meta_path.insert(0, Slow())
sys.argv = ["epymarl-tr", "run"]
cli.main()
""")
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")


RUN = """
import sys
from epymarl_trust_region.main import main
sys.exit(main(sys.argv[1:]))
"""
SMALL = ("batch_size_run=2", "batch_size=2", "buffer_size=2", "test_nepisode=2", "hidden_dim=4", "critic_hidden_dim=4")
ENDLESS = ("t_max=100000000", "save_model=True", "use_cuda=False", *SMALL)


def started(folder: Path, suite: str, *overrides: str) -> subprocess.Popen:
    flags = (f"--suite={suite}", "--quiet", "--progress=off", "--config=happo", "--env-config=gymma", "with")
    process = start(RUN, *flags, "env_args.time_limit=9", *ENDLESS, *overrides, cwd=folder)
    deadline = time.monotonic() + 120
    while not list(folder.glob("results/models/*/*/SHA256SUMS")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def children(process: subprocess.Popen) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
@pytest.mark.parametrize(
    "suite, number, more",
    [
        ("lite", signal.SIGTERM, ["env_processes=2"]),
        pytest.param("epymarl", signal.SIGHUP, ["runner=parallel"], marks=pytest.mark.integration),
    ],
)
def test_a_run_that_is_ended_saves_its_model_and_leaves_no_process(suite, number, more, tmp_path):
    process = started(tmp_path, suite, "env_args.key=data.troubled:Troubled-v0", *more)
    workers = children(process)
    assert workers
    time.sleep(1)  # so that there are new updates
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    name = signal.Signals(number).name
    (models,) = (tmp_path / "results/models").iterdir()
    assert process.returncode == 128 + number
    assert (
        err.splitlines()[-1]
        == f"interrupted by {name}; the models are in results/models/{models.name} (for checkpoint_path)"
    )
    assert "Traceback" not in err
    steps = {step.name: sorted(file.name for file in step.iterdir()) for step in models.iterdir()}
    whole = ["SHA256SUMS", "agent.th", "learner.th", "run.th"]
    assert len(steps) == 2 and all(names == whole for names in steps.values())
    (record,) = tmp_path.glob("results/sacred/happo/*/1/run.json")
    assert json.loads(record.read_text())["status"] == "INTERRUPTED"
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
