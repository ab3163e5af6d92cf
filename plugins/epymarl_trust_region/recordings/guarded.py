"""What is read of files that may be anyone's: nothing is followed, nothing is taken in before it has been weighed.

HDF5 can point out of a file (links, external storage, virtual datasets), and declare arrays of any size and type.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..memory import does_not_fit
from .hdf5 import library

_AGAIN = "record the episodes again"
_LARGEST_TEXT = 2**28  # of metadata.json, bytes; bounds of spaces with a million numbers take a tenth of it


def check_plain_file(file: Path) -> None:
    """Refuse a link, a pipe, a device: what is read or written would be somewhere else.

    Raises:
        DataError: `file`, or the folder that it is in, is there and is no file (no folder) of its own.
    """
    for place, is_right, kind in ((file.parent, stat.S_ISDIR, "folder"), (file, stat.S_ISREG, "file")):
        try:
            mode = os.lstat(place).st_mode
        except OSError:
            continue
        if not is_right(mode):
            what = "a link" if stat.S_ISLNK(mode) else f"no plain {kind}"
            raise DataError(f"{place} is {what}, and a recording has its own {kind}s alone; copy there what is meant")


def check_text_size(file: Path) -> None:
    """Refuse a JSON file that nobody has written for episodes."""
    size = file.stat().st_size
    if size > _LARGEST_TEXT:
        raise DataError(f"{file} has {size} bytes, more than any recording's; {_AGAIN}")


def check_fits(size: int, what: str) -> None:
    """Refuse to allocate more than there is.

    Args:
        size: bytes.
    """
    if too_much := does_not_fit(size):
        raise DataError(f"{what} {too_much}; read fewer episodes (max_episodes), or {_AGAIN}")


def group(parent: Any, name: str, place: str) -> Any:
    """A group of `parent`.

    Raises:
        KeyError: there is none.
        DataError: something else has the name, or it is a link.
    """
    child = _own(parent, name, place)
    if not isinstance(child, library().Group):
        raise DataError(f"{place}: {name} is no group; {_AGAIN}")
    return child


def array(parent: Any, name: str, shape: tuple[int, ...], kinds: str, place: str) -> np.ndarray:
    """A dataset of `parent`, read once all that it says of itself is as expected.

    Args:
        kinds: NumPy's letters of the types that it may have: "f", "iu", "b".

    Raises:
        KeyError: there is none.
        DataError: it is a link, lies outside the file, or has another shape or type, or numbers that are not finite.
    """
    dataset = _own(parent, name, place)
    if not isinstance(dataset, library().Dataset):
        raise DataError(f"{place}: {name} is no array; {_AGAIN}")
    if dataset.shape != shape:
        found = [*dataset.shape] if dataset.shape is not None else "none"
        raise DataError(f"{place}: {name} has the shape {found} and not {[*shape]}; {_AGAIN}")
    if dataset.dtype.kind not in kinds or dataset.dtype.itemsize > 8:
        raise DataError(f"{place}: {name} has the type {dataset.dtype}, which is none of this field's; {_AGAIN}")
    _check_storage(dataset, name, place)
    values = dataset[()]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{place}: {name} has numbers that are not finite; {_AGAIN}")
    return values


def number(parent: Any, name: str, place: str, least: int = 0, most: int = 2**62) -> int:
    """An attribute: one whole number.

    Raises:
        KeyError: there is none.
        DataError: it is something else, or outside `least` to `most`.
    """
    attribute = parent.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind not in "iu":
        raise DataError(f"{place}: {name} is no whole number; {_AGAIN}")
    value = int(parent.attrs[name])
    if not least <= value <= most:
        raise DataError(f"{place}: {name} is {value}, and no number from {least} to {most}; {_AGAIN}")
    return value


def has(parent: Any, name: str) -> bool:
    """Whether `parent` has something of that name; no link is followed."""
    return parent.id.links.exists(name.encode())


def _own(parent: Any, name: str, place: str) -> Any:
    """What stands in `parent` under that name, and nowhere else."""
    h5 = library()
    if not has(parent, name):
        raise KeyError(f"there is no {name}")
    if parent.id.links.get_info(name.encode()).type != h5.h5l.TYPE_HARD:
        raise DataError(f"{place}: {name} is a link to elsewhere, which is not followed; {_AGAIN}")
    return parent[name]


def _check_storage(dataset: Any, name: str, place: str) -> None:
    """Its numbers are in this file, all of them."""
    plist = dataset.id.get_create_plist()
    if plist.get_external_count() or plist.get_layout() == library().h5d.VIRTUAL:
        raise DataError(f"{place}: {name} lies in other files, which are not read; {_AGAIN}")
    chunk = dataset.chunks
    if chunk is None:
        whole = dataset.id.get_storage_size() == dataset.nbytes
    else:  # compressed afterwards, say by h5repack
        whole = all(c <= max(s, 1) for c, s in zip(chunk, dataset.shape, strict=True))
        whole &= bool(dataset.id.get_storage_size()) or not dataset.nbytes
    if not whole:
        raise DataError(f"{place}: {name} declares {dataset.nbytes} bytes, which the file does not hold; {_AGAIN}")


def plain(text: Any) -> str:
    """Somebody's text for a terminal: one line, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def short(value: Any, most: int = 40) -> str:
    """The same, of any length."""
    text = plain(value if isinstance(value, str | int | float | bool | None) else type(value).__name__)
    return text if len(text) <= most else text[:most] + "..."


def missing(facts: dict[str, Any], wanted: dict[str, Iterable[type]]) -> list[str]:
    """The keys that are not there or not of their types; a bool counts as no number."""
    return [key for key, types in wanted.items() if key not in facts or type(facts[key]) not in tuple(types)]
