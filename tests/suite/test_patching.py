"""Patching a checkout: refusals leave every file as it was, and undo gives it back byte for byte."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from epymarl_trust_region import git as git_command
from epymarl_trust_region.errors import SuiteError
from epymarl_trust_region.suite import epymarl, patching
from support import ROOT

ORIGINAL = "one\ntwo\nthree\n"
PATCHED = "one\ntwo and a half\nthree\n"
PATCH = """\
diff --git a/src/main.py b/src/main.py
--- a/src/main.py
+++ b/src/main.py
@@ -1,3 +1,3 @@
 one
-two
+two and a half
 three
"""


def git(*arguments: str, cwd: Path) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like an unpacked zip download, and a small patch that fits it."""
    patches = tmp_path / "patches"
    patches.mkdir()
    (patches / "0001-x.patch").write_text(PATCH)
    monkeypatch.setattr(patching, "patches_root", lambda: patches)
    home = tmp_path / "suite"
    (home / "src").mkdir(parents=True)
    (home / "src/main.py").write_text(ORIGINAL)
    (home / "src/run.py").write_text("run\n")
    return home


@pytest.fixture
def checkout(zipped: Path) -> Path:
    git("init", "-q", cwd=zipped)
    git("add", ".", cwd=zipped)
    git("commit", "-qm", "x", cwd=zipped)
    return zipped


@pytest.mark.parametrize("kind", ["checkout", "zipped"])
def test_apply_and_undo(kind: str, request: pytest.FixtureRequest) -> None:
    home = request.getfixturevalue(kind)
    main = home / "src/main.py"
    assert not patching.is_patched(home)
    assert patching.apply(home) is True
    assert main.read_text() == PATCHED
    assert patching.is_patched(home)
    assert patching.apply(home) is False  # our own change does not count as dirty
    assert main.read_text() == PATCHED
    assert patching.undo(home) is True
    assert main.read_bytes() == ORIGINAL.encode()
    assert patching.undo(home) is False
    assert main.read_bytes() == ORIGINAL.encode()


def test_several_patches_build_on_each_other(checkout: Path) -> None:
    second = PATCH.replace("-two\n", "-two and a half\n").replace("+two and a half", "+two and three quarters")
    (patching.patches_root() / "0002-y.patch").write_text(second)
    patching.apply(checkout)
    assert (checkout / "src/main.py").read_text() == "one\ntwo and three quarters\nthree\n"
    patching.undo(checkout)
    assert (checkout / "src/main.py").read_text() == ORIGINAL


SECOND = PATCH.replace("src/main.py", "src/run.py").replace(" one\n-two\n+two and a half\n three\n", " run\n+more\n")
SECOND = SECOND.replace("@@ -1,3 +1,3 @@", "@@ -1 +1,2 @@")


@pytest.mark.parametrize("kind, committed", [("checkout", False), ("checkout", True), ("zipped", False)])
def test_what_an_older_version_has_patched_is_completed_and_taken_back(kind, committed, request) -> None:
    """Of a series of two the first is there, in the working tree or as a commit (`git am`)."""
    home = request.getfixturevalue(kind)
    patching.apply(home)
    if committed:
        git("commit", "-qam", "theirs", cwd=home)
    first = patching.patches_root() / "0001-x.patch"
    (patching.patches_root() / "0002-y.patch").write_text(SECOND)
    assert patching.applied(home) == [first] and not patching.is_patched(home)
    assert patching.apply(home) is True and patching.is_patched(home)
    assert (home / "src/main.py").read_text() == PATCHED and (home / "src/run.py").read_text() == "run\nmore\n"
    assert patching.undo(home) is True and patching.applied(home) == []
    assert (home / "src/main.py").read_text() == ORIGINAL and (home / "src/run.py").read_text() == "run\n"


def test_a_part_of_the_series_is_taken_back_too(checkout: Path) -> None:
    patching.apply(checkout)
    (patching.patches_root() / "0002-y.patch").write_text(SECOND)
    assert patching.undo(checkout) is True
    assert (checkout / "src/main.py").read_text() == ORIGINAL and (checkout / "src/run.py").read_text() == "run\n"


def test_others_changes_hinder_the_rest_of_the_series(checkout: Path) -> None:
    patching.apply(checkout)
    (patching.patches_root() / "0002-y.patch").write_text(SECOND)
    (checkout / "src/run.py").write_text("edited\n")
    with pytest.raises(SuiteError, match=r"has modified files: src/run\.py; commit or stash"):
        patching.apply(checkout)
    assert patching.applied(checkout) == [patching.patches_root() / "0001-x.patch"]


