"""Find, fetch, check and import an EPyMARL checkout.

The checkout is only ever read: results, caches and models go to the current folder.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epymarl_trust_region.config import nearest
from epymarl_trust_region.errors import ConfigError, SuiteError
from epymarl_trust_region.git import dirty_files, git, last_line
from epymarl_trust_region.interfaces import Args, Logger
from epymarl_trust_region.runners.streams import make_runner
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.suite import algorithms, patching, tensorboard
from epymarl_trust_region.suite.checkpoints import with_chosen_step
from epymarl_trust_region.suite.host import BatchParts, Host, run_defaults
from epymarl_trust_region.suite.last_policy import run_saving_last

PINNED_COMMIT = "cbc38c09588064eab978501d0f12c2cf58fa7fc2"
#: The last release, v2.0.0. What it is pinned to is newer, and the newest there is.
ALSO_TESTED = ("76f888061700b3a778da72db139a0c9c5aeff848",)
REPOSITORY_URL = "https://github.com/uoe-agents/epymarl"
HOST_MODULES = ("components", "controllers", "envs", "learners", "modules", "run", "runners", "utils")

#: The modules that hold EPyMARL's registries, and what they are called here.
REGISTRIES = {"learners": "learners", "controllers": "controllers", "runners": "runners", "envs": "environments"}

_STUBS = Path(__file__).resolve().parent / "stubs"
_NEEDED = (
    "src/main.py",
    "src/run.py",
    "src/config/default.yaml",
    "src/learners/__init__.py",
    "src/runners/__init__.py",
)
_FETCH_HINT = "`epymarl-tr suite fetch` gets a copy"
# EPyMARL imports every wrapper it has; these are not about the environment that was asked for.
_IMPORT_WARNINGS = ("VMAS is not installed", "PettingZoo is not installed")
# What its code, with today's packages, would say in every run and every worker; a user can do nothing about it.
_RUN_WARNINGS = (
    r".*The reward returned by `step\(\)` must be a float",
    "Using a non-tuple sequence for multidimensional",
)


@dataclass(frozen=True)
class CheckoutStatus:
    """What is known about a folder that is an EPyMARL checkout."""

    path: Path
    commit: str | None  # full hash; None where there is no git repository
    patched: bool
    dirty: tuple[str, ...]  # modified tracked files, without those that only our patches for plugins touch
    fixes: tuple[int, ...] = ()  # the numbers of our other patches in it, of the series for EPyMARL

    @property
    def tested(self) -> bool:
        """Whether this plugin is tested against exactly this commit."""
        return self.commit in (PINNED_COMMIT, *ALSO_TESTED)

    @property
    def warning(self) -> str | None:
        """One line for the user if the code may differ from what was tested, else None."""
        if not self.tested:
            found = f"commit {self.commit[:7]}" if self.commit else "an unknown commit"
            return f"EPyMARL at {self.path} is at {found}; tested is {PINNED_COMMIT[:7]} ({_FETCH_HINT})"
        ours = f" (patches {', '.join(map(str, self.fixes))} are in it)" if self.fixes else ""
        return f"EPyMARL at {self.path} has modified files: {', '.join(self.dirty)}{ours}" if self.dirty else None


def cache_home() -> Path:
    """Where `fetch` puts the checkout: `$XDG_CACHE_HOME/epymarl-trust-region/epymarl`, by default below `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "epymarl-trust-region" / "epymarl"


def find(start: Path | None = None) -> tuple[Path, str] | None:
    """The checkout to use and why, or None: `$EPYMARL_HOME`, else `start` (the current folder), else the cache.

    Raises SuiteError if `$EPYMARL_HOME` is set to a folder that is not an EPyMARL checkout.
    """
    if named := os.environ.get("EPYMARL_HOME"):
        home = Path(named).expanduser().resolve()
        if _missing(home):
            raise SuiteError(
                f"$EPYMARL_HOME is not EPyMARL: {home} has no {', '.join(_missing(home))}; correct or unset it"
            )
        return home, "$EPYMARL_HOME names it"
    start = (start or Path.cwd()).resolve()
    if not _missing(start):
        return start, "the current folder is an EPyMARL checkout"
    if not _missing(cache_home()):
        return cache_home().resolve(), "it is in the cache"
    return None


def check(path: Path) -> CheckoutStatus:
    """What the checkout at `path` is. Raises SuiteError, naming what is missing, if it is not EPyMARL."""
    path = Path(path).expanduser().resolve()
    if missing := _missing(path):
        raise SuiteError(f"{path} is not an EPyMARL checkout: it has no {', '.join(missing)}; {_FETCH_HINT}")
    try:
        head, dirty = git("rev-parse", "HEAD", cwd=path), dirty_files(path)
        commit = head.stdout.strip() if head.returncode == 0 else None
        untouched = commit in (PINNED_COMMIT, *ALSO_TESTED) and not dirty  # as most: that saves asking for each patch
        patches = [] if untouched else patching.applied(path)
    except SuiteError:  # no git on this machine: the checkout can be used all the same
        return CheckoutStatus(path, None, False, ())
    plugin = set(patching.for_plugins())
    fixes = [patch for patch in patches if patch not in plugin]
    ours = patching.patched_files(plugin & set(patches)) - patching.patched_files(fixes)
    others = tuple(name for name in dirty if name not in ours)
    patched = not untouched and plugin <= set(patches)
    return CheckoutStatus(path, commit, patched, others, tuple(map(patching.number, fixes)))


def fetch(source: str | None = None, timeout_s: float = 30) -> tuple[Path, bool]:
    """Clone EPyMARL at the tested commit into the cache, from a URL or a local path, in at most `timeout_s` seconds.

    Returns the folder, and False if it was there already. Raises SuiteError in one line, and leaves nothing behind, if
    there is no git, no network, no repository, no such commit in it, or not enough time.
    """
    home = cache_home()
    if home.exists():
        status = check(home)
        if status.commit != PINNED_COMMIT:
            found = status.warning or f"{home} is EPyMARL's commit {status.commit}"
            raise SuiteError(f"{found}; delete {home} and fetch again")
        return home, False
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        # Beside its final place, so that the rename is within one file system and a broken clone is never found.
        scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=home.parent))
    except OSError as error:
        raise SuiteError(f"cannot write to {home.parent}: {error.strerror}; set $XDG_CACHE_HOME") from error
    try:
        clone = scratch / "epymarl"
        _clone(source or REPOSITORY_URL, clone, timeout_s)
        check(clone)
        return clone.rename(home), True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load(path: Path) -> Host:
    """Import the checkout at `path` and return it as a host, with its live registries.

    Its `src` goes to the front of `sys.path`, which worker processes get as well. Raises SuiteError if it is not
    EPyMARL, if modules with its top-level names are imported from elsewhere, or if it cannot be imported.
    """
    status = check(path)
    source = status.path / "src"
    _refuse_foreign(source, "start a fresh Python process")
    if str(source) not in sys.path:
        sys.path.insert(0, str(source))
    if importlib.util.find_spec("smaclite") is None:
        sys.path.append(str(_STUBS))
    try:
        with warnings.catch_warnings():
            for message in _IMPORT_WARNINGS:
                warnings.filterwarnings("ignore", message=message, category=UserWarning)
            run = importlib.import_module("run").run
            registries = [importlib.import_module(name).REGISTRY for name in REGISTRIES]
    except (ImportError, AttributeError) as error:
        raise SuiteError(f"EPyMARL at {status.path} cannot be imported: {error}; see `epymarl-tr doctor`") from error
    _refuse_foreign(source, "uninstall the package of that name, or take it off the path")
    for message in _RUN_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    known: dict[str, dict[str, Any]] = dict(zip(REGISTRIES.values(), registries, strict=True))
    return Host(
        "epymarl",
        home=status.path,
        commit=status.commit,
        modified=status.dirty,
        config_dir=source / "config",
        **known,
        vector_runner=vector_runner,
        run=_hosted(run, known["learners"]),
        batch_parts=batch_parts,
        check=check_parts,
        runner_made=let_extend_scheme,
    )


def batch_parts() -> BatchParts:
    """EPyMARL's classes for batches; it must have been imported by `load`."""
    buffers = importlib.import_module("components.episode_buffer")
    one_hot = importlib.import_module("components.transforms").OneHot
    return BatchParts(buffers.EpisodeBatch, buffers.ReplayBuffer, one_hot)


def vector_runner(args: Args, logger: Logger) -> VectorRunner:
    """This plugin's runner on EPyMARL's batches and environments: the constructor behind `runner: vector`."""
    envs = importlib.import_module("envs")
    # It registers its two StarCraft wrappers only when they are wanted: the packages behind them exclude each other.
    if register := {"sc2": "register_smac", "sc2v2": "register_smacv2"}.get(args.env):
        getattr(envs, register)()
    return make_runner(args, logger, batch_parts().episode_batch, envs.REGISTRY[args.env])


def let_extend_scheme(runner: Any) -> None:
    """Let a runner that was just made, and has a method `extend_scheme(scheme, preprocess)`, change both for its batch.

    EPyMARL's `run` makes the runner, then these dictionaries, then the buffer, and gives the same ones to buffer and
    runner. So the runner is asked where the buffer is made. With patches/0002 `run` asks it itself.
    """
    run: Any = importlib.import_module("run")
    if isinstance(run.ReplayBuffer, _AskingBuffer):  # of a run that ended before it made its buffer
        run.ReplayBuffer.undo()
    asked_already = "extend_scheme" in run.run_sequential.__code__.co_names
    if hasattr(runner, "extend_scheme") and not asked_already:
        run.ReplayBuffer = _AskingBuffer(run, runner)


class _AskingBuffer:
    """Stands in the place of `ReplayBuffer` in EPyMARL's module `run` until one buffer is made."""

    def __init__(self, run: Any, runner: Any) -> None:
        self.run, self.runner, self.original = run, runner, run.ReplayBuffer

    def __call__(self, scheme: dict, *arguments: Any, **named: Any) -> Any:
        self.undo()
        self.runner.extend_scheme(scheme, named.get("preprocess", {}))
        return self.original(scheme, *arguments, **named)

    def undo(self) -> None:
        self.run.ReplayBuffer = self.original


def _hosted(run: Callable[..., None], learners: dict[str, Any]) -> Callable[..., str | None]:
    """EPyMARL's `run` with what this plugin does around it.

    The last policy is saved, TensorBoard works, and a checkpoint that is loaded is a complete one.
    """
    saving = run_saving_last(run, learners)

    @functools.wraps(run)
    def hosted(_run: Any, config: dict[str, Any], log: Any) -> str | None:
        tb_logs = Path(config["local_results_path"]) / "tb_logs"
        with _without_goodbye(run), tensorboard.stand_in(tb_logs, run.__globals__.get("Logger")):
            part = algorithms.learners().get(config["learner"])
            return saving(_run, with_chosen_step(config, part and part.load()), log)

    return hosted


@contextlib.contextmanager
def _without_goodbye(run: Callable) -> Iterator[None]:
    """All that EPyMARL's module `run` prints is which threads it has joined, and that it exits, once it has ended."""
    names = run.__globals__
    names["print"] = lambda *_: None
    try:
        yield
    finally:
        names.pop("print", None)


def check_parts(config: Mapping[str, Any]) -> None:
    """Refuse what EPyMARL would meet with a KeyError or an ImportError, and keys of a runner that is not used.

    Raises:
        ConfigError: a name that EPyMARL does not have, a learner whose packages are missing, or a key of `vector`.
    """
    _check_names(config)
    _check_packages(config)
    _check_vector_keys(config)


def _check_vector_keys(config: Mapping[str, Any]) -> None:
    defaults, runner = run_defaults(), config["runner"]
    for name in ("env_processes", "batched_envs"):
        if runner != "vector" and config.get(name, defaults[name]) != defaults[name]:
            raise ConfigError(
                f"{name}={config[name]} belongs to runner=vector, and this run has runner={runner}, which does not "
                f"read it; add runner=vector, or remove {name}"
            )


def _check_packages(config: Mapping[str, Any]) -> None:
    """EPyMARL's PAC learners import, all of them, the two packages of its pac_requirements.txt when they are made."""
    if config["learner"] not in ("pac_learner", "pac_dcg_learner"):
        return
    missing = [name for name in _of_pac() if importlib.util.find_spec(name) is None]
    if missing:
        compiled = "; torch_scatter is compiled: `epymarl-tr suite patch --only 15 PATH` lets EPyMARL do without"
        raise ConfigError(
            f"{config['name']} needs {' and '.join(missing)}, of EPyMARL's pac_requirements.txt: pip install wheel, "
            f"then pip install --no-build-isolation {' '.join(missing)}{compiled if 'torch_scatter' in missing else ''}"
        )


def _of_pac() -> list[str]:
    """With patches/0015 it is one."""
    critic = Path(str(importlib.import_module("run").__file__)).parent / "modules/critics/pac_dcg_ns.py"
    patched = critic.is_file() and "import torch_scatter" not in critic.read_text(encoding="utf-8")
    return ["einops"] if patched else ["einops", "torch_scatter"]


def _check_names(config: Mapping[str, Any]) -> None:
    """Its SMAC environments EPyMARL registers when they are used."""
    environments = {*importlib.import_module("envs").REGISTRY, "sc2", "sc2v2"}
    modules = {"runner": "runners", "mac": "controllers", "learner": "learners"}
    known = {"env": environments} | {key: importlib.import_module(m).REGISTRY for key, m in modules.items()}
    for key, names in known.items():
        if config.get(key) not in names:
            raise ConfigError(
                f"{key}={config.get(key)} does not exist in EPyMARL{nearest(str(config.get(key)), names)}; it has "
                f"{', '.join(sorted(names))}"
            )


def _missing(path: Path) -> list[str]:
    return [name for name in _NEEDED if not (path / name).is_file()]


def _clone(source: str, target: Path, timeout_s: float) -> None:
    if Path(source).expanduser().exists():
        source = str(Path(source).expanduser().resolve())
    git = _within(target.parent, timeout_s)
    git(f"cannot clone {source}", "clone", "--quiet", "--no-checkout", "--", source, str(target))
    wanted = f"{PINNED_COMMIT}^{{commit}}"
    git(f"{source} does not hold EPyMARL's commit {PINNED_COMMIT[:7]}", "-C", str(target), "cat-file", "-e", wanted)
    git("cannot check out", "-C", str(target), "checkout", "--quiet", "--detach", PINNED_COMMIT)


def _within(folder: Path, timeout_s: float) -> Callable[..., None]:
    """A caller of git whose calls share one time limit and whose failures are SuiteErrors."""
    deadline = time.monotonic() + timeout_s

    def call(complaint: str, *arguments: str) -> None:
        try:
            result = git(*arguments, cwd=folder, timeout_s=max(deadline - time.monotonic(), 0.1))
        except SuiteError as error:
            raise SuiteError(f"{complaint}: {error}") from error
        if result.returncode:
            reason = last_line(result.stderr)
            raise SuiteError(f"{complaint}: {reason}; try `epymarl-tr suite fetch --from URL_OR_PATH`")

    return call


def _refuse_foreign(source: Path, remedy: str) -> None:
    for name in HOST_MODULES:
        module = sys.modules.get(name)
        if module is None:
            continue
        places: list[Any] = (
            [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", []))
        )
        if not any(Path(place).resolve().is_relative_to(source) for place in places):
            raise SuiteError(f"`{name}` is imported from {places}, not from {source}; {remedy}")
