"""The yaml files that `sweep` and `tune` read: plain data, each key once, and errors in one line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError


class _Once(yaml.SafeLoader):
    """Refuses a key that stands twice in a group: YAML would forget the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        seen: set[str] = set()
        for key, _ in pairs:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                problem = f"`{key.value}` stands twice in one group; join them, or remove one"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path, what: str) -> Any:
    """The data of a file.

    Args:
        what: it is, for messages.

    Raises:
        ConfigError: it is not there, or holds no plain data, or a key twice in one group.
    """
    if file.is_dir() or not file.exists():
        why = "is a folder" if file.is_dir() else "does not exist"
        raise ConfigError(f"{what} {file} {why}; name a file such as configs/sweeps/first.yaml")
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Once)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}: " if mark else ""
        why = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{what} {file} cannot be read: {at}{' '.join(why.split())}") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{what} {file} cannot be read: {' '.join(str(error).split())}") from None
