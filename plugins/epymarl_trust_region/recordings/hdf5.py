"""Groups, arrays and numbers in an HDF5 file, through h5py's low-level interface.

A short episode is a dozen small objects, and h5py's `create_dataset` and `attrs` take several times as long for each as
the HDF5 library itself.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import DataError


@functools.cache
def library() -> ModuleType:
    """The package h5py.

    Raises:
        DataError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"recorded episodes need the package h5py ({error}): pip install -c constraints.txt -e '.[offline]'"
        ) from error
    return h5py


@functools.cache
def _type(dtype: np.dtype, in_file: bool) -> Any:
    # In the file booleans are an enumeration, which h5py and Minari read back as booleans.
    return library().h5t.py_create(dtype, logical=in_file)


def add_group(parent: Any, name: str) -> Any:
    """A new group's low-level id, in the group whose low-level id is `parent`."""
    return library().h5g.create(parent, name.encode())


def add_array(parent: Any, name: str, array: np.ndarray) -> None:
    """A new contiguous dataset with the values of `array`."""
    h5 = library()
    space = h5.h5s.create_simple(array.shape)
    dataset = h5.h5d.create(parent, name.encode(), _type(array.dtype, True), space)
    dataset.write(h5.h5s.ALL, h5.h5s.ALL, np.ascontiguousarray(array), _type(array.dtype, False))


def add_number(parent: Any, name: str, value: int) -> None:
    """A new attribute, int64."""
    h5 = library()
    attribute = h5.h5a.create(parent, name.encode(), _type(np.dtype(np.int64), True), h5.h5s.create(h5.h5s.SCALAR))
    attribute.write(np.array(value, np.int64))
