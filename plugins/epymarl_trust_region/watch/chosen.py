"""What is played: a checkpoint, and the configuration that it was trained with, as far as playing goes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from sacred.utils import set_by_dotted_path

from ..config import check_known_keys
from ..config_files import check_code, check_plain
from ..configuration import check_overrides
from ..errors import CheckpointError, ConfigError
from ..modules import files
from ..suite import algorithms, resume
from ..suite.checkpoints import chosen_step
from ..suite.environment_code import INSTALL
from ..suite.environments import task_name
from ..suite.host import run_defaults
from ..suite.registration import check_all, register_into
from ..suite.same_run import ASIDE, configuration
from ..suite.selection import lite_host
from .stage import to_be_drawn

#: What the command line may set beside the environment's own arguments: nothing else changes what is seen.
FREE = ("seed", "reward_scalarisation", "test_greedy", "actor_network", "critic_network")
_PACKAGE = __package__.partition(".")[0]
# One environment, stepped by itself, and a test: nothing is learnt, saved or sent.
_TEST = {
    "evaluate": True, "runner": "vector", "env_processes": 1, "batched_envs": "none", "use_cuda": False,
    "learner_device": None, "render": False, "save_replay": False, "save_model": False, "use_tensorboard": False,
    "use_wandb": False,
}  # fmt: skip


class Chosen(NamedTuple):
    """A team and what it plays."""

    folder: Path  # of the step
    step: int
    config: dict[str, Any]  # the built-in suite's

    @property
    def task(self) -> str:
        """Its name, without the module of an id."""
        return str(task_name(self.config["env"], self.config["env_args"])).rpartition(":")[2]


def choose(
    checkpoint: str, load_step: int, config_from: str | None, updates: Mapping[str, Any], test_greedy: bool | None
) -> Chosen:
    """The checkpoint and its checked configuration, for an environment that is drawn.

    Args, and raises: as `to_be_played`; also
        CapabilityError: the environment cannot be drawn here.
    """
    chosen = to_be_played(checkpoint, load_step, config_from, updates, test_greedy, "watch")
    return chosen._replace(config=to_be_drawn(chosen.config))


def to_be_played(
    checkpoint: str,
    load_step: int,
    config_from: str | None,
    updates: Mapping[str, Any],
    test_greedy: bool | None,
    command: str,
) -> Chosen:
    """The checkpoint and its checked configuration.

    Args:
        checkpoint: a run's folder of saved models, or one step's in it.
        load_step: of a run's folder the save nearest to this step; 0: the newest complete one.
        config_from: Sacred's folder of the run; None: the checkpoint says itself what it was trained with.
        updates: flat keys of the command line.
        test_greedy: take the likeliest actions, or sample; None: as the run's own tests.
        command: who plays it, for messages.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, or it does not know its configuration.
        ConfigError: a key or value of the command line that changes nothing or is wrong, or an algorithm of EPyMARL's.
        CapabilityError, EnvironmentMissingError: the environment cannot be played here.
    """
    run, step = _find(checkpoint, load_step)
    source, saved = _saved(run / str(step), config_from)
    check_code(source, saved, updates, (*INSTALL, _PACKAGE))
    config, defaults = _laid_over_defaults(saved, source)
    _check_algorithm(config, command)
    before = {**config, **_TEST, "checkpoint_path": str(run), "load_step": step}
    config = _updated(before, updates)
    if test_greedy is not None:
        config["test_greedy"] = test_greedy
    check_all(config, defaults, "the command line", before)
    return Chosen(run / str(step), step, config)


def _find(checkpoint: str, load_step: int) -> tuple[Path, int]:
    folder = Path(checkpoint)
    if not folder.is_dir():
        raise CheckpointError(
            f"{checkpoint} is no folder; name a run's folder of saved models, such as results/models/RUN, or a step's "
            "in it"
        )
    if files.steps(folder):
        return folder, chosen_step(checkpoint, load_step, warn=_warn)
    if not (folder / files.AGENT_FILE).exists() or not folder.resolve().name.isdigit():
        raise CheckpointError(
            f"{checkpoint} holds no saved models (folders such as 50000/); `epymarl-tr run ... with save_model=True` "
            "saves them, and its last line names their folder"
        )
    if load_step:
        raise ConfigError(f"--load-step={load_step} does nothing: {checkpoint} is one step's folder; remove it")
    folder = folder.resolve()
    return Path(os.path.relpath(folder.parent)), int(folder.name)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _saved(folder: Path, config_from: str | None) -> tuple[str, dict[str, Any]]:
    """Flat keys of the run's configuration, and the file that has them."""
    if config_from:
        file = Path(config_from) / "config.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--config-from={config_from} is no folder of a run ({' '.join(str(error).split())}); name one such as "
                "results/sacred/happo/TASK/1"
            ) from None
        check_plain(found, str(file))
        return str(file), configuration(found)
    state = resume.read(folder)
    if state is None:
        raise CheckpointError(
            f"{folder} does not say what it was trained with (no {resume.RUN_FILE}: an older version saved it); name "
            "the folder of its run: --config-from results/sacred/ALGORITHM/TASK/RUN"
        )
    check_plain(state["configuration"], str(folder / resume.RUN_FILE))
    return str(folder / resume.RUN_FILE), state["configuration"]


def _laid_over_defaults(saved: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole configuration, and the host's defaults; its parts are registered, so that they are found."""
    host = lite_host()
    register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    defaults = algorithms.read_yaml(host.config_dir / "default.yaml")
    config = {**deepcopy(defaults), **run_defaults()}
    try:
        for key, value in saved.items():
            if key.partition(".")[0] not in ASIDE:  # where to write, among others: a checkpoint may be anyone's
                set_by_dotted_path(config, key, value)
        config["env_args"] = dict(config["env_args"])
        config["learner"], config["name"]  # noqa: B018  no run is without
    except files.DO_NOT_FIT as error:
        raise files.foreign(source, error) from error
    config.setdefault("seed", 0)
    return config, defaults


def _check_algorithm(config: Mapping[str, Any], command: str) -> None:
    host = lite_host()
    algorithms.check_offered(config)
    if algorithms.schema_of(str(config["learner"])) is None:
        raise ConfigError(
            f"{config['name']} is none of this plugin's algorithms, nor of a package's (learner={config['learner']}): "
            f"`{command}` plays those alone; EPyMARL shows its own with `epymarl-tr run ... with evaluate=True "
            "render=True env_args.render_mode=human`"
        )
    if config["env"] not in host.environments:
        raise ConfigError(
            f"env={config['env']} is an environment of EPyMARL's: `{command}` plays "
            f"{', '.join(sorted(host.environments))}"
        )


def _updated(config: dict[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    check_overrides(updates, config)
    for key in updates:
        if not key.startswith(("env_args.", "actor_args.", "critic_args.")) and key not in FREE:
            check_known_keys([key], config, "the command line")
            raise ConfigError(f"{key} in the command line changes nothing that can be watched; remove it")
    config = deepcopy(config)
    for key, value in updates.items():
        set_by_dotted_path(config, key, value)
    return config
