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
    from benchmarl.algorithms import IppoConfig
    from benchmarl.environments import VmasTask
    from benchmarl.experiment import Callback, Experiment, ExperimentConfig
    from benchmarl.models.mlp import MlpConfig

    torch.set_num_threads(work["torch_threads"])
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
    layers = MlpConfig.get_from_yaml()
    layers.num_cells = work["hidden"]
    turns, done = threading.Semaphore(0), threading.Semaphore(0)

    class Turns(Callback):
        """Ends an iteration where an update has ended, and waits for the next to be asked for."""

        def on_train_end(self, training_td: Any, group: str) -> None:
            done.release()
            turns.acquire()

    critic = MlpConfig.get_from_yaml()
    critic.num_cells = work["hidden"]
    experiment = Experiment(
        task=task, algorithm_config=IppoConfig.get_from_yaml(), model_config=layers, critic_model_config=critic,
        seed=1, config=config,
    )  # fmt: skip
    experiment.callbacks.append(Turns())  # afterwards: what it is given at first it writes down

    failed: list[BaseException] = []

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
        return frames

    once()  # what is compiled or made at the first use
    return once


if __name__ == "__main__":
    serve(build)
