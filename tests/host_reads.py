"""How often a computation asks for numbers of its tensors: on a GPU the host waits each time until they are there."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Their result, or its size, is known to the host alone once it has been computed.
_READS = {f"aten::{name}" for name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2")}
_BY_MASK = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}
# These copy to the host, and on the CPU, where there is nothing to copy, no operation shows it.
_COPIES = {torch.Tensor.tolist: "tolist", torch.Tensor.numpy: "numpy"}


class _Operations(TorchDispatchMode):
    def __init__(self, found: Counter) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation._schema.name
        indices = args[1] if name in _BY_MASK else []
        if name in _READS or any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in indices):
            self.found[name.removeprefix("aten::")] += 1
        return operation(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    def __init__(self, found: Counter) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if name := _COPIES.get(function):
            before = self.found.copy()
            result = function(*args, **(kwargs or {}))
            self.found.clear()
            self.found.update(before + Counter([name]))  # whatever it has done inside
            return result
        return function(*args, **(kwargs or {}))


class HostReads:
    """Within `with HostReads() as reads`, what was read: kind -> how often, in `reads.found`; all in `reads.total`."""

    def __init__(self) -> None:
        self.found: Counter = Counter()

    def __enter__(self) -> HostReads:
        self._modes = ExitStack()
        self._modes.enter_context(_Operations(self.found))
        self._modes.enter_context(_Calls(self.found))
        return self

    def __exit__(self, *error: Any) -> None:
        self._modes.close()

    @property
    def total(self) -> int:
        """How often the host would wait."""
        return sum(self.found.values())
