"""What a user's own packages add: algorithms by entry point, and classes that a configuration names as "module:Class".

A package has an algorithm with one entry point, of the group `epymarl_trust_region.learners`, and a yaml:

    [project.entry-points."epymarl_trust_region.learners"]
    haa2c_learner = "haa2c:HAA2CLearner"

and `algs/haa2c.yaml` in the package `haa2c`, whose key `learner` has that name. Nothing of a package is imported before
its algorithm is asked for: names and files are all that the command line needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import ConfigError

#: What a package may have -> the group of its entry points.
GROUPS = {
    "learner": "epymarl_trust_region.learners",
    "offline learner": "epymarl_trust_region.offline_learners",
    "controller": "epymarl_trust_region.controllers",
}


@dataclass(frozen=True)
class Package:
    """An installed distribution with entry points of GROUPS."""

    name: str  # and version
    parts: tuple[tuple[str, str, str], ...]  # kind, name, "module:Class"
    files: tuple[Path, ...]  # its algs/*.yaml


def packages() -> list[Package]:
    """Every installed package that adds algorithms, in the order of their names."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for kind, group in GROUPS.items():
        for point in metadata.entry_points(group=group):
            assert point.dist is not None  # of what is installed
            owner = f"{point.dist.name} {point.dist.version}"
            found.setdefault(owner, []).append((kind, point.name, point.value))
    return [Package(name, tuple(parts), _files(parts)) for name, parts in sorted(found.items())]


def _files(parts: list[tuple[str, str, str]]) -> tuple[Path, ...]:
    modules = {target.partition(":")[0] for _, _, target in parts}
    folders = dict.fromkeys(folder for module in sorted(modules) for folder in _folders(module))
    return tuple(file for folder in folders for file in sorted(folder.glob("*.yaml")))


def _folders(module: str) -> Iterator[Path]:
    """`algs/` of the package that a module is in, and of those around it; none of them is imported."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    for place in (spec and spec.submodule_search_locations) or ():
        for depth in range(len(rest) + 1):
            if (folder := Path(place, *rest[:depth], "algs")).is_dir():
                yield folder


def load_class(name: str, key: str) -> Any:
    """What "module:Class" names.

    Args:
        key: the key of the configuration that names it, for messages.

    Raises:
        ConfigError: it cannot be imported, or the module has no such name.
    """
    return imported(name, f"{key}={name}")


def imported(target: str, what: str) -> Any:
    """What `target`, "module:Class", names.

    Args:
        what: what messages call it.

    Raises:
        ConfigError: it cannot be imported, or the module has no such name.
    """
    place, _, attribute = target.partition(":")
    if not place or not attribute:
        raise ConfigError(f"{what} does not name a class; give module:Class, as in my_networks:Wide")
    try:
        module = importlib.import_module(place)
    except Exception as error:  # whatever the user's own module raises while it is imported
        raise ConfigError(f"{what}: importing {place} fails ({type(error).__name__}: {error})") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigError(f"{what}: {module.__file__ or place} has no {attribute}") from None
