"""The one list of algorithms: this plugin's and those of installed packages, by the names that yaml files give them.

Both go the same way: a name, where its class is, and the yaml files. A class is imported when it is first wanted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config import RUN_KEYS, OnPolicyConfig, check_known_keys, check_read, kinds
from ..controllers import CONTROLLERS
from ..errors import ConfigError, TrustRegionError
from ..extensions import Package, imported, packages
from ..learners import LEARNERS, OFFLINE_LEARNERS
from .host import config_root, run_defaults

_LEARNERS = ("learner", "offline learner")  # of one key, and so with one set of names
_OWN = {"learner": LEARNERS, "offline learner": OFFLINE_LEARNERS, "controller": CONTROLLERS}


@dataclass(frozen=True)
class Part:
    """A learner or a controller by its name. Called, it makes one, as its class does: what registries hold."""

    kind: str
    name: str
    target: str  # "module:Class"
    package: str | None = None  # whose it is, with the version; None: this plugin's

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}" + of_package(self.package)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.load()(*arguments, **named)

    def load(self) -> type[Any]:
        """Its class.

        Raises:
            ConfigError: names the package whose module cannot be imported, or holds no such class.
        """
        return _loaded(self)

    @property
    def schema(self) -> type[OnPolicyConfig]:
        """The dataclass of a learner's keys. Raises ConfigError as `load` does."""
        return self.load().config_class


@functools.cache
def _loaded(part: Part) -> type[Any]:
    cls = imported(part.target, str(part))
    schema = getattr(cls, "config_class", None)
    if part.kind == "controller":
        return cls
    if not (isinstance(schema, type) and issubclass(schema, OnPolicyConfig)):
        raise ConfigError(
            f"{part}: {part.target} has no config_class that is derived from epymarl_trust_region.config's "
            "OnPolicyConfig; give it one"
        )
    if "__dataclass_fields__" not in vars(schema):  # an inherited one knows nothing of the keys that it adds
        decorator = "@dataclass(frozen=True, kw_only=True)"
        raise ConfigError(f"{part}: {schema.__name__} is no dataclass; decorate it with {decorator}")
    _check_schema(schema, str(part))
    return cls


def _check_schema(schema: Any, of: str) -> None:
    """Raise ConfigError for a dataclass of keys that is not what its author meant."""
    try:
        known = kinds(schema)
    except ConfigError as error:
        raise ConfigError(f"{of}: {error}") from None
    for f in dataclasses.fields(schema):
        if f.name == "algorithm":
            raise ConfigError(f"{of}: {schema.__name__}.algorithm is no key; declare `algorithm: ClassVar[str] = ...`")
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING:
            raise ConfigError(
                f"{of}: {schema.__name__}.{f.name} has a default; write `{f.name}: {known[f.name].__name__} = key()`, "
                "with its range, and the default in the yaml"
            )


def of_package(package: str | None) -> str:
    """` of the package NAME`; nothing for this plugin's own."""
    return f" of the package {package}" if package else ""


@dataclass
class Listing:
    """What there is, and what of it cannot be used."""

    parts: dict[str, dict[str, Part]] = field(default_factory=lambda: {kind: {} for kind in _OWN})
    files: dict[str, Path] = field(default_factory=dict)  # yaml files of algorithms, by name
    owners: dict[str, str] = field(default_factory=dict)  # of the files that are packages', by name
    refused: dict[tuple[str, str], str] = field(default_factory=dict)  # kinds and names that nobody can have -> why
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what to tell the user -> whose fault it is

    def of_kind(self, kind: str) -> dict[str, Any]:
        """What there is of a kind: "algorithm" (files), "learner", "offline learner" or "controller"."""
        return self.files if kind == "algorithm" else self.parts[kind]

    def owner(self, kind: str, name: Any) -> str | None:
        """The package that a name is of; None: it is this plugin's, or nobody's."""
        if kind == "algorithm":
            return self.owners.get(name)
        return part.package if (part := self.parts[kind].get(name)) else None


