"""What actors and critics share: how layers begin, and networks of a user's own."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

from torch import nn

from ..errors import ConfigError
from ..extensions import load_class
from ..interfaces import Args

RELU_GAIN = math.sqrt(2.0)


def linear(in_features: int, out_features: int, gain: float = RELU_GAIN) -> nn.Linear:
    """A linear layer with orthogonal weights of the given gain and zero bias."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element")  # observations may be without numbers
        layer = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def initial_gain(activation: str) -> float:
    """PyTorch's gain for the layer before this activation, a key of `ACTIVATIONS`."""
    return nn.init.calculate_gain(cast(Any, activation))


def make_module(args: Args, of: str, input_dim: int, output_dim: int) -> nn.Module:
    """A network of the user's own: `Class(input_dim, output_dim, **arguments)`.

    Args:
        args: read are `<of>_network`, "module:Class", and `<of>_args`, the arguments.
        of: "actor" or "critic".

    Raises:
        ConfigError: there is no such class, it cannot be made so, or it is no network.
    """
    key = f"{of}_network"
    name, arguments = getattr(args, key), getattr(args, f"{of}_args")
    factory = load_class(name, key)
    try:
        network = factory(input_dim, output_dim, **arguments)
    except TypeError as error:
        given = "".join(f", {key}={value!r}" for key, value in arguments.items())
        raise ConfigError(f"{key}: {name}({input_dim}, {output_dim}{given}) cannot be made: {error}") from error
    if not isinstance(network, nn.Module) or not list(network.parameters()):
        raise ConfigError(f"{key}: {name} gives a {type(network).__name__}; give a torch.nn.Module with parameters")
    return network
