"""A file that is changed in place, and can be put back to what it was before a change that was never finished.

HDF5 has no journal: a process that is killed while it writes its index leaves a file that nothing opens. So before
bytes of the file as it was are overwritten, they go to a second one, `<name>.undo`:

    the file's size before the change and the number `mark` (int64 each), then, for each piece overwritten, its offset
    and length (int64 each) and its bytes

`mark` tells whether the change counts: it does once the caller's own record (metadata.json) has another number. A kill
of the process is what this is for; after a power cut nothing is promised.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # no such locks there: two processes at once are the user's care
    fcntl = None  # type: ignore[assignment]  # a module, elsewhere

_HEADER, _PIECE = struct.Struct("<qq"), struct.Struct("<qq")


def undo_file(file: str | Path) -> Path:
    return Path(f"{file}.undo")


@contextmanager
def change(file: str | Path, mark: int) -> Iterator[io.FileIO]:
    """The file, to be written by h5py; what is overwritten is kept until the block has ended without an error.

    The caller makes the change count, by recording another `mark`, inside the block.

    Raises:
        BlockingIOError: another process has the file open.
        OSError: it cannot be opened or written.
    """
    put_back(file, lambda: mark)
    with _Recorded(file, mark) as recorded:
        yield recorded
        undo_file(file).unlink()


def put_back(file: str | Path, mark: Callable[[], int]) -> None:
    """Undo a change that was not finished, if there is one.

    Args:
        mark: reads that of the caller's record; called once nobody else can change it.

    Raises:
        BlockingIOError: the change is being made just now.
        OSError: the file cannot be written.
    """
    undo = undo_file(file)
    if not undo.exists():
        return
    with open(file, "r+b", buffering=0) as target:
        _lock(target)
        kept = undo.read_bytes() if undo.exists() else b""  # it was finished just now
        if len(kept) >= _HEADER.size:
            size, old_mark = _HEADER.unpack_from(kept)
            if old_mark == mark():
                for offset, piece in reversed(list(_pieces(kept))):
                    target.seek(offset)
                    target.write(piece)
                target.truncate(size)
        undo.unlink(missing_ok=True)


def _pieces(kept: bytes) -> Iterator[tuple[int, bytes]]:
    """The last may be torn; then nothing was overwritten for it yet, and to put back a part of it changes nothing."""
    at = _HEADER.size
    while at + _PIECE.size <= len(kept):
        offset, length = _PIECE.unpack_from(kept, at)
        at += _PIECE.size
        yield offset, kept[at : at + length]
        at += length


def _lock(file: io.FileIO) -> None:
    """As HDF5 does it, so that its processes and ours respect each other."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


class _Recorded(io.FileIO):
    """Keeps what it overwrites. h5py's driver for file objects asks for no more than io.FileIO has."""

    def __init__(self, file: str | Path, mark: int) -> None:
        super().__init__(file, "r+")
        try:
            _lock(self)
            self._old_size = self.seek(0, io.SEEK_END)
            self.seek(0)
            self._undo = open(undo_file(file), "wb")
        except OSError:
            super().close()
            raise
        self._note(_HEADER.pack(self._old_size, mark))

    def write(self, data: Any, /) -> int:
        data, start = memoryview(data).cast("B"), self.tell()
        self._keep(start, start + len(data))
        written = 0
        while written < len(data):
            written += super().write(data[written:])
        return written

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        self._keep(size, self._old_size)
        return super().truncate(size)

    def _keep(self, start: int, end: int) -> None:
        """The old bytes from `start` to `end`, as far as there were any."""
        end = min(end, self._old_size)
        if start < end:
            position = self.seek(0, io.SEEK_CUR)
            self.seek(start)
            self._note(_PIECE.pack(start, end - start) + self.read(end - start))
            self.seek(position)

    def _note(self, record: bytes) -> None:
        self._undo.write(record)
        self._undo.flush()  # a kill loses what has not left this process

    def close(self) -> None:
        if not self.closed:
            try:
                self._undo.close()
            finally:
                super().close()
