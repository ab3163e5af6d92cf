"""What made published numbers; and the refusal to publish those that no commit stands for.

`--allow-dirty` publishes them all the same, with the names of the files that differed from the commit.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from ..errors import ConfigError
from ..provenance import DIRTY, modified_files, own_version

PACKAGES = (
    "torch",
    "numpy",
    "gymnasium",
    "mpe2",
    "lbforaging",
    "gymnasium-robotics",
    "mujoco",
    "vmas",
    "jaxmarl",
    "sacred",
)


def add_flag(parser: argparse.ArgumentParser) -> None:
    """`--allow-dirty`."""
    text = "write down numbers made from modified files too, with the files' names"
    parser.add_argument("--allow-dirty", action="store_true", help=text)


def made_by(options: argparse.Namespace, host: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Commits and packages of what is about to be measured in this process; ask before measuring.

    Args:
        options: with `allow_dirty`.
        host: the same of a checkout of EPyMARL, if one takes part (`provenance.version`).

    Raises:
        ConfigError: files differ from the commit, and `--allow-dirty` was not given.
    """
    found = {**own_version(), **(host or {})}
    names = [name for key, value in found.items() if key.endswith("_modified") for name in value]
    if names and not options.allow_dirty:
        raise ConfigError(
            f"modified files: {_short(names)}; commit or stash them, or add --allow-dirty, which records their names"
        )
    return {**found, **package_versions()}


def warning() -> str | None:
    """A line for whoever starts runs that could not be published, or None."""
    names = list(modified_files())
    return f"warning: modified files: {_short(names)}; `epymarl-tr report` will refuse these runs" if names else None


def modified_runs(made: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Commit -> files that differed from it, of runs that were made from modified files.

    Args:
        made: `plugin` of each run's configuration.
    """
    found: dict[str, set[str]] = {}
    for run in made:
        for of in ("plugin", "host"):
            commit = str(run.get(f"{of}_commit"))
            if commit.endswith(DIRTY):
                found.setdefault(commit, set()).update(run.get(f"{of}_modified", ()))
    return {commit: sorted(names) for commit, names in sorted(found.items())}


def refuse_modified(modified: Mapping[str, list[str]], source: str) -> NoReturn:
    """Raise ConfigError: runs below the folder `source` were made from modified files (`modified_runs`)."""
    found = "; ".join(f"{commit}: {_short(names) or 'not recorded which'}" for commit, names in modified.items())
    raise ConfigError(
        f"runs below {source} were made from modified files ({found}); remove their folders and run them "
        "again from a clean commit, or add --allow-dirty, which lists the files in versions.json"
    )


def _short(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def package_versions() -> dict[str, Any]:
    """Of Python and of the packages that decide the numbers."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # environments are extras
            found[name] = importlib.metadata.version(name)
    return found
