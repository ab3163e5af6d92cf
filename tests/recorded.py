"""Made episodes of known contents, and what a reader must give for them. Shape letters as in recordings/episodes.py."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from epymarl_trust_region.recordings.episodes import Episode, EpisodeWriter
from epymarl_trust_region.recordings.layout import OURS

N, A, O, S = 2, 4, 3, 5  # noqa: E741
ABOUT = {
    "plugin_version": "0.1.0", "plugin_commit": "abc", "host": "lite", "host_commit": None, "algorithm": "happo",
    "learner": "happo_learner", "runner": "vector", "env": "gymma", "env_args": {"key": "A-v0", "seed": 3, "x": None},
    "seed": 3, "gamma": 0.9, "common_reward": True, "reward_scalarisation": "sum", "batch_size_run": 2, "t_max": 99,
    "checkpoint_path": "", "evaluation": False, "ends": "reported", "episode_limit": 9,
    "n_agents": N, "n_actions": A, "obs_dim": O, "state_dim": S,
}  # fmt: skip


def made(L: int, seed: int = 0, common: bool = True, **changes) -> Episode:
    """A random episode of L steps that ended by itself."""
    rng = np.random.default_rng(seed)
    episode = Episode(
        obs=rng.normal(size=(L + 1, N, O)).astype(np.float32),
        state=rng.normal(size=(L + 1, S)).astype(np.float32),
        avail_actions=rng.integers(0, 2, size=(L + 1, N, A)).astype(np.int8),
        actions=rng.integers(0, A, size=(L, N)),
        rewards=rng.normal(size=L if common else (L, N)).astype(np.float32),
        truncated=False,
        marked=True,
        t_env=10 * seed,
        log_probs=rng.normal(size=(L, N)).astype(np.float32),
    )
    return dataclasses.replace(episode, **changes)


def write(path: Path, *rollouts: list[Episode], **about) -> EpisodeWriter:
    writer = EpisodeWriter(path, ABOUT | about)
    for episodes in rollouts:
        writer.append(episodes)
    return writer


def change_metadata(path: Path, **changes) -> None:
    """Change metadata.json; a key that ends in _ is of our own part."""
    file = path / "data/metadata.json"
    metadata = json.loads(file.read_text())
    for key, value in changes.items():
        (metadata[OURS] if key.endswith("_") else metadata)[key.rstrip("_")] = value
    file.write_text(json.dumps(metadata))
