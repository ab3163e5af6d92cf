"""NumPy's arrays and numbers in files that hold tensors and plain values alone."""

from __future__ import annotations

import numpy as np
import pytest
from epymarl_trust_region.modules import files
from epymarl_trust_region.modules.plain import packed, unpacked


@pytest.mark.parametrize(
    "x",
    [
        np.arange(6.0).reshape(2, 3)[:, ::2], np.zeros((0, 4), np.int8), np.array(7, np.uint64), np.float32(0.1),
        np.bool_(True), np.array(["ä", "b"]), np.array([2**63], np.uint64), b"\x00x", b"",
        (1, (np.ones(1),), [np.int64(3)]),
        {"a": {1: np.array([True])}}, 2**200, -0.0, None, "x", ("numpy",), (),
    ],
)  # fmt: skip
def test_what_is_written_is_read(x, tmp_path):
    files.write(tmp_path / "x.th", {"x": packed(x)})
    found = unpacked(files.read(tmp_path / "x.th")["x"])
    assert_same(found, x)


def assert_same(a, b) -> None:
    assert type(a) is type(b)
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        assert not isinstance(a, np.ndarray) or a.flags.writeable
    else:
        assert repr(a) == repr(b)


@pytest.mark.parametrize("dtype, shape", [("|O", [1]), ("<f8", [10**12]), ("<f8", [-1, 0]), ("no", [1])])
def test_arrays_of_strangers_are_refused(dtype, shape):
    kind, _, _, data = packed(np.zeros(1))
    with pytest.raises((ValueError, TypeError)):
        unpacked((kind, dtype, shape, data))
