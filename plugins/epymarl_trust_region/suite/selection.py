"""Which host runs the experiment: `epymarl`, `lite`, or whichever is there (`auto`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, SuiteError
from . import epymarl
from .host import Host, config_root

SUITES = ("auto", "epymarl", "lite")
_NONE = "no EPyMARL checkout was found; `epymarl-tr suite fetch` gets one, or set $EPYMARL_HOME"


def lite_host() -> Host:
    """The built-in suite."""
    from .lite import registries, run

    return Host(
        name="lite",
        home=None,
        commit=None,
        config_dir=config_root() / "lite",
        learners=registries.LEARNERS,
        controllers=registries.CONTROLLERS,
        runners=registries.RUNNERS,
        environments=registries.ENVIRONMENTS,
        vector_runner=registries.vector_runner,
        run=run.run,
        batch_parts=registries.batch_parts,
        check=run.find_parts,
    )


class HostFiles(NamedTuple):
    """What can be said of a host that is not imported: whose yaml files it reads."""

    name: str
    config_dir: Path
    commit: str | None = None
    modified: tuple[str, ...] = ()


def files_of(suite: str) -> HostFiles:
    """The yaml files of the host that `choose` would take.

    Raises:
        ConfigError, SuiteError: as `choose`.
    """
    if suite not in SUITES:
        raise ConfigError(f"--suite={suite} is unknown; choose one of {', '.join(SUITES)}")
    found = None if suite == "lite" else epymarl.find()
    if found is None and suite == "epymarl":
        raise SuiteError(_NONE)
    return HostFiles("lite", config_root() / "lite") if found is None else HostFiles("epymarl", found[0] / "src/config")


def choose(suite: str) -> tuple[Host, list[str]]:
    """The host for `--suite=NAME`, and the lines to tell the user: which, why, and any warning.

    Raises:
        ConfigError: unknown name.
        SuiteError: EPyMARL is asked for and there is none, or it cannot be imported.
    """
    if suite not in SUITES:
        raise ConfigError(f"--suite={suite} is unknown; choose one of {', '.join(SUITES)}")
    if suite == "lite":
        return lite_host(), ["suite: built-in (--suite=lite)"]
    found = epymarl.find()
    if found is None and suite == "epymarl":
        raise SuiteError(_NONE)
    if found is None:
        return lite_host(), ["suite: built-in, because no EPyMARL was found (`epymarl-tr suite fetch` gets it)"]
    path, why = found
    status = epymarl.check(path)
    commit = f" at {status.commit[:7]}" if status.commit else ""
    lines = [f"suite: EPyMARL{commit} in {path}, because {why}"]
    return epymarl.load(path), lines + ([f"warning: {status.warning}"] if status.warning else [])
