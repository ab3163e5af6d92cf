"""Finding, fetching, checking and importing a checkout. No real EPyMARL is needed."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from epymarl_trust_region.errors import ConfigError, SuiteError
from epymarl_trust_region.suite import epymarl, host

PLUGINS = Path(epymarl.__file__).resolve().parents[2]


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


def make_suite(home: Path, git_too: bool = True) -> Path:
    """A folder with the outline of EPyMARL, whose modules do nothing."""
    files = {
        "src/main.py": "",
        "src/run.py": "import smaclite\n\ndef run(_run, config, log): ...\n",
        "src/config/default.yaml": "{}\n",
        "src/learners/__init__.py": "REGISTRY = {'l': 1}\n",
        "src/controllers/__init__.py": "REGISTRY = {'c': 2}\n",
        "src/runners/__init__.py": "REGISTRY = {'r': 3}\n",
        "src/envs/__init__.py": "REGISTRY = {'e': 4}\n",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    if git_too:
        git("init", "-q", cwd=home)
        git("add", ".", cwd=home)
        git("commit", "-qm", "x", cwd=home)
    return home


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EPYMARL_HOME", raising=False)
    return tmp_path / "cache/epymarl-trust-region/epymarl"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that can be fetched: the commit in question is not its last one."""
    home = make_suite(tmp_path / "source")
    monkeypatch.setattr(epymarl, "PINNED_COMMIT", git("rev-parse", "HEAD", cwd=home).strip())
    (home / "src/run.py").write_text("later\n")
    git("commit", "-qam", "later", cwd=home)
    return home


@pytest.fixture
def clean_imports() -> Iterator[None]:
    """Hide a host that another test has imported, and forget the one that this test imports."""
    path, kept = list(sys.path), {}
    for name in list(sys.modules):
        if name.split(".")[0] in {*epymarl.HOST_MODULES, "smaclite"}:
            kept[name] = sys.modules.pop(name)
    sys.path[:] = [place for place in path if place != str(epymarl._STUBS)]
    yield
    sys.path[:] = path
    for name in list(sys.modules):
        if name.split(".")[0] in {*epymarl.HOST_MODULES, "smaclite"}:
            del sys.modules[name]
    sys.modules.update(kept)


