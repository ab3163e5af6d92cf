"""Which host runs the experiment: `epymarl`, `lite`, or whichever is there (`auto`)."""

from __future__ import annotations

from ..errors import ConfigError, SuiteError
from . import epymarl
from .host import Host, config_root

SUITES = ("auto", "epymarl", "lite")


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
        raise SuiteError("no EPyMARL checkout was found; `epymarl-tr suite fetch` gets one, or set $EPYMARL_HOME")
    if found is None:
        return lite_host(), ["suite: built-in, because no EPyMARL was found (`epymarl-tr suite fetch` gets it)"]
    path, why = found
    status = epymarl.check(path)
    commit = f" at {status.commit[:7]}" if status.commit else ""
    lines = [f"suite: EPyMARL{commit} in {path}, because {why}"]
    return epymarl.load(path), lines + ([f"warning: {status.warning}"] if status.warning else [])
