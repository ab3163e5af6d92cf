"""`grid` in a sweep file: for each key a list of values, of which every combination is an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError

#: Keys that say what an experiment is, beside its `grid`.
OF_EXPERIMENTS = ("name", "config", "env_config", "suite", "seeds", "task", "with")


def grid_of(group: Mapping[str, Any], of: Any, file: Path) -> Mapping[str, list[Any]]:
    """The `grid` of an experiment, algorithm, task, or of the defaults; empty where there is none.

    Args:
        of: whose it is, for messages.

    Raises:
        ConfigError: it is no group of lists, or its values cannot be told apart as names of folders.
    """
    if "grid" not in group:
        return {}
    grid, where = group["grid"], f"`grid` of {of} in {file}"
    if not isinstance(grid, Mapping) or not grid or not all(isinstance(key, str) for key in grid):
        raise ConfigError(f"{where} is no group of keys; write `grid: {{lr: [0.001, 0.002]}}`")
    for key, values in grid.items():
        _check(key, values, where)
    return grid


def _check(key: str, values: Any, where: str) -> None:
    if key in ("seed", "seeds"):
        raise ConfigError(f"{where} has {key}; write `seeds: [1, 2]` beside it, which makes a run of each")
    if key in OF_EXPERIMENTS:
        raise ConfigError(f"{where} has {key}, which is no key of a run; give each an entry of its own in the list")
    if not isinstance(values, list) or not values:
        shown = "..." if not values or isinstance(values, Mapping) else values
        raise ConfigError(f"{key} in {where} is no list of values; write `{key}: [{shown}]`")
    if any(isinstance(value, list | Mapping) for value in values):
        raise ConfigError(f"{key} in {where} has a list or a group among its values; give each an entry of its own")
    if any("/" in str(value) for value in values):
        raise ConfigError(
            f"{key} in {where} has a value with /, and values name folders; give each an entry of its own"
        )
    if twice := [value for value in values if values.count(value) > 1]:
        raise ConfigError(f"{key} in {where} has {twice[0]} more than once; remove it")
