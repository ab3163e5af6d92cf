"""The command line: `suite`, `doctor`, what is passed on untouched, and how errors look."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
from epymarl_trust_region import __version__, cli, doctor
from epymarl_trust_region.errors import TrustRegionError
from epymarl_trust_region.suite import epymarl, patching

PLUGINS = Path(cli.__file__).resolve().parents[1]
ROOT = PLUGINS.parent


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EPYMARL_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The outline of an EPyMARL, and a patch that fits it."""
    home = tmp_path / "home"
    for name in epymarl._NEEDED:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("old\n")
    (tmp_path / "patches").mkdir()
    patch = "--- a/src/main.py\n+++ b/src/main.py\n@@ -1 +1 @@\n-old\n+new\n"
    (tmp_path / "patches/0001-x.patch").write_text(patch)
    monkeypatch.setattr(patching, "patches_root", lambda: tmp_path / "patches")
    return home


def test_status_without_epymarl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["suite"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("suite    lite (built in)\n")
    assert "\nwhy      no EPyMARL at $EPYMARL_HOME" in out
    assert str(tmp_path / "cache/epymarl-trust-region/epymarl") in out
    assert "epymarl-tr suite fetch" in out


def test_status_with_epymarl(capsys: pytest.CaptureFixture[str], suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPYMARL_HOME", str(suite))
    assert cli.main(["suite"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"suite    epymarl at {suite}",
        "why      $EPYMARL_HOME names it",
        "commit   unknown (not tested)",
        "patched  no",
    ]
    assert lines[4].startswith("warning  ")
    monkeypatch.setattr(epymarl, "find", lambda: (suite, "why"))
    monkeypatch.setattr(epymarl, "check", lambda path: epymarl.CheckoutStatus(path, epymarl.PINNED_COMMIT, True, ()))
    cli.main(["suite"])
    assert capsys.readouterr().out.splitlines()[2:] == [f"commit   {epymarl.PINNED_COMMIT} (tested)", "patched  yes"]


def test_path(capsys: pytest.CaptureFixture[str], suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["suite", "path"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.startswith("error: no EPyMARL checkout found;")) == ("", True)
    monkeypatch.setenv("EPYMARL_HOME", str(suite))
    assert cli.main(["suite", "path"]) == 0
    assert capsys.readouterr().out == f"{suite}\n"


@pytest.mark.parametrize("undo", [["unpatch"], ["patch", "--undo"]])
def test_patch_and_unpatch_say_what_they_did(capsys: pytest.CaptureFixture[str], suite: Path, undo: list[str]) -> None:
    steps = [
        (["patch"], "new\n", "patched"),
        (["patch"], "new\n", "already patched, nothing to do"),
        (undo, "old\n", "patch taken back"),
        (undo, "old\n", "not patched, nothing to undo"),
    ]
    for words, content, said in steps:
        assert cli.main(["suite", *words, str(suite)]) == 0
        captured = capsys.readouterr()
        assert captured.out == f"{suite}: {said}\n"
        assert captured.err.startswith("warning: EPyMARL at")  # an unknown commit: warn and go on
        assert (suite / "src/main.py").read_text() == content


@pytest.mark.parametrize("option, changed", [([], [0]), (["--series"], [0, 1]), (["--only", "4"], [1])])
def test_patch_takes_the_series_or_a_part_of_it(capsys, suite: Path, option: list[str], changed: list[int]) -> None:
    patch = "--- a/src/run.py\n+++ b/src/run.py\n@@ -1 +1 @@\n-old\n+new\n"
    (patching.patches_root() / "0004-y.patch").write_text(patch)
    assert cli.main(["suite", "patch", *option, str(suite)]) == 0
    files = [suite / "src/main.py", suite / "src/run.py"]
    assert [n for n, file in enumerate(files) if file.read_text() == "new\n"] == changed
    assert cli.main(["suite", "unpatch", str(suite)]) == 0
    assert [file.read_text() for file in files] == ["old\n", "old\n"]
    assert cli.main(["suite", "patch", "--only", "9", str(suite)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: there is no patch 9; they are 1, 4: see patches/README.md"
    )


def test_patch_refuses_what_is_not_epymarl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["suite", "patch", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {tmp_path} is not an EPyMARL checkout: it has no src/main.py")
    assert captured.err.count("\n") == 1


def test_fetch_hands_its_options_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(source: str | None, timeout_s: float) -> tuple[Path, bool]:
        calls.append((source, timeout_s))
        return Path("/x"), len(calls) == 1

    monkeypatch.setattr(epymarl, "fetch", fetch)
    assert cli.main(["suite", "fetch"]) == 0
    assert cli.main(["suite", "fetch", "--from", "there", "--timeout", "2.5"]) == 0
    assert calls == [(None, 30), ("there", 2.5)]
    assert capsys.readouterr().out == "".join(
        f"EPyMARL {epymarl.PINNED_COMMIT[:7]} is {when} at /x\n" for when in ("now", "already")
    )


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("run", "epymarl_trust_region.main"),
        ("sweep", "epymarl_trust_region.experiments.sweep"),
        ("report", "epymarl_trust_region.experiments.report.command"),
    ],
)
def test_arguments_are_passed_on_but_for_debug_which_only_run_takes(
    command: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fake = types.SimpleNamespace(main=lambda argv: seen.append(argv) or 7)
    monkeypatch.setitem(sys.modules, module, fake)
    arguments = [
        "--config=happo",
        "--help",
        "--version",
        "-h",
        "--debug",
        "with",
        "env_args.key=a:b",
        "x=[1, 2]",
        "--",
        "-F",
    ]
    assert cli.main([command, *arguments]) == 7
    assert seen == [arguments if command == "run" else [word for word in arguments if word != "--debug"]]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rnu"], "error: unknown command `rnu`; did you mean `run`? see epymarl-tr --help\n"),
        (["suite", "pach"], "error: unknown suite command `pach`; did you mean `patch`? see epymarl-tr --help\n"),
        (["zzz"], "error: unknown command `zzz`; see epymarl-tr --help\n"),
    ],
)
def test_a_mistyped_command_gets_a_suggestion(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "argv",
    [
        ["--debug", "suite", "patch", "."],
        ["suite", "patch", ".", "--debug"],
        ["episodes", "--debug", "nothing"],
        ["offline", "--debug", "--config=happo", "--data", "nothing"],
        ["sweep", "nothing", "--debug"],
        ["report", "nothing", "--out", "x", "--debug"],
        ["study", "log-linear", "--debug", "--out", "x", "--seeds", "0"],
        ["bench", "--debug", "--only", "nothing"],
    ],
)
def test_debug_raises(argv: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrustRegionError):
        cli.main(argv)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"epymarl-tr {__version__}\n"
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f" {command} " in out for command in cli._COMMANDS)
    assert cli.main([]) == 2


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "epymarl_trust_region", "--version"]
    done = subprocess.run(command, env={"PYTHONPATH": str(PLUGINS)}, capture_output=True, text=True, timeout=600)
    assert (done.stdout, done.returncode) == (f"epymarl-tr {__version__}\n", 0)


def test_doctor_is_content_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert all(lines[name].split()[1] == "OK" for name in ("python", "torch", "threads", "sacred", "setuptools", "git"))
    assert "missing (optional) no checkout found; `epymarl-tr suite fetch`" in lines["EPyMARL"]


def test_doctor_names_the_remedy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "mpe2", None)
    real = doctor.metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "82.0.1" if name == "setuptools" else real(name))
    assert cli.main(["doctor"]) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["tqdm"].split()[1] == "MISSING"
    assert lines["tqdm"].endswith(f"; pip install -c {ROOT}/constraints.txt -e '{ROOT}'")
    assert lines["mpe2"].endswith(
        f"; pip install -c {ROOT}/constraints.txt -e '{ROOT}[envs]'; without it there is no MPE"
    )
    assert "missing (optional)" in lines["mpe2"]
    assert "MISSING  82.0.1; pip install 'setuptools<82'" in lines["setuptools"]


