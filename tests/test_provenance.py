"""The commit that stands for a result, and the files that keep it from doing so; on real repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from epymarl_trust_region import provenance
from epymarl_trust_region.provenance import modified_files, own_version, version


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout of the plugin with one commit, and the real look at it (the suite of tests has another)."""
    home = tmp_path / "plugin"
    for name in ("plugins/learner.py", "configs/algs/happo.yaml", "results/study/curves.csv"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("as committed\n")
    git("init", "-q", cwd=home)
    git("add", ".", cwd=home)
    git("commit", "-qm", "x", cwd=home)
    monkeypatch.setattr(provenance, "_CHECKOUT", home)
    monkeypatch.setattr(provenance, "modified_files", modified_files)
    return home


def test_a_clean_checkout_is_its_commit(checkout):
    assert own_version() == {"plugin_commit": git("rev-parse", "--short=12", "HEAD", cwd=checkout).strip()}
    (checkout / "notes.txt").write_text("not tracked")
    assert modified_files() == () and set(own_version()) == {"plugin_commit"}


def test_modified_files_are_named(checkout):
    commit = own_version()["plugin_commit"]
    (checkout / "configs/algs/happo.yaml").write_text("lr: 1\n")
    (checkout / "plugins/learner.py").unlink()
    expected = ["configs/algs/happo.yaml", "plugins/learner.py"]
    assert own_version() == {"plugin_commit": f"{commit}-dirty", "plugin_modified": expected}
    git("add", ".", cwd=checkout)  # staged is not committed
    assert own_version()["plugin_modified"] == expected
    git("commit", "-qm", "y", cwd=checkout)
    assert "plugin_modified" not in own_version() and own_version()["plugin_commit"] != commit


def test_results_make_no_results(checkout):
    """One report after the other, without a commit in between."""
    (checkout / "results/study/curves.csv").write_text("new\n")
    assert modified_files() == () and not own_version()["plugin_commit"].endswith("-dirty")


def test_a_wheel_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(provenance, "git", lambda *_, **__: pytest.fail("there may be no git"))
    assert modified_files() == () and own_version() == {"plugin_commit": None}


def test_a_version_is_marked_where_files_differ():
    assert version("host", "c", ()) == {"host_commit": "c"}
    assert version("host", "c", ("src/run.py",)) == {"host_commit": "c-dirty", "host_modified": ["src/run.py"]}
    assert version("host", None, ()) == {"host_commit": None}
