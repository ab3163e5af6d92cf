"""Initialisation shared by actors and critics."""

from __future__ import annotations

import math
import warnings

from torch import nn

RELU_GAIN = math.sqrt(2.0)


def linear(in_features: int, out_features: int, gain: float = RELU_GAIN) -> nn.Linear:
    """A linear layer with orthogonal weights of the given gain and zero bias."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element")  # observations may be without numbers
        layer = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
