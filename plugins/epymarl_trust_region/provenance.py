"""Which code makes a result: the plugin's commit, and the files that differ from it.

A commit says nothing of numbers that were made from modified files, so results are not published from any.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .git import dirty_files, git

DIRTY = "-dirty"  # ends the name of a commit whose files were modified
_CHECKOUT = Path(__file__).resolve().parents[2]


def modified_files() -> tuple[str, ...]:
    """Tracked files of the plugin's checkout that differ from its commit, but for results, which make no numbers.

    As paths from its root; none when the plugin is installed from a wheel.
    """
    if not (_CHECKOUT / ".git").exists():
        return ()
    return tuple(name for name in dirty_files(_CHECKOUT) if not name.startswith("results/"))


def own_version() -> dict[str, Any]:
    """`plugin_commit` of the plugin's checkout, None when it is installed from a wheel; see `version`."""
    if not (_CHECKOUT / ".git").exists():
        return {"plugin_commit": None}
    result = git("describe", "--always", "--abbrev=12", cwd=_CHECKOUT)
    return version("plugin", result.stdout.strip() if result.returncode == 0 else None, modified_files())


def version(of: str, commit: str | None, modified: tuple[str, ...]) -> dict[str, Any]:
    """`<of>_commit`; where files differ from it, it ends in `-dirty`, and `<of>_modified` has their names."""
    if commit and modified:
        return {f"{of}_commit": commit + DIRTY, f"{of}_modified": list(modified)}
    return {f"{of}_commit": commit}
