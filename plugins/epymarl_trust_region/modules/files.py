"""Files of parameters, and folders of them: written whole or not at all, and read with one clear error.

A folder is written beside its place, sealed with the checksums of its files, and renamed. So one that has its name is
whole, or it was made by somebody else: by a host that makes the folder first, or by older versions, without checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, StorageError

#: The actors' file in a checkpoint, under the suite's name for it.
AGENT_FILE = "agent.th"
#: The checksums of a folder's files, as `sha256sum -c` reads them. Written last.
CHECKSUMS_FILE = "SHA256SUMS"

#: What loading raises where the contents are not those that are expected: other shapes, names or types.
DO_NOT_FIT = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)

_UNFINISHED, _REPLACED = ".unfinished", ".replaced"  # no host takes such a folder for a number of steps


def write(file: Path, state: dict[str, Any]) -> None:
    """Write `state` to `file`; a process that dies meanwhile leaves the old file as it was.

    Raises:
        StorageError: there is no space for it, or no leave to write there.
    """
    data = io.BytesIO()  # in memory first: torch does not say why a file could not be written
    torch.save(state, data)
    _write_bytes(file, data.getbuffer())


def _write_bytes(file: Path, data: bytes | memoryview) -> None:
    unfinished = file.with_name(file.name + _UNFINISHED)
    try:
        with open(unfinished, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise StorageError.of(file, error) from error


@contextlib.contextmanager
def whole(folder: str | Path) -> Iterator[Path]:
    """A folder to write into; when the block ends, it takes the place of `folder`. If that fails, nothing is left.

    Raises:
        StorageError: there is no space for it, or no leave to write there.
    """
    folder = Path(folder)
    unfinished = folder.with_name(folder.name + _UNFINISHED)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that died
        unfinished.mkdir(parents=True)
        yield unfinished
        _seal(unfinished)
        _rename(unfinished, folder)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is empty: the host has made it
        if isinstance(error, OSError) or _of_torch(error):
            raise StorageError.of(folder, _as_os_error(error, folder)) from error
        raise


def _of_torch(error: BaseException) -> bool:
    """Whether it is what `torch.save` raises, in a host's own learners, where a file cannot be written."""
    marks = ("PytorchStreamWriter", "inline_container", "iostream")
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in marks)


def _as_os_error(error: BaseException, folder: Path) -> OSError:
    if isinstance(error, OSError):
        return error
    try:  # torch has hidden which one it was
        probe = folder.with_name(folder.name + ".probe")
        probe.write_bytes(bytes(2**16))
        probe.unlink()
    except OSError as found:
        with contextlib.suppress(OSError):
            probe.unlink()
        return found
    return OSError(0, " ".join(str(error).split())[:100])


def _seal(folder: Path) -> None:
    """Bring all files to the disk, then their checksums."""
    sums = ""
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name != CHECKSUMS_FILE):
        _sync(file)
        sums += f"{_sha256(file.read_bytes())}  {file.relative_to(folder).as_posix()}\n"
    _write_bytes(folder / CHECKSUMS_FILE, sums.encode())
    _sync_folder(folder)


def _rename(unfinished: Path, folder: Path) -> None:
    replaced = folder.with_name(folder.name + _REPLACED)
    shutil.rmtree(replaced, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # a host's empty one
    if folder.is_dir():  # an older checkpoint of the same step
        os.rename(folder, replaced)
    os.rename(unfinished, folder)
    _sync_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync(file: Path) -> None:
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no such thing
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems know it for files alone
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Reading -----------------------------------------------------------------------------------------------------------


def read(file: Path) -> dict[str, Any]:
    """Read what `write` wrote, onto the CPU, and hold it to its checksum, if the folder has one.

    Raises:
        CheckpointError: the file is missing or damaged, or holds something else.
    """
    data = _checked_bytes(file, checksums(file.parent).get(file.name))
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file, and for an empty one without a word
        raise _damaged(file, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(state, dict):
        raise _damaged(file, f"it holds a {type(state).__name__} and no parameters by name")
    return state


def check(folder: Path) -> None:
    """Hold every file in `folder` that has a checksum to it.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    for name, expected in checksums(folder).items():
        _checked_bytes(folder / name, expected)


def checksums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files in `folder`; empty if there are none, as in those of older versions.

    Raises:
        CheckpointError: the file of checksums is damaged.
    """
    file = folder / CHECKSUMS_FILE
    if not file.exists():
        return {}
    try:
        found = {name: checksum for checksum, name in map(_line, file.read_bytes().decode().splitlines())}
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error) or type(error).__name__) from None
    if not found:
        raise _damaged(file, "it is empty")
    return found


def _line(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([0-9a-f]{64})  ([^/\\]+(?:/[^/\\]+)*)", text)
    if not match or ".." in match[2].split("/"):
        raise ValueError(f"no checksum: {text[:40]!r}")
    return match[1], match[2]


def _checked_bytes(file: Path, expected: str | None) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        text = f"checkpoint file {file} is missing; {another(file.parent)}"
        raise CheckpointError(text) from None
    except OSError as error:
        raise _damaged(file, error.strerror or type(error).__name__) from None
    if expected is not None and _sha256(data) != expected:
        raise _damaged(file, f"its {len(data)} bytes do not have the checksum in {CHECKSUMS_FILE}")
    return data


def lacks(folder: Path, needed: Sequence[str] = ()) -> str:
    """What an incomplete folder lacks; empty if it is complete.

    Args:
        needed: the files that it must have if it has no checksums.

    Raises:
        CheckpointError: its checksums are damaged.
    """
    names = list(checksums(folder)) or needed
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing and not any(file.is_file() for file in folder.iterdir()):
        return "any file"
    return " and ".join(missing)


def steps(run: Path) -> list[int]:
    """The numbers of steps after which the folders in `run` were written, in order."""
    names = [entry.name for entry in run.iterdir() if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()]
    return sorted(int(name) for name in names if str(int(name)) == name)


def another(folder: Path) -> str:
    """What to do instead of reading a step's `folder`, in words: to take the newest whole sibling, if there is one."""
    run = folder.parent
    others = [step for step in steps(run) if str(step) != folder.name] if folder.name.isdigit() else []
    for step in reversed(others):
        if _is_whole(run / str(step)):
            return f"set load_step={step}, which is whole"
    return "there is no other one beside it: give another checkpoint_path, or train anew without one"


def _is_whole(folder: Path) -> bool:
    try:
        if checksums(folder):
            check(folder)
        else:
            for file in folder.glob("*.th"):
                torch.load(file, map_location="cpu", weights_only=True)
        return not lacks(folder)
    except Exception:  # whatever is wrong, it is not one to name
        return False


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"checkpoint file {file} is damaged ({reason}); {another(file.parent)}")


def foreign(path: str, error: Exception) -> CheckpointError:
    """The error for a checkpoint whose contents do not fit."""
    reason = textwrap.shorten(str(error), 200, placeholder=" ...")
    if isinstance(error, KeyError):
        reason = f"it has no {reason}"
    return CheckpointError(
        f"the checkpoint in {path} was made for another task or network, or by another version ({reason}); use the "
        "configuration that wrote it"
    )
