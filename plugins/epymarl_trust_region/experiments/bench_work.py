"""What is measured: a learner's update, or a whole iteration of training, on either host; and the process it runs in.

Shape letters: B episodes, T steps, N agents, A actions, O observation.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from .. import errors  # noqa: F401 (quiets a warning of Sacred in the processes that are spawned)
from ..configuration import read
from ..seeding import seed_everything
from ..suite.environments import resolved
from ..suite.epymarl import load
from ..suite.host import BatchParts, Host
from ..suite.lite.episode_batch import make_buffer
from ..suite.registration import register_into
from ..suite.scheme import batch_scheme
from ..suite.selection import lite_host

PHASES = ("environment", "messages", "batch", "MAC", "learner")
_ACTIONS = 5  # of the made batches, as in MPE


@dataclass(frozen=True)
class Work:
    """One side of a comparison."""

    algorithm: str  # name of its yaml
    environment: str  # name of its yaml
    env_args: dict[str, Any]
    episodes: int = 10  # B
    steps: int = 25  # T, of a made batch
    agents: int = 3  # N, of a made batch
    made_batch: bool = False  # the learner alone, on one random batch
    in_a_row: int = 1  # times per repetition: a short work has not warmed its caches up when its turn is over
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass
class Sample:
    """One repetition, in seconds; the mean where the work was done several times in a row."""

    wall: float
    cpu: float  # of all processes
    phases: dict[str, float]
    steps: int  # environment steps played in it; 0 where nothing was

    def per_thousand_steps(self) -> Sample:
        """Seconds per 1000 environment steps: one side's episodes may be shorter. As it is where nothing was played."""
        if not self.steps:
            return self
        scale = 1000 / self.steps
        phases = {name: scale * seconds for name, seconds in self.phases.items()}
        return Sample(scale * self.wall, scale * self.cpu, phases, 1000)


class _Silence:
    """A logger that keeps nothing."""

    console_logger = logging.getLogger("bench")

    def log_stat(self, *_: Any, **__: Any) -> None:
        pass


#: What does a work once, and what ends it.
Once = tuple[Callable[[], tuple[dict[str, float], int]], Callable[[], None]]


def make_work(host: Host, work: Work) -> Once:
    """Build one side on a host.

    Returns:
        A function that does the work once and gives seconds per phase and the steps played, and one that ends it.
    """
    config, _ = read(host, work.algorithm, work.environment)
    sizes = dict.fromkeys(("batch_size", "batch_size_run", "buffer_size", "test_nepisode"), work.episodes)
    quiet = dict.fromkeys(("runner_log_interval", "learner_log_interval"), 10**12)
    config |= {**sizes, **quiet, "use_cuda": False, "device": "cpu", "seed": 1, **work.overrides}
    config["env_args"] = resolved({**config["env_args"], **work.env_args, "seed": 1})
    seed_everything(1)
    args = SimpleNamespace(**config)
    return _update(host, work, args) if work.made_batch else _iteration(host, args)


def _update(host: Host, work: Work, args: SimpleNamespace) -> Once:
    """The learner's `train` on one random batch of full episodes."""
    size = 6 * work.agents  # an observation as long as spread's
    info = {"n_agents": work.agents, "n_actions": _ACTIONS, "obs_shape": size, "state_shape": work.agents * size}
    args.env_args["time_limit"] = work.steps
    parts = host.batch_parts()
    scheme, groups, preprocess = _scheme(args, info, parts)
    shape = (work.episodes, work.steps + 1)
    batch = parts.episode_batch(scheme, groups, *shape, preprocess=preprocess, device=args.device)
    obs = torch.randn(*shape, work.agents, size)
    batch.update(
        {
            "obs": obs,
            "state": obs.flatten(2),
            "avail_actions": torch.ones(*shape, work.agents, _ACTIONS, dtype=torch.int),
            "actions": torch.randint(_ACTIONS, (*shape, work.agents, 1)),
            "reward": torch.randn(*shape, 1),
        }
    )
    learner, _ = _learner(host, args, batch.scheme, groups)

    def once() -> tuple[dict[str, float], int]:
        start = time.perf_counter()
        learner.train(batch, 0, 0)
        return {"learner": time.perf_counter() - start}, 0

    return once, lambda: None


def _iteration(host: Host, args: SimpleNamespace) -> Once:
    """One turn of the suite's loop: a rollout, into the buffer and out of it, an update."""
    runner = host.runners[args.runner](args=args, logger=_Silence())
    info, parts = runner.get_env_info(), host.batch_parts()
    scheme, groups, preprocess = _scheme(args, info, parts)
    if hasattr(runner, "extend_scheme"):
        runner.extend_scheme(scheme, preprocess)
    length = info["episode_limit"] + 1
    if host.home is None:
        runner.own_memory, buffer = False, make_buffer(args, scheme, groups, length, preprocess, "cpu")
    else:
        buffer = parts.replay_buffer(scheme, groups, args.buffer_size, length, preprocess=preprocess, device="cpu")
    learner, mac = _learner(host, args, buffer.scheme, groups)
    runner.setup(scheme=scheme, groups=groups, preprocess=preprocess, mac=mac)
    clock = Clock()
    _watch(clock, runner, mac, learner)

    def once() -> tuple[dict[str, float], int]:
        clock.seconds, steps = dict.fromkeys(PHASES, 0.0), runner.t_env
        batch = runner.run(test_mode=False)
        with clock.on("batch"):
            buffer.insert_episode_batch(batch)
            sample = buffer.sample(args.batch_size)
            sample = sample[:, : sample.max_t_filled()]
            if sample.device != args.device:
                sample.to(args.device)
        learner.train(sample, 0, 0)
        return dict(clock.seconds), runner.t_env - steps

    return once, runner.close_env


