"""`epymarl-tr tune FILE`: settings for each algorithm, with the same number of trials for all of them.

Optuna proposes (TPE) and stops hopeless trials early (median of the others at the same test). A trial's score is the
mean test return over the second half of its runs, over its seeds. All is kept in `results/tune/<file>/`: the study
(`study.db`; the same command goes on with it), the runs, `trials.csv`, and `report.md` with everything that was tried.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..command_line import Parser
from ..config import check_name
from ..errors import ConfigError
from .children import Children, Stopped, stopped_by_signals
from .jobs import sacred_run
from .report.study import read_curve
from .tuning_file import Algorithm, Tuning, read_tuning
from .tuning_report import finished, report, score_of, short, state_of

ROOT = Path("results/tune")


class Search:
    """The trials of one algorithm."""

    def __init__(self, tuning: Tuning, algorithm: Algorithm, folder: Path, children: Children) -> None:
        self.tuning, self.algorithm, self.folder, self.children = tuning, algorithm, folder, children

    def __call__(self, trial: Any) -> float:
        """The score of one trial: Optuna's objective."""
        import optuna

        values = {key: one.suggest(trial, key) for key, one in self.algorithm.ranges.items()}
        scores = []
        for number, seed in enumerate(self.tuning.seeds):
            place = self.folder / self.algorithm.name / f"trial{trial.number}" / f"seed{seed}"
            told = _Told(trial, number, place)
            place.mkdir(parents=True, exist_ok=True)
            code = self.children.run(self.command(values, seed, place), place / "log.txt", told.still_good)
            if code is None:
                raise _Interrupted
            if told.hopeless:
                raise optuna.TrialPruned
            run = sacred_run(place)
            if code != 0 or run is None:
                raise _RunFailed(f"{place / 'log.txt'}")
            scores.append(score(read_curve(run)))
        return sum(scores) / len(scores)

    def command(self, values: Mapping[str, Any], seed: int, place: Path) -> list[str]:
        """What a user would type for a run, after `epymarl-tr`."""
        one = self.algorithm
        flags = [f"--suite={one.suite}", f"--config={one.config}", f"--env-config={self.tuning.env_config}"]
        given = {**one.overrides, **values, "seed": seed, "local_results_path": place}
        return ["run", *flags, "--quiet", "--progress=off", "with", *(f"{k}={v}" for k, v in given.items())]


class _Interrupted(Exception):
    """The search is stopped."""


class _RunFailed(Exception):
    """A run of a trial has failed; the trial counts, without a score."""


class _Told:
    """Tells Optuna of a run's tests while it goes on."""

    def __init__(self, trial: Any, number: int, place: Path) -> None:
        self._trial, self._number, self._place = trial, number, place
        self._seen = 0
        self.hopeless = False

    def still_good(self) -> bool:
        """Whether the run should go on."""
        curve = next((read_curve(info.parent) for info in self._place.glob("sacred/**/info.json")), [])
        for step, value in curve[self._seen :]:
            self._trial.report(value, self._number * 10**9 + step)
            self._seen += 1
            self.hopeless = self.hopeless or self._trial.should_prune()
        return not self.hopeless


def score(curve: list[tuple[int, float]]) -> float:
    """Mean test return over the second half of a run.

    Raises:
        ConfigError: it has no test.
    """
    if not curve:
        raise ConfigError("a run ended before its first test; lower test_interval, or raise t_max")
    last = curve[-1][0]
    late = [value for step, value in curve if step >= last / 2]
    return sum(late) / len(late)


def study_of(tuning: Tuning, algorithm: Algorithm, folder: Path) -> Any:
    """The study of one algorithm, as far as it has come; what was interrupted is queued once more."""
    import optuna
    from optuna.trial import TrialState

    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=algorithm.name, load_if_exists=True,
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=max(4, tuning.trials // 5)),
    )  # fmt: skip
    _check_the_same(study, tuning, algorithm, folder)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.set_user_attr(f"interrupted{trial.number}", True)
        if trial.params:
            study.enqueue_trial(trial.params)
    return study