def test_cache_home(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert epymarl.cache_home() == own_cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/x")
    assert epymarl.cache_home() == Path("/home/x/.cache/epymarl-trust-region/epymarl")


def test_find_goes_from_variable_to_folder_to_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert epymarl.find(tmp_path) is None
    make_suite(own_cache, git_too=False)
    assert epymarl.find(tmp_path) == (own_cache, "it is in the cache")
    here = make_suite(tmp_path / "here", git_too=False)
    assert epymarl.find(here) == (here, "the current folder is an EPyMARL checkout")
    monkeypatch.chdir(here)
    assert epymarl.find() == epymarl.find(here)
    named = make_suite(tmp_path / "named", git_too=False)
    monkeypatch.setenv("EPYMARL_HOME", str(named))
    assert epymarl.find(here) == (named, "$EPYMARL_HOME names it")


def test_find_does_not_ignore_a_wrong_variable(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_suite(own_cache, git_too=False)
    monkeypatch.setenv("EPYMARL_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(SuiteError, match=r"\$EPYMARL_HOME .*nowhere has no src/main\.py.*correct or unset"):
        epymarl.find()


def test_check_names_what_is_missing(tmp_path: Path) -> None:
    home = make_suite(tmp_path / "s", git_too=False)
    (home / "src/run.py").unlink()
    with pytest.raises(SuiteError, match=r"is not an EPyMARL checkout: it has no src/run\.py; "):
        epymarl.check(home)


def test_check_of_the_tested_commit(source: Path) -> None:
    git("checkout", "-q", epymarl.PINNED_COMMIT, cwd=source)
    status = epymarl.check(source)
    assert (status.commit, status.tested, status.patched) == (epymarl.PINNED_COMMIT, True, False)
    assert (status.dirty, status.warning) == ((), None)
    (source / "src/run.py").write_text("edited\n")
    assert epymarl.check(source).dirty == ("src/run.py",)
    assert "modified files: src/run.py" in epymarl.check(source).warning


def test_check_warns_of_another_commit_and_of_none(source: Path, tmp_path: Path) -> None:
    status = epymarl.check(source)
    assert not status.tested
    assert f"commit {git('rev-parse', 'HEAD', cwd=source)[:7]}; tested is {epymarl.PINNED_COMMIT[:7]}" in status.warning
    status = epymarl.check(make_suite(tmp_path / "zip", git_too=False))
    assert status.commit is None
    assert "at an unknown commit; tested is" in status.warning


def test_check_without_git_on_the_machine(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert epymarl.check(source).commit is None


def test_fetch_takes_the_tested_commit_and_then_says_it_is_there(source: Path, own_cache: Path) -> None:
    assert epymarl.fetch(str(source)) == (own_cache, True)
    assert git("rev-parse", "HEAD", cwd=own_cache).strip() == epymarl.PINNED_COMMIT
    assert "smaclite" in (own_cache / "src/run.py").read_text()
    assert epymarl.fetch(str(source)) == (own_cache, False)
    assert list(own_cache.parent.iterdir()) == [own_cache]


def test_fetch_does_not_touch_another_commit_in_the_cache(source: Path, own_cache: Path) -> None:
    epymarl.fetch(str(source))
    git("checkout", "-q", "master" if "master" in git("branch", "-a", cwd=own_cache) else "main", cwd=own_cache)
    with pytest.raises(SuiteError, match="delete .* and fetch again"):
        epymarl.fetch(str(source))


def broken_sources(tmp_path: Path) -> dict[str, tuple[str, str]]:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "x").write_text("x")
    git("init", "-q", cwd=empty)
    git("add", ".", cwd=empty)
    git("commit", "-qm", "x", cwd=empty)
    return {
        "nowhere": (str(tmp_path / "nowhere"), "cannot clone"),
        "no network": ("https://epymarl.invalid/x", "cannot clone"),
        "another project": (str(empty), "does not hold EPyMARL's commit"),
    }


@pytest.mark.parametrize("kind", ["nowhere", "no network", "another project"])
def test_a_failed_fetch_is_one_line_and_leaves_nothing(kind: str, tmp_path: Path, own_cache: Path) -> None:
    source, complaint = broken_sources(tmp_path)[kind]
    with pytest.raises(SuiteError, match=complaint) as error:
        epymarl.fetch(source, timeout_s=60)
    assert "\n" not in str(error.value)
    assert list(own_cache.parent.iterdir()) == []


def test_fetch_refuses_a_repository_that_holds_the_commit_but_is_not_epymarl(source: Path, own_cache: Path) -> None:
    git("rm", "-q", "src/main.py", cwd=source)
    git("commit", "-qm", "gone", cwd=source)
    epymarl.PINNED_COMMIT = git("rev-parse", "HEAD", cwd=source).strip()  # the fixture's monkeypatch puts it back
    with pytest.raises(SuiteError, match=r"it has no src/main\.py"):
        epymarl.fetch(str(source))
    assert list(own_cache.parent.iterdir()) == []


def test_fetch_that_takes_too_long(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    with pytest.raises(SuiteError, match=r"cannot clone .*took longer than 0\.2 s"):
        epymarl.fetch("https://epymarl.invalid/x", timeout_s=0.2)
    assert list(own_cache.parent.iterdir()) == []


def test_fetch_without_git_or_a_place_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        with pytest.raises(SuiteError, match="git is not installed"):
            epymarl.fetch()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SuiteError, match=r"cannot write to .*set \$XDG_CACHE_HOME"):
        epymarl.fetch()


def test_load_gives_the_live_registries(tmp_path: Path, clean_imports: None) -> None:
    home = make_suite(tmp_path / "s")
    loaded = epymarl.load(home)
    assert (loaded.name, loaded.home, loaded.config_dir) == ("epymarl", home, home / "src/config")
    assert loaded.commit == git("rev-parse", "HEAD", cwd=home).strip()
    assert (loaded.learners, loaded.controllers, loaded.runners) == ({"l": 1}, {"c": 2}, {"r": 3})
    assert loaded.learners is sys.modules["learners"].REGISTRY
    assert loaded.run.__wrapped__ is sys.modules["run"].run
    assert sys.path[0] == str(home / "src")
    assert epymarl.load(home).learners is loaded.learners  # a second time changes nothing
    assert sys.path.count(str(home / "src")) == 1
    assert loaded.modified == ()
    (home / "src/config/default.yaml").write_text("a: 1\n")
    assert epymarl.load(home).modified == ("src/config/default.yaml",)


@pytest.fixture
def parts(tmp_path: Path, clean_imports: None, monkeypatch: pytest.MonkeyPatch):
    """(changes) -> checks what an EPyMARL of few parts would run; its packages are missing but for `there`."""
    host = epymarl.load(make_suite(tmp_path / "s", git_too=False))
    host.learners["pac_learner"] = host.runners["vector"] = 0
    monkeypatch.setattr(epymarl.importlib.util, "find_spec", lambda name: name if name == "torch_scatter" else None)
    config = {"name": "x", "env": "e", "runner": "r", "mac": "c", "learner": "l"}
    return lambda **changes: host.check(config | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"env": "sc2"},
        {"env_processes": None, "batched_envs": "exact"},  # as configs/run.yaml has them
        {"env_processes": 1, "batched_envs": "none", "runner": "vector"},
    ],
)
def test_what_epymarl_has_passes(changes: dict, parts) -> None:
    parts(**changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"runner": "rr"}, r"^runner=rr does not exist in EPyMARL \(did you mean r\?\); it has r, vector$"),
        ({"env": "x"}, "^env=x does not exist in EPyMARL; it has e, sc2, sc2v2$"),
        (
            {"env_processes": 1},
            "^env_processes=1 belongs to runner=vector, .* runner=r, .*; add runner=vector, or remove",
        ),
        ({"batched_envs": "none"}, "^batched_envs=none belongs to runner=vector, "),
        (
            {"learner": "pac_learner", "name": "pac_ns"},
            r"^pac_ns needs einops, of EPyMARL's pac_requirements\.txt: pip",
        ),
    ],
)
def test_what_epymarl_would_meet_late_is_refused_with_the_remedy(changes: dict, message: str, parts) -> None:
    with pytest.raises(ConfigError, match=message):
        parts(**changes)


