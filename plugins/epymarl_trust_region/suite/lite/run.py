"""One training or evaluation run on the built-in suite: the same events in the same order as EPyMARL's `run`."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import pprint
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch as th

from epymarl_trust_region.config import nearest
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.modules import files
from epymarl_trust_region.suite import resume
from epymarl_trust_region.suite.checkpoints import chosen_step
from epymarl_trust_region.suite.host import folder_name
from epymarl_trust_region.suite.last_policy import models_folder
from epymarl_trust_region.suite.lite.episode_batch import LastRollout, OneHot, ReplayBuffer, make_buffer
from epymarl_trust_region.suite.lite.logger import Logger
from epymarl_trust_region.suite.lite.registries import CONTROLLERS, ENVIRONMENTS, LEARNERS, RUNNERS
from epymarl_trust_region.suite.same_run import configuration
from epymarl_trust_region.suite.scheme import batch_scheme
from epymarl_trust_region.suite.signals import held

_Buffer = ReplayBuffer | LastRollout


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
    asked, config = config, _sane(config, log)
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
        _run_sequential(parts, args, logger, asked)
    finally:
        logger.finish()
    return str(models_folder(args)) if models_folder(args).is_dir() else None


@contextlib.contextmanager
def player(config: dict, log: logging.Logger) -> Iterator[Any]:
    """The runner of an evaluation, with the team of `checkpoint_path` in it: its `run(test_mode=True)` plays an episode
    in each environment, the same ones as `run` with `evaluate=True`.

    Raises:
        As `run`.
    """
    with _staged(config, log) as (args, logger, runner, _, learner):
        _load_checkpoint(args, logger, runner, learner)
        runner.log_train_stats_t = runner.t_env
        yield runner


@contextlib.contextmanager
def pupil(config: dict, log: logging.Logger) -> Iterator[tuple[Any, Any, Callable[[Any], None]]]:
    """The runner and learner of a training that somebody else leads, and what makes an update of a rollout.

    Nothing is saved.

    Raises:
        As `run`.
    """
    with _staged(config, log) as (args, logger, runner, buffer, learner):
        loop = resume.Loop(last_test=0)
        yield runner, learner, _Training(args, logger, runner, buffer, learner, {}, loop).learn


@contextlib.contextmanager
def _staged(config: dict, log: logging.Logger) -> Iterator[tuple[SimpleNamespace, Logger, Any, _Buffer, Any]]:
    """The parts of a run that somebody else leads: arguments, logger, runner, buffer and learner."""
    config = _sane(config, log)
    parts, logger = find_parts(config), Logger(log)
    args = SimpleNamespace(**config, device="cuda" if config["use_cuda"] else "cpu")
    runner = parts.runner(args=args, logger=logger)
    try:
        yield args, logger, runner, *_build(parts, args, logger, runner)
    finally:
        runner.close_env()


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


def _run_sequential(parts: SimpleNamespace, args: SimpleNamespace, logger: Logger, asked: Mapping[str, Any]) -> None:
    runner = parts.runner(args=args, logger=logger)
    try:
        buffer, learner = _build(parts, args, logger, runner)
        loaded = _load_checkpoint(args, logger, runner, learner) if args.checkpoint_path else None
        if loaded and (args.evaluate or args.save_replay):
            _evaluate(args, logger, runner)
        else:
            loop = loaded and resume.load(loaded, asked, runner, logger)
            loop = loop or resume.Loop(last_test=-args.test_interval - 1)
            _Training(args, logger, runner, buffer, learner, configuration(asked), loop).run()
    finally:
        runner.close_env()


def _build(parts: SimpleNamespace, args: SimpleNamespace, logger: Logger, runner: Any) -> tuple[_Buffer, Any]:
    """Everything that knows the task's sizes. The order decides which random numbers initialise which weights."""
    info = runner.get_env_info()
    args.n_agents, args.n_actions, args.state_shape = info["n_agents"], info["n_actions"], info["state_shape"]
    scheme, groups, preprocess = batch_scheme(info, args.common_reward, OneHot)
    if hasattr(runner, "extend_scheme"):  # what this runner records beside, or otherwise
        runner.extend_scheme(scheme, preprocess)
    device = "cpu" if args.buffer_cpu_only else args.device
    buffer = make_buffer(args, scheme, groups, info["episode_limit"] + 1, preprocess, device)
    runner.own_memory = False  # nobody here keeps a rollout until the next
    mac = parts.mac(buffer.scheme, groups, args)
    runner.setup(scheme=scheme, groups=groups, preprocess=preprocess, mac=mac)
    learner = parts.learner(mac, buffer.scheme, logger, args)
    if args.use_cuda:
        learner.cuda()
    return buffer, learner


