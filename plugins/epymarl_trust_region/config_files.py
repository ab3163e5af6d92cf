"""Configuration files of one's own, as plain data: `epymarl-tr run --config=mine.yaml ... with more.yaml lr=0.001`.

They may be anyone's. Sacred's own loader makes any Python object that a .json or .pickle file asks for, so it is given
none: only YAML's and JSON's plain values are read here, and what names code or places has limits.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from .config import check_place, flatten
from .errors import ConfigError

_LARGEST, _MOST_VALUES = 2**20, 20_000  # bytes of a file; values in it, with those that YAML's aliases repeat
_READERS: dict[str, Callable[[str], Any]] = {".yaml": yaml.safe_load, ".yml": yaml.safe_load, ".json": json.loads}
# jsonpickle's marks of a Python object, which Sacred makes wherever it finds one.
_OBJECT = "py/"
# What imports a module that its value names, and what a run writes to.
_CODE, _PLACES = ("actor_network", "critic_network", "env_args.key"), ("local_results_path", "save_episodes")


def split(params: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line without its configuration files, and these."""
    params = list(params)
    start = params.index("with") + 1 if "with" in params else len(params)
    files = [word for word in params[start:] if word and "=" not in word and not word.startswith("-")]
    return params[:start] + [word for word in params[start:] if word not in files], files


def read_all(files: Sequence[str], typed: Mapping[str, Any], known_packages: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of all files, later ones over earlier ones; groups are merged by the caller.

    Args:
        typed: flat keys of the command line, which the user has written.
        known_packages: environments' modules that any file may name.

    Raises:
        ConfigError: a file is not there, is no plain data, or names code or places that the user has not.
    """
    found: dict[str, Any] = {}
    for file in files:
        flat = flatten(read(file))
        check_code(file, flat, typed, known_packages)
        for key in _PLACES:
            _check_below(file, key, flat.get(key))
        found |= flat
    return found


def is_file(algorithm: str) -> bool:
    """Whether a value of --config is a file, and not a name."""
    return PurePath(algorithm).suffix.lower() in _READERS


def name_of(algorithm: str) -> str:
    """What an algorithm is called by default, by its value of --config."""
    return PurePath(algorithm).stem if is_file(algorithm) else algorithm


def read_algorithm(file: str, typed: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of an algorithm, from a file of one's own; its name is the file's, if it gives none.

    Raises:
        ConfigError: as `read_all`; or it names no learner.
    """
    found = {"name": name_of(file), **_grouped(read(file), file)}
    flat = flatten(found)
    check_code(file, flat, typed, ())
    for key in _PLACES:
        _check_below(file, key, flat.get(key))
    if not found.get("learner"):
        raise ConfigError(
            f"--config={file} has no key `learner`; start from a copy of an algorithm's yaml, or name it after `with` "
            "to change only some keys"
        )
    return found


def _grouped(data: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Keys such as `env_args.key` in their groups, as the command line has them."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        *groups, last = key.split(".")
        group = found
        for name in groups:
            group = group.setdefault(name, {})
            if not isinstance(group, dict):
                raise ConfigError(f"{file} has `{key}`, and `{name}` as a key by itself; remove one")
        both = isinstance(value, Mapping) and isinstance(group.get(last), dict)
        group[last] = {**group[last], **value} if both else dict(value) if isinstance(value, Mapping) else value
    return found


def read(file: str) -> dict[str, Any]:
    """Plain data of one file."""
    path = Path(file)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"`{file}` in the command line is neither key=value nor a file of plain data (.yaml, .yml or .json); "
            "correct it: files of other kinds can hold code"
        )
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{file} has {path.stat().st_size} bytes, more than any configuration; name another file")
        data = reader(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}; correct or remove it") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file} holds no keys; give it lines such as `lr: 0.001`")
    check_plain(data, file)
    return dict(data)


def check_plain(value: Any, where: str) -> None:
    """Refuse what is no plain value, or asks for a Python object.

    Raises:
        ConfigError: names `where` it stands.
    """
    todo, count = [value], 0
    while todo:
        one, count = todo.pop(), count + 1
        if count > _MOST_VALUES:
            raise ConfigError(f"{where} has more than {_MOST_VALUES} values, or repeats itself without end; shorten it")
        if isinstance(one, Mapping):
            _check_keys(one, where)
            todo.extend(one.values())
        elif isinstance(one, list | tuple):
            todo.extend(one)
        elif not isinstance(one, bool | int | float | str | None):
            raise ConfigError(
                f"{where} has a {type(one).__name__}; write numbers, words, True, False, lists and groups"
            )


def _check_keys(group: Mapping, where: str) -> None:
    for key in group:
        if not isinstance(key, str):
            raise ConfigError(f"{where} has the key {key!r}, which is no word; put it in quotes, or remove it")
        if key.startswith(_OBJECT):
            raise ConfigError(f"{where} asks for a Python object (`{key}`), which could run any code; remove it")


def check_word(word: str) -> None:
    """Refuse key=value of the command line that Sacred would make an object of: a file may have been the origin."""
    key, _, value = word.partition("=")
    if _OBJECT not in value and "\\" not in value and "'" not in value and '"' not in value:
        return
    try:
        literal = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):  # text
        return
    except (MemoryError, RecursionError):
        raise ConfigError(f"{key}=... in the command line is nested too deeply; shorten it") from None
    if isinstance(literal, Mapping | list | tuple):
        check_plain(literal, f"{key}=... in the command line")


def check_code(file: str, flat: Mapping[str, Any], typed: Mapping[str, Any], known_packages: Sequence[str]) -> None:
    """Refuse a file, which may be anyone's, that names code to import which the user has not named.

    Args:
        flat: its keys.
        typed, known_packages: as for `read_all`.

    Raises:
        ConfigError: names the key.
    """
    for key in _CODE:
        value = flat.get(key)
        module = str(value).rpartition(":")[0]
        if (
            value is None
            or key in typed
            or (key == "env_args.key" and module.partition(".")[0] in ("", *known_packages))
        ):
            continue
        raise ConfigError(
            f"{file} names code to import, {key}={value}; if you trust it, name it yourself: add {key}={value} after "
            "`with` on the command line"
        )


def _check_below(file: str, key: str, value: Any) -> None:
    """What a file may write to lies below the current folder."""
    if value is None or not isinstance(value, str):
        return
    check_place(key, value)
    path = PurePath(value)
    if path.is_absolute() or ".." in path.parts or value.startswith("~"):
        raise ConfigError(
            f"{file} sets {key}={value}, which is outside the current folder; if that is meant, add it to the command "
            "line"
        )
