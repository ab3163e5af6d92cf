"""Where learning happens, if not where acting does: the key `learner_device`."""

from __future__ import annotations

import re

import torch

from ..errors import ConfigError


def check_device(name: str | None, use_cuda: bool) -> None:
    """Refuse a `learner_device` that is not there.

    Args:
        name: "cpu", "cuda" or "cuda:N"; None: learning happens where acting does.
        use_cuda: whether acting is to be on the GPU, too.

    Raises:
        ConfigError: names what is there, and the remedy.
    """
    if name is None:
        return
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name, re.ASCII):
        raise ConfigError(f"learner_device={name} is no device; name one: cpu, cuda or cuda:0, or set it to null")
    if use_cuda:
        raise ConfigError(
            f"learner_device={name} is for acting on the CPU, and use_cuda=True acts on the GPU; set use_cuda=False, "
            "or learner_device=null"
        )
    if name == "cpu":
        return
    if not torch.cuda.is_available():
        raise ConfigError(
            f"learner_device={name}, but PyTorch finds no CUDA device; set learner_device=null, or ask `epymarl-tr "
            "doctor` why"
        )
    last = torch.cuda.device_count() - 1
    if int(name.partition(":")[2] or 0) > last:
        raise ConfigError(f"learner_device={name}, but PyTorch's last CUDA device is cuda:{last}; name one up to it")
