"""NumPy's arrays and numbers, and bytes, among plain data, as what a checkpoint may hold: tensors and plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_ARRAY, _NUMBER, _BYTES = "numpy array", "numpy number", "bytes"


def packed(x: Any) -> Any:
    """`x` with every array, number of NumPy's and bytes as a tuple that begins with its kind."""
    if isinstance(x, np.ndarray | np.generic):
        array = np.ascontiguousarray(x)
        kind = _ARRAY if isinstance(x, np.ndarray) else _NUMBER
        return kind, array.dtype.str, list(np.shape(x)), _tensor(array.tobytes())
    if isinstance(x, bytes):
        return _BYTES, _tensor(x)
    if isinstance(x, dict):
        return {key: packed(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(map(packed, x)) if type(x) in (list, tuple) else tuple(map(packed, x))
    return x


def unpacked(x: Any) -> Any:
    """What was `packed`.

    Raises:
        ValueError, TypeError: it holds something else.
    """
    if isinstance(x, dict):
        return {key: unpacked(value) for key, value in x.items()}
    if isinstance(x, list):
        return list(map(unpacked, x))
    if not isinstance(x, tuple):
        return x
    if x[:1] == (_BYTES,):
        return x[1].numpy().tobytes()
    if x[:1] not in ((_ARRAY,), (_NUMBER,)):
        return tuple(map(unpacked, x))
    _, dtype, shape, data = x
    array = np.frombuffer(data.numpy().tobytes(), _dtype(dtype)).reshape(shape).copy()
    return array if x[0] == _ARRAY else array[()]


def _dtype(name: str) -> np.dtype:
    dtype = np.dtype(name)
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype}")
    return dtype


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)
