"""Where the runs of a sweep are made. Ray and submitit are stand-ins here: what is asked of them, and what they say."""

from __future__ import annotations

import json
import sys
import threading
import types
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import jobs as module
from epymarl_trust_region.experiments.engines import local, ray, slurm
from epymarl_trust_region.experiments.jobs import Job, Outcome, make

JOBS = [Job(f"good seed {seed}", ("run", f"seed={seed}"), Path(f"results/seed{seed}")) for seed in (1, 2, 3)]


@pytest.fixture(autouse=True)
def folders(own_folder):
    for job in JOBS:
        job.folder.mkdir(parents=True)


def all_of(engine, most: int = 100) -> dict[str, Outcome]:
    """What becomes of all of JOBS."""
    found: dict[str, Outcome] = {}
    for _ in range(most):
        for job, outcome in engine.finished(0.05):
            assert job.name not in found, "a run is told of once"
            found[job.name] = outcome
        if len(found) == len(JOBS):
            return found
    raise AssertionError(found)


class Noted:
    """Children that start nothing."""

    def __init__(self, code=0):
        self.commands, self.code, self.stopped = [], code, False

    def run(self, command, log):
        self.commands.append(command)
        return self.code

    def stop(self):
        self.stopped = True


# One run -------------------------------------------------------------------------------------------------------------


def test_a_run_is_made_with_a_file_for_its_progress():
    children = Noted()
    assert make(JOBS[0], children).good
    assert children.commands == [["run", "--progress-file=results/seed1/progress.json", "seed=1"]]
    assert JOBS[0].progress.read_text() == "{}"  # it has begun


@pytest.mark.parametrize(("code", "good"), [(0, True), (2, False), (-9, False)])
def test_its_exit_code_says_whether_it_is_good(code, good):
    outcome = make(JOBS[0], Noted(code))
    assert (outcome.good, outcome.code) == (good, code)


def test_one_that_was_stopped_has_no_outcome():
    assert make(JOBS[0], Noted(None)) is None


def test_one_that_is_complete_is_not_made_twice():
    """The machine that made it was lost before it could say so."""
    run = JOBS[0].folder / "sacred/happo/t/1"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"status": "COMPLETED"}')
    children = Noted()
    assert make(JOBS[0], children).good and children.commands == []


def test_a_folder_that_is_gone_is_a_failure_that_says_so():
    outcome = make(Job("x", ("run",), Path("nowhere")), Noted())
    assert not outcome.good and "nowhere" in outcome.why


# Local ---------------------------------------------------------------------------------------------------------------


def test_no_more_than_asked_for_are_made_at_a_time_here(monkeypatch):
    running, most, both = set(), [], threading.Barrier(2)

    def slow(job, children):
        running.add(job.name)
        most.append(len(running))
        if job is not JOBS[2]:
            both.wait(10)  # passed only if the first two run at once
        running.discard(job.name)
        return Outcome(job is not JOBS[1], 1.0)

    monkeypatch.setattr(local, "make", slow)
    engine = local.Local(2)
    engine.start(JOBS)
    found = all_of(engine)
    engine.close()
    assert {name: outcome.good for name, outcome in found.items()} == {
        "good seed 1": True, "good seed 2": False, "good seed 3": True
    }  # fmt: skip
    assert max(most) == 2 and engine.where == "2 at a time on this machine"


def test_what_goes_wrong_in_a_thread_is_a_failure(monkeypatch):
    monkeypatch.setattr(local, "make", lambda job, children: 1 / 0)
    engine = local.Local(1)
    engine.start(JOBS)
    assert {outcome.why for outcome in all_of(engine).values()} == {"ZeroDivisionError: division by zero"}
    engine.close()


# Ray -----------------------------------------------------------------------------------------------------------------


class RayError(Exception):
    pass


class Reference:
    def __init__(self, task, args):
        self.task, self.args = task, args


