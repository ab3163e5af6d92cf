"""`--engine ray`: on the machines of a Ray cluster, which have the current folder in common.

The cluster is that of `$RAY_ADDRESS`, or the one that this machine belongs to, or else this machine alone. A run whose
machine is lost is made again on another, from its last checkpoint if it saves some.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ..children import Children
from ..jobs import Job, Outcome, make

_TRIES_AGAIN = 10  # of a run whose machine is lost; one that takes its machine down with it is not to go on for ever
_PATIENCE_S = 40.0  # for runs that are stopped to end by themselves


class Ray:
    """Each run is a task, which waits for a process on its machine.

    Args:
        at_a_time: runs; None: as many as the cluster has room for.
        cpus, gpus: of a run, as Ray counts them.

    Raises:
        ConfigError: Ray is not installed, its cluster cannot be reached, or a machine has another current folder or
            does not have this package.
    """

    def __init__(self, at_a_time: int | None = None, cpus: float = 1, gpus: float = 0) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--engine=ray needs the package ray; pip install -c constraints.txt -e '.[ray]'")
        import ray

        self._ray, self._at_a_time = ray, at_a_time
        self._root = str(Path.cwd())
        self._waiting: list[Job] = []
        self._running: dict[Any, Job] = {}
        _connect(ray)
        try:
            machines = [node for node in ray.nodes() if node["Alive"]]
            self._check_room(cpus, gpus)
            self._check_machines([node for node in machines if node["Resources"].get("CPU")])
        except BaseException:
            ray.shutdown()
            raise
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": _TRIES_AGAIN}
        self._task = ray.remote(**options)(make_there)
        cores = int(ray.cluster_resources().get("CPU", 0))
        self.where = f"on a Ray cluster of {len(machines)} machines with {cores} cores"

    def _check_room(self, cpus: float, gpus: float) -> None:
        """A task that no machine has room for would wait for ever."""
        for what, wanted in (("CPU", cpus), ("GPU", gpus)):
            most = max((node["Resources"].get(what, 0) for node in self._ray.nodes() if node["Alive"]), default=0)
            if wanted > most:
                raise ConfigError(
                    f"a run asks for --{what.lower()}s={wanted:g}, and no machine of the Ray cluster has more than "
                    f"{most:g}; ask for fewer"
                )

    def _check_machines(self, nodes: Sequence[Any]) -> None:
        """Refuse a cluster whose machines could not write to this sweep's results, or not make its runs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        mark = Path(self._root, f".epymarl-tr-{uuid.uuid4().hex}")
        mark.touch()
        try:
            task = self._ray.remote(num_cpus=0, max_retries=0)(look_for)
            asked = [
                task.options(scheduling_strategy=On(node["NodeID"], soft=False)).remote(str(mark)) for node in nodes
            ]
            for node, answer in zip(nodes, asked, strict=True):
                name = f"machine {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) of the Ray cluster"
                try:
                    seen = self._ray.get(answer)
                except self._ray.exceptions.RayError as error:
                    text = " ".join(str(error).split())
                    raise ConfigError(
                        f"{name} cannot make runs of this plugin; install it there as it is here ({text[-200:]})"
                    ) from None
                if not seen:
                    raise ConfigError(
                        f"{name} does not see {self._root}; run the sweep in a folder that all machines share"
                    )
        finally:
            mark.unlink(missing_ok=True)

    def start(self, jobs: Sequence[Job]) -> None:
        self._waiting = list(jobs)
        self._fill()

    def _fill(self) -> None:
        most = self._at_a_time or len(self._waiting) + len(self._running)
        while self._waiting and len(self._running) < most:
            job = self._waiting.pop(0)
            self._running[self._task.options(name=job.name).remote(job, self._root)] = job

    def finished(self, wait_s: float) -> list[tuple[Job, Outcome]]:
        if not self._running:
            return []
        done = self._done()
        if not done:
            time.sleep(wait_s)  # and not in Ray's compiled code, in which a signal's exception is lost
            done = self._done()
        found = [(self._running.pop(task), self._outcome(task)) for task in done]
        self._fill()
        return found

    def _done(self) -> list[Any]:
        running = list(self._running)
        try:
            return self._ray.wait(running, num_returns=len(running), timeout=0)[0]
        except SystemError as error:  # a signal has come just then
            raise error.__cause__ or error from None

    def _outcome(self, task: Any) -> Outcome:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return Outcome(False, why=f"Ray: {' '.join(str(error).split())[:300]}")

    def stop(self) -> str:
        self._waiting = []
        for task in self._running:
            self._ray.cancel(task, force=False)
        running = list(self._running)
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=_PATIENCE_S)
        return "its runs were ended"

    def close(self) -> None:
        self._ray.shutdown()  # ends what is left of them


def _connect(ray: Any) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        return
    try:
        ray.init(log_to_driver=False, configure_logging=False)
    except Exception as error:  # of many kinds
        text = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the Ray cluster cannot be reached ({text}); start one with `ray start --head`, or set RAY_ADDRESS"
        ) from None


def make_there(job: Job, root: str) -> Outcome:
    """On a machine of the cluster: make a run, and end it when this task is cancelled."""
    try:
        os.chdir(root)
    except OSError:
        return Outcome(False, why=f"machine {platform.node()} does not see {root}, where the results are")
    if not job.folder.is_dir():
        return Outcome(False, why=f"machine {platform.node()} has another {root}, without {job.folder}")
    return ended_with_us(lambda children: make(job, children)) or Outcome(False, why="it was stopped")


def ended_with_us(work: Callable[[Children], Outcome | None]) -> Outcome | None:
    """What `work` gives; however this ends, its processes do, too."""
    children = Children()
    try:
        return work(children)
    finally:
        children.stop()


def look_for(mark: str) -> bool:
    """On a machine of the cluster: whether a file is to be seen; shared folders take a moment."""
    for _ in range(10):
        if Path(mark).exists():
            return True
        time.sleep(0.5)
    return False
