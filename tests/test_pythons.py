"""The Pythons that setup.py names are those that continuous integration tests, and ruff checks for the oldest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CI = ROOT / ".github/workflows/ci.yml"

if not CI.exists():
    pytest.skip("not a source checkout", allow_module_level=True)

TESTED = yaml.safe_load(CI.read_text())["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_setup_names_those_that_are_tested():
    text = (ROOT / "setup.py").read_text()
    assert re.findall(r"Programming Language :: Python :: (3\.\d+)", text) == TESTED
    assert re.search(r'python_requires="(.*)"', text).group(1) == f">={TESTED[0]}"


def test_ruff_checks_for_the_oldest():
    target = re.search(r'^target-version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    assert target == "py" + TESTED[0].replace(".", "")


def test_the_makefile_asks_for_the_oldest():
    assert f"sys.version_info < ({TESTED[0].replace('.', ', ')})" in (ROOT / "Makefile").read_text()
