"""The git command, as it is needed here: no questions, no enclosing repository, an end in time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from .errors import SuiteError

# Set while git runs a hook; they would point every command here at the hook's own repository.
_GIT_LOCATIONS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


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


def dirty_files(path: Path) -> tuple[str, ...]:
    """Tracked files at `path` that differ from the commit, as paths from its root; none without a git repository."""
    status = git("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", cwd=path)
    return tuple(entry[3:] for entry in status.stdout.split("\0") if entry) if status.returncode == 0 else ()


def last_line(errors: str) -> str:
    """The line of git's error output that says what went wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    decisive = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (decisive or lines or ["git gave no reason"])[0]
