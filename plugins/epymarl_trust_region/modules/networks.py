"""What actors and critics share: how layers begin, and networks of a user's own."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import torch
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
        ConfigError: there is no such class, it cannot be made so, it is no network, or it gives another shape.
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
    _try(network, f"{key}: {name}", of == "actor", input_dim, output_dim)
    return network


def _try(network: Any, what: str, is_actor: bool, input_dim: int, output_dim: int) -> None:
    """One call on zeros: whatever is wrong with a network is said of it, and not of a product of matrices later on."""
    recurrent = is_actor and hasattr(network, "init_hidden")
    inputs = torch.zeros((2, 3, input_dim) if is_actor else (6, input_dim))
    expected = (*inputs.shape[:-1], output_dim)
    training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.eval()
            output = network(inputs, network.init_hidden(2)) if recurrent else network(inputs)
    except Exception as error:  # the user's own code
        text = " ".join(str(error).split())
        raise ConfigError(f"{what} fails on inputs {list(inputs.shape)}: {type(error).__name__}: {text}") from error
    finally:
        network.train(training)
    if recurrent:
        if not isinstance(output, tuple) or len(output) != 2:
            raise ConfigError(f"{what} has init_hidden, and gives no pair (outputs, state after them); return both")
        output = output[0]
    if not isinstance(output, torch.Tensor):
        more = "; one with a state needs a method init_hidden" if is_actor else ""
        raise ConfigError(f"{what} gives a {type(output).__name__} and no tensor{more}")
    if tuple(output.shape) != expected:
        raise ConfigError(
            f"{what} gives {list(output.shape)} for inputs {list(inputs.shape)}, instead of {list(expected)}; it is "
            f"made as Class({input_dim}, {output_dim}, ...), from so many numbers to so many"
        )
