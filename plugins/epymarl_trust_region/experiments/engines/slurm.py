"""`--engine slurm`: as a job array of Slurm, through submitit.

The jobs belong to the queue: they go on when this process ends, and the same command watches them again. One that is
preempted or at its time limit saves, goes back into the queue, and on from there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ..children import Children
from ..jobs import Job, Outcome, make

_LOOK_EVERY_S = 2.0
_FOR_A_SIGNAL_S = 60  # before a run that was told to end counts as failed

#: Of this process, where it is a job: submitit's handler of signals has to find it.
_children = Children()


class Slurm:
    """Each run is one job of an array.

    Args:
        folder: submitit's, for what it sends and what comes back; on a file system that all machines share.
        at_a_time: jobs; None: as many as the queue lets run.
        cpus, gpus: of a run.
        told: what else is said to Slurm, with submitit's names: `timeout_min`, `mem_gb`, `partition`, `account`, ...
        cluster: submitit's name of the executor.

    Raises:
        ConfigError: submitit is not installed, there is no Slurm here, no time limit is given, or submitit does not
            know a name.
    """

    def __init__(
        self,
        folder: Path,
        at_a_time: int | None = None,
        cpus: int = 1,
        gpus: int = 0,
        told: Mapping[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        told = dict(told or {})
        if importlib.util.find_spec("submitit") is None:
            raise ConfigError("--engine=slurm needs the package submitit; pip install -c constraints.txt -e '.[slurm]'")
        if cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise ConfigError(
                "--engine=slurm needs Slurm's commands, and there is no sbatch or no srun on this machine; run the "
                "sweep where jobs are submitted, or choose --engine=local"
            )
        if "timeout_min" not in told and "time" not in told:
            raise ConfigError("--engine=slurm needs the time limit of a run: --slurm timeout_min=240")
        import submitit

        self.where = "as jobs of Slurm"
        self._folder, self._record = folder, folder / "jobs.json"
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        asked = {"name": folder.parent.name, "cpus_per_task": cpus, **({"gpus_per_node": gpus} if gpus else {})}
        if at_a_time:
            asked["slurm_array_parallelism"] = at_a_time
        generic = self._executor._typed_parameters()
        asked |= {key if key in generic else f"slurm_{key}": value for key, value in told.items()}
        try:
            self._executor.update_parameters(**asked)
        except (NameError, ValueError, AssertionError, TypeError) as error:
            raise ConfigError(f"--slurm: {' '.join(str(error).split())[:300]}") from None
        self._submitit = submitit
        self._running: dict[Job, Any] = {}
        self._looked = time.monotonic()

    def start(self, jobs: Sequence[Job]) -> None:
        """Submit those that are not in the queue yet.

        Raises:
            ConfigError: one is there with other settings.
        """
        before = self._in_the_queue(jobs)
        new = [job for job in jobs if job not in before]
        made = self._executor.map_array(Call(), new, [str(Path.cwd())] * len(new)) if new else []
        self._running = {**before, **dict(zip(new, made, strict=True))}
        known = {str(job.folder): [of_it.job_id, *job.command] for job, of_it in self._running.items()}
        self._record.write_text(json.dumps(known, indent=1))

    def _in_the_queue(self, jobs: Sequence[Job]) -> dict[Job, Any]:
        """Those that an earlier command has submitted, and that have not ended."""
        try:
            known = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        found = {}
        for job in jobs:
            number, *command = known.get(str(job.folder), [None])
            if number is None:
                continue
            of_it = self._submitit.SlurmJob(self._folder, number)
            if of_it.done(force_check=True):
                continue
            if command != list(job.command):
                raise ConfigError(
                    f"{job.folder} is in Slurm's queue with other settings; `scancel {number}`, and try again"
                )
            found[job] = of_it
        return found

    def finished(self, wait_s: float) -> list[tuple[Job, Outcome]]:
        time.sleep(max(0.0, min(wait_s, self._looked + _LOOK_EVERY_S - time.monotonic())))
        if time.monotonic() < self._looked + _LOOK_EVERY_S:
            return []
        self._looked = time.monotonic()
        done = [job for job, of_it in self._running.items() if of_it.done()]
        return [(job, _outcome(self._running.pop(job))) for job in done]

    def stop(self) -> str:
        if not self._running:
            return "no job is in Slurm's queue"
        arrays = sorted({of_it.job_id.partition("_")[0] for of_it in self._running.values()})
        return f"{len(self._running)} jobs stay in Slurm's queue (`scancel {' '.join(arrays)}` ends them)"

    def close(self) -> None:
        pass


def _outcome(of_it: Any) -> Outcome:
    error = of_it.exception()
    if error is None:
        return of_it.result()
    return Outcome(False, why=f"Slurm's job {of_it.job_id}: {of_it.state} (output in {of_it.paths.stderr})")


class Call:
    """What a job does. submitit asks `checkpoint` when the job is to leave its machine."""

    def __call__(self, job: Job, root: str) -> Outcome:
        os.chdir(root)
        outcome = make(job, _children)
        if outcome and outcome.code == 128 + signal.SIGTERM:
            # Slurm has told all processes of the job to end, and tells submitit a little later why.
            time.sleep(_FOR_A_SIGNAL_S)
        return outcome or Outcome(False, why="it was stopped")

    def checkpoint(self, job: Job, root: str) -> Any:
        """Let the run save, and go on with it when the job runs again."""
        from submitit.helpers import DelayedSubmission

        _children.stop()
        return DelayedSubmission(self, job, root)
