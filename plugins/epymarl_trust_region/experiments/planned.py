"""What a run of a sweep would be today, against what a completed one was: only the same is `done before`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import flatten
from ..configuration import check_overrides, overrides, read
from ..errors import ConfigError
from ..suite.selection import files_of

# Of a saved configuration, what says where and by which code, not what.
_ASIDE = ("plugin", "local_results_path")
# Groups whose keys the command line may bring along: one that has gone is a change, too.
_OPEN = ("env_args.", "actor_args.", "critic_args.")


class Planned:
    """The configuration of a run, from its command line, as `epymarl-tr run` reads it."""

    def __init__(self, suite: str, config: str, env_config: str, params: list[str]) -> None:
        """
        Args:
            params: `with` and what follows.

        Raises:
            ConfigError: an unknown name or key.
        """
        merged, _ = read(files_of(suite), config, env_config)
        self.updates = overrides(params)
        check_overrides(self.updates, merged)
        self.values = {**flatten(merged), **self.updates}

    def differences(self, run: Path) -> list[str]:
        """Lines `lr=0.1, and now 0.2`, of keys in which a Sacred run's configuration differs."""
        try:
            saved = flatten(json.loads((run / "config.json").read_text()))
        except (OSError, ValueError, AttributeError):
            raise ConfigError(f"{run / 'config.json'} cannot be read; remove {run}, and the run is made anew") from None
        wanted = {key for key in self.values if key in saved or key in self.updates}
        wanted |= {key for key in saved if key.startswith(_OPEN) and saved[key] is not None}
        kept = sorted(key for key in wanted if key.partition(".")[0] not in _ASIDE)
        pairs = {key: (saved.get(key), self.values.get(key)) for key in kept}
        return [f"{key}={old}, and now {new}" for key, (old, new) in pairs.items() if _plain(old) != _plain(new)]


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
