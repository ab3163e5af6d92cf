"""The watch over EPyMARL's workers, with a runner that treats pipes and processes as EPyMARL's does. None is needed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from epymarl_trust_region.errors import WorkerDiedError
from epymarl_trust_region.suite import worker_watch
from epymarl_trust_region.suite.worker_watch import watch_workers

PLACES = (Path(worker_watch.__file__).parents[2], Path(__file__).parents[1])


class Runner:
    """It keeps both ends of all pipes, sends to all workers and then waits for one after the other."""

    def __init__(self, module, fates: list[str]) -> None:
        self.pipes, self.remotes = zip(*[module.Pipe() for _ in fates], strict=True)
        pairs = zip(self.remotes, fates, strict=True)
        self.processes = [module.Process(target=serve, args=(remote, fate)) for remote, fate in pairs]
        for process in self.processes:
            process.daemon = True
            process.start()

    def step(self) -> list[str]:
        for pipe in self.pipes:
            pipe.send(("step", None))
        return [pipe.recv() for pipe in self.pipes]

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(("close", None))


def serve(remote, fate: str) -> None:
    """A worker's life. At each step it does what `fate` says, WHAT:ARGUMENT, and answers."""
    what, _, argument = fate.partition(":")
    while remote.recv()[0] == "step":
        match what:
            case "raise":
                raise ValueError("the environment broke")
            case "raise-eof" | "raise-linger":
                if what == "raise-linger":
                    threading.Thread(target=time.sleep, args=(60,)).start()
                raise EOFError("the environment's own")
            case "exit":
                os._exit(int(argument))
            case "leave":
                sys.exit()
            case "leave-child":  # which has a copy of the pipe's end
                if os.fork():
                    os._exit(3)
                time.sleep(4)
                os._exit(0)
            case "kill" | "stop":
                os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
            case "half":
                os.write(remote.fileno(), struct.pack("!i", 10**6) + b"half an answer")
                os._exit(3)
            case "sleep":
                time.sleep(float(argument))
        remote.send("ok")
        if what == "last":
            os._exit(3)
    if what == "note":  # its environment has something to put away
        time.sleep(0.3)
        Path(argument).touch()
    if what == "untidy":
        os._exit(5)


