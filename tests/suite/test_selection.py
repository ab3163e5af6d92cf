"""Which host runs: the order of the places, and what the user is told. The checkouts are outlines of EPyMARL."""

from __future__ import annotations

from pathlib import Path

import pytest
from epymarl_trust_region.errors import ConfigError, SuiteError
from epymarl_trust_region.suite import epymarl, selection
from epymarl_trust_region.suite.lite import registries


def make_checkout(home: Path) -> Path:
    for name in epymarl._NEEDED:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    return home.resolve()


@pytest.fixture(autouse=True)
def nothing_there(tmp_path, monkeypatch):
    """An empty current folder and cache; loading a checkout gives back its path."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EPYMARL_HOME", raising=False)
    monkeypatch.setattr(epymarl, "load", lambda path: f"host of {path}")


def test_auto_goes_from_variable_to_folder_to_cache_to_lite(tmp_path, monkeypatch):
    host, lines = selection.choose("auto")
    assert host.name == "lite"
    assert lines == ["suite: built-in, because no EPyMARL was found (`epymarl-tr suite fetch` gets it)"]
    places = [
        (tmp_path / "cache/epymarl-trust-region/epymarl", "it is in the cache"),
        (tmp_path / "here", "the current folder is an EPyMARL checkout"),
        (tmp_path / "named", "$EPYMARL_HOME names it"),
    ]
    for folder, why in places:
        home = make_checkout(folder)
        if folder.name == "named":
            monkeypatch.setenv("EPYMARL_HOME", str(home))
        for suite in ("auto", "epymarl"):
            host, lines = selection.choose(suite)
            assert host == f"host of {home}"
            assert lines[0] == f"suite: EPyMARL in {home}, because {why}"


def test_a_commit_that_is_not_the_tested_one_is_a_warning(tmp_path, monkeypatch):
    home = make_checkout(tmp_path / "here")
    statuses = {
        epymarl.PINNED_COMMIT: [f"suite: EPyMARL at {epymarl.PINNED_COMMIT[:7]} in {home}, because it is asked for"],
        "0123456789": [f"suite: EPyMARL at 0123456 in {home}, because it is asked for"],
    }
    monkeypatch.setattr(epymarl, "find", lambda: (home, "it is asked for"))
    for commit, expected in statuses.items():
        status = epymarl.CheckoutStatus(home, commit, False, ())
        monkeypatch.setattr(epymarl, "check", lambda path, status=status: status)
        _, lines = selection.choose("auto")
        assert lines[:1] == expected
        assert lines[1:] == ([] if status.tested else [f"warning: {status.warning}"])


def test_lite_is_lite_whatever_there_is(tmp_path):
    make_checkout(tmp_path / "here")
    host, lines = selection.choose("lite")
    assert (host.name, host.home, host.commit) == ("lite", None, None)
    assert lines == ["suite: built-in (--suite=lite)"]
    assert host.learners is registries.LEARNERS and host.controllers is registries.CONTROLLERS
    assert host.runners is registries.RUNNERS
    assert (host.config_dir / "default.yaml").is_file() and (host.config_dir / "envs/gymma.yaml").is_file()
    assert callable(host.run)


def test_epymarl_that_is_asked_for_must_be_there():
    with pytest.raises(SuiteError, match=r"no EPyMARL checkout was found; `epymarl-tr suite fetch`.*\$EPYMARL_HOME"):
        selection.choose("epymarl")


def test_a_wrong_variable_is_not_passed_over(tmp_path, monkeypatch):
    make_checkout(tmp_path / "here")
    monkeypatch.setenv("EPYMARL_HOME", str(tmp_path / "nowhere"))
    for suite in ("auto", "epymarl"):
        with pytest.raises(SuiteError, match="EPYMARL_HOME"):
            selection.choose(suite)
    assert selection.choose("lite")[0].name == "lite"


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="--suite=light is unknown; choose one of auto, epymarl, lite"):
        selection.choose("light")
