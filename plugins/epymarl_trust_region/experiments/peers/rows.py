"""What is compared with each peer: the same samples, networks and passes on both sides."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...git import git
from ...provenance import version
from ..bench_rows import Row
from ..bench_work import Work
from .side import PeerWork


@dataclass(frozen=True)
class Sizes:
    """What both sides have alike."""

    streams: int  # environments
    steps: int  # of each per update
    epochs: int
    minibatches: int
    hidden: int = 64  # units of each of two layers, actors and critic

    def ours(self, **overrides: Any) -> dict[str, Any]:
        """As keys of our yamls."""
        passes = {"epochs": self.epochs, "critic_epochs": self.epochs}
        parts = {"actor_num_mini_batch": self.minibatches, "critic_num_mini_batch": self.minibatches}
        return passes | parts | {"hidden_dim": self.hidden, "critic_hidden_dim": self.hidden} | overrides

    def theirs(self, threads: int) -> dict[str, Any]:
        """As a peer's script is told."""
        same = {"streams": self.streams, "steps": self.steps, "epochs": self.epochs, "minibatches": self.minibatches}
        return {**same, "hidden": [self.hidden, self.hidden], "torch_threads": threads}


_ROBOT, _SPREAD = Sizes(8, 512, 10, 4), Sizes(10, 25, 5, 1)


def _harl() -> tuple[Row, ...]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    robot, spread = {"scenario": "HalfCheetah", "partition": "6x1"}, {"steps": 25, "agents": 3}
    on_robot = {"environment": "mamujoco", "env_args": robot}
    on_spread = {"environment": "pettingzoo_mpe", "env_args": spread}
    streams = {"rollout_steps": 512, "value_norm": "popart", "normalise_inputs": True, "env_processes": cores}
    return (
        Row(
            "harl-halfcheetah6x1", f"HAPPO : HARL's, HalfCheetah 6x1, {cores} cores", 4, 6,
            Work("happo", "mamujoco", robot, episodes=8, overrides=_ROBOT.ours(lr=3e-4, entropy_coef=0.0, **streams)),
            PeerWork("HARL", "run_harl.py", _ROBOT.theirs(cores) | on_robot),
            7, "mujoco",
        ),
        Row(
            "harl-spread", f"HAPPO : HARL's, spread, 10 x 25, {cores} cores", 3, None,
            Work("happo", "gymma", _MPE, in_a_row=4, overrides=_SPREAD.ours()),
            PeerWork("HARL", "run_harl.py", _SPREAD.theirs(cores) | on_spread),
            15, "mpe2",
        ),
    )  # fmt: skip


_MPE = {"key": "pz-mpe-simple-spread-v3", "time_limit": 25}


def _jaxmarl() -> tuple[Row, ...]:
    spread = tuple(
        Row(
            f"jaxmarl-spread-{sizes.streams}", f"IPPO : JaxMARL's, spread, {sizes.streams} x 25", None, None,
            Work("ir_ippo", "gymma", _MPE, episodes=sizes.streams, in_a_row=4, overrides=sizes.ours()),
            PeerWork("JaxMARL", "run_jaxmarl.py", sizes.theirs(1) | {"environment": "mpe"}),
            9, "mpe2",
        )
        for sizes in (Sizes(10, 25, 4, 1), Sizes(64, 25, 4, 1), Sizes(1024, 25, 4, 1))
    )  # fmt: skip
    sizes, battle = Sizes(64, 128, 4, 4, hidden=128), {"map_name": "2s3z"}
    streams = sizes.ours(use_rnn=True, rollout_steps=sizes.steps, env_processes=1)
    smax = Row(
        "jaxmarl-smax-gru", "IPPO with a GRU : JaxMARL's, SMAX 2s3z, 64 x 128", None, None,
        Work("ir_ippo", "smax", battle, episodes=sizes.streams, overrides=streams),
        PeerWork("JaxMARL", "run_jaxmarl.py", sizes.theirs(1) | battle | {"environment": "smax"}),
        5, "jaxmarl",
    )  # fmt: skip
    return (*spread, smax)


def _benchmarl() -> tuple[Row, ...]:
    sizes = Sizes(64, 100, 4, 1)
    env_args = {"key": "vmas-balance", "time_limit": 100}
    return (
        Row(
            "benchmarl-balance", "IPPO : BenchMARL's, VMAS balance, 64 x 100", None, None,
            Work("ir_ippo", "gymma", env_args, episodes=64, overrides=sizes.ours(batched_envs="any")),
            PeerWork("BenchMARL", "run_benchmarl.py", sizes.theirs(1) | {"scenario": "balance"}),
            7, "vmas",
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """A repository, a file by which its checkout is known, and the rows."""

    repository: str
    known_by: str
    rows: Callable[[], tuple[Row, ...]]


PEERS = {
    "harl": Peer("PKU-MARL/HARL", "harl/runners/on_policy_ha_runner.py", _harl),
    "jaxmarl": Peer("FLAIROx/JaxMARL", "baselines/IPPO/ippo_ff_mpe.py", _jaxmarl),
    "benchmarl": Peer("facebookresearch/BenchMARL", "benchmarl/experiment/experiment.py", _benchmarl),
}


def checked(name: str, home: Path | None, python: str) -> Path:
    """The peer's checkout.

    Raises:
        ConfigError: there is no such checkout, or no such Python.
    """
    peer = PEERS[name]
    if home is None or not (home / peer.known_by).is_file():
        given = "--home is missing" if home is None else f"--home={home} is no checkout of it"
        raise ConfigError(
            f"--peer={name}: {given}; `git clone https://github.com/{peer.repository}`, and name the folder"
        )
    if shutil.which(python) is None:
        raise ConfigError(f"--peer-python={python} is no program; name the Python that has what {name} needs")
    return home.resolve()


def made_from(name: str, home: Path) -> dict[str, Any]:
    """The commit of a peer's checkout, and its modified files; those that were never checked out are none."""
    commit = git("rev-parse", "--short=12", "HEAD", cwd=home)
    changed = git("diff", "--name-only", "--diff-filter=M", "HEAD", cwd=home)
    if commit.returncode or changed.returncode:
        return version(name, None, ())
    return version(name, commit.stdout.strip(), tuple(changed.stdout.split()))
