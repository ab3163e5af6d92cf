"""What a run of a sweep would be today, against what a completed one was: only the same is `done before`."""

from __future__ import annotations

import json
from pathlib import Path

from ..config import flatten
from ..configuration import check_overrides, overrides, read
from ..errors import ConfigError
from ..suite.same_run import differences, is_begun_by
from ..suite.selection import files_of

# Of a saved configuration, what says where and by which code, not what.
_ASIDE = ("plugin", "local_results_path")


class Planned:
    """The configuration of a run, from its command line, as `epymarl-tr run` reads it."""

    def __init__(self, suite: str, config: str, env_config: str, params: list[str]) -> None:
        """
        Args:
            params: `with` and what follows.

        Raises:
            ConfigError: an unknown name or key.
        """
        self.updates = overrides(params)
        merged, _ = read(files_of(suite), config, env_config, self.updates)
        check_overrides(self.updates, merged)
        self.values = {**flatten(merged), **self.updates}

    @property
    def steps(self) -> float:
        """To which it trains."""
        return self.values["t_max"]

    def differences(self, run: Path, resumes: bool) -> list[str]:
        """Lines `lr=0.1, and now 0.2`, of keys in which a Sacred run's configuration differs.

        Args:
            resumes: whether this run would go on from what the other has saved: then it may be the longer one.
        """
        try:
            saved = flatten(json.loads((run / "config.json").read_text()))
        except (OSError, ValueError, AttributeError):
            raise ConfigError(f"{run / 'config.json'} cannot be read; remove {run}, and the run is made anew") from None
        aside = set(_ASIDE)
        if resumes and is_begun_by(saved, self.values):
            aside.add("t_max")
        if saved.get("save_model"):  # its models are there, whether they are wanted or not
            aside |= {"save_model", "save_model_interval"}
        return differences(saved, self.values, self.updates, aside)
