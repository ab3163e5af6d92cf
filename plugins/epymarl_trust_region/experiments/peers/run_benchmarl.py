"""BenchMARL's experiment, one of its iterations at a time, on VMAS. It runs in BenchMARL's own Python.

Evaluation, logging and saving are off, as they are on our side.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocol import serve  # beside this script


def build(home: Path, work: dict[str, Any]) -> Callable[[], int]:
    """One iteration: a rollout and the update from it."""
    import torch

    torch.set_num_threads(work["torch_threads"])
    turns, done, failed = threading.Semaphore(0), threading.Semaphore(0), list[BaseException]()
    experiment = _experiment(work)
    experiment.callbacks.append(_turns(turns, done))  # afterwards: what it is given at first it writes down

    def run() -> None:
        try:
            turns.acquire()
            experiment.run()
        except BaseException as error:
            failed.append(error)
            done.release()

    threading.Thread(target=run, daemon=True).start()

    def once() -> int:
        turns.release()
        done.acquire()
        if failed:
            raise failed[0]
        return work["streams"] * work["steps"]

    once()  # what is compiled or made at the first use
    return once


def _experiment(work: dict[str, Any]) -> Any:
    from benchmarl.algorithms import IppoConfig
    from benchmarl.environments import VmasTask
    from benchmarl.experiment import Experiment, ExperimentConfig
    from benchmarl.models.mlp import MlpConfig

    config, frames = ExperimentConfig.get_from_yaml(), work["streams"] * work["steps"]
    config.sampling_device = config.train_device = config.buffer_device = "cpu"
    config.share_policy_params = True
    config.on_policy_n_envs_per_worker, config.on_policy_collected_frames_per_batch = work["streams"], frames
    config.on_policy_n_minibatch_iters = work["epochs"]
    config.on_policy_minibatch_size = frames // work["minibatches"]
    config.max_n_iters, config.max_n_frames = 10**6, None
    config.evaluation, config.render, config.create_json, config.checkpoint_interval = False, False, False, 0
    config.loggers, config.save_folder = [], tempfile.mkdtemp()
    task = VmasTask[work["scenario"].upper()].get_from_yaml()
    task.config["max_steps"] = work["steps"]
    actor, critic = MlpConfig.get_from_yaml(), MlpConfig.get_from_yaml()
    actor.num_cells = critic.num_cells = work["hidden"]
    return Experiment(
        task=task, algorithm_config=IppoConfig.get_from_yaml(), model_config=actor, critic_model_config=critic,
        seed=1, config=config,
    )  # fmt: skip


def _turns(turns: threading.Semaphore, done: threading.Semaphore) -> Any:
    """Ends an iteration where an update has ended, and waits for the next to be asked for."""
    from benchmarl.experiment import Callback

    class Turns(Callback):
        def on_train_end(self, training_td: Any, group: str) -> None:
            done.release()
            turns.acquire()

    return Turns()


if __name__ == "__main__":
    serve(build)