@pytest.mark.parametrize("patched", [False, True])
def test_pac_needs_one_package_where_patch_15_is(patched: bool, parts, tmp_path: Path, monkeypatch) -> None:
    critic = tmp_path / "s/src/modules/critics/pac_dcg_ns.py"
    critic.parent.mkdir(parents=True)
    critic.write_text("import torch\n" if patched else "import torch_scatter\n")
    pac = {"learner": "pac_learner", "name": "pac_ns"}
    monkeypatch.setattr(epymarl.importlib.util, "find_spec", lambda name: name if name == "einops" else None)
    if patched:
        parts(**pac)
    else:
        with pytest.raises(
            ConfigError, match=r"^pac_ns needs torch_scatter, .*`epymarl-tr suite patch --only 15 PATH`"
        ):
            parts(**pac)


def test_load_never_hides_a_real_smaclite(tmp_path: Path, clean_imports: None) -> None:
    real = tmp_path / "site/smaclite/__init__.py"
    real.parent.mkdir(parents=True)
    real.write_text("REAL = True\n")
    sys.path.append(str(real.parents[1]))
    epymarl.load(make_suite(tmp_path / "s"))
    assert sys.modules["smaclite"].REAL
    assert str(epymarl._STUBS) not in sys.path


def test_load_refuses_modules_from_elsewhere(tmp_path: Path, clean_imports: None) -> None:
    epymarl.load(make_suite(tmp_path / "one"))
    with pytest.raises(SuiteError, match=r"`controllers` is imported from .*one.*fresh Python process"):
        epymarl.load(make_suite(tmp_path / "two"))


def test_load_says_what_cannot_be_imported(tmp_path: Path, clean_imports: None) -> None:
    home = make_suite(tmp_path / "s")
    (home / "src/run.py").write_text("import no_such_package\n")
    with pytest.raises(SuiteError, match="cannot be imported: No module named 'no_such_package'; .*doctor"):
        epymarl.load(home)


def test_load_silences_only_the_known_warnings(tmp_path: Path, clean_imports: None) -> None:
    home = make_suite(tmp_path / "s")
    text = "import warnings\nfor text in ('VMAS is not installed, so', 'mind this'): warnings.warn(text)\n"
    (home / "src/run.py").write_text(text + "run = None\n")
    with pytest.warns(UserWarning) as caught:
        epymarl.load(home)
    assert [str(warning.message) for warning in caught] == ["mind this"]


def test_data_folders_of_this_checkout() -> None:
    assert (host.config_root() / "algs").is_dir()
    assert list(host.patches_root().glob("0001-*.patch"))


