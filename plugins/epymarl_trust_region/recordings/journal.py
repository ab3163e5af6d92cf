"""A file that is changed in place, and can be put back to what it was before a change that was never finished.

HDF5 has no journal: a process that is killed while it writes its index leaves a file that nothing opens. So before
bytes of the file as it was are overwritten, they go to a second one, `<name>.undo`:

    the file's size before the change and the number `mark` (int64 each), then, for each piece overwritten, its offset
    and length (int64 each) and its bytes

`mark` tells whether the change counts: it does once the caller's own record (metadata.json) has another number. A kill
of the process is what this is for; after a power cut nothing is promised.

Only the process that writes a file puts it back. Who reads one sees it as it was (`before`), and writes nothing: both
files may be anyone's. For the same reason no link is followed, and what the second one says is checked.
"""

from __future__ import annotations

import errno
import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DataError

try:
    import fcntl
except ImportError:  # no such locks there: two processes at once are the user's care
    fcntl = None

_HEADER, _PIECE = struct.Struct("<qq"), struct.Struct("<qq")
Pieces = list[tuple[int, bytes]]


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
        DataError: one of the two files is a link, or the second is damaged.
        OSError: the file cannot be written.
    """
    undo = undo_file(file)
    if not os.path.lexists(undo):
        return
    with open(file, "r+b", buffering=0, opener=_no_link) as target:
        _lock(target)
        if kept := _kept(file, mark):
            size, pieces = kept
            for offset, piece in reversed(pieces):
                target.seek(offset)
                target.write(piece)
            target.truncate(size)
        undo.unlink(missing_ok=True)


@contextmanager
def before(file: str | Path, mark: Callable[[], int]) -> Iterator[io.RawIOBase | None]:
    """The file as it was before a change that was not finished, to be read; None if there was none, so that it can be
    read as it is. Nothing is written, and nobody who keeps to locks writes while the block lasts.

    Args:
        mark: see `put_back`.

    Raises:
        BlockingIOError, DataError, OSError: see `put_back`.
    """
    with open(file, "rb", buffering=0, opener=_no_link) as target:
        _lock(target, shared=True)
        kept = _kept(file, mark) if os.path.lexists(undo_file(file)) else None
        yield _Before(target, *kept) if kept else None


def _kept(file: str | Path, mark: Callable[[], int]) -> tuple[int, Pieces] | None:
    """The size and the pieces to put back; None if the change counts, or had not begun."""
    undo = undo_file(file)
    try:
        with open(undo, "rb", opener=_no_link) as stored:
            kept = stored.read()
    except FileNotFoundError:  # it was finished just now
        return None
    if len(kept) < _HEADER.size:
        return None
    size, old_mark = _HEADER.unpack_from(kept)
    if old_mark != mark():
        return None
    pieces, present = list(_pieces(kept, size, undo)), os.path.getsize(file)
    if not 0 <= size <= present + sum(len(piece) for _, piece in pieces):
        raise DataError(f"{undo} is damaged: the size {size} is more than there is to put back; record it again")
    return size, pieces


def _pieces(kept: bytes, size: int, undo: Path) -> Iterator[tuple[int, bytes]]:
    """The last may be torn; then nothing was overwritten for it yet, and to put back a part of it changes nothing."""
    at = _HEADER.size
    while at + _PIECE.size <= len(kept):
        offset, length = _PIECE.unpack_from(kept, at)
        if offset < 0 or length < 0 or offset + length > size:
            raise DataError(
                f"{undo} is damaged: a piece of {length} bytes at {offset} is outside the {size} of the file; record "
                "it again"
            )
        at += _PIECE.size
        yield offset, kept[at : at + length]
        at += length


def _no_link(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path} is a link, which is not followed; copy there what is meant") from None
        raise


def _lock(file, shared: bool = False) -> None:
    """As HDF5 does it, so that its processes and ours respect each other."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


class _Before(io.RawIOBase):
    """A file under the pieces that were kept of it; h5py's driver for file objects asks for no more than this."""

    def __init__(self, file: io.FileIO, size: int, pieces: Pieces) -> None:
        self._file, self._size, self._kept, self._at = file, size, pieces, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        view, start = memoryview(buffer).cast("B"), self._at
        count = max(min(len(view), self._size - start), 0)
        self._file.seek(start)
        data = bytearray(self._file.read(count))
        data.extend(bytes(count - len(data)))
        for offset, piece in reversed(self._kept):
            first, last = max(offset, start), min(offset + len(piece), start + count)
            if first < last:
                data[first - start : last - start] = piece[first - offset : last - offset]
        view[:count] = data
        self._at += count
        return count


class _Recorded(io.FileIO):
    """Keeps what it overwrites. h5py's driver for file objects asks for no more than io.FileIO has."""

    def __init__(self, file: str | Path, mark: int) -> None:
        super().__init__(file, "r+", opener=_no_link)
        try:
            _lock(self)
            self._old_size = self.seek(0, io.SEEK_END)
            self.seek(0)
            self._undo = open(undo_file(file), "wb", opener=_no_link)
        except OSError:
            super().close()
            raise
        self._note(_HEADER.pack(self._old_size, mark))

    def write(self, data) -> int:
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
