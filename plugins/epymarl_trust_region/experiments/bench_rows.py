"""The rows of `epymarl-tr bench`: two sides each, and how many times as fast ours has to be.

Ours have the network sizes of the suite's defaults here (64 units), as `mappo_ns` has. Rows are of HAPPO unless their
name says otherwise, and a row `A : B` holds A against B, two of ours.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .bench_work import Work

if TYPE_CHECKING:
    from .peers.side import PeerWork

_SPREAD = {"key": "pz-mpe-simple-spread-v3", "time_limit": 25}
SAME_NETWORKS = {"hidden_dim": 64, "critic_hidden_dim": 64}
# In an update on its own HAPPO makes 5 passes over the batch to the other's 4; in whole iterations both make 4.
_UPDATE = SAME_NETWORKS | {"epochs": 5, "critic_epochs": 5}
_ITERATION = SAME_NETWORKS | {"epochs": 4, "critic_epochs": 4}
_HATRPO_UPDATE = SAME_NETWORKS | {"critic_epochs": 5}
_SEPARATE = {"share_parameters": False, "obs_agent_id": False}


@dataclass(frozen=True)
class Row:
    """One line of the table: two sides, and how many times as fast ours has to be."""

    name: str
    title: str
    must: float | None
    aim: float | None
    ours: Work
    theirs: Work | PeerWork
    repetitions: int = 15
    needs: str | None = None  # a package

    @property
    def missing(self) -> str | None:
        """Why the row cannot be measured here, or None."""
        found = self.needs is None or importlib.util.find_spec(self.needs)
        return None if found else f"the package {self.needs} is not installed"


def update_row(
    agents: int,
    steps: int,
    use_rnn: bool,
    must: float | None,
    aim: float | None,
    repetitions: int,
    algorithm: str = "happo",
    overrides: dict[str, Any] = _UPDATE,
    against: str = "mappo_ns",
) -> Row:
    made: dict[str, Any] = {
        "environment": "gymma",
        "env_args": _SPREAD,
        "agents": agents,
        "steps": steps,
        "made_batch": True,
    }
    made["in_a_row"] = 5 if steps < 100 else 2
    kind = "GRU" if use_rnn else "MLP"
    name, title = ("", "") if algorithm == "happo" else (f"{algorithm}-", f"{algorithm} ")
    if against != "mappo_ns":  # one of ours, with the same settings
        name, title = f"{name}{against}-", f"{algorithm} : {against}, "
    return Row(
        f"train-{name}{kind.lower()}-n{agents}-10x{steps}",
        f"{title}train(), {kind}, {agents} agents, 10 x {steps} steps",
        must,
        aim,
        Work(algorithm, **made, overrides=overrides | {"use_rnn": use_rnn}),
        Work(against, **made, overrides=({} if against == "mappo_ns" else overrides) | {"use_rnn": use_rnn}),
        repetitions,
    )


def _matrl_row(name: str, title: str, task: dict) -> Row:
    """Whole iterations of MATRL against independent learners, its trial step alone; 1.2 times as long at most."""
    overrides = SAME_NETWORKS | {"batched_envs": "none"}
    ours, theirs = (Work(one, **task, overrides=overrides) for one in ("matrl", "il"))
    return Row(name, title, 1 / 1.2, None, ours, theirs)


def _iteration_row(
    name: str, title: str, must: float, aim: float, task: dict, needs: str | None = None, **ours: Any
) -> Row:
    sides = Work("happo", **task, overrides=_ITERATION | ours), Work("mappo_ns", **task)
    return Row(name, title, must, aim, *sides, needs=needs)


_ON_SPREAD: dict[str, Any] = {"environment": "gymma", "env_args": _SPREAD, "in_a_row": 4}
_ON_SPEAKER = _ON_SPREAD | {"env_args": {"key": "pz-mpe-simple-speaker-listener-v4", "time_limit": 25}}
_ON_SMACLITE = {"environment": "smaclite", "env_args": {"map_name": "2s3z", "time_limit": 150}}
# The study results/mamujoco's: 8000 steps a second are 125 ms per 1000.
_ON_MUJOCO: dict[str, Any] = {
    "environment": "mamujoco",
    "env_args": {"scenario": "HalfCheetah", "partition": "6x1"},
    "episodes": 8,
}
_MUJOCO = {"rollout_steps": 512, "hidden_dim": 64, "critic_hidden_dim": 128, "critic_num_mini_batch": 4, "gamma": 0.99,
           "value_norm": "popart", "normalise_inputs": True, "env_processes": 1}  # fmt: skip
_MUJOCO_CLIPPED = _MUJOCO | {"lr": 3e-4, "epochs": 10, "actor_num_mini_batch": 4, "entropy_coef": 0.0}


def _mujoco_row(name: str, title: str, ours: tuple[str, dict], theirs: tuple[str, dict]) -> Row:
    """Whole iterations on one core of HalfCheetah 6x1, in 8 streams of 512 steps, of two of ours."""
    first, second = (Work(one, **_ON_MUJOCO, overrides=overrides) for one, overrides in (ours, theirs))
    return Row(name, f"{title}, HalfCheetah 6x1", None, None, first, second, repetitions=7, needs="mujoco")


ROWS = (
    update_row(3, 25, False, 4.5, 8, 25),
    update_row(3, 150, False, 11, 14, 9),
    update_row(8, 25, False, 5, 8, 15),
    update_row(3, 25, True, 2, 4, 15),
    update_row(3, 150, True, 2, 4, 7),
    update_row(3, 25, False, None, None, 15, "hatrpo", _HATRPO_UPDATE),
    update_row(3, 150, False, None, None, 9, "hatrpo", _HATRPO_UPDATE),
    update_row(3, 25, True, None, None, 9, "hatrpo", _HATRPO_UPDATE),
    update_row(3, 25, False, None, None, 15, "jr_ppo", _UPDATE | _SEPARATE),
    update_row(3, 25, True, None, None, 9, "jr_ppo", _UPDATE | _SEPARATE),
    update_row(3, 25, False, None, None, 15, "matrl", SAME_NETWORKS),
    update_row(27, 25, False, 1 / 1.2, None, 15, "matrl", SAME_NETWORKS, against="il_pp"),
    _matrl_row("matrl-il-speaker", "matrl : il, speaker-listener (2 agents)", _ON_SPEAKER),
    _matrl_row("matrl-il-spread", "matrl : il, spread (3 agents)", _ON_SPREAD),
    _matrl_row("matrl-il-spread-4", "matrl : il, spread (4 agents)", _ON_SPREAD | {"env_args": _SPREAD | {"N": 4}}),
    _iteration_row("spread-vector", "spread, the environment's own code", 2.5, 2.7, _ON_SPREAD, batched_envs="none"),
    _iteration_row("spread-batched", "spread, batched environments", 10, 13, _ON_SPREAD),
    _iteration_row("smaclite-2s3z", "SMAClite 2s3z", 2.0, 2.4, _ON_SMACLITE, needs="smaclite"),
    _mujoco_row(
        "mujoco-happo", "happo : ir_mappo", ("happo", _MUJOCO_CLIPPED), ("ir_mappo", _MUJOCO_CLIPPED | _SEPARATE)
    ),
    _mujoco_row(
        "mujoco-hatrpo", "hatrpo : happo", ("hatrpo", _MUJOCO | {"kl_threshold": 0.01}), ("happo", _MUJOCO_CLIPPED)
    ),
)