def test_a_wheel_carries_what_is_read_as_data(tmp_path: Path) -> None:
    root = PLUGINS.parent
    if not (root / "setup.py").exists():
        pytest.skip("not a source checkout")
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=600)
    package = tmp_path / "epymarl_trust_region"
    for folder in ("configs", "patches"):
        expected = {path.relative_to(root) for path in (root / folder).rglob("*") if path.is_file()}
        assert {path.relative_to(package) for path in (package / folder).rglob("*") if path.is_file()} == expected
    assert (package / "suite/stubs/smaclite/__init__.py").exists()


def test_missing_data_folder_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "_PACKAGE", tmp_path / "a/b")
    with pytest.raises(SuiteError, match=r"configs/ .* is missing .*install the package again"):
        host.config_root()
    inside = tmp_path / "a/b/configs"
    inside.mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    assert host.config_root() == inside  # a wheel's own copy goes before a folder that happens to be two above


# The scheme of the batch -------------------------------------------------------------------------------------------

RUN = """
from types import SimpleNamespace

BUILT = []


class ReplayBuffer:
    def __init__(self, scheme, groups, *, size, preprocess):
        self.scheme = scheme
        BUILT.append((dict(scheme), groups, size, preprocess))


def run_sequential(runner):
    scheme = {"state": 1}
    preprocess = {"actions": 1}
    buffer = ReplayBuffer(scheme, "groups", size=3, preprocess=preprocess)
    return scheme is buffer.scheme, scheme
"""
MADE = '    preprocess = {"actions": 1}\n'
ASKS = MADE + "    if hasattr(runner, 'extend_scheme'):\n        runner.extend_scheme(scheme, preprocess)\n"


class Extending:
    """Adds a field, changes another and counts how often it was asked."""

    def __init__(self, field: str) -> None:
        self.field, self.asked = field, 0

    def extend_scheme(self, scheme: dict, preprocess: dict) -> None:
        self.asked += 1
        preprocess.clear()
        scheme[self.field] = scheme["state"] = 2


@pytest.fixture(params=["unmodified", "patched"])
def host_run(request, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The outline of EPyMARL's module `run`, without and with patches/0002."""
    module = types.ModuleType("run")
    exec(RUN if request.param == "unmodified" else RUN.replace(MADE, ASKS), module.__dict__)
    monkeypatch.setitem(sys.modules, "run", module)
    return module


def test_a_runner_extends_the_scheme_of_its_own_run_once(host_run: types.ModuleType) -> None:
    """Runs of several runners in one process, one without the method among them; nothing of ours stays."""
    original = host_run.ReplayBuffer
    first, second, plain = Extending("truncated"), Extending("mask"), object()
    for runner in (first, plain, second):
        epymarl.let_extend_scheme(runner)
        same, scheme = host_run.run_sequential(runner)
        assert same and scheme == ({"state": 2, runner.field: 2} if runner is not plain else {"state": 1})
        assert host_run.BUILT[-1] == (scheme, "groups", 3, {} if runner is not plain else {"actions": 1})
        assert host_run.ReplayBuffer is original
    assert first.asked == second.asked == 1


def test_a_run_that_ended_before_its_buffer_leaves_the_next_one_alone(host_run: types.ModuleType) -> None:
    original, failed = host_run.ReplayBuffer, Extending("truncated")
    epymarl.let_extend_scheme(failed)
    for runner in (object(), Extending("mask")):
        epymarl.let_extend_scheme(runner)
        _, scheme = host_run.run_sequential(runner)
        assert "truncated" not in scheme and host_run.ReplayBuffer is original
    assert failed.asked == 0


def test_the_patched_run_is_left_as_it_is(host_run: types.ModuleType) -> None:
    original = host_run.ReplayBuffer
    epymarl.let_extend_scheme(Extending("truncated"))
    patched = "extend_scheme" in host_run.run_sequential.__code__.co_names
    assert (host_run.ReplayBuffer is original) == patched


def test_epymarls_lines_about_its_threads_are_left_out(capsys: pytest.CaptureFixture) -> None:
    """In its own module alone, and only while it runs."""
    names: dict = {}
    exec('def run(_run, config, log):\n    print("Thread joined")\n    return len("ab")', names)  # noqa: S102
    hosted = epymarl._hosted(names["run"], {"q_learner": None})
    hosted(None, {"local_results_path": "results", "learner": "q_learner"}, None)
    assert capsys.readouterr().out == ""
    names["run"](None, {}, None)
    print("mine")
    assert capsys.readouterr().out == "Thread joined\nmine\n"
