"""The built-in suite and the real EPyMARL play the same rollouts: every field, statistic and count must be the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from data import record
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner

pytestmark = pytest.mark.integration

ALL_CASES = record.CASES | {f"long-{name}": case for name, case in record.LONG_CASES.items()}


@pytest.fixture(scope="module")
def of_epymarl(epymarl_home: Path, tmp_path_factory) -> dict:
    return _record(epymarl_home, tmp_path_factory.mktemp("conformance") / "rollouts.npz")


def _record(home: Path, out: Path, *options: str) -> dict:
    command = [sys.executable, "-W", "ignore", record.__file__, "--epymarl", home, "--long", "--out", out, *options]
    plugins = str(Path(__file__).resolve().parents[2] / "plugins")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": plugins}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return record.load(out)[0]


@pytest.mark.parametrize("processes", ["2", *(pytest.param(n, marks=pytest.mark.thorough) for n in "13")])
def test_the_vector_runner_on_epymarl_plays_the_same_as_its_parallel_runner(
    processes: str, of_epymarl: dict, epymarl_home: Path, tmp_path: Path
) -> None:
    """One, two and three processes for three environments, on EPyMARL's own batches and wrappers."""
    ours = _record(epymarl_home, tmp_path / "vector.npz", "--vector", processes)
    for name, (expected, expected_notes) in of_epymarl.items():
        fields, notes = ours[name]
        assert fields.keys() == expected.keys()
        for key, value in expected.items():
            assert fields[key].dtype == value.dtype, (name, key)
            assert np.array_equal(fields[key], value), (name, key)
        assert notes == expected_notes


@pytest.mark.parametrize("name", ALL_CASES)
def test_same_rollouts_as_epymarl(name: str, of_epymarl: dict) -> None:
    expected, expected_notes = of_epymarl[name]
    fields, notes = record.drive(vector_runner, OneHot, ALL_CASES[name])
    assert fields.keys() == expected.keys()
    for key, value in expected.items():
        assert fields[key].dtype == value.dtype, key
        assert np.array_equal(fields[key], value), key
    assert json.loads(json.dumps(notes)) == expected_notes
    assert all(notes["shown"]), "the MAC was shown something other than what was stored"


def test_the_cases_tell_lengths_apart(of_epymarl: dict) -> None:
    """Guards the oracle: some environments must end before others, and time limits must occur."""
    fields, _ = of_epymarl["lbf-team"]
    lengths = fields["0/filled"].sum(axis=(1, 2))
    assert len(set(lengths)) > 1
    assert any("episode_limit_mean" in key for _, key, _, _ in of_epymarl["toy-team"][1]["logged"])


@pytest.mark.parametrize("name", ["default.yaml", "envs/gymma.yaml"])
def test_same_defaults_as_epymarl(name: str, epymarl_home: Path) -> None:
    ours = Path(__file__).resolve().parents[2] / "configs" / "lite" / name
    theirs = epymarl_home / "src" / "config" / name
    assert yaml.safe_load(ours.read_text()) == yaml.safe_load(theirs.read_text())
