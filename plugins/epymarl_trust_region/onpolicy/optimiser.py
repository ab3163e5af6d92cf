"""A network's parameters as one vector: their gradient, the guard against NaN, and Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..config import OnPolicyConfig
from ..modules.gradless import gradless
from ..numerics.flat import flatten, views
from .adam import Adam


class FlatParameters:
    """Parameters as one vector, with their gradient as another; how they move is the learner's own affair."""

    def __init__(self, owner: str, parameters: Iterable[nn.Parameter], vector: Tensor | None = None) -> None:
        """
        Args:
            owner: whose parameters they are, for messages.
            vector: the vector of which the parameters are views already; None makes one of them.
        """
        self.owner, self.parameters = owner, list(parameters)
        self.vector = torch.nn.Parameter(flatten(self.parameters) if vector is None else vector)
        self.gradient = torch.zeros_like(self.vector)  # never another tensor: `gradients` are views of it
        self.vector.grad = self.gradient
        self.gradients = views(self.gradient, self.parameters)
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # so that `loss.backward()` adds to it too
        self.grad_norm = 0.0
        self.skipped = 0

    def has_finite_gradient(self) -> bool:
        """Measure the gradient that a network's `pull`, or `loss.backward()`, has left in `gradients`.

        Returns:
            Whether it is finite, with its norm in `grad_norm`; if not, one more step counts as `skipped`.
        """
        norm = math.sqrt(torch.dot(self.gradient, self.gradient).item())
        finite = norm < float("inf")
        if finite:
            self.grad_norm = norm
        else:
            self.skipped += 1
        return finite

    def take_skipped(self) -> int:
        """Steps skipped since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped

    def scale_lr(self, share: float) -> None:
        """Go on with this share of the first step size, where there is one."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the parameters themselves."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""


class Optimiser(FlatParameters):
    """Adam on one vector, with gradient clipping."""

    def __init__(
        self,
        owner: str,
        parameters: Iterable[nn.Parameter],
        lr: float,
        config: OnPolicyConfig,
        vector: Tensor | None = None,
    ) -> None:
        super().__init__(owner, parameters, vector)
        self.grad_norm_clip, self.lr = config.grad_norm_clip, lr
        self.adam = Adam(self.vector, lr, config.optim_eps)
        self.on_host = self.vector.device.type == "cpu"  # where the host does not wait for a number that it asks for
        self._told: Tensor | None = None  # elsewhere, since last asked: `grad_norm` squared, or -1; steps skipped

    def step(self) -> None:
        """One descent step along `gradients`, which are 0 then; none, and parameters and moments as they were, if that
        is not finite."""
        if not self.on_host:
            self._step_unread()
        elif self.has_finite_gradient():
            if self.grad_norm > self.grad_norm_clip:
                self.gradient.mul_(self.grad_norm_clip / (self.grad_norm + 1e-6))
            self.adam.step()
        self.gradient.zero_()  # `pull` writes over it, but `backward` adds

    @gradless
    def _step_unread(self) -> None:
        """The same step, to the same numbers, without a look at any of them: a host would wait for its GPU."""
        if self._told is None:
            self._told = self.gradient.new_zeros(2, dtype=torch.float64)
            self._told[0] = -1
        square = torch.dot(self.gradient, self.gradient).double()
        norm, finite = square.sqrt(), square < float("inf")
        shorter = torch.where(norm > self.grad_norm_clip, self.grad_norm_clip / (norm + 1e-6), 1.0)
        self.gradient.mul_(shorter.to(self.gradient.dtype))
        self.adam.step(skipped=~finite)
        self._told[0] = torch.where(finite, square, self._told[0])
        self._told[1] += ~finite

    def take_skipped(self) -> int:
        if self._told is not None:
            square, skipped = self._told.tolist()
            self.grad_norm = math.sqrt(square) if square >= 0 else self.grad_norm
            self._told, self.skipped = None, self.skipped + int(skipped)
        return super().take_skipped()

    def scale_lr(self, share: float) -> None:
        self.adam.lr = self.lr * share

    def bookmark(self) -> Callable[[], None]:
        """Remember parameters and moments; what is returned brings both back, bit for bit, as often as it is called."""
        vector, moments_back = self.vector.detach().clone(), self.adam.bookmark()

        @torch.no_grad()
        def back() -> None:
            self.vector.copy_(vector)
            moments_back()

        return back

    def state_dict(self) -> dict[str, Any]:
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state)
