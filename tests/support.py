"""Hand-made batches, arguments and learners: everything that a learner test needs, and no host.

Shape letters: B episodes, T steps, N agents, A actions, O observation.
"""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml
from epymarl_trust_region.suite import algorithms, epymarl

ROOT = Path(__file__).resolve().parents[1]
#: By their names in yaml files; called, each makes one. And the dataclass of each learner's keys.
LEARNERS, CONTROLLERS = algorithms.learners(), algorithms.controllers()
SCHEMAS = {
    name: part.schema for name, part in {**LEARNERS, **algorithms.offline_learners()}.items() if not part.package
}
#: A script that runs another, named first, whose worker processes share nothing with it.
SPAWN = """
import multiprocessing, os, runpy, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(main)
    runpy.run_path(main, run_name="__main__")
"""


def clone_suite(home: Path, target: Path) -> None:
    """EPyMARL at the tested commit, from the checkout at `home`, without whatever is changed there."""
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(home), str(target)], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", epymarl.PINNED_COMMIT], cwd=target, check=True)


class HandMadeBatch(dict):
    """The part of an EpisodeBatch that learners and controllers read."""

    device: str | torch.device = "cpu"

    @property
    def batch_size(self) -> int:
        return self["filled"].shape[0]

    @property
    def max_seq_length(self) -> int:
        return self["filled"].shape[1]

    def __getitem__(self, key):
        """A field; with slices of all, as an EpisodeBatch has it, another batch of the same tensors."""
        return HandMadeBatch(self) if isinstance(key, tuple) else super().__getitem__(key)

    def to(self, device: str | torch.device) -> None:
        self.device = device
        self.update({key: value.to(device) for key, value in self.items()})

    def copy(self) -> HandMadeBatch:
        return HandMadeBatch({k: v.clone() for k, v in self.items()})


class RecordingLogger:
    """Keeps what is logged."""

    console_logger = logging.getLogger("learner")

    def __init__(self) -> None:
        self.stats: dict[str, list] = {}

    def log_stat(self, key, value, t, to_sacred=True) -> None:
        self.stats.setdefault(key, []).append((t, value))


def continuous(batch: HandMadeBatch, seed: int = 0, dimensions=None) -> HandMadeBatch:
    """The same episodes with real-valued actions of as many dimensions as there were actions.

    Args:
        dimensions: how many of them each agent has; None: all.
    """
    g = torch.Generator().manual_seed(seed)
    avail = batch["avail_actions"]
    real = torch.ones_like(avail) * batch["filled"].unsqueeze(-1).int()
    for i, count in enumerate(dimensions or []):
        real[:, :, i, count:] = 0
    actions = torch.randn(avail.shape, generator=g, dtype=batch["obs"].dtype) * real
    other = {key: value for key, value in batch.items() if key != "actions_onehot"}
    return HandMadeBatch(other | {"actions": actions, "avail_actions": real})


def logged(file: Path) -> dict:
    """The statistics in a run's info.json; Sacred writes NumPy's numbers as objects."""
    return json.loads(file.read_text(), object_hook=lambda x: x["value"] if "py/object" in x and "value" in x else x)


def algorithm(name: str = "happo", **overrides) -> dict:
    """The algorithm's own yaml over the host's defaults, with `overrides`."""
    config, files = {}, algorithms.algorithm_files()
    online = [files[name.removesuffix("_offline")]] if name.endswith("_offline") else []
    for file in (ROOT / "configs/lite/default.yaml", *online, files[name]):
        config |= yaml.safe_load(file.read_text())
    return config | {"env_args": {"time_limit": None}, "use_cuda": False, "device": "cpu"} | overrides


def make_args(batch: HandMadeBatch, name: str = "happo", **overrides) -> SimpleNamespace:
    """Arguments as the suite's `run` would complete them, for this batch."""
    n_agents, n_actions = batch["avail_actions"].shape[2:]
    sizes = {k: batch.batch_size for k in ("batch_size", "batch_size_run", "buffer_size")}
    return SimpleNamespace(**{**algorithm(name), **sizes, "n_agents": n_agents, "n_actions": n_actions, **overrides})


