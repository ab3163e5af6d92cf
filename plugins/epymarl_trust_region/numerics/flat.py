"""Parameters as one vector, so that an optimiser, a norm or a step is one operation and not one per tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def views(vector: Tensor, like: Iterable[Tensor]) -> list[Tensor]:
    """Views of `vector`, [P], one after the other, shaped as `like`; P is the sum of their sizes."""
    shapes = [tensor.shape for tensor in like]
    parts = vector.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


@torch.no_grad()
def flatten(parameters: Sequence[nn.Parameter], vector: Tensor | None = None) -> Tensor:
    """Move the parameters into one vector: they stay the same objects, and become views of it.

    Args:
        vector: where to, [P]; a new one if None.

    Returns:
        The vector. What is written to it, the parameters have.
    """
    joined = torch.cat([parameter.reshape(-1) for parameter in parameters])
    vector = joined if vector is None else vector.copy_(joined)
    for parameter, view in zip(parameters, views(vector, parameters), strict=True):
        parameter.data = view
    return vector


def is_flat(parameters: Sequence[nn.Parameter], vector: Tensor) -> bool:
    """Whether the parameters (still) begin where `vector` does: moving a module to another device ends that."""
    first = next((parameter for parameter in parameters if parameter.numel()), vector)  # an empty one begins nowhere
    return first.data_ptr() == vector.data_ptr()
