"""Apply this plugin's patches to the working tree of an EPyMARL checkout, and take them back.

The first of them let its `src/main.py` find plugins; the others mend defects of EPyMARL that have nothing to do with
this plugin (patches/README.md). Nothing is committed, so no git identity is needed and the checkout's history stays
its owner's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from epymarl_trust_region.errors import SuiteError
from epymarl_trust_region.git import dirty_files, git, last_line
from epymarl_trust_region.suite.host import patches_root

_FOR_PLUGINS = 3  # so many of the series
_NEEDS = {3: 1}  # which patch changes lines that another has made


def apply(path: Path, patches: Iterable[Path] | None = None) -> bool:
    """Patch the checkout at `path`; False if it is patched already.

    Where some of the patches are there, as an older version of this plugin has left them, the others are added.
    Raises SuiteError, leaving every file as it was, if tracked files are modified or the patches do not fit.

    Args:
        patches: those that shall be there; None: what `src/main.py` needs to find plugins.
    """
    there = applied(path)
    missing = [patch for patch in (for_plugins() if patches is None else patches) if patch not in there]
    if not missing:
        return False
    if dirty := [name for name in dirty_files(path) if name not in patched_files(there)]:
        raise SuiteError(f"{path} has modified files: {', '.join(dirty)}; commit or stash them, then patch again")
    _fit(path, missing)
    _git_apply(path, missing)
    return True


def undo(path: Path) -> bool:
    """Take all patches that are there back, byte for byte; False if the checkout is not patched.

    Raises SuiteError, leaving every file as it was, if the patched lines have been edited since.
    """
    there = applied(path)
    if not there:
        _fit(path, for_plugins())
        return False
    _git_apply(path, there, "--reverse")
    return True


def is_patched(path: Path) -> bool:
    """Whether all that `src/main.py` needs is in the working tree at `path` and could be taken back."""
    return set(for_plugins()) <= set(applied(path))


def applied(path: Path) -> list[Path]:
    """The patches of this plugin that are in the working tree at `path` and could be taken back, in their order."""
    there: list[Path] = []
    for patch in reversed(series()):  # a later one may stand on an earlier one, and then both are taken back as one
        if _git_apply(path, [patch, *there], "--reverse", "--check", must=False).returncode == 0:
            there.insert(0, patch)
    return there


def series() -> list[Path]:
    """This plugin's patches, in the order in which they are made."""
    return sorted(patches_root().glob("*.patch"))


def for_plugins() -> list[Path]:
    """The patches that let the checkout's own `src/main.py` find plugins."""
    return [patch for patch in series() if number(patch) <= _FOR_PLUGINS]


def chosen(numbers: Iterable[int]) -> list[Path]:
    """The patches of these numbers, and those that they need.

    Raises SuiteError if there is no patch of a number.
    """
    known = {number(patch): patch for patch in series()}
    wanted = set(numbers)
    for unknown in sorted(wanted - set(known)):
        raise SuiteError(f"there is no patch {unknown}; they are {', '.join(map(str, known))}: see patches/README.md")
    return [patch for n, patch in known.items() if n in wanted | {_NEEDS[n] for n in wanted if n in _NEEDS}]


def number(patch: Path) -> int:
    """The number with which the patch's name begins."""
    return int(patch.name.partition("-")[0])


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