def scheme_of(batch: HandMadeBatch) -> dict:
    """The suite's scheme of the batch."""
    return {
        "actions": {"vshape": (batch["actions"].shape[-1],), "group": "agents", "dtype": batch["actions"].dtype},
        "state": {"vshape": batch["state"].shape[-1]},
        "obs": {"vshape": batch["obs"].shape[-1], "group": "agents"},
        "actions_onehot": {"vshape": (batch["avail_actions"].shape[-1],), "group": "agents"},
    }


def make_learner(batch: HandMadeBatch, name: str = "happo", seed: int = 0, **overrides):
    """A learner with a MAC, for batches like this one."""
    torch.manual_seed(seed)
    args = make_args(batch, name, **overrides)
    mac = algorithms.controllers()[args.mac](scheme_of(batch), {"agents": args.n_agents}, args)
    return algorithms.learners()[args.learner](mac, scheme_of(batch), RecordingLogger(), args)


def one_hot(batch: HandMadeBatch) -> HandMadeBatch:
    """The batch with observations as an environment with a few states has them, for tables; padding is 0."""
    seen, width = batch["obs"].argmax(-1), batch["obs"].shape[-1]
    batch["obs"] = torch.nn.functional.one_hot(seen, width).float() * batch["filled"].unsqueeze(-1)
    batch["state"] = batch["obs"].flatten(2)
    return batch


def make_batch(
    seed: int = 0,
    B: int = 4,
    T: int = 6,
    N: int = 3,
    A: int = 4,
    obs_dim: int = 5,
    lengths=None,
    terminated=True,
    avail=None,
) -> HandMadeBatch:
    """Random episodes of the given lengths (T by default), ended by a true termination or cut off.

    Args:
        lengths: B numbers of steps, at most T.
        terminated: whether episodes end by themselves.
        avail: share of available actions (action 0 always is); None: all.
    """
    g = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths if lengths is not None else [T] * B)
    step = torch.arange(T + 1)
    filled = (step <= lengths[:, None]).long().unsqueeze(-1)
    live = (step < lengths[:, None]).unsqueeze(-1)
    available = torch.ones(B, T + 1, N, A, dtype=torch.int32)
    if avail is not None:
        available = (torch.rand(B, T + 1, N, A, generator=g) < avail).int()
        available[..., 0] = 1
    actions = torch.multinomial(available.float().view(-1, A), 1, generator=g).view(B, T + 1, N, 1)
    ended = (step == lengths[:, None] - 1).unsqueeze(-1).to(torch.uint8) * int(terminated)
    obs = torch.randn(B, T + 1, N, obs_dim, generator=g) * filled.unsqueeze(-1)
    return HandMadeBatch(
        obs=obs,
        state=obs.flatten(2).clone(),
        actions=actions * filled.unsqueeze(-1),
        actions_onehot=torch.nn.functional.one_hot(actions.squeeze(-1), A).float() * filled.unsqueeze(-1),
        avail_actions=available * filled.unsqueeze(-1).int(),
        reward=torch.randn(B, T + 1, 1, generator=g) * live,
        terminated=ended,
        filled=filled,
    )


def one_hot_batch(seed: int):
    """Observations one-hot over 5; which actions are available depends on the observation."""
    batch = make_batch(seed=seed, B=16, lengths=[6, 3, 1, 5] * 4, A=3)
    g = torch.Generator().manual_seed(seed)
    seen = torch.randint(5, batch["obs"].shape[:3], generator=g)
    batch["obs"] = torch.eye(5)[seen]
    batch["state"] = batch["obs"].flatten(2)
    batch["avail_actions"] = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 1, 1]])[seen]
    probs = batch["avail_actions"].double().flatten(0, 2)
    batch["actions"] = torch.multinomial(probs, 1, generator=g).view_as(batch["actions"])
    return batch
