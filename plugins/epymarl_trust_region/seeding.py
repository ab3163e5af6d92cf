"""One seed for every generator that a run draws from."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed every generator that a host or this plugin draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
