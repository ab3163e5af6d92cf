"""What a host is to the rest of the plugin, and where the plugin's own data folders are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from epymarl_trust_region.errors import SuiteError

_PACKAGE = Path(__file__).resolve().parents[1]


class BatchParts(NamedTuple):
    """A host's classes for batches of episodes, all with EPyMARL's interface."""

    episode_batch: type
    replay_buffer: type
    one_hot: type


@dataclass(frozen=True)
class Host:
    """A suite that can run an experiment: a real EPyMARL checkout, or the built-in one.

    The registries are the host's live dictionaries: what is added to them, its `run` finds.
    """

    name: str  # "epymarl" or "lite"
    home: Path | None  # root of the checkout; None for lite
    commit: str | None  # full hash; None for lite, and for a checkout without git
    config_dir: Path  # has default.yaml and the host's environment yaml files
    learners: dict[str, Any]
    controllers: dict[str, Any]
    runners: dict[str, Any]
    environments: dict[str, Any]
    vector_runner: Callable[..., Any]  # (args, logger) -> this plugin's runner, on this host's batches and environments
    run: Callable[..., str | None]  # run(_run, config, log) -> the folder of the models that it has saved, if any
    batch_parts: Callable[[], BatchParts]
    check: Callable[[Mapping[str, Any]], Any]  # raises if the configuration names what the host does not have
    modified: tuple[str, ...] = ()  # files of the checkout that differ from the commit, our own patch left out
    runner_made: Callable[[Any], None] | None = None  # is given each runner that a run has made; None: nothing to do


def folder_name(text: str) -> str:
    """`text` as the name of one folder on any system: without blanks, and without what Windows refuses."""
    name = re.sub(r'[<>:"/\\|?*\s\x00-\x1f]', "-", text)
    return name if name.strip(".") else "-"  # two dots are the folder above


def config_root() -> Path:
    """The folder with `algs/`, `envs/` and `sweeps/`. Raises SuiteError if the installation lacks it."""
    return _data_folder("configs")


def run_defaults() -> dict[str, Any]:
    """configs/run.yaml: keys of every run, whosever algorithm it is."""
    return yaml.safe_load((config_root() / "run.yaml").read_text())


def patches_root() -> Path:
    """The folder with the `*.patch` files. Raises SuiteError if the installation lacks it."""
    return _data_folder("patches")


def _data_folder(name: str) -> Path:
    # A wheel carries the folder inside the package; a checkout (and an editable install of it) has it at its root.
    for candidate in (_PACKAGE / name, _PACKAGE.parents[1] / name):
        if candidate.is_dir():
            return candidate
    raise SuiteError(
        f"the folder {name}/ of epymarl-trust-region is missing from {_PACKAGE}; install the package again"
    )
