"""Minari loads a recording by its folder or by its name, and finds in it what was written."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import A, N, made, write

pytest.importorskip("h5py")
minari = pytest.importorskip("minari")


@pytest.mark.parametrize("common", [True, False])
def test_minari_reads_it(common, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = [made(3, 1, common), made(5, 2, common, truncated=True, log_probs=None)]
    write(tmp_path / "spread-happo-v0", episodes[:1], episodes[1:], common_reward=common)
    for data in (minari.load_dataset("spread-happo-v0"), minari.MinariDataset(tmp_path / "spread-happo-v0/data")):
        assert (data.total_episodes, data.total_steps) == (2, 8)
        assert data.action_space.nvec.tolist() == [A] * N
        for ours, theirs in zip(episodes, data.iterate_episodes(), strict=True):
            assert np.array_equal(theirs.actions, ours.actions) and theirs.actions[0] in data.action_space
            assert np.array_equal(theirs.rewards, ours.rewards)
            assert theirs.terminations.tolist() == [False] * (ours.length - 1) + [not ours.truncated]
            assert theirs.truncations.tolist() == [False] * (ours.length - 1) + [ours.truncated]
            for key, value in theirs.observations.items():
                assert np.array_equal(value, getattr(ours, key))
            assert {key: value[-1] for key, value in theirs.observations.items()} in data.observation_space
            assert set(theirs.infos) == ({"log_probs"} if ours.log_probs is not None else set())
            assert str(theirs)
