"""A release, as far as it can be checked before anything is published: sdist and wheel, of the last commit alone.

    make release [PYTHONS="python3.10 python3.11 ..."] [TAG=v1.2.3]

1. The source: a clean tree, a version with a section in CHANGELOG.md; with a tag, the tag of that version and a date.
2. sdist and wheel are built from the commit's files, and a second wheel from the sdist, equal to the first in content.
3. Both hold what they must and nothing else, and `twine check --strict` passes.
4. In a bare environment of each Python the wheel is installed and HAPPO trains 1000 steps on both hosts.

One line for each Python says what happened. What was checked lies in dist/; nothing is uploaded.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "epymarl_trust_region"
#: At the top of the repository, inside the package in a wheel.
DATA = ("configs", "patches")
#: Of the sdist, beside what the commit has: what setuptools writes.
WRITTEN = ("PKG-INFO", "setup.cfg", f"plugins/{PACKAGE}.egg-info/")
#: What a wheel must have, whatever the commit says: a list that does not come from the same files.
NEEDED = (
    "configs/run.yaml",
    "configs/algs/happo.yaml",
    "configs/lite/default.yaml",
    "patches/README.md",
    "py.typed",
    "experiments/report/page.html",
    "suite/stubs/smaclite/__init__.py",
)
TASK = ["--env-config=gymma", "env_args.key=trust-region-climbing-v0", "env_args.time_limit=1"]
RUN = ["run", "--quiet", "--progress=off", "--config=happo", TASK[0], "with", *TASK[1:], "t_max=1000", "use_cuda=False"]
CHECKOUT = f"from {PACKAGE}.suite.epymarl import find; found = find(); print(found[0] if found else '')"


class NotReady(Exception):
    """One line: why there is no release of this."""


# The source ---------------------------------------------------------------------------------------------------------


def version_of(root: Path) -> str:
    """`__version__`, the one place where the version is typed."""
    text = (root / "plugins" / PACKAGE / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert found, "no __version__"
    return found[1]


def section_of(root: Path, version: str) -> str | None:
    """What stands behind the version in its heading in CHANGELOG.md: a date, or `unreleased`; None: it has none."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## \[{re.escape(version)}\] - (\S+)$", text, re.MULTILINE)
    return found[1] if found else None


def check_source(root: Path, tag: str = "") -> str:
    """The version that is to be released.

    Raises:
        NotReady: modified or new files, no section of the version in CHANGELOG.md; another tag, or a section without
            a date for it.
    """
    version = version_of(root)
    if changed := git(root, "status", "--porcelain").splitlines():
        more = f" and {len(changed) - 3} more" * (len(changed) > 3)
        raise NotReady(f"modified or new files: {', '.join(line[3:] for line in changed[:3])}{more}; commit them first")
    section = section_of(root, version)
    if section is None:
        raise NotReady(f"CHANGELOG.md has no section of version {version}; write one: ## [{version}] - YYYY-MM-DD")
    if tag and tag != f"v{version}":
        raise NotReady(f"the tag {tag} is not v{version}, as __version__ has it; tag the commit that has that version")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", section):
        if tag:
            raise NotReady(f"CHANGELOG.md calls {version} {section}; give it its date before the tag")
        print(f"note: CHANGELOG.md calls {version} {section}; give it its date before the tag")
    return version


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise NotReady(f"git {arguments[0]}: {done.stderr.strip().splitlines()[-1]}; a release is made from a clone")
    return done.stdout


# Building -----------------------------------------------------------------------------------------------------------


def build(root: Path, out: Path) -> tuple[Path, Path]:
    """sdist and wheel of the last commit's files, in the empty folder `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        tree, again = Path(scratch, "tree"), Path(scratch, "again")
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True).stdout
        unpack(archive, tree)
        sdist = built("sdist", tree, out)
        wheel = built("wheel", tree, out)
        unpack(sdist.read_bytes(), again)
        (source,) = again.iterdir()
        second = built("wheel", source, Path(scratch, "second"))
        if wrong := differences(members(wheel), members(second)):
            raise NotReady(f"the wheel of the sdist differs from that of the tree: {', '.join(wrong)}")
    return sdist, wheel


def unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def built(kind: str, source: Path, out: Path) -> Path:
    said(f"building the {kind}", [sys.executable, "-m", "build", f"--{kind}", "--outdir", str(out)], cwd=source)
    (file,) = out.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return file


def said(what: str, command: Sequence[str], **options) -> str:
    """What a command prints. Raises NotReady with its last line if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        raise NotReady(f"{what}: {lines[-1]}")
    return done.stdout


# What is in them ----------------------------------------------------------------------------------------------------