def test_doctor_knows_what_a_run_may_need(capsys, monkeypatch, tmp_path) -> None:
    """CUDA, SMAClite, StarCraft II, the patches, and the versions that are known to work together."""
    monkeypatch.setenv("SC2PATH", str(tmp_path / "sc2"))
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["good"] and all(check["remedy"] for check in found["checks"] if not check["good"])
    checks = {check["name"]: check for check in found["checks"]}
    assert {"CUDA", "smaclite", "StarCraftII", "versions", "EPyMARL"} <= checks.keys()
    assert "[smaclite]', then pip install --no-deps git+" in checks["smaclite"]["remedy"] or checks["smaclite"]["good"]
    game = checks["StarCraftII"]
    assert not game["good"] and not game["required"] and game["detail"] == f"SC2PATH={tmp_path / 'sc2'} is no folder"
    (tmp_path / "sc2/Versions").mkdir(parents=True)
    with pytest.raises(LookupError, match="sc2 has no Maps/SMAC_Maps"):
        doctor._starcraft()
    (tmp_path / "sc2/Maps/SMAC_Maps").mkdir(parents=True)
    assert doctor._starcraft() == f"{tmp_path / 'sc2'} (SC2PATH)"


def test_doctor_knows_every_extra_with_its_packages() -> None:
    text = (ROOT / "setup.py").read_text()
    extras = dict(
        re.findall(r'^ {8}"(\w+)": \[([^\]]*)\]', text.replace("[gymnasium]", "").replace("[python]", ""), re.M)
    )
    del extras["dev"], extras["console_scripts"]
    known = {extra: set(packages) for extra, (packages, _) in doctor._EXTRAS.items()}
    for package, extra, _ in doctor._IMPORTED:
        known.setdefault(extra, set()).add(package)
    known["envs"].add("pettingzoo")  # which `atari` asks for; EPyMARL's wrapper imports it
    known["tune"].add("pandas")  # which `report` asks for
    assert known == {name: set(re.findall(r'"([\w-]+)', packages)) for name, packages in extras.items()}


