"""The policy with which training ends is saved too: EPyMARL itself saves at intervals alone, the first time at once."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epymarl_trust_region.modules import files
from epymarl_trust_region.suite import resume
from epymarl_trust_region.suite.host import folder_name
from epymarl_trust_region.suite.same_run import configuration
from epymarl_trust_region.suite.signals import held


def models_folder(args: Any) -> Path:
    """Where a host saves the models of the run with these arguments: what `checkpoint_path` takes."""
    return Path(args.local_results_path) / "models" / args.unique_token


def run_saving_last(run: Callable[..., None], learners: dict[str, Callable]) -> Callable[..., str | None]:
    """EPyMARL's `run`, which then saves the last policy, if `save_model` is set, and returns the folder of the models.

    Args:
        learners: EPyMARL's live registry; the entry of the run's learner is replaced while the run lasts.
    """

    def run_and_save(_run: Any, config: dict[str, Any], log: Any) -> str | None:
        name, made, save_last = config["learner"], list[Any](), list[Callable[[], str | None]]()
        original = learners[name]
        learners[name] = saving_last(original, made.append, save_last.append, configuration(config))
        try:
            run(_run, config, log)
        except KeyboardInterrupt as stop:
            for save in save_last:
                stop.models = save()  # type: ignore[attr-defined]
            raise
        finally:
            learners[name] = original
        folders = [models_folder(args) for args in made]
        return next((str(folder) for folder in folders if folder.is_dir()), None)

    return run_and_save


def saving_last(
    make_learner: Callable,
    note: Callable[[Any], None] = lambda args: None,
    note_save: Callable[[Callable[[], str | None]], None] = lambda save: None,
    of_run: Mapping[str, Any] | None = None,
) -> Callable:
    """A learner's constructor; what it makes is saved once more when training has ended, if `save_model` is set.

    Args:
        note: is given the arguments of the run. The folder that is named in them will have a name for any system.
        note_save: is given what saves the last policy before the end, and gives the folder of the models, if any.
        of_run: its `configuration`, by which `--resume` finds what is saved.
    """

    @functools.wraps(make_learner, updated=())
    def make(mac: Any, scheme: Any, logger: Any, args: Any) -> Any:
        args.unique_token = folder_name(args.unique_token)
        note(args)
        learner = make_learner(mac, scheme, logger, args)
        if getattr(args, "resumed", False):
            found = resume.read(Path(args.checkpoint_path) / str(args.load_step))
            resume.replay(found["series"] if found else {}, logger)
        _save_whole(learner, logger, of_run)
        if args.save_model:
            note_save(_save_at_the_end(learner, logger, args))
        return learner

    return make


def _save_whole(learner: Any, logger: Any, of_run: Mapping[str, Any] | None) -> None:
    """EPyMARL makes a folder and gives it to `save_models`; until all is written, that folder stays empty."""
    save_models = learner.save_models

    def save(path: str) -> None:
        with files.whole(path) as unfinished:
            save_models(str(unfinished))
            if of_run is not None:
                resume.write(unfinished, of_run, logger.stats)

    learner.save_models = save


def _save_at_the_end(learner: Any, logger: Any, args: Any) -> Callable[[], str | None]:
    """EPyMARL calls `train` after every rollout, with the steps so far, and `logger.finish` after a success."""
    train, finish, steps = learner.train, logger.finish, list[int]()

    def train_and_note(batch: Any, t_env: int, episode_num: int) -> Any:
        with held():  # half an update is nothing to save
            result = train(batch, t_env, episode_num)
        steps[:] = [t_env]
        return result

    def save() -> str | None:
        for t_env in steps:  # none in an evaluation
            _save(learner, logger, args, str(t_env))
        return str(models_folder(args)) if steps else None

    def save_and_finish() -> Any:
        save()
        return finish()

    learner.train, logger.finish = train_and_note, save_and_finish
    return save


def _save(learner: Any, logger: Any, args: Any, step: str) -> None:
    folder = models_folder(args) / step
    if folder.is_dir() and not files.lacks(folder):  # the interval has just ended
        return
    logger.console_logger.info(f"Saving the last models to {folder}")
    learner.save_models(str(folder))
    if args.use_wandb and args.wandb_save_model:
        shutil.copytree(folder, Path(logger.wandb.dir) / "models" / args.unique_token / step)
