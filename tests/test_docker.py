"""The Dockerfile without a daemon: what it copies is there and let in, and every version is that of another file."""

from __future__ import annotations

import fnmatch
import re
import shlex

import pytest
import yaml
from epymarl_trust_region.suite import epymarl
from support import ROOT

FILE = ROOT / "Dockerfile"

if not FILE.exists():
    pytest.skip("not a source checkout", allow_module_level=True)

TEXT = FILE.read_text(encoding="utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, what follows it), with lines joined and comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


FOUND = instructions(TEXT)


def all_of(name: str) -> list[str]:
    return [rest for instruction, rest in FOUND if instruction == name]


COPIED = [source for rest in all_of("COPY") for source in shlex.split(rest)[:-1]]


def test_it_is_made_of_instructions_that_there_are():
    known = {"FROM", "ARG", "RUN", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in FOUND} == known and FOUND[0][0] == "FROM"


def let_in(name: str) -> bool:
    """By .dockerignore, whose last line that matches decides; a folder's line is also about all in it."""
    decided = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and any(fnmatch.fnmatch(part, pattern) for part in name.split("/")):
            decided = line.startswith("!")
    return decided


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_is_there_and_let_in(source):
    assert (ROOT / source).exists() and let_in(source)


def test_nothing_else_is_let_in():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line[1:] for line in lines if line.startswith("!")] == COPIED
    assert not any(map(let_in, (".git", "results", ".venv", "tests", "plugins/x.egg-info", "plugins/a/__pycache__")))


def test_what_the_package_is_built_from_is_copied():
    """All that setup.py reads and MANIFEST.in says is part of the package."""
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "configs", "patches", "plugins"} <= set(COPIED)


def test_its_python_is_tested():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    python = re.fullmatch(r"python:(3\.\d+)-slim-\w+", all_of("FROM")[0])[1]
    assert python in ci["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_versions_are_those_of_constraints_and_of_the_tested_commit():
    """It types none: pip is given the constraints each time, and EPyMARL is fetched as `suite fetch` has it."""
    installs = [run for run in all_of("RUN") if "pip install" in run]
    assert len(installs) == 3 and [run for run in installs if "-c constraints.txt" not in run] == installs[2:]
    assert "--no-deps" in installs[2]
    constraints = (ROOT / "constraints.txt").read_text()
    assert re.findall(r"^torch==[0-9.]*$", constraints, re.M)  # what the Dockerfile's grep takes
    typed = re.findall(r"==\s*\d|\d+\.\d+\.\d+", " ".join(all_of("RUN")))
    assert typed == [] and epymarl.PINNED_COMMIT[:7] not in TEXT
    assert any("epymarl-tr suite fetch" in run for run in all_of("RUN"))
    (smaclite,) = [rest for rest in all_of("ARG") if rest.startswith("SMACLITE=")]
    assert re.fullmatch(r"SMACLITE=[0-9a-f]{40}", smaclite) and "smaclite@$SMACLITE" in installs[2]


def test_the_extras_that_it_installs_are_there():
    (named,) = re.findall(r"'\.\[([\w,]+)\]'", TEXT)
    known = set(re.findall(r'^ {8}"(\w+)": \[', (ROOT / "setup.py").read_text(), re.M))
    assert set(named.split(",")) <= known and "smaclite" in named


def test_it_runs_as_somebody_who_is_not_root_and_says_what_it_lacks():
    names = [name for name, _ in FOUND]
    assert all_of("USER") == ["marl"] and "--uid 1000 marl" in " ".join(all_of("RUN"))
    assert names.index("USER") < max(i for i, name in enumerate(names) if name == "RUN")  # the cache is the user's
    assert names[-2:] == ["ENTRYPOINT", "CMD"] and all_of("ENTRYPOINT") == ['["epymarl-tr"]']
    assert 'test -n "$TORCH_INDEX"' in TEXT
