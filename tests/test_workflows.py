"""The workflows: actions by commit, with the version beside it; no more leave than a job needs; the same Pythons."""

from __future__ import annotations

import re

import pytest
import yaml
from support import ROOT

FOLDER = ROOT / ".github/workflows"

if not FOLDER.exists():
    pytest.skip("not a source checkout", allow_module_level=True)

TEXTS = {file.name: file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.yml"))}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = {f"{name}: {job}": of for name, flow in WORKFLOWS.items() for job, of in flow["jobs"].items()}


def test_there_are_those_that_pages_tell_of():
    assert set(JOBS) == {"ci.yml: test", "ci.yml: train", "ci.yml: audit"} | {
        f"release.yml: {job}" for job in ("build", "try", "publish")
    }


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_by_commit(name):
    lines = re.findall(r"^\s*- uses: (.*)$", TEXTS[name], re.M)
    assert len(lines) == TEXTS[name].count("uses:") > 0
    for line in lines:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_commit_everywhere():
    found: dict[str, set[str]] = {}
    for text in TEXTS.values():
        for action, pinned in re.findall(r"uses: ([\w/-]+)@(.*)$", text, re.M):
            found.setdefault(action, set()).add(pinned)
    assert all(len(pinned) == 1 for pinned in found.values()), found


def test_no_job_may_do_more_than_it_needs():
    for name, job in JOBS.items():
        flow = WORKFLOWS[name.partition(":")[0]]
        publishes = name == "release.yml: publish"
        expected = {"id-token": "write"} if publishes else {"contents": "read"}
        assert job.get("permissions", flow["permissions"]) == expected, name
        assert ("environment" in job) == publishes and job["timeout-minutes"] <= 45, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, name
            assert "secrets." not in str(step), name
            assert "${{ github" not in step.get("run", ""), name  # what anyone may name is not pasted into a shell


def test_only_what_was_built_and_tried_is_published():
    jobs = WORKFLOWS["release.yml"]["jobs"]
    assert WORKFLOWS["release.yml"][True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` so
    assert jobs["publish"]["needs"] == ["build", "try"] and jobs["try"]["needs"] == "build"
    assert [step.get("uses", "").partition("@")[0] for step in jobs["publish"]["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert jobs["publish"]["environment"] == "pypi" and jobs["publish"]["steps"][1]["with"] == {"attestations": True}
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "tests/release.py" in step.get("run", "")]
    assert runs == [
        '.venv/bin/python tests/release.py --tag "$GITHUB_REF_NAME"',
        "python tests/release.py --try dist/*.whl --pythons python",
    ]


def test_a_release_is_tried_on_the_tested_pythons():
    tested = WORKFLOWS["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert WORKFLOWS["release.yml"]["jobs"]["try"]["strategy"]["matrix"]["python"] == tested
    named = re.search(r"^PYTHONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.M)[1]
    assert named.split() == [f"python{version}" for version in tested]


def test_dependabot_raises_both_kinds():
    found = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
    assert found["version"] == 2
    assert {one["package-ecosystem"] for one in found["updates"]} == {"github-actions", "pip"}