def fake_ray(machines=2, cores=1.0, blind=(), broken=()):
    """The part of Ray that the engine uses. Tasks are done when they are waited for, two at a time.

    Args:
        blind, broken: numbers of machines that do not see the folder, or cannot do anything.
    """
    made = types.ModuleType("ray")
    made.log, made.options, made.up = [], [], False
    made.exceptions = types.SimpleNamespace(RayError=RayError)
    made.ObjectRef = object

    def init(**how):
        made.up = True

    def node(i):
        resources = {"CPU": cores} if cores else {}
        return {"NodeID": str(i), "Alive": True, "Resources": resources, "NodeManagerHostname": f"m{i}",
                "NodeManagerAddress": f"10.0.0.{i}"}  # fmt: skip

    class Task:
        def __init__(self, function, told):
            self.function, self.told = function, told

        def options(self, **more):
            return Task(self.function, {**self.told, **more})

        def remote(self, *args):
            reference = Reference(self, args)
            made.log.append((self.function.__name__, self.told, args))
            return reference

    def get(reference):
        if reference.task.function is ray.look_for:
            number = int(reference.task.told["scheduling_strategy"].node_id)
            if number in broken:
                raise RayError("ModuleNotFoundError: No module named\n'epymarl_trust_region'")
            return number not in blind and Path(reference.args[0]).exists()
        if reference.args[0].name.endswith("2"):
            raise RayError("the machine\nis lost")
        return Outcome(True, 3.0)

    def wait(references, num_returns=1, timeout=None):
        assert len(set(map(id, references))) == len(references)
        return references[:num_returns], references[num_returns:]

    made.init, made.get, made.wait = init, get, wait
    made.is_initialized = lambda: made.up
    made.shutdown = lambda: setattr(made, "up", False)
    made.nodes = lambda: [node(i) for i in range(machines)]
    made.cluster_resources = lambda: {"CPU": machines * cores}
    made.cancel = lambda reference, force: made.log.append(("cancel", force, reference.args))
    made.remote = lambda **told: lambda function: Task(function, told)
    return made


@pytest.fixture
def with_ray(monkeypatch):
    def install(**how):
        made = fake_ray(**how)
        strategies = types.ModuleType("ray.util.scheduling_strategies")
        strategies.NodeAffinitySchedulingStrategy = lambda node_id, soft: types.SimpleNamespace(node_id=node_id)
        monkeypatch.setitem(sys.modules, "ray", made)
        monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
        monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
        monkeypatch.setattr(ray.importlib.util, "find_spec", lambda name: name)
        return made

    return install


def test_on_a_cluster_each_run_is_a_task_that_is_made_again_if_its_machine_is_lost(with_ray):
    made = with_ray()
    engine = ray.Ray(None, 2 / 2, 0)
    engine.start(JOBS)
    tasks = [(told, args) for name, told, args in made.log if name == "make_there"]
    assert [(args[0], told["name"], told["num_cpus"]) for told, args in tasks] == [(j, j.name, 1) for j in JOBS]
    assert all(told["max_retries"] == 10 and args[1] == str(Path.cwd()) for told, args in tasks)
    found = all_of(engine)
    assert found["good seed 1"] == Outcome(True, 3.0)
    assert found["good seed 2"] == Outcome(False, why="Ray: the machine is lost")
    assert engine.where == "on a Ray cluster of 2 machines with 2 cores"
    engine.close()
    assert not made.up and list(Path().iterdir()) == [Path("results")]  # the mark is gone


def test_no_more_than_asked_for_are_tasks_at_a_time(with_ray):
    made = with_ray()
    engine = ray.Ray(at_a_time=1)
    engine.start(JOBS)
    for expected in (1, 2, 3):
        assert [name for name, *_ in made.log].count("make_there") == expected
        engine.finished(0.0)


def test_stopping_cancels_tasks_and_lets_runs_end_by_themselves(with_ray):
    made = with_ray()
    engine = ray.Ray(at_a_time=2)
    engine.start(JOBS)
    assert engine.stop() == "its runs were ended"
    cancelled = [args[0] for name, force, args in made.log if name == "cancel" and force is False]
    assert cancelled == JOBS[:2]
    engine.finished(0.0)
    assert [name for name, *_ in made.log].count("make_there") == 2  # and the third never begins


def test_a_signal_that_comes_inside_of_ray_is_no_error_of_its(with_ray, monkeypatch):
    made = with_ray()
    engine = ray.Ray()
    engine.start(JOBS)

    def wait(*_, **how):
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    made.wait = wait
    with pytest.raises(KeyboardInterrupt):
        engine.finished(0.0)


