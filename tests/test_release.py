"""`make release`: what is refused, and that archives with too much, too little or other contents are noticed."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import release
import yaml
from release import NotReady
from support import ROOT

VERSION = "1.2.3"
FILES = {
    "plugins/epymarl_trust_region/__init__.py": f'__version__ = "{VERSION}"\n',
    "plugins/epymarl_trust_region/py.typed": "",
    "configs/run.yaml": "a: 1\n",
    "patches/README.md": "text\n",
    "results/table.csv": "1\n",
    "CHANGELOG.md": f"# Changelog\n\n## [{VERSION}] - 2026-01-02\n",
}
COMMIT = {name: release.sha256(text.encode()) for name, text in FILES.items()}


def git(folder: Path, *words: str) -> None:
    own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    named = ["-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True, env=own)


@pytest.fixture
def source(tmp_path) -> Path:
    """A clone of a project with a version, ready to be released."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def commit(source: Path, **changed: str) -> None:
    (source / "CHANGELOG.md").write_text(changed.get("changelog", FILES["CHANGELOG.md"]))
    git(source, "add", "-A")
    git(source, "commit", "-q", "--allow-empty", "-m", "x")


def refused(call, *arguments) -> str:
    with pytest.raises(NotReady) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# The source ---------------------------------------------------------------------------------------------------------


def test_a_clean_tree_with_a_dated_section_is_ready(source, capsys):
    assert release.check_source(source) == release.check_source(source, f"v{VERSION}") == VERSION
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["plugins/epymarl_trust_region/py.typed", "new.py"])
def test_modified_and_new_files_are_refused(source, name):
    (source / name).write_text("changed")
    assert refused(release.check_source, source) == f"modified or new files: {name}; commit them first"


def test_many_modified_files_are_still_one_line(source):
    for i in range(9):
        (source / f"{i}.py").touch()
    assert "0.py, 1.py, 2.py and 6 more; commit" in refused(release.check_source, source)


@pytest.mark.parametrize(
    "heading", ["", "## [1.2.30] - 2026-01-02", "## 1.2.3 - 2026-01-02", "### [1.2.3] - 2026-01-02"]
)
def test_a_version_without_a_section_is_refused(source, heading):
    commit(source, changelog=f"# Changelog\n\n{heading}\n")
    said = refused(release.check_source, source)
    assert said == "CHANGELOG.md has no section of version 1.2.3; write one: ## [1.2.3] - YYYY-MM-DD"


def test_a_section_without_a_date_may_be_built_and_not_tagged(source, capsys):
    commit(source, changelog=f"## [{VERSION}] - unreleased\n")
    assert release.check_source(source) == VERSION
    assert capsys.readouterr().out.startswith("note: CHANGELOG.md calls 1.2.3 unreleased; give it its date")
    assert "calls 1.2.3 unreleased; give it its date" in refused(release.check_source, source, "v1.2.3")


def test_the_tag_of_another_version_is_refused(source):
    assert refused(release.check_source, source, "v1.2.4").startswith("the tag v1.2.4 is not v1.2.3, as __version__")


def test_what_is_no_clone_is_refused(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "a release is made from a clone" in refused(release.check_source, tmp_path)


def test_our_own_version_has_a_section_and_the_changelog_the_shape_of_all():
    """That of Keep a Changelog: versions with dates, and under each the kinds of change; migration notes are ours."""
    assert release.section_of(ROOT, release.version_of(ROOT))
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for heading in re.findall(r"^## (.*)$", text, re.M):
        assert heading == "[Unreleased]" or re.fullmatch(r"\[\d+\.\d+\.\d+\] - (unreleased|\d{4}-\d\d-\d\d)", heading)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Migration notes"}
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= kinds and "### Migration notes" in text


# What is in them ----------------------------------------------------------------------------------------------------


@pytest.fixture
def good(monkeypatch) -> dict[str, str]:
    """Of a wheel of COMMIT."""
    monkeypatch.setattr(release, "NEEDED", ("configs/run.yaml", "py.typed"))
    of = COMMIT.items()
    found = {name.removeprefix("plugins/"): sum_ for name, sum_ in of if name.startswith("plugins/")}
    found |= {f"epymarl_trust_region/{name}": COMMIT[name] for name in ("configs/run.yaml", "patches/README.md")}
    return {**found, "x-1.dist-info/RECORD": "1", "x-1.dist-info/licenses/LICENSE": "2"}


def test_a_wheel_of_the_commit_passes(good):
    release.check_wheel(good, COMMIT)


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"tests/support.py": "1"}, "tests/support.py"),
        ({"epymarl_trust_region/stale.py": "1"}, "epymarl_trust_region/stale.py"),
        ({"epymarl_trust_region/py.typed": "other"}, "epymarl_trust_region/py.typed"),
        ({"epymarl_trust_region/configs/run.yaml": None}, "epymarl_trust_region/configs/run.yaml"),
        ({"epymarl_trust_region/patches/README.md": None}, "epymarl_trust_region/patches/README.md"),
        ({"x-1.dist-info/licenses/LICENSE": None}, "LICENSE"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_named(good, changed, named):
    found = {name: of for name, of in (good | changed).items() if of}
    said = refused(release.check_wheel, found, COMMIT)
    assert said == f"the wheel lacks, or has and should not, or has otherwise: {named}"


def test_what_neither_wheel_nor_commit_has_is_missed(good):
    """A file that was taken out of the repository by mistake."""
    name = "epymarl_trust_region/py.typed"
    commit = {key: of for key, of in COMMIT.items() if key != f"plugins/{name}"}
    del good[name]
    assert name in refused(release.check_wheel, good, commit)


SINGLE = ("LICENSE", "README.md", "CITATION.cff", "constraints.txt", "setup.py", "pyproject.toml")


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"results/table.csv": COMMIT["results/table.csv"]}, "results/table.csv"),
        ({"tests/__pycache__/a.pyc": "1"}, "tests/__pycache__/a.pyc"),
        ({"configs/run.yaml": "other"}, "configs/run.yaml"),
        ({"patches/README.md": None}, "patches/README.md"),
        ({"LICENSE": None}, "LICENSE"),
    ],
)
def test_what_is_wrong_with_an_sdist_is_named(changed, named):
    commit = COMMIT | dict.fromkeys(SINGLE, "s")
    good = {name: of for name, of in commit.items() if not name.startswith("results/")} | {"PKG-INFO": "p"}
    release.check_sdist(good, commit)
    found = {name: of for name, of in (good | changed).items() if of}
    assert refused(release.check_sdist, found, commit).endswith(f"otherwise: {named}")


