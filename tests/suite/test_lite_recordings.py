"""The built-in suite against rollouts recorded with the real EPyMARL (tests/data/record.py)."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from data import record
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner

RECORDED, MADE_BY = record.load(record.RECORDING)
PACKAGE = {"spread": "mpe2", "speaker": "mpe2", "lbf": "lbforaging", "toy": "gymnasium"}


@pytest.mark.parametrize("name", record.CASES)
def test_same_rollouts_as_recorded(name: str) -> None:
    pytest.importorskip(PACKAGE[name.split("-")[0]])
    why = (
        f"\nrecorded with {MADE_BY}\nhere         {record.versions()}\n"
        "If a package changed its environment, record anew: python tests/data/record.py --epymarl <checkout>"
    )
    expected, expected_notes = RECORDED[name]
    # Where JAX runs, workers are spawned, and then they do not know the toy, which this process has registered.
    processes = 1 if "jax" in sys.modules else 2
    fields, notes = record.drive(vector_runner, OneHot, record.CASES[name], env_processes=processes)
    assert fields.keys() == expected.keys(), why
    for key, value in expected.items():
        assert fields[key].dtype == value.dtype, key + why
        assert _same(fields[key], value), key + why
    for key in ("info", "t_env", "shown", "calls"):
        assert notes[key] == expected_notes[key], key + why
    assert [row[:2] + row[3:] for row in notes["logged"]] == [row[:2] + row[3:] for row in expected_notes["logged"]]
    assert _same(*(np.array([row[2] for row in table["logged"]]) for table in (notes, expected_notes))), why


def _same(value: np.ndarray, expected: np.ndarray) -> bool:
    """Whole numbers exactly; other processors may differ from the recording's in an exponential's last bits."""
    if value.dtype.kind == "f":
        return value.shape == expected.shape and np.allclose(value, expected, rtol=1e-4, atol=1e-5)
    return np.array_equal(value, expected)