@pytest.mark.parametrize(
    ("cluster", "asked", "message"),
    [
        ({"blind": [1]}, {}, r"machine m1 \(10.0.0.1\) of the Ray cluster does not see /.*; run the sweep in a folder"),
        ({"broken": [0]}, {}, r"machine m0 .* cannot make runs of this plugin; install it there .*No module named 'ep"),
        ({}, {"cpus": 2}, "a run asks for --cpus=2, and no machine of the Ray cluster has more than 1; ask for fewer"),
        ({}, {"gpus": 0.5}, "a run asks for --gpus=0.5, and no machine of the Ray cluster has more than 0"),
    ],
)
def test_a_cluster_that_could_not_make_the_runs_is_refused(cluster, asked, message, with_ray, monkeypatch):
    made = with_ray(**cluster)
    with pytest.raises(ConfigError, match=message) as caught:
        ray.Ray(**asked)
    assert "\n" not in str(caught.value) and not made.up and list(Path().iterdir()) == [Path("results")]


def test_a_cluster_that_is_not_there_is_one_line(with_ray, monkeypatch):
    made = with_ray()

    def init(**how):
        raise ConnectionError("Could not find\nany running Ray instance")

    made.init = init
    with pytest.raises(ConfigError, match="cannot be reached .Could not find any running Ray instance.; start one"):
        ray.Ray()


def test_a_machine_with_another_folder_makes_no_run_there(tmp_path, monkeypatch):
    assert "has another" in ray.make_there(Job("x", ("run",), Path("results/x")), str(Path.cwd())).why
    assert "does not see /nowhere" in ray.make_there(JOBS[0], "/nowhere").why


def test_when_a_task_is_cancelled_its_process_ends(monkeypatch):
    children = Noted()
    monkeypatch.setattr(ray, "Children", lambda: children)

    def cancelled(job, children):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "make", cancelled)
    with pytest.raises(KeyboardInterrupt):
        ray.make_there(JOBS[0], str(Path.cwd()))
    assert children.stopped


# Slurm ---------------------------------------------------------------------------------------------------------------


class SlurmJob:
    """By number: what has ended, and how."""

    ended: dict[str, Outcome | str] = {}

    def __init__(self, folder, job_id):
        self.job_id, self.paths = job_id, types.SimpleNamespace(stderr=f"{job_id}.err")

    def done(self, force_check=False):
        return self.job_id in self.ended

    @property
    def state(self):
        return self.ended[self.job_id]

    def exception(self):
        return None if isinstance(self.ended[self.job_id], Outcome) else RuntimeError("no result")

    def result(self):
        return self.ended[self.job_id]


@pytest.fixture
def queue(monkeypatch, tmp_path):
    """Slurm with submitit: what was asked for, and what was submitted."""
    noted = types.SimpleNamespace(asked={}, submitted=[])

    class AutoExecutor:
        def __init__(self, folder, cluster):
            Path(folder).mkdir(parents=True, exist_ok=True)

        @staticmethod
        def _typed_parameters():
            return {"name": str, "timeout_min": int, "cpus_per_task": int, "gpus_per_node": int, "mem_gb": float}

        def update_parameters(self, **asked):
            if "slurm_partitoin" in asked:
                raise NameError("Unknown argument 'partitoin' for executor 'slurm'\nKnown executors: slurm")
            noted.asked = asked

        def map_array(self, call, jobs, roots):
            start = len(noted.submitted)
            noted.submitted += jobs
            assert isinstance(call, slurm.Call) and roots == [str(Path.cwd())] * len(jobs)
            return [SlurmJob(None, f"77_{start + i}") for i in range(len(jobs))]

    monkeypatch.setattr(SlurmJob, "ended", {})
    made = types.ModuleType("submitit")
    made.AutoExecutor, made.SlurmJob = AutoExecutor, SlurmJob
    monkeypatch.setitem(sys.modules, "submitit", made)
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(slurm, "_LOOK_EVERY_S", 0.0)
    return noted


def make_slurm(**how):
    return slurm.Slurm(Path("results/.slurm").absolute(), **{"told": {"timeout_min": 60}, **how})


