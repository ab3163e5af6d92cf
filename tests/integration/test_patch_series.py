"""The series of patches on clones of the real EPyMARL: each alone and all together, and that each mends its defect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from epymarl_trust_region.suite import epymarl, patching
from support import clone_suite

pytestmark = pytest.mark.integration

NUMBERS = [patching.number(patch) for patch in patching.series()]
COMMITS = (epymarl.PINNED_COMMIT, *epymarl.ALSO_TESTED)
_SHORT_S, _LONG_S = 3, 300  # patience with what never comes; and, on a busy machine, with what does

#: (patch, what epymarl_probes.py looks at, what it sees without the patch, and with it alone)
DEFECTS = [
    (4, "worker_death", "hung", "ended"),
    (4, "orphans", 3, 0),
    (4, "closing", ..., [True, True]),
    (5, "old_policy", False, True),
    # In each runner: a cut, a cut with the option, an end in the limit's step with it, one before with it.
    (6, "time_limit", *({kind: seen for kind in ("episode", "parallel")} for seen in ([1, 1, 1, 1], [1, 0, 1, 1]))),
    (7, "mpe2", [False], [True, 3, 18]),  # spread: 4 of itself, 2 x 3 landmarks, 2 x 2 others, 2 x 2 they say
    (8, "smaclite", "No module named 'smaclite'", "gymma, smaclite"),
    (9, "indexing", *([warned, [[1, 0, 2, 0], [2, 0, 5], [1, 0, 0]]] for warned in (True, False))),
    (10, "tensorboard", "no tensorboard_logger", ["somewhere", ["loss", 0.5, 10], "closed"]),
    (11, "packages", [["timehelper.py"], 1, False], [[], 0, True]),
    (12, "last_model", [8], [8, 32]),  # rollouts of 2 x 4 steps, until there are more than 30
    (13, "cuts_per_agent", 1, 4),
    (15, "pac", "no torch_scatter", [[2, 1, 1], [5, 0, 2]]),
    (14, "pettingzoo_end", [[0, 0], 2, True, True], [[3, 3], 3, False, True]),
]


def git(*arguments: str, cwd: Path) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def sources(clone: Path) -> dict[str, bytes]:
    return {name: (clone / name).read_bytes() for name in git("ls-files", cwd=clone).splitlines()}


@pytest.fixture(scope="module")
def clone(epymarl_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("series") / "epymarl"
    clone_suite(epymarl_home, target)
    return target


@pytest.fixture
def at(clone: Path):
    """Puts the clone at a commit, as it was."""

    def put(commit: str) -> Path:
        git("reset", "-q", "--hard", commit, cwd=clone)
        return clone

    return put


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_maintainer_can_take_each_alone(at, commit: str, number: int) -> None:
    home = at(commit)
    patches = patching.chosen([number])
    assert len(patches) == (2 if number == 3 else 1)
    git("am", "-q", *map(str, patches), cwd=home)
    changed = git("diff", "--name-only", f"{commit}..", cwd=home).split()
    assert set(changed) == patching.patched_files(patches)
    assert patching.applied(home) == patches


@pytest.mark.parametrize("commit", COMMITS)
def test_all_together_are_the_same_by_git_and_by_us_and_come_off_byte_for_byte(at, commit: str) -> None:
    home = at(commit)
    before = sources(home)
    assert patching.apply(home, patching.series()) is True
    patched = sources(home)
    assert patching.apply(home, patching.series()) is False
    status = epymarl.check(home)
    assert (status.tested, status.patched, status.fixes) == (True, True, tuple(n for n in NUMBERS if n > 3))
    assert patching.undo(home) is True and sources(home) == before
    git("am", "-q", *map(str, patching.series()), cwd=home)
    assert sources(home) == patched
    assert patching.applied(home) == patching.series()


def test_in_any_order_they_say_the_same(at) -> None:
    home = at(epymarl.PINNED_COMMIT)
    patching.apply(home, patching.series())
    patched = sources(home)
    at(epymarl.PINNED_COMMIT)
    for number in reversed(NUMBERS):
        patching.apply(home, patching.chosen([number]))
    assert sources(home) == patched


def test_what_is_not_for_plugins_counts_as_a_change(at) -> None:
    """Numbers of a run on it can differ from those of the tested code."""
    home = at(epymarl.PINNED_COMMIT)
    patching.apply(home)
    assert epymarl.check(home).warning is None
    patching.apply(home, patching.chosen([12]))
    status = epymarl.check(home)
    assert (status.dirty, status.fixes) == (("src/run.py",), (12,))  # which 0002 has changed too
    assert status.warning == f"EPyMARL at {home} has modified files: src/run.py (patches 12 are in it)"


def test_each_says_what_is_wrong_and_how_to_see_it() -> None:
    for patch in patching.series()[3:]:
        text, _, rest = patch.read_text().partition("\n---\n")
        assert "\nTo see it: " in text, patch.name
        assert max(map(len, text.splitlines())) <= 80, patch.name
        for hunk in rest.split("\n@@ ")[1:]:
            lines = [line[:1] for line in hunk.partition("\ndiff ")[0].splitlines()[1:]]
            around = lines[:3], lines[-3:]
            assert all({"+", "-"} & set(edge) for edge in around), f"{patch.name} has more context than two lines"


def test_each_defect_is_there_and_its_patch_alone_mends_it(epymarl_home: Path, tmp_path: Path) -> None:
    """All in one test: one process imports PyTorch, and forks for each."""
    clone_suite(epymarl_home, tmp_path / "plain")
    for number in {number for number, *_ in DEFECTS}:
        clone_suite(epymarl_home, tmp_path / str(number))
        patching.apply(tmp_path / str(number), patching.chosen([number]))
    jobs = []
    for number, probe, _, _ in DEFECTS:
        jobs += [(str(tmp_path / "plain/src"), probe, _SHORT_S), (str(tmp_path / f"{number}/src"), probe, _LONG_S)]
    found = iter(look(jobs, tmp_path))
    for number, probe, without, with_it in DEFECTS:
        before, after = next(found), next(found)
        assert without in (before, ...), f"{probe}: the defect of patch {number} looks otherwise"
        assert after == with_it, f"{probe}: patch {number} does not mend it"


def look(jobs: list[tuple[str, str, float]], folder: Path) -> list[Any]:
    """What epymarl_probes.py sees, job by job."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("epymarl_probes.py")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "ignore", str(script), "jobs.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
