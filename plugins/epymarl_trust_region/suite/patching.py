"""Apply this plugin's patches to the working tree of an EPyMARL checkout, and take them back.

Nothing is committed, so no git identity is needed and the checkout's history stays its owner's.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from epymarl_trust_region.errors import SuiteError
from epymarl_trust_region.suite.host import patches_root

# Set while git runs a hook; they would point every command here at the hook's own repository.
_GIT_LOCATIONS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def apply(path: Path) -> bool:
    """Patch the checkout at `path`; False if it is patched already.

    Raises SuiteError, leaving every file as it was, if tracked files are modified or the patches do not fit.
    """
    if is_patched(path):
        return False
    if dirty := dirty_files(path):
        raise SuiteError(f"{path} has modified files: {', '.join(dirty)}; commit or stash them, then patch again")
    _fit(path)
    _git_apply(path)
    return True


def undo(path: Path) -> bool:
    """Take the patches back, byte for byte; False if the checkout is not patched.

    Raises SuiteError, leaving every file as it was, if the patched lines have been edited since.
    """
    if not is_patched(path):
        _fit(path)
        return False
    _git_apply(path, "--reverse")
    return True


def is_patched(path: Path) -> bool:
    """Whether all of this plugin's patches are in the working tree at `path` and could be taken back."""
    return _git_apply(path, "--reverse", "--check", must=False).returncode == 0


def dirty_files(path: Path) -> tuple[str, ...]:
    """Tracked files at `path` that differ from the commit, as paths from its root; none without a git repository."""
    status = git("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", cwd=path)
    return tuple(entry[3:] for entry in status.stdout.split("\0") if entry) if status.returncode == 0 else ()


def patched_files() -> set[str]:
    """The files that this plugin's patches touch, as paths from the root of a checkout."""
    lines = (line for patch in _patches() for line in patch.read_text(encoding="utf-8").splitlines())
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


def _fit(path: Path) -> None:
    check = _git_apply(path, "--check", must=False)
    if check.returncode:
        raise SuiteError(
            f"the patches do not fit {path} ({last_line(check.stderr)}); is it at the tested commit, with "
            f"{', '.join(sorted(patched_files()))} unedited? `git checkout` the file, or edit it by hand"
        )


def _git_apply(path: Path, *options: str, must: bool = True) -> subprocess.CompletedProcess[str]:
    # As one text: git checks files that are given one by one each against the unpatched tree.
    text = "".join(patch.read_text(encoding="utf-8") for patch in _patches())
    result = git("apply", *options, "-", cwd=path, text=text)
    if must and result.returncode:
        raise SuiteError(f"git could not write to {path}: {last_line(result.stderr)}")
    return result


def _patches() -> list[Path]:
    return sorted(patches_root().glob("*.patch"))
