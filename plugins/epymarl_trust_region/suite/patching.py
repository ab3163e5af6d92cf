"""Apply this plugin's patches to the working tree of an EPyMARL checkout, and take them back.

Nothing is committed, so no git identity is needed and the checkout's history stays its owner's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from epymarl_trust_region.errors import SuiteError
from epymarl_trust_region.git import dirty_files, git, last_line
from epymarl_trust_region.suite.host import patches_root


def apply(path: Path) -> bool:
    """Patch the checkout at `path`; False if it is patched already.

    Where an older version of this plugin has applied the first of its patches, the others are added.
    Raises SuiteError, leaving every file as it was, if tracked files are modified or the patches do not fit.
    """
    there = applied(path)
    missing = series()[len(there) :]
    if not missing:
        return False
    if dirty := [name for name in dirty_files(path) if name not in patched_files(there)]:
        raise SuiteError(f"{path} has modified files: {', '.join(dirty)}; commit or stash them, then patch again")
    _fit(path, missing)
    _git_apply(path, missing)
    return True


def undo(path: Path) -> bool:
    """Take the patches back, byte for byte; False if the checkout is not patched.

    Raises SuiteError, leaving every file as it was, if the patched lines have been edited since.
    """
    there = applied(path)
    if not there:
        _fit(path, series())
        return False
    _git_apply(path, there, "--reverse")
    return True


def is_patched(path: Path) -> bool:
    """Whether all of this plugin's patches are in the working tree at `path` and could be taken back."""
    return applied(path) == series()


def applied(path: Path) -> list[Path]:
    """The first of this plugin's patches, as many as are in the working tree at `path` and could be taken back."""
    patches = series()
    for count in range(len(patches), 0, -1):
        if _git_apply(path, patches[:count], "--reverse", "--check", must=False).returncode == 0:
            return patches[:count]
    return []


def series() -> list[Path]:
    """This plugin's patches, in the order in which they are made."""
    return sorted(patches_root().glob("*.patch"))


def patched_files(patches: Iterable[Path] | None = None) -> set[str]:
    """The files that these patches touch, by default all of this plugin's, as paths from the root of a checkout."""
    patches = series() if patches is None else patches
    lines = (line for patch in patches for line in patch.read_text(encoding="utf-8").splitlines())
    return {line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")}


def _fit(path: Path, patches: Sequence[Path]) -> None:
    check = _git_apply(path, patches, "--check", must=False)
    if check.returncode:
        raise SuiteError(
            f"the patches do not fit {path} ({last_line(check.stderr)}); is it at the tested commit, with "
            f"{', '.join(sorted(patched_files(patches)))} unedited? `git checkout` the file, or edit it by hand"
        )


def _git_apply(
    path: Path, patches: Iterable[Path], *options: str, must: bool = True
) -> subprocess.CompletedProcess[str]:
    # As one text: git checks files that are given one by one each against the unpatched tree.
    text = "".join(patch.read_text(encoding="utf-8") for patch in patches)
    result = git("apply", *options, "-", cwd=path, text=text)
    if must and result.returncode:
        raise SuiteError(f"git could not write to {path}: {last_line(result.stderr)}")
    return result