@functools.cache
def listing() -> Listing:
    """The list; made once in a process."""
    found = Listing()
    for kind, table in _OWN.items():
        found.parts[kind] |= {name: Part(kind, name, target) for name, target in table.items()}
    found.files |= {file.stem: file for file in sorted((config_root() / "algs").glob("*.yaml"))}
    for package in packages():
        for kind, name, target in package.parts:
            _add(found, kind, name, Part(kind, name, target, package.name), package.name)
        for file in package.files:
            _add(found, "algorithm", file.stem, file, package.name)
        chosen = [name for kind, name, _ in package.parts if kind != "controller"]
        if chosen and not package.files:
            found.problems[
                f"the package {package.name} has no algs/*.yaml beside its module, so that no --config leads to its "
                f"{', '.join(chosen)}: add the folder to its package data"
            ] = (package.name,)
    return found


def _add(found: Listing, kind: str, name: str, what: Any, package: str) -> None:
    """One name of a package, if it is not taken; of two packages neither has it."""
    kinds = _LEARNERS if kind in _LEARNERS else (kind,)
    taken = next((other for other in kinds if name in found.of_kind(other)), None)
    owner = found.owner(taken, name) if taken else None
    if taken and not owner:
        found.problems[
            f"the package {package} has the {kind} name `{name}`, which is this plugin's; its own is unused: rename it"
        ] = (package,)
    elif taken and owner:
        why = f"{owner} and {package} both have the {kind} name `{name}`, and neither is used: uninstall one"
        del found.of_kind(taken)[name]
        found.refused[taken, name], found.problems[why] = why, (owner, package)
    elif not any((other, name) in found.refused for other in kinds):
        found.of_kind(kind)[name] = what
        if kind == "algorithm":
            found.owners[name] = package


def learners() -> Mapping[str, Part]:
    """The learners that hosts run."""
    return listing().parts["learner"]


def offline_learners() -> Mapping[str, Part]:
    """The learners from recorded episodes."""
    return listing().parts["offline learner"]


def controllers() -> Mapping[str, Part]:
    """The controllers."""
    return listing().parts["controller"]


def algorithm_files() -> Mapping[str, Path]:
    """Name -> yaml file of every algorithm that is not the host's."""
    return listing().files


def schema_of(learner: str | None) -> type[OnPolicyConfig] | None:
    """The dataclass of a learner's keys, by its name; None: it is the host's own, which knows its keys best.

    Raises:
        ConfigError: it is of a package that cannot be imported.
    """
    part = {**learners(), **offline_learners()}.get(learner or "")
    return part.schema if part else None


def yield_to_host(kind: str, names: Iterable[str]) -> None:
    """Drop what packages call by a name that the host has already: its algorithms are not to change."""
    found = listing()
    for name in sorted(set(names) & set(found.of_kind(kind))):
        if package := found.owner(kind, name):
            del found.of_kind(kind)[name]
            found.problems[
                f"the package {package} has the {kind} name `{name}`, which is the suite's; its own is unused: "
                "rename it"
            ] = (package,)


def package_of(config: Mapping[str, Any]) -> str | None:
    """The package whose algorithm a configuration is of; None: it is of none."""
    found, learner = listing(), config.get("learner")
    owners = (found.owner(kind, learner) for kind in _LEARNERS)
    return next(filter(None, owners), found.owner("algorithm", config.get("name")))


def check_offered(config: Mapping[str, Any]) -> None:
    """Refuse what is not to be had because two packages give it.

    Raises:
        ConfigError: names both.
    """
    kinds = {"name": ("algorithm",), "learner": _LEARNERS, "mac": ("controller",)}
    for key, of in kinds.items():
        for kind in of:
            if why := listing().refused.get((kind, str(config.get(key)))):
                raise ConfigError(f"{key}={config[key]} is not to be had: {why}")