def test_each_run_is_a_job_of_an_array(queue):
    engine = make_slurm(at_a_time=2, cpus=4, gpus=1, told={"timeout_min": 60, "partition": "gpu"})
    assert queue.asked == {
        "name": "results", "cpus_per_task": 4, "gpus_per_node": 1, "slurm_array_parallelism": 2, "timeout_min": 60,
        "slurm_partition": "gpu",
    }  # fmt: skip
    engine.start(JOBS)
    assert queue.submitted == JOBS and engine.finished(0.0) == []
    SlurmJob.ended |= {"77_0": Outcome(True, 9.0), "77_1": "OUT_OF_MEMORY"}
    found = dict(engine.finished(0.0))
    assert found[JOBS[0]] == Outcome(True, 9.0)
    assert found[JOBS[1]] == Outcome(False, why="Slurm's job 77_1: OUT_OF_MEMORY (output in 77_1.err)")
    assert engine.stop() == "1 jobs stay in Slurm's queue (`scancel 77` ends them)"


def test_what_is_in_the_queue_is_watched_again_and_not_submitted_twice(queue):
    make_slurm().start(JOBS)
    SlurmJob.ended |= {"77_0": "CANCELLED"}  # by hand, while nobody watched
    engine = make_slurm()
    engine.start(JOBS)
    assert queue.submitted == [*JOBS, JOBS[0]]
    SlurmJob.ended |= {f"77_{i}": Outcome(True) for i in (1, 2, 3)}
    assert all(outcome.good for outcome in all_of(engine).values())


def test_what_is_in_the_queue_with_other_settings_is_refused(queue):
    make_slurm().start(JOBS)
    other = Job(JOBS[0].name, ("run", "seed=1", "lr=1"), JOBS[0].folder)
    with pytest.raises(ConfigError, match="results/seed1 is in Slurm's queue with other settings; `scancel 77_0`"):
        make_slurm().start([other])
    assert queue.submitted == JOBS


def test_a_damaged_record_is_none(queue):
    make_slurm()
    Path("results/.slurm/jobs.json").write_text('{"results/se')
    make_slurm().start(JOBS)
    assert json.loads(Path("results/.slurm/jobs.json").read_text())["results/seed1"] == ["77_0", "run", "seed=1"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "--engine=slurm needs the time limit of a run: --slurm timeout_min=240"),
        ({"time": 3, "partitoin": "x"}, "--slurm: Unknown argument 'partitoin' for executor 'slurm' Known executors"),
    ],
)
def test_what_slurm_is_told_is_checked(told, message, queue):
    with pytest.raises(ConfigError, match=message):
        make_slurm(told=told)


def test_without_slurm_is_one_line(queue, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="needs Slurm's commands, and there is no sbatch or no srun on this machine"):
        make_slurm()


def test_a_job_whose_run_was_told_to_end_waits_for_the_reason(monkeypatch):
    """Slurm's SIGTERM to all comes first; submitit's handler, which puts the job back, would find no job any more."""
    slept = []
    monkeypatch.setattr(
        slurm, "make", lambda job, children: Outcome(job is not JOBS[0], code=143 if job is JOBS[0] else 0)
    )
    monkeypatch.setattr(slurm.time, "sleep", slept.append)
    assert not slurm.Call()(JOBS[0], str(Path.cwd())).good and slept == [60]
    assert slurm.Call()(JOBS[1], str(Path.cwd())).good and slept == [60]


# Packages that are not there -----------------------------------------------------------------------------------------

FILE = "experiments: [{name: a, config: happo, suite: lite, task: t, seeds: [1]}]"


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_without_its_package_an_engine_is_refused_before_anything(engine, package, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ray.importlib.util, "find_spec", lambda name: None)
    Path("new").mkdir()
    monkeypatch.chdir("new")
    Path("study.yaml").write_text(FILE)
    assert cli.main(["sweep", "study.yaml", "--engine", engine]) == 2
    err = capsys.readouterr().err
    assert (
        err
        == f"error: --engine={engine} needs the package {package}; pip install -c constraints.txt -e '.[{engine}]'\n"
    )
    assert [file.name for file in Path().iterdir()] == ["study.yaml"]


def test_an_engine_is_one_of_three():
    assert {"start", "finished", "stop", "close"} <= set(vars(module.Engine))
    for made in (local.Local, ray.Ray, slurm.Slurm):
        assert {"start", "finished", "stop", "close"} <= set(vars(made))
