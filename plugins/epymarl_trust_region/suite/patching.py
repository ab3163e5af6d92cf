"""Apply this plugin's patches to the working tree of an EPyMARL checkout, and take them back.

Nothing is committed, so no git identity is needed and the checkout's history stays its owner's.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from epymarl_trust_region.errors import SuiteError
from epymarl_trust_region.suite.host import patches_root

# Set while git runs a hook; they would point every command here at the hook's own repository.
_GIT_LOCATIONS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


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


def dirty_files(path: Path) -> tuple[str, ...]:
    """Tracked files at `path` that differ from the commit, as paths from its root; none without a git repository."""
    status = git("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", cwd=path)
    return tuple(entry[3:] for entry in status.stdout.split("\0") if entry) if status.returncode == 0 else ()


def patched_files(patches: Iterable[Path] | None = None) -> set[str]:
    """The files that these patches touch, by default all of this plugin's, as paths from the root of a checkout."""
    patches = series() if patches is None else patches
    lines = (line for patch in patches for line in patch.read_text(encoding="utf-8").splitlines())
    return {line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")}


def git(*arguments: str, cwd: Path, timeout_s: float = 30, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run git in the folder `cwd`, never asking a question, and never taking an enclosing repository for `cwd`'s own.

    `text` is its standard input. Raises SuiteError if git is not installed or takes longer than `timeout_s` seconds; a
    command that fails is returned like one that does not.
    """
    cwd = cwd.resolve()
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_LOCATIONS}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_CEILING_DIRECTORIES": str(cwd.parent)}
    # safe.directory: a checkout may be shared, and so belong to another user.
    command = ["git", "-c", f"safe.directory={cwd}", *arguments]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise SuiteError("git is not installed (or not on PATH); install git") from error
    try:
        output, errors = process.communicate(text, timeout=timeout_s)
    except BaseException as error:
        # git's own helpers hold the pipes open, so the whole group has to go.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise SuiteError(f"`git {arguments[0]}` took longer than {timeout_s:.3g} s; raise the time-out") from error
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def last_line(errors: str) -> str:
    """The line of git's error output that says what went wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    decisive = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (decisive or lines or ["git gave no reason"])[0]


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