def test_doctor_asks_for_the_cartridge_of_pong_and_names_what_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0")
    (tmp_path / "ale_py/roms").mkdir(parents=True)
    (tmp_path / "ale_py/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ale_py", raising=False)
    with pytest.raises(LookupError, match=r"^ale-py has no cartridge of Pong \(roms/pong.bin\)$"):
        doctor._pong()
    (tmp_path / "ale_py/roms/pong.bin").touch()
    assert doctor._pong().endswith("pygame-ce 1.0; with the cartridge of Pong")
    monkeypatch.undo()
    with pytest.raises(LookupError, match="^not installed: no-such-package, nor-this$"):
        doctor._installed(["pip", "no-such-package", "nor-this"])


def test_doctor_compares_versions_with_those_that_work(tmp_path, monkeypatch) -> None:
    (tmp_path / "constraints.txt").write_text(
        f"# a set\ntorch=={metadata.version('torch').partition('+')[0]}\nnumpy==0.1\nno-such-package==1\n"
        'sacred==0.2; python_version >= "3.99"\n'
    )
    monkeypatch.setattr(doctor, "_CLONE", tmp_path)
    with pytest.raises(LookupError, match=r"^of constraints.txt differ 1: numpy .* \(known to work: 0.1\)$"):
        doctor._versions()
    assert doctor.install("envs") == f"pip install -c {tmp_path}/constraints.txt -e '{tmp_path}[envs]'"
    (tmp_path / "constraints.txt").unlink()  # a wheel
    assert doctor._versions().startswith("not compared") and doctor.install() == "pip install epymarl-trust-region"


def test_doctor_compares_no_copies_inside_setuptools_and_lines_of_this_python_alone(tmp_path, monkeypatch) -> None:
    minor = sys.version_info[1]
    lines = [
        f'numpy==0.1; python_version < "3.{minor}"',
        f'numpy==0.2; python_version >= "3.{minor + 1}"',
        f'numpy=={doctor.metadata.version("numpy")}; python_version >= "3.{minor}"',
        "copied==9.9",
    ]
    (tmp_path / "constraints.txt").write_text("\n".join(lines))
    copy = tmp_path / "setuptools/_vendor/copied-1.0.dist-info"
    copy.mkdir(parents=True)
    (copy / "METADATA").write_text("Metadata-Version: 2.1\nName: copied\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(copy.parent)
    monkeypatch.setattr(doctor, "_CLONE", tmp_path)
    assert doctor._versions() == "the 1 packages of constraints.txt that are installed are at those versions"


def test_doctor_says_whether_the_checkout_is_patched(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(epymarl, "find", lambda: (tmp_path, "named"))
    for count, good in ((0, False), (1, False), (3, True)):
        monkeypatch.setattr(patching, "applied", lambda path, count=count: patching.series()[:count])
        (check,) = doctor._patches()
        assert check.good is good and check.detail == f"{count} of 3 are in {tmp_path}"
        assert f"`epymarl-tr suite patch {tmp_path}`" in check.remedy


def test_doctor_runs_where_sacred_does_not_import() -> None:
    """The very fault that it is there to diagnose: Sacred without pkg_resources."""
    code = "import sys; sys.modules['pkg_resources'] = None; from epymarl_trust_region import cli; "
    code += "sys.exit(cli.main(['doctor']))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(PLUGINS)}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    assert "sacred       MISSING " in done.stdout
    assert done.stderr == ""
