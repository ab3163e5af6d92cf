"""JaxMARL's IPPO on its MPE, a fixed number of updates at a time. It runs in JaxMARL's own Python.

Its whole training is one compiled function; it is compiled before anything is measured.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from protocol import serve  # beside this script

_UPDATES = 10  # in a row: a call also makes networks and environments anew


def build(home: Path, work: dict[str, Any]) -> Callable[[], int]:
    """Some iterations, each a rollout and the update from it."""
    import jax

    script = home / "baselines/IPPO/ippo_ff_mpe.py"
    spec = importlib.util.spec_from_file_location("ippo_ff_mpe", script)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["wandb"] = SimpleNamespace(log=lambda metric: None)
    steps = work["streams"] * work["steps"] * _UPDATES
    config = {
        "LR": 5e-4, "NUM_ENVS": work["streams"], "NUM_STEPS": work["steps"], "TOTAL_TIMESTEPS": steps,
        "UPDATE_EPOCHS": work["epochs"], "NUM_MINIBATCHES": work["minibatches"], "GAMMA": 0.99, "GAE_LAMBDA": 0.95,
        "CLIP_EPS": 0.2, "ENT_COEF": 0.01, "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.5, "ACTIVATION": "relu",
        "ENV_NAME": "MPE_simple_spread_v3", "ENV_KWARGS": {}, "ANNEAL_LR": False,
    }  # fmt: skip
    train = jax.jit(module.make_train(config))

    def once() -> int:
        jax.block_until_ready(train(jax.random.PRNGKey(0)))
        return steps

    once()
    return once


if __name__ == "__main__":
    serve(build)
