"""One training or evaluation run on the built-in suite: the same events in the same order as EPyMARL's `run`."""

from __future__ import annotations

import datetime
import logging
import os
import pprint
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch as th

from epymarl_trust_region.config import nearest
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.modules import files
from epymarl_trust_region.suite.checkpoints import chosen_step
from epymarl_trust_region.suite.host import folder_name
from epymarl_trust_region.suite.last_policy import models_folder
from epymarl_trust_region.suite.lite.episode_batch import OneHot, ReplayBuffer
from epymarl_trust_region.suite.lite.logger import Logger
from epymarl_trust_region.suite.lite.registries import CONTROLLERS, ENVIRONMENTS, LEARNERS, RUNNERS
from epymarl_trust_region.suite.scheme import batch_scheme
from epymarl_trust_region.suite.signals import held


def run(_run: Any, config: dict, log: logging.Logger) -> str | None:
    """Train (or evaluate a checkpoint) as `config` says; the folder of the models that were saved, if any.

    Args:
        _run: the Sacred run that takes the statistics.
        config: the whole configuration; keys that nothing reads are harmless. It is not changed.
        log: takes the messages.

    Raises:
        ConfigError: a runner, MAC or learner that the built-in suite does not have.
        EnvironmentMissingError: an environment that it does not have.
        CheckpointError: `checkpoint_path` holds no checkpoint.
    """
    config = _sane(config, log)
    parts = find_parts(config)
    args = SimpleNamespace(**config)
    args.device = "cuda" if args.use_cuda else "cpu"
    task = args.env_args.get("map_name") or args.env_args.get("key")
    args.unique_token = folder_name(f"{args.name}_seed{args.seed}_{task}_{datetime.datetime.now()}")
    log.info("Experiment Parameters:\n\n" + pprint.pformat(config, indent=4, width=1) + "\n")
    logger = Logger(log)
    if args.use_tensorboard:
        logger.setup_tb(os.path.join(args.local_results_path, "tb_logs", args.unique_token))
    if args.use_wandb:
        logger.setup_wandb(config, args.wandb_team, args.wandb_project, args.wandb_mode)
    logger.setup_sacred(_run)
    try:
        _run_sequential(parts, args, logger)
    finally:
        logger.finish()
    return str(models_folder(args)) if models_folder(args).is_dir() else None