def check_learner(
    config: Mapping[str, Any],
    host_defaults: Mapping[str, Any],
    where: str = "the configuration",
    before: Mapping[str, Any] | None = None,
) -> None:
    """All checks of a complete configuration that need neither environment nor host.

    Args:
        config: the merged configuration.
        host_defaults: the host's own defaults.
        where: names the source in messages.
        before: what the yaml files made of the configuration before a user changed it; None: not known, and then keys
            that do nothing beside the values of others are not looked for.

    Raises:
        ConfigError: unknown, missing, mistyped or out-of-range key, or one that does nothing in this algorithm.
        CapabilityError: the algorithm has no meaning for this combination.
    """
    schema = schema_of(config.get("learner"))
    if schema is None:  # one of the host's own algorithms: it knows its keys best
        return
    known = {*host_defaults, *(f.name for f in dataclasses.fields(schema)), *RUN_KEYS, "seed", "plugin"}
    no_meaning = {**OnPolicyConfig.no_meaning, **schema.no_meaning}
    check_known_keys(config, known, where, unlikely=no_meaning)
    for name, why in no_meaning.items():
        if config.get(name) != host_defaults.get(name):
            raise ConfigError(f"key `{name}` in {where} has no meaning for {schema.algorithm}: {why}; remove it")
    values = schema.from_mapping(config, where)
    values.check_capabilities(config.get("common_reward", True))
    check_read(config, before or {}, values.unread(), where)


def read_yaml(file: Path, package: str | None = None) -> dict[str, Any]:
    """The keys of a yaml file. Raises ConfigError, naming whose it is, if it cannot be read as such."""
    try:
        return yaml.safe_load(file.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason, mark = str(error).splitlines()[0], getattr(error, "problem_mark", None)
        reason += f" (line {mark.line + 1})" if mark else ""
        raise ConfigError(f"{file}{of_package(package)} is not valid yaml: {reason}; mend it") from None


def read_algorithm(name: str) -> dict[str, Any]:
    """The keys of the yaml of one of our algorithms, or of a package's.

    Raises:
        ConfigError: it is no yaml, or names no learner.
    """
    file, package = algorithm_files()[name], listing().owner("algorithm", name)
    found = read_yaml(file, package)
    if not isinstance(found, Mapping) or not found.get("learner"):
        raise ConfigError(f"{file}{of_package(package)} has no key `learner`; add the name of its learner")
    return found


def offline_algorithms() -> dict[str, dict[str, Any]]:
    """Name -> keys of the yaml, of every algorithm that learns from recorded episodes."""
    found = {}
    for name in algorithm_files():
        with contextlib.suppress(ConfigError):  # a package's: told of when it is asked for
            found[name] = read_algorithm(name)
    return {name: keys for name, keys in found.items() if keys["learner"] in offline_learners()}


def faults(package: Package) -> list[str]:
    """What is wrong with a package, all of it imported: for `doctor`."""
    listed, found = listing(), []
    defaults = yaml.safe_load((config_root() / "lite" / "default.yaml").read_text())

    def note(check: Callable[[], Any]) -> None:
        try:
            check()
        except TrustRegionError as error:
            found.append(str(error))

    for parts in listed.parts.values():
        for part in parts.values():
            if part.package == package.name:
                note(part.load)
    for file in package.files:
        if listed.files.get(file.stem) == file and not found:
            note(functools.partial(_check_file, file.stem, defaults))
    return [line for line, whose in listed.problems.items() if package.name in whose] + found


def _check_file(name: str, defaults: Mapping[str, Any]) -> None:
    where = f"algs/{name}.yaml{of_package(listing().owner('algorithm', name))}"
    config = {**defaults, **run_defaults(), **read_algorithm(name), "env_args": {}}
    check_learner(config, defaults, where)
    if config["name"] != name:
        raise ConfigError(f"name={config['name']} in {where}: results would be filed under it; give it the file's name")
    if schema_of(config["learner"]) is None:
        raise ConfigError(f"learner={config['learner']} in {where} is no learner of it, nor of this plugin; correct it")