@pytest.fixture
def module(monkeypatch) -> Iterator[types.SimpleNamespace]:
    """Stands in for `runners.parallel_runner`. A test that waits for ever is ended."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("still waiting"))
    signal.alarm(300)
    monkeypatch.setattr(worker_watch, "_ENDING_S", 250)
    yield types.SimpleNamespace(Pipe=multiprocessing.Pipe, Process=multiprocessing.Process)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture(params=["fork", "spawn"])
def start_method(request) -> Iterator[str]:
    usual = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(usual, force=True)


def assert_ended(runner: Runner) -> None:
    for process in runner.processes:
        process.join(30)  # a busy machine buries its dead late; one that has not been ended lives longer than this
    assert [process.is_alive() for process in runner.processes] == [False] * len(runner.processes)


FATES = [("raise", 1), ("exit:0", 0), ("leave", 0), ("kill", -9), ("half", 3), ("raise-eof", 1), ("leave-child", 3)]


@pytest.mark.parametrize(
    "start_method, fate, code", [*(("fork", *fate) for fate in FATES), ("spawn", *FATES[0])], indirect=["start_method"]
)
def test_a_dead_worker_ends_the_wait_and_its_siblings(start_method, fate, code, module, capfd):
    with watch_workers(module):
        runner = Runner(module, ["well", fate, "well"])
        with pytest.raises(WorkerDiedError, match=f"^environment worker 1 ended with exit code {code}; ") as died:
            runner.step()
        assert_ended(runner)
        with pytest.raises(WorkerDiedError) as again:
            runner.step()
    assert str(again.value) == str(died.value) and str(died.value).endswith("`runner=episode batch_size_run=1`")
    advice = {
        1: "its own traceback stands above",
        0: "sys.exit, a closed window",
        -9: "killed, often for want of memory",
    }
    assert advice.get(code, "above") in str(died.value)
    assert ("Traceback" in capfd.readouterr().err) == fate.startswith("raise")  # of the one that failed, and no other


def test_a_worker_may_end_when_it_is_told_to(module, tmp_path):
    with watch_workers(module):
        runner = Runner(module, ["well", f"note:{tmp_path / 'noted'}", "untidy"])
        assert runner.step() == runner.step() == ["ok"] * 3
        runner.close()
    for process in runner.processes:
        process.join()
    assert [process.exitcode for process in runner.processes] == [0, 0, 5]
    assert (tmp_path / "noted").exists()  # nobody has ended it before its time


def test_all_that_have_died_are_named(module):
    with watch_workers(module):
        runner = Runner(module, ["exit:3", "well", "kill", "exit:0"])
        for pipe in runner.pipes:
            pipe.send(("step", None))
        for i in (0, 2, 3):
            runner.processes[i].join()
        expected = (
            "worker 0 ended with exit code 3 and worker 2 ended with exit code -9 and worker 3 ended with exit code 0;"
        )
        with pytest.raises(WorkerDiedError, match=expected):
            runner.step()
        assert_ended(runner)


def test_a_death_is_seen_while_another_worker_is_waited_for(module):
    with watch_workers(module):
        runner = Runner(module, ["sleep:60", "exit:3"])
        with pytest.raises(WorkerDiedError, match="worker 1 ended with exit code 3;"):
            runner.step()


def test_what_a_worker_said_before_it_died_is_still_heard(module):
    with watch_workers(module):
        runner = Runner(module, ["well", "last"])
        runner.pipes[1].send(("step", None))
        runner.processes[1].join()
        assert runner.pipes[1].recv() == "ok"
        with pytest.raises(WorkerDiedError, match="worker 1 ended with exit code 3;"):
            runner.step()


def test_a_worker_that_nobody_needs_any_more_is_not_reported(module):
    with watch_workers(module):
        runner = Runner(module, ["well", "last"])
        assert runner.step() == ["ok", "ok"]
        runner.processes[1].join()
        runner.close()


@pytest.mark.parametrize("fate", ["stop", "raise-linger"])
def test_a_process_that_does_not_end_by_itself_is_ended(fate, module, monkeypatch):
    monkeypatch.setattr(worker_watch, "_GRACE_S", 0.3)
    monkeypatch.setattr(worker_watch, "_ENDING_S", 0.3)
    with watch_workers(module):
        runner = Runner(module, [fate, "exit:3" if fate == "stop" else "well"])
        with pytest.raises(WorkerDiedError):
            runner.step()
    assert_ended(runner)


@pytest.mark.parametrize("fate", ["stop", "sleep:600"])
def test_a_worker_that_does_not_answer_is_named_and_ended(fate, module, monkeypatch):
    monkeypatch.setattr(worker_watch, "_GRACE_S", 0.3)
    with watch_workers(module, timeout_s=1):
        runner = Runner(module, ["well", fate, "well"])
        with pytest.raises(
            WorkerDiedError, match="^environment worker 1 gave no answer for env_timeout=1 s: .*raise env_t"
        ):
            runner.step()
        assert_ended(runner)


def test_a_worker_that_is_stopped_when_it_is_told_to_close_is_ended(module, monkeypatch):
    monkeypatch.setattr(worker_watch, "_CLOSING_S", 0.5)
    with watch_workers(module):
        runner = Runner(module, ["well", "well"])
        runner.step()
        os.kill(runner.processes[1].pid, signal.SIGSTOP)
        runner.close()
    assert [process.exitcode for process in runner.processes] == [0, -signal.SIGKILL]


def test_an_error_of_the_run_ends_the_workers_and_puts_everything_back(module):
    sigchld = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(KeyError), watch_workers(module):
        assert module.Process is not multiprocessing.Process and module.Pipe is not multiprocessing.Pipe
        assert signal.getsignal(signal.SIGCHLD) is sigchld
        runner = Runner(module, ["well"] * 3)
        runner.step()
        raise KeyError
    assert module.Process is multiprocessing.Process
    assert module.Pipe == multiprocessing.Pipe
    assert_ended(runner)


def test_ctrl_c_is_left_to_this_process(module):
    """A terminal sends it to the workers as well."""
    with watch_workers(module):
        runner = Runner(module, ["well"])
        runner.step()
        os.kill(runner.processes[0].pid, signal.SIGINT)
        assert runner.step() == ["ok"]


def test_one_run_after_the_other(module):
    for _ in range(2):
        with (
            pytest.raises(WorkerDiedError, match="^environment worker 0 ended with exit code 3;"),
            watch_workers(module),
        ):
            Runner(module, ["exit:3", "well"]).step()
        with watch_workers(module):
            runner = Runner(module, ["well", "well"])
            assert runner.step() == ["ok", "ok"]
            runner.close()


def test_in_a_thread(module):
    caught = []

    def body() -> None:
        try:
            with watch_workers(module):
                Runner(module, ["well", "exit:3"]).step()
        except WorkerDiedError as error:
            caught.append(str(error))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert caught and caught[0].startswith("environment worker 1 ended with exit code 3;")


def test_other_processes_of_the_module_are_left_alone(module):
    with watch_workers(module):
        process = module.Process(target=os._exit, args=(3,))
        assert type(process) is multiprocessing.Process
        process.start()
        process.join()
        assert process.exitcode == 3


SCRIPT = """
from suite.test_worker_watch import *
module = types.SimpleNamespace(Pipe=multiprocessing.Pipe, Process=multiprocessing.Process)
"""


def run_script(text: str, *arguments: str) -> tuple[int, str, str]:
    """Python code in a process of its own: its exit code, and what it and all its children wrote before they ended."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT + text, *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PLACES))},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_death_during_a_fork_is_not_lost():
    """Python swallows what is raised in this hook, by a signal's handler too."""
    _, _, err = run_script("""
def hook():
    if multiprocessing.active_children():  # this is the second fork
        runner.pipes[0].send(("step", None))
        time.sleep(0.3)  # the first worker dies
os.register_at_fork(after_in_parent=hook)
signal.alarm(300)
with watch_workers(module):
    runner = Runner.__new__(Runner)
    runner.__init__(module, ["exit:3", "well"])
    runner.step()
""")
    assert "WorkerDiedError: environment worker 0 ended with exit code 3;" in err


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_parent_that_is_killed_leaves_no_worker_behind(method):
    text = """
multiprocessing.set_start_method(sys.argv[1])
watch = watch_workers(module)
watch.__enter__()
print(Runner(module, ["well"] * 3).step(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_script(text, method) == (-signal.SIGKILL, "['ok', 'ok', 'ok']\n", "")


def test_a_watch_that_is_left_on_does_not_report_the_end_of_the_program():
    _, _, err = run_script("""
watch = watch_workers(module)
watch.__enter__()
runner = Runner(module, ["well"] * 6)
raise KeyError("the run failed")
""")
    assert "KeyError: 'the run failed'" in err and "WorkerDiedError" not in err


def test_where_the_exit_codes_of_children_are_lost():
    """As when SIGCHLD was ignored by who started this process."""
    _, _, err = run_script("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with watch_workers(module):
    Runner(module, ["well", "exit:3", "well"]).step()
""")
    assert "WorkerDiedError: environment worker 1 ended with exit code None;" in err