def members(archive: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files in a wheel, or in an sdist without the folder around them."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: sha256(wheel.read(name)) for name in wheel.namelist() if not name.endswith("/")}
    with tarfile.open(archive) as tar:
        files = [member for member in tar if member.isfile()]
        return {member.name.partition("/")[2]: sha256(tar.extractfile(member).read()) for member in files}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names that are in one alone, or have other contents; not the lists of all names and contents."""
    return sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n) and not n.endswith("/RECORD"))


def check_wheel(found: dict[str, str], commit: dict[str, str]) -> None:
    """The package's files and its data, as the commit has them, beside metadata and licence; nothing else.

    Raises:
        NotReady: names of what is missing, other than in the commit, or not to be there.
    """
    ours = {name.partition("/")[2]: of for name, of in commit.items() if name.startswith(f"plugins/{PACKAGE}/")}
    ours |= {f"{PACKAGE}/{name}": of for name, of in commit.items() if name.startswith(tuple(f"{d}/" for d in DATA))}
    package = {name: of for name, of in found.items() if ".dist-info/" not in name}
    wrong = differences(package, ours)
    wrong += [f"{PACKAGE}/{name}" for name in NEEDED if f"{PACKAGE}/{name}" not in found]
    wrong += [name for name in ("LICENSE",) if not any(n.endswith(f".dist-info/licenses/{name}") for n in found)]
    if wrong:
        raise NotReady(f"the wheel lacks, or has and should not, or has otherwise: {', '.join(dict.fromkeys(wrong))}")


def check_sdist(found: dict[str, str], commit: dict[str, str]) -> None:
    """Files of the commit alone, enough of them to build and test the package, and no results.

    Raises:
        NotReady: names of what is wrong.
    """
    folders = (f"plugins/{PACKAGE}/", *(f"{folder}/" for folder in (*DATA, "tests", "docs", "examples")))
    single = ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "setup.py", "pyproject.toml")
    needed = {name for name in commit if name.startswith(folders)} | set(single)
    wrong = sorted(needed - found.keys())
    own = {name: of for name, of in found.items() if not name.startswith(WRITTEN)}
    wrong += sorted(n for n, of in own.items() if commit.get(n) != of or n.startswith("results/"))
    if wrong:
        raise NotReady(f"the sdist lacks, or has and should not, or has otherwise: {', '.join(wrong)}")


def committed(root: Path) -> dict[str, str]:
    """Name -> SHA-256 of the last commit's files."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: sha256(tar.extractfile(member).read()) for member in tar if member.isfile()}


# Trying it ----------------------------------------------------------------------------------------------------------


class Tried(NamedTuple):
    """What became of one Python, in one line."""

    line: str
    good: bool | None  # None: it is not on this machine


def try_python(name: str, wheel: Path, constraints: Path, version: str) -> Tried:
    """Install the wheel in a bare environment of this Python, and train on both hosts."""
    probe = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        asked = subprocess.run([name, "-c", probe], capture_output=True, text=True)
    except OSError:
        asked = None
    if asked is None or asked.returncode:
        return Tried(f"{name}: not on this machine, or without venv; not tried", None)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            told = try_in(Path(scratch), name, wheel, constraints, version)
        except NotReady as error:
            return Tried(f"{name} ({asked.stdout.strip()}): FAILED: {error}", False)
    return Tried(f"{name} ({asked.stdout.strip()}): {told}", True)


def try_in(scratch: Path, name: str, wheel: Path, constraints: Path, version: str) -> str:
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "EPYMARL_HOME")}
    own = {"cwd": scratch, "env": env}
    said("making an environment", [name, "-m", "venv", str(scratch / "venv")], **own)
    python, command = (str(scratch / "venv/bin" / word) for word in ("python", "epymarl-tr"))
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(constraints), str(wheel)]
    said("installing the wheel", [python, *install], **own)
    code = f"import {PACKAGE}, importlib.metadata as m; print({PACKAGE}.__version__, m.version('epymarl-trust-region'))"
    if (found := said("importing it", [python, "-c", code], **own).split()) != [version, version]:
        raise NotReady(f"it calls itself {' and '.join(found)}, not {version}")
    told = ["installed"]
    checkout = said("looking for EPyMARL", [python, "-c", CHECKOUT], **own).strip()
    for suite in ("lite", "epymarl"):
        if suite == "epymarl" and not checkout:
            told.append("epymarl: no checkout in the cache, not tried (`make fetch` gets one)")
            continue
        folder = scratch / suite
        folder.mkdir()
        said(f"--suite={suite}", [command, RUN[0], f"--suite={suite}", *RUN[1:]], cwd=folder, env=env)
        told.append(f"{suite}: {trained(folder)}")
    return ", ".join(told)


def trained(folder: Path) -> str:
    """How Sacred says that the only run below `folder` ended. Raises NotReady if it has not completed."""
    runs = list(folder.glob("results/sacred/*/*/*/run.json"))
    if len(runs) != 1 or '"status": "COMPLETED"' not in runs[0].read_text(encoding="utf-8"):
        raise NotReady(f"{folder.name}: {len(runs)} runs were made, and none has completed")
    return "trained 1000 steps"


# All of it ----------------------------------------------------------------------------------------------------------


def release(root: Path, out: Path, pythons: Sequence[str], tag: str) -> None:
    """See the head of this file. Raises NotReady."""
    version = check_source(root, tag)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    sdist, wheel = build(root, out)
    commit = committed(root)
    check_wheel(members(wheel), commit)
    check_sdist(members(sdist), commit)
    said("twine", [sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)])
    print(
        f"{version}: {sdist.name} and {wheel.name} hold what they must; the wheel of the sdist is the same", flush=True
    )
    try_all(pythons, wheel, root)


def try_all(pythons: Sequence[str], wheel: Path, root: Path) -> None:
    """One line for each. Raises NotReady if one fails, or if not one is there."""
    found = []
    for name in pythons:
        found.append(try_python(name, wheel, root / "constraints.txt", version_of(root)))
        print(found[-1].line, flush=True)
    if any(one.good is False for one in found):
        raise NotReady("not every Python could use the wheel")
    if pythons and not any(one.good for one in found):
        raise NotReady(f"none of {' '.join(pythons)} is on this machine; name one: make release PYTHONS=python3")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="it is emptied first (default dist/)")
    parser.add_argument("--pythons", nargs="*", default=[], metavar="PYTHON", help="commands such as python3.12")
    parser.add_argument("--tag", default="", help="the tag that is to publish it, such as v1.2.3")
    parser.add_argument("--try", type=Path, dest="wheel", metavar="WHEEL", help="build nothing, try this one")
    options = parser.parse_args(argv)
    try:
        if options.wheel:
            try_all(options.pythons, options.wheel.resolve(), ROOT)
        else:
            release(ROOT, options.out.resolve(), options.pythons, options.tag)
    except NotReady as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
