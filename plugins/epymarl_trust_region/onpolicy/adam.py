"""Adam on one vector."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..modules.gradless import gradless

_BETAS = (0.9, 0.999)  # PyTorch's own
#: What PyTorch's `adam` itself calls, where this version of PyTorch has it.
_fused: Any = getattr(torch, "_fused_adam_", None)


class Adam:
    """`torch.optim.Adam(fused=True)` (Kingma and Ba, 2015): its kernel, its numbers and its form in checkpoints.

    That class itself imports PyTorch's compiler, a second and 80 MiB of every process, and at each step looks for hooks
    and sorts tensors, which on one small vector takes longer than the step.
    """

    def __init__(self, vector: Tensor, lr: float, eps: float) -> None:
        """
        Args:
            vector: the parameters, with their gradient as `grad`.
        """
        self.vector, self.lr, self.eps = vector, lr, eps
        self.moments: dict[str, Tensor] = {}  # step, exp_avg and exp_avg_sq; none before the first step

    @gradless
    def step(self, skipped: Tensor | None = None) -> None:
        """One descent step along the gradient.

        Args:
            skipped: a truth value on the vector's device: whether everything is to stay as it is.
        """
        if not self.moments:
            self.moments = {"step": torch.zeros((), dtype=torch.float32, device=self.vector.device)}
            self.moments |= {name: torch.zeros_like(self.vector) for name in ("exp_avg", "exp_avg_sq")}
        step, mean, square = self.moments.values()
        lists: Any = [self.vector], [self.vector.grad], [mean], [square], [], [step]
        beta1, beta2 = _BETAS
        options: Any = {"lr": self.lr, "beta1": beta1, "beta2": beta2, "eps": self.eps}
        options |= {"weight_decay": 0, "amsgrad": False, "maximize": False}
        found = None if skipped is None else skipped.float()
        if _fused is None:
            importlib.import_module("torch.optim.adam").adam(*lists, fused=True, found_inf=found, **options)
            return
        step.add_(1)  # the rest of `adam` only sorts tensors
        _fused(*lists, grad_scale=None, found_inf=found, **options)
        if found is not None:
            step.sub_(found)

    def bookmark(self) -> Callable[[], None]:
        """Remember the moments; what is returned brings them back, bit for bit, as often as it is called."""
        moments = self._copy(self.moments)

        def back() -> None:
            self.moments = self._copy(moments)

        return back

    @staticmethod
    def _copy(moments: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in moments.items()}

    def state_dict(self) -> dict[str, Any]:
        """As `torch.optim.Adam` has it."""
        group = {"lr": self.lr, "betas": _BETAS, "eps": self.eps, "weight_decay": 0, "amsgrad": False}
        group |= {"maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": True}
        group |= {"decoupled_weight_decay": False, "params": [0]}
        return {"state": {0: self.moments} if self.moments else {}, "param_groups": [group]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, of this class or of `torch.optim.Adam`.

        Raises:
            ValueError: of other parameters.
        """
        (group,) = state["param_groups"]
        found = state["state"].get(0, {})
        moments = {
            name: found[name].to(self.vector.device, copy=True) for name in ("step", "exp_avg", "exp_avg_sq") if found
        }
        if any(moments[name].shape != self.vector.shape for name in ("exp_avg", "exp_avg_sq") if found):
            raise ValueError(f"moments of {moments['exp_avg'].numel()} parameters for {self.vector.numel()}")
        self.lr, self.eps, self.moments = group["lr"], group["eps"], moments