def test_a_dirty_checkout_is_refused_and_named(checkout: Path) -> None:
    (checkout / "src/run.py").write_text("edited\n")
    (checkout / "notes.txt").write_text("untracked files are no concern\n")
    with pytest.raises(SuiteError, match=r"has modified files: src/run\.py; commit or stash"):
        patching.apply(checkout)
    assert (checkout / "src/main.py").read_text() == ORIGINAL


def test_untracked_files_do_not_hinder(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("mine\n")
    assert patching.apply(checkout) is True


def test_undo_keeps_other_changes(checkout: Path) -> None:
    patching.apply(checkout)
    (checkout / "src/run.py").write_text("edited\n")
    assert patching.undo(checkout) is True
    assert (checkout / "src/run.py").read_text() == "edited\n"
    assert (checkout / "src/main.py").read_text() == ORIGINAL


@pytest.mark.parametrize("action", [patching.apply, patching.undo])
def test_a_patch_that_does_not_fit_changes_nothing(zipped: Path, action) -> None:
    (zipped / "src/main.py").write_text("one\nsomething else\nthree\n")
    with pytest.raises(SuiteError, match=r"do not fit .*src/main\.py"):
        action(zipped)
    assert (zipped / "src/main.py").read_text() == "one\nsomething else\nthree\n"


def test_a_download_inside_another_repository_is_its_own(zipped: Path) -> None:
    """git would otherwise resolve the patch's paths against the outer repository, and silently do nothing."""
    git("init", "-q", cwd=zipped.parent)
    assert patching.apply(zipped) is True
    assert (zipped / "src/main.py").read_text() == PATCHED


def test_a_hook_of_another_repository_does_not_redirect(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    (checkout / "src/run.py").write_text("edited\n")
    assert git_command.dirty_files(checkout) == ("src/run.py",)


def test_no_git(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SuiteError, match="git is not installed"):
        patching.apply(zipped)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_git_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\nsleep 60 >{tmp_path}/out 2>&1 &\necho $! >{tmp_path}/pid\nwait\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SuiteError, match="`git status` took longer than 2 s"):
        git_command.git("status", cwd=tmp_path, timeout_s=2)  # in which the fake has started
    # What it has started goes with it. (An ended process may stay listed, as a zombie, until its parent asks.)
    state = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    for _ in range(1200):  # it has been told to; a busy machine may take a moment
        if ended := not state.exists() or state.read_text().split()[2] in "ZX":
            break
        time.sleep(0.05)
    assert ended


def test_the_shipped_patches_for_plugins_touch_one_file_each() -> None:
    touched = [{"src/main.py"}, {"src/run.py"}, {"src/main.py"}]
    assert [patching.patched_files([patch]) for patch in patching.for_plugins()] == touched


def test_patches_are_chosen_by_number_with_those_that_they_need() -> None:
    assert [patching.number(patch) for patch in patching.chosen([5, 3])] == [1, 3, 5]
    assert patching.chosen([1]) == patching.series()[:1]
    with pytest.raises(SuiteError, match=r"there is no patch 99; they are 1, 2, .*: see patches/README\.md"):
        patching.chosen([1, 99])


def test_any_part_of_the_series_is_found_completed_and_taken_back(checkout: Path) -> None:
    folder = patching.patches_root()
    (folder / "0004-y.patch").write_text(SECOND)
    (folder / "0005-z.patch").write_text(SECOND.replace("run.py", "other.py"))
    (checkout / "src/other.py").write_text("run\n")
    git("add", ".", cwd=checkout)
    git("commit", "-qm", "y", cwd=checkout)
    assert patching.apply(checkout, patching.chosen([5])) is True
    assert [patching.number(patch) for patch in patching.applied(checkout)] == [5]
    assert not patching.is_patched(checkout)
    assert patching.apply(checkout) is True and patching.is_patched(checkout)  # by default none but those for plugins
    assert [patching.number(patch) for patch in patching.applied(checkout)] == [1, 5]
    assert patching.apply(checkout, patching.series()) is True and patching.applied(checkout) == patching.series()
    assert patching.undo(checkout) is True and patching.applied(checkout) == []
    assert git_command.dirty_files(checkout) == ()


def test_an_upgrade_of_epymarl_touches_two_files() -> None:
    """Nothing else names the commit but results, which say what they were made with."""
    folders = ("plugins", "patches", "configs", "tests", "docs", "examples", ".ci", ".github")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    files += [file for file in ROOT.iterdir() if file.is_file()]
    made = ("__pycache__", "epymarl_trust_region.egg-info")  # by Python and pip
    texts = {f.relative_to(ROOT).as_posix(): f.read_bytes() for f in files if not set(made) & set(f.parts)}
    named = {name for name, text in texts.items() if epymarl.PINNED_COMMIT[:7].encode() in text}
    assert named == {"plugins/epymarl_trust_region/suite/epymarl.py", "patches/README.md"}
