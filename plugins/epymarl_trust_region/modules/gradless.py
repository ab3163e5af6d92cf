"""`torch.no_grad` for functions that are called at each step: nothing is switched where gradients are off already."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_F = TypeVar("_F", bound=Callable[..., Any])


def gradless(function: _F) -> _F:
    """The function, under `torch.no_grad`. To switch takes longer than an operation on a small tensor."""

    @functools.wraps(function)
    def without_gradient(*arguments: Any, **keywords: Any) -> Any:
        if not torch.is_grad_enabled():
            return function(*arguments, **keywords)
        with torch.no_grad():
            return function(*arguments, **keywords)

    return without_gradient  # type: ignore[return-value]  # of the same signature