def _check_the_same(study: Any, tuning: Tuning, algorithm: Algorithm, folder: Path) -> None:
    """A study is of one question, on the same seeds: its trials are compared with each other."""
    asked = {
        "ranges": {key: vars(value) for key, value in algorithm.ranges.items()},
        "with": algorithm.overrides,
        **{key: getattr(algorithm, key) for key in ("config", "suite")},
        **{key: getattr(tuning, key) for key in ("env_config", "seeds")},
    }
    now = json.loads(json.dumps(asked))
    before = study.user_attrs.get("asked")
    if before is not None and before != now:
        differ = ", ".join(f"`{key}`" for key in now if before.get(key) != now[key])
        raise ConfigError(
            f"{folder} has trials of {algorithm.name} made with other {differ}; give the file another name, or remove "
            "that folder"
        )
    study.set_user_attr("asked", now)


def left_to_do(study: Any, trials: int) -> int:
    """Trials that are still to be made."""
    return max(trials - len(finished(study)), 0)


def main(argv: list[str]) -> int:
    """The command line; 1 if no trial of an algorithm was completed."""
    parser = Parser(prog="epymarl-tr tune", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="what to search: see docs/tune.md")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the file, and print each algorithm's first command"
    )
    options = parser.parse_args(argv)
    for package in ("optuna", "pandas"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"epymarl-tr tune needs {package}; pip install -c constraints.txt -e '.[tune]'")
    if options.jobs < 1:
        raise ConfigError(f"--jobs={options.jobs} is out of range; at least one trial at a time")
    check_name("the search (its file without .yaml)", options.file.stem)
    tuning = read_tuning(options.file)
    folder = ROOT / options.file.stem
    if options.dry_run:
        for one in tuning.algorithms:
            middle = {key: "?" for key in one.ranges}
            place = folder / one.name / "trial0" / f"seed{tuning.seeds[0]}"
            command = Search(tuning, one, folder, Children()).command(middle, tuning.seeds[0], place)
            print(shlex.join(["epymarl-tr", *command]))
        return 0
    return _search(tuning, folder, options.jobs)


def _search(tuning: Tuning, folder: Path, jobs: int) -> int:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    children, studies = Children(), {}
    try:
        with stopped_by_signals():
            for one in tuning.algorithms:
                studies[one.name] = study_of(tuning, one, folder)
                _make(studies[one.name], Search(tuning, one, folder, children), jobs)
    except (Stopped, KeyboardInterrupt) as stop:
        print(f"stopped by {str(stop) or 'Ctrl-C'}; the same command goes on", file=sys.stderr)
        return stop.code if isinstance(stop, Stopped) else 130
    print(report(tuning, studies, folder))
    print(f"written to {folder}")
    return int(not all(any(score_of(t) is not None for t in study.trials) for study in studies.values()))


def _make(study: Any, search: Search, jobs: int) -> None:
    """The trials that are left, so many at a time."""
    pool = ThreadPoolExecutor(jobs)
    try:
        for one in [pool.submit(_trial, study, search) for _ in range(left_to_do(study, search.tuning.trials))]:
            one.result()
    except BaseException:
        search.children.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _trial(study: Any, search: Search) -> None:
    import optuna

    trial = study.ask()
    try:
        study.tell(trial, search(trial))
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except _Interrupted:  # it is left as one that runs, and made again
        return
    except (_RunFailed, ConfigError) as error:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        print(f"a run failed: {error}", file=sys.stderr, flush=True)
    done = sorted(finished(study), key=lambda one: one.datetime_complete)  # others may have ended since
    number, told = next((n, one) for n, one in enumerate(done, 1) if one.number == trial.number)
    score, values = score_of(told), " ".join(f"{key}={short(value)}" for key, value in told.params.items())
    said = state_of(told) if score is None else short(score)
    print(f"{search.algorithm.name} trial {number} of {search.tuning.trials}: {said} ({values})", flush=True)