def test_archives_are_read_alike(tmp_path):
    wheel, sdist = tmp_path / "x-1.whl", tmp_path / "x-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("a/b.py", "text")
        file.writestr("x-1.dist-info/RECORD", "1")
    with tarfile.open(sdist, "w:gz") as file:
        member = tarfile.TarInfo("x-1/a/b.py")
        member.size = 4
        file.addfile(member, io.BytesIO(b"text"))
    one, other = release.members(wheel), release.members(sdist)
    assert other == {"a/b.py": release.sha256(b"text")} and release.differences(one, other) == []
    assert release.differences(one, {"a/b.py": "1", "c": "2"}) == ["a/b.py", "c"]


# Trying it ----------------------------------------------------------------------------------------------------------


def test_a_python_that_is_not_there_is_said_to_be_so(tmp_path):
    shim = tmp_path / "python3.77"  # as version managers have it for what they could run, and may not
    shim.write_text("#!/bin/sh\necho 'python3.77: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    for name in ("python3.78", str(shim)):
        tried = release.try_python(name, Path("x.whl"), Path("c.txt"), VERSION)
        assert tried.good is None and tried.line.endswith("not on this machine, or without venv; not tried")


def test_a_python_that_cannot_use_the_wheel_fails_with_its_reason(monkeypatch, capsys):
    def fail(*_):
        raise NotReady("installing the wheel: no torch")

    monkeypatch.setattr(release, "try_in", fail)
    said = refused(release.try_all, ["python3.78", sys.executable], Path("x.whl"), ROOT)
    first, second = capsys.readouterr().out.splitlines()
    assert "not tried" in first and second.endswith("FAILED: installing the wheel: no torch")
    assert said == "not every Python could use the wheel"
    assert "name one" in refused(release.try_all, ["python3.78"], Path("x.whl"), ROOT)


def test_a_run_that_has_not_completed_is_none(tmp_path):
    run = tmp_path / "lite/results/sacred/happo/task/1/run.json"
    assert refused(release.trained, tmp_path / "lite").startswith("lite: 0 runs")
    run.parent.mkdir(parents=True)
    run.write_text('{"status": "FAILED"}')
    assert "none has completed" in refused(release.trained, tmp_path / "lite")
    run.write_text('{\n  "status": "COMPLETED"}')
    assert release.trained(tmp_path / "lite") == "trained 1000 steps"


# What goes with a release -------------------------------------------------------------------------------------------


def test_the_version_is_typed_in_one_place():
    """Beside the changelog, which tells of every version."""
    version = release.version_of(ROOT)
    for name in ("setup.py", "pyproject.toml", "CITATION.cff", "Dockerfile", "mkdocs.yml", "Makefile", "README.md"):
        if (ROOT / name).exists():
            assert version not in (ROOT / name).read_text(encoding="utf-8"), name


def test_the_citation_has_what_its_format_asks_for():
    """Citation File Format 1.2.0."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["type"] == "software"
    assert (
        cited["license"] == "Apache-2.0"
        and f'license_expression="{cited["license"]}"' in (ROOT / "setup.py").read_text()
    )
    assert len(cited["references"]) == 5
    for work in (cited, *cited["references"]):
        assert work["title"] and work["type"] in ("software", "conference-paper", "unpublished")
        assert all(set(one) in ({"name"}, {"family-names", "given-names"}) for one in work["authors"])
        assert isinstance(work.get("year", 0), int) and work.get("url", "https://").startswith("https://")