def _load_checkpoint(args: SimpleNamespace, logger: Logger, runner: Any, learner: Any) -> Path:
    """Load the checkpoint nearest to `load_step`, or the last one if that is 0, and go on counting from it."""
    root, step = Path(args.checkpoint_path), chosen_step(args.checkpoint_path, args.load_step, type(learner))
    logger.console_logger.info(f"Loading model from {root / str(step)}")
    learner.load_models(str(root / str(step)))
    runner.t_env = step
    return root / str(step)


def _evaluate(args: SimpleNamespace, logger: Logger, runner: Any) -> None:
    runner.log_train_stats_t = runner.t_env
    for _ in range(args.test_nepisode):
        runner.run(test_mode=True)
    if args.save_replay:
        runner.save_replay()
    logger.log_stat("episode", runner.t_env, runner.t_env)
    logger.print_recent_stats()
    logger.console_logger.info("Finished Evaluation")


@dataclass
class _Training:
    """The loop. Its state between two steps of it is what a checkpoint holds, so that it can go on from there."""

    args: SimpleNamespace
    logger: Logger
    runner: Any
    buffer: _Buffer
    learner: Any
    configuration: dict[str, Any]  # what stands with its checkpoints
    loop: resume.Loop
    learnt: dict[str, Any] | None = None  # all but the learner, as it was after the last update of this process

    def run(self) -> None:
        try:
            self._to_the_end()
        except KeyboardInterrupt as stop:
            if self.args.save_model and self.learnt:  # whatever the rollout or test has come to that was cut short
                folder = models_folder(self.args)
                if not (folder / str(self.learnt["t_env"])).is_dir():
                    self._save(self.learnt)
                stop.models = str(folder)  # type: ignore[attr-defined]
            raise

    def _to_the_end(self) -> None:
        args, runner, loop = self.args, self.runner, self.loop
        started = time.time(), runner.t_env
        self.logger.console_logger.info(f"Beginning training for {args.t_max} timesteps")
        while loop.learnt or runner.t_env <= args.t_max:
            if not loop.learnt:
                self.buffer.insert_episode_batch(runner.run(test_mode=False))  # which alone keeps it: it may be large
                self._update()
            self._test(started)
            self._save_at_intervals()
            self._log()
            loop.learnt = False
        if self.learnt and args.save_model and loop.last_save not in (0, runner.t_env):
            self._save(self._state())  # the policy with which training ends
        self.logger.console_logger.info("Finished Training")

    def learn(self, batch: Any) -> None:
        """An update from a rollout."""
        self.buffer.insert_episode_batch(batch)
        self._update()

    def _update(self) -> None:
        args, buffer = self.args, self.buffer
        with held():  # half an update is nothing to save
            if buffer.can_sample(args.batch_size):
                sample = buffer.sample(args.batch_size)
                sample = sample[:, : sample.max_t_filled()]
                if sample.device != args.device:
                    sample.to(args.device)
                self.learner.train(sample, self.runner.t_env, self.loop.episode)
            self.loop.learnt = True
            if args.save_model:
                self.learnt = self._state()

    def _test(self, started: tuple[float, int]) -> None:
        args, runner, loop = self.args, self.runner, self.loop
        if runner.t_env - loop.last_test < args.test_interval:
            return
        loop.last_test = runner.t_env
        self.logger.console_logger.info(_progress(runner.t_env, args.t_max, *started))
        for _ in range(max(1, args.test_nepisode // runner.batch_size)):
            runner.run(test_mode=True)

    def _save_at_intervals(self) -> None:
        args, t_env, loop = self.args, self.runner.t_env, self.loop
        if args.save_model and (loop.last_save == 0 or t_env - loop.last_save >= args.save_model_interval):
            loop.last_save = t_env
            self._save(self._state())

    def _log(self) -> None:
        args, t_env, loop = self.args, self.runner.t_env, self.loop
        loop.episode += args.batch_size_run
        if t_env - loop.last_log >= args.log_interval:
            loop.last_log = t_env
            self.logger.log_stat("episode", loop.episode, t_env)
            self.logger.print_recent_stats()

    def _state(self) -> dict[str, Any]:
        return resume.state_of(self.loop, self.runner, self.logger)

    def _save(self, state: dict[str, Any]) -> None:
        args, step = self.args, str(state["t_env"])
        path = str(models_folder(args) / step)
        self.logger.console_logger.info(f"Saving models to {path}")
        with files.whole(path) as unfinished:
            self.learner.save_models(str(unfinished))
            resume.write(unfinished, self.configuration, self.logger.stats, state)
        if args.use_wandb and args.wandb_save_model:
            place = Path(self.logger.wandb.dir) / "models" / args.unique_token / step
            shutil.copytree(path, place, dirs_exist_ok=True)


def _progress(t_env: int, t_max: int, start_time: float, start_t: int) -> str:
    passed = time.time() - start_time
    left = passed * max(0, t_max - t_env) / max(t_env - start_t, 1)  # it may go on in the middle of a round
    took, rest = (datetime.timedelta(seconds=int(seconds)) for seconds in (passed, left))
    return f"t_env: {t_env} / {t_max}. Time passed: {took}, left: {rest}"