def _scheme(args: SimpleNamespace, info: dict[str, int], parts: BatchParts) -> tuple[dict, dict, dict]:
    args.n_agents, args.n_actions, args.state_shape = info["n_agents"], info["n_actions"], info["state_shape"]
    return batch_scheme(info, args.common_reward, parts.one_hot)


def _learner(host: Host, args: SimpleNamespace, scheme: dict, groups: dict) -> tuple[Any, Any]:
    mac = host.controllers[args.mac](scheme, groups, args)
    learner = host.learners[args.learner](mac, scheme, _Silence(), args)
    if args.use_cuda:
        learner.cuda()
    return learner, mac


class Clock:
    """Seconds per phase. Of phases inside each other only the outermost counts."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._busy = False

    @contextlib.contextmanager
    def on(self, phase: str) -> Iterator[None]:
        """Count what happens inside as `phase`."""
        if self._busy:
            yield
            return
        self._busy, start = True, time.perf_counter()
        try:
            yield
        finally:
            self._busy = False
            self.seconds[phase] += time.perf_counter() - start

    def watch(self, owner: Any, name: str, phase: str) -> None:
        """Let a method count as a phase."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.on(phase):
                return method(*arguments, **keywords)

        setattr(owner, name, timed)


class _TimedConnection:
    """A pipe whose `send` and `recv` count as a phase."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.send, self.recv = connection.send, connection.recv
        clock.watch(self, "send", "messages")
        clock.watch(self, "recv", "messages")


def _watch(clock: Clock, runner: Any, mac: Any, learner: Any) -> None:
    """Time what can be told apart from outside, on either runner."""
    clock.watch(mac, "select_actions", "MAC")
    clock.watch(mac, "init_hidden", "MAC")
    clock.watch(learner, "train", "learner")
    if hasattr(runner, "parent_conns"):  # the suite's parallel runner: its environments are all behind messages
        runner.parent_conns = [_TimedConnection(connection, clock) for connection in runner.parent_conns]
        runner.new_batch = _watched_batches(clock, runner.new_batch)
        return
    for name in ("reset", "step"):
        clock.watch(runner.env_group, name, "environment")
    for worker in runner.workers:
        for name in ("begin_reset", "begin_step", "finish"):
            clock.watch(worker, name, "messages")
    for name in ("_store", "_show", "_clear", "_given"):
        clock.watch(runner, name, "batch")


def _watched_batches(clock: Clock, make: Callable) -> Callable:
    def new_batch() -> Any:
        with clock.on("batch"):
            batch = make()
        clock.watch(batch, "update", "batch")
        return batch

    return new_batch


# The process of one side -----------------------------------------------------------------------------------------


class Side:
    """One side in a process of its own, so that neither side's memory or caches are the other's."""

    def __init__(self, work: Work, checkout: Path | None) -> None:
        """
        Args:
            checkout: of EPyMARL; None for the built-in suite.

        Raises:
            RuntimeError: from `ready`, if the side cannot be built; its text is the reason.
        """
        context = multiprocessing.get_context("spawn")
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=_serve, args=(remote, work, checkout))
        self.process.start()
        remote.close()

    def ready(self) -> None:
        """Wait until it is built."""
        if reason := self._receive():
            raise RuntimeError(reason)

    def once(self) -> Sample:
        """Do the work once."""
        self.connection.send(True)
        return self._receive()

    def end(self) -> float:
        """End the process; gives the peak memory of it and its workers, in MiB (NaN where the system does not tell)."""
        try:
            self.connection.send(False)
            return self._receive()
        except (OSError, RuntimeError):
            return float("nan")
        finally:
            self.process.join(20)
            self.process.kill()

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError("its process has died; the reason stands above") from None


def _serve(connection: Connection, work: Work, checkout: Path | None) -> None:
    torch.set_num_threads(1)
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what environments print when they are made, workers' included
    try:
        host = load(checkout) if checkout else lite_host()
        registries = (host.learners, host.controllers, host.runners, host.environments)
        register_into(*registries, host.vector_runner)
        once, end = make_work(host, work)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(None)
    while connection.recv():
        connection.send(_repetition(once, work.in_a_row))
    peak = peak_memory()
    end()
    connection.send(peak)


def _repetition(once: Callable[[], tuple[dict[str, float], int]], times: int) -> Sample:
    cpu, start = _cpu_seconds(), time.perf_counter()
    done = [once() for _ in range(times)]
    wall, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    phases = {name: sum(phases[name] for phases, _ in done) / times for name in done[0][0]}
    return Sample(wall / times, cpu / times, phases, sum(steps for _, steps in done) // times)


def _processes() -> list[int]:
    return [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]


def _cpu_seconds() -> float:
    """Of this process and its workers; of this one alone where the system does not tell."""
    try:
        ticks = 0
        for pid in _processes()[1:]:
            ticks += sum(int(x) for x in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return time.process_time()


def peak_memory() -> float:
    """In MiB. Pages that processes share count once for each."""
    try:
        lines = [line for pid in _processes() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return float("nan")