def _sane(config: dict, log: logging.Logger) -> dict:
    """CUDA only where there is one; test episodes in whole batches of environments, at least one."""
    config, batch = dict(config), config["batch_size_run"]
    if config["use_cuda"] and not th.cuda.is_available():
        config["use_cuda"] = False
        log.warning("use_cuda=True, but PyTorch finds no CUDA device: using the CPU")
    config["test_nepisode"] = max(1, config["test_nepisode"] // batch) * batch
    return config


def find_parts(config: Mapping[str, Any]) -> SimpleNamespace:
    """The classes that a configuration names: runner, MAC and learner.

    Raises:
        ConfigError: the built-in suite has no runner, MAC or learner of that name.
        EnvironmentMissingError: it has no such `env`.
    """
    _look_up(ENVIRONMENTS, "env", config, EnvironmentMissingError)
    return SimpleNamespace(
        runner=_look_up(RUNNERS, "runner", config, ConfigError),
        mac=_look_up(CONTROLLERS, "mac", config, ConfigError),
        learner=_look_up(LEARNERS, "learner", config, ConfigError),
    )


def _look_up(registry: dict, key: str, config: Mapping[str, Any], error: type[Exception]) -> Any:
    name = config[key]
    if name in registry:
        return registry[name]
    raise error(
        f"{key}={name} does not exist in the built-in suite{nearest(str(name), registry)}; it has "
        f"{', '.join(sorted(registry)) or 'none'}. EPyMARL's own algorithms and environments need EPyMARL: "
        "`epymarl-tr suite fetch`, then --suite=epymarl"
    )


def _run_sequential(parts: SimpleNamespace, args: SimpleNamespace, logger: Logger) -> None:
    runner = parts.runner(args=args, logger=logger)
    try:
        buffer, learner = _build(parts, args, logger, runner)
        if args.checkpoint_path:
            _load_checkpoint(args, logger, runner, learner)
        if args.checkpoint_path and (args.evaluate or args.save_replay):
            _evaluate(args, logger, runner)
        else:
            _train(args, logger, runner, buffer, learner)
    finally:
        runner.close_env()


def _build(parts: SimpleNamespace, args: SimpleNamespace, logger: Logger, runner: Any) -> tuple[ReplayBuffer, Any]:
    """Everything that knows the task's sizes. The order decides which random numbers initialise which weights."""
    info = runner.get_env_info()
    args.n_agents, args.n_actions, args.state_shape = info["n_agents"], info["n_actions"], info["state_shape"]
    scheme, groups, preprocess = batch_scheme(info, args.common_reward, OneHot)
    if hasattr(runner, "extend_scheme"):  # what this runner records beside, or otherwise
        runner.extend_scheme(scheme, preprocess)
    device = "cpu" if args.buffer_cpu_only else args.device
    buffer = ReplayBuffer(scheme, groups, args.buffer_size, info["episode_limit"] + 1, preprocess, device)
    mac = parts.mac(buffer.scheme, groups, args)
    runner.setup(scheme=scheme, groups=groups, preprocess=preprocess, mac=mac)
    learner = parts.learner(mac, buffer.scheme, logger, args)
    if args.use_cuda:
        learner.cuda()
    return buffer, learner


def _load_checkpoint(args: SimpleNamespace, logger: Logger, runner: Any, learner: Any) -> None:
    """Load the checkpoint nearest to `load_step`, or the last one if that is 0, and go on counting from it."""
    root, step = Path(args.checkpoint_path), chosen_step(args.checkpoint_path, args.load_step, type(learner))
    logger.console_logger.info(f"Loading model from {root / str(step)}")
    learner.load_models(str(root / str(step)))
    runner.t_env = step


def _evaluate(args: SimpleNamespace, logger: Logger, runner: Any) -> None:
    runner.log_train_stats_t = runner.t_env
    for _ in range(args.test_nepisode):
        runner.run(test_mode=True)
    if args.save_replay:
        runner.save_replay()
    logger.log_stat("episode", runner.t_env, runner.t_env)
    logger.print_recent_stats()
    logger.console_logger.info("Finished Evaluation")


def _train(args: SimpleNamespace, logger: Logger, runner: Any, buffer: ReplayBuffer, learner: Any) -> None:
    learnt = list[int]()  # after how many steps, last
    try:
        _train_to_the_end(args, logger, runner, buffer, learner, learnt)
    except KeyboardInterrupt as stop:
        if args.save_model and learnt:
            folder = models_folder(args)
            if not (folder / str(learnt[0])).is_dir():
                _save(args, logger, learner, learnt[0])
            stop.models = str(folder)  # type: ignore[attr-defined]
        raise


def _train_to_the_end(
    args: SimpleNamespace, logger: Logger, runner: Any, buffer: ReplayBuffer, learner: Any, learnt: list[int]
) -> None:
    episode, last_test, last_log, last_save = 0, -args.test_interval - 1, 0, 0
    started = time.time(), runner.t_env
    logger.console_logger.info(f"Beginning training for {args.t_max} timesteps")
    while runner.t_env <= args.t_max:
        buffer.insert_episode_batch(runner.run(test_mode=False))
        _learn(args, buffer, learner, runner.t_env, episode)
        learnt[:] = [runner.t_env]
        if runner.t_env - last_test >= args.test_interval:
            last_test = runner.t_env
            logger.console_logger.info(_progress(runner.t_env, args.t_max, *started))
            for _ in range(max(1, args.test_nepisode // runner.batch_size)):
                runner.run(test_mode=True)
        if args.save_model and (last_save == 0 or runner.t_env - last_save >= args.save_model_interval):
            last_save = runner.t_env
            _save(args, logger, learner, runner.t_env)
        episode += args.batch_size_run
        if runner.t_env - last_log >= args.log_interval:
            last_log = runner.t_env
            logger.log_stat("episode", episode, runner.t_env)
            logger.print_recent_stats()
    if args.save_model and last_save not in (0, runner.t_env):  # the policy with which training ends
        _save(args, logger, learner, runner.t_env)
    logger.console_logger.info("Finished Training")


def _learn(args: SimpleNamespace, buffer: ReplayBuffer, learner: Any, t_env: int, episode: int) -> None:
    if not buffer.can_sample(args.batch_size):
        return
    sample = buffer.sample(args.batch_size)
    sample = sample[:, : sample.max_t_filled()]
    if sample.device != args.device:
        sample.to(args.device)
    with held():  # half an update is nothing to save
        learner.train(sample, t_env, episode)


def _save(args: SimpleNamespace, logger: Logger, learner: Any, t_env: int) -> None:
    path = str(models_folder(args) / str(t_env))
    logger.console_logger.info(f"Saving models to {path}")
    with files.whole(path) as unfinished:
        learner.save_models(str(unfinished))
    if args.use_wandb and args.wandb_save_model:
        place = Path(logger.wandb.dir) / "models" / args.unique_token / str(t_env)
        shutil.copytree(path, place, dirs_exist_ok=True)


def _progress(t_env: int, t_max: int, start_time: float, start_t: int) -> str:
    passed = time.time() - start_time
    left = passed * max(0, t_max - t_env) / (t_env - start_t)
    took, rest = (datetime.timedelta(seconds=int(seconds)) for seconds in (passed, left))
    return f"t_env: {t_env} / {t_max}. Time passed: {took}, left: {rest}"
