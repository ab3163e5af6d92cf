"""JaxMARL's IPPO on its MPE, or with a GRU on its SMAX, a fixed number of updates at a time, in JaxMARL's own Python.

Its whole training is one compiled function; it is compiled before anything is measured.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from protocol import serve  # beside this script

_UPDATES = {"mpe": 10, "smax": 2}  # in a row: a call also makes networks and environments anew
_SCRIPTS = {"mpe": "ippo_ff_mpe", "smax": "ippo_rnn_smax"}


def build(home: Path, work: dict[str, Any]) -> Callable[[], int]:
    """Some iterations, each a rollout and the update from it."""
    import jax

    name, updates = _SCRIPTS[work["environment"]], _UPDATES[work["environment"]]
    script = home / f"baselines/IPPO/{name}.py"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["wandb"] = SimpleNamespace(log=lambda metric: None)
    steps = work["streams"] * work["steps"] * updates
    train = jax.jit(module.make_train(_config(work, steps)))

    def once() -> int:
        jax.block_until_ready(train(jax.random.PRNGKey(0)))
        return steps

    once()
    return once


def _config(work: dict[str, Any], steps: int) -> dict[str, Any]:
    """As its yaml would have it."""
    config = {
        "LR": 5e-4, "NUM_ENVS": work["streams"], "NUM_STEPS": work["steps"], "TOTAL_TIMESTEPS": steps,
        "UPDATE_EPOCHS": work["epochs"], "NUM_MINIBATCHES": work["minibatches"], "GAMMA": 0.99, "GAE_LAMBDA": 0.95,
        "CLIP_EPS": 0.2, "ENT_COEF": 0.01, "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.5, "ACTIVATION": "relu",
        "ENV_KWARGS": {}, "ANNEAL_LR": False,
    }  # fmt: skip
    if work["environment"] == "mpe":
        return config | {"ENV_NAME": "MPE_simple_spread_v3"}
    battle = {"see_enemy_actions": True, "walls_cause_death": True, "attack_mode": "closest"}
    units = dict.fromkeys(("GRU_HIDDEN_DIM", "FC_DIM_SIZE"), work["hidden"][0])
    return config | units | {"MAP_NAME": work["map_name"], "ENV_KWARGS": battle, "SCALE_CLIP_EPS": False}


if __name__ == "__main__":
    serve(build)
