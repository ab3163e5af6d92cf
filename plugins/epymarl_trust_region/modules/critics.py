"""State-value critics. Shape letters: B episodes, T steps, N agents, O observation, S state, K values.

K is 1 for a common reward and N for individual rewards: one value per column of the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..interfaces import Args, Batch, Scheme
from ..numerics.autograd import autograd_vjp
from ..numerics.mlp import ACTIVATIONS, Pull, mlp_vjp
from .input_norm import RunningNorm
from .networks import initial_gain, linear, make_module
from .value_norm import make_value_head


class _ValueNet(nn.Module):
    """Two layers with f, or a network of the user's own, to `critic_hidden_dim` features; then a value head."""

    def __init__(self, input_dim: int, n_values: int, args: Args) -> None:
        super().__init__()
        width, self.activation = args.critic_hidden_dim, ACTIVATIONS[args.activation]
        self.own = args.critic_network is not None
        if self.own:
            self.layers = make_module(args, "critic", input_dim, width)
        else:
            gain, f = initial_gain(args.activation), self.activation.module
            self.layers = nn.Sequential(linear(input_dim, width, gain), f(), linear(width, width, gain), f())
        self.head = make_value_head(width, n_values, args.value_norm, args.value_norm_beta)
        self.in_order = tuple(self.parameters())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layers(inputs))

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Pull]:
        """The same for inputs [M, D] under `torch.no_grad`, with its vector-Jacobian product."""
        if self.own:
            return autograd_vjp(lambda: self(inputs), self.in_order)
        return mlp_vjp(inputs, self.in_order, self.activation)


class CentralCritic(nn.Module):
    """V(s) -> [B, T, K] from the state, with all observations beside it when `obs_individual_obs` is set."""

    def __init__(self, scheme: Scheme, args: Args, n_values: int) -> None:
        super().__init__()
        self.obs_individual_obs = args.obs_individual_obs
        input_dim = scheme["state"]["vshape"]
        if self.obs_individual_obs:
            input_dim += args.n_agents * scheme["obs"]["vshape"]
        self.input_norm = RunningNorm(input_dim) if args.normalise_inputs else None
        self.net = _ValueNet(input_dim, n_values, args)

    def inputs(self, batch: Batch) -> Tensor:
        """What the critic reads of a batch, built once per update: [B, T, D]."""
        inputs = self._raw_inputs(batch)
        return inputs if self.input_norm is None else self.input_norm(inputs)

    def _raw_inputs(self, batch: Batch) -> Tensor:
        state = batch["state"]
        return torch.cat([state, batch["obs"].flatten(2)], dim=-1) if self.obs_individual_obs else state

    def take_in(self, batch: Batch) -> None:
        """Let the batch's states have their part in the normalisation of inputs, from the next rollout on."""
        if self.input_norm is not None:
            self.input_norm.update(self._raw_inputs(batch)[batch["filled"].squeeze(-1).bool()])

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs [B, T, D] -> values [B, T, K], in the head's units."""
        return self.net(inputs)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Pull]:
        """`forward` under `torch.no_grad`, faster, with `pull(gradient of the values, out)` for the parameters'."""
        values, pull = self.net.vjp(inputs.flatten(0, 1))
        return values.view(*inputs.shape[:2], -1), lambda gradient, out: pull(gradient.flatten(0, 1), out)

    def normalise(self, returns: Tensor) -> Tensor:
        """Returns [B, T, K] to the head's units."""
        return self.net.head.normalise(returns)

    def denormalise(self, values: Tensor) -> Tensor:
        """The head's units to returns, [B, T, K]."""
        return self.net.head.denormalise(values)

    def update_normaliser(self, returns: Tensor) -> None:
        """Take in one batch of valid returns [M, K]."""
        self.net.head.update(returns)


class IndividualCritic(nn.Module):
    """V_i(o_i) -> [B, T, N], one network per agent.

    With a common reward each V_i estimates the same return from its own observation.
    """

    def __init__(self, scheme: Scheme, args: Args) -> None:
        super().__init__()
        input_dim = scheme["obs"]["vshape"]
        self.input_norm = RunningNorm((args.n_agents, input_dim)) if args.normalise_inputs else None
        self.nets = cast(
            Sequence[_ValueNet], nn.ModuleList(_ValueNet(input_dim, 1, args) for _ in range(args.n_agents))
        )

    def inputs(self, batch: Batch) -> Tensor:
        """What the critics read of a batch: observations [B, T, N, O]."""
        return batch["obs"] if self.input_norm is None else self.input_norm(batch["obs"])

    def take_in(self, batch: Batch) -> None:
        """As `CentralCritic.take_in`."""
        if self.input_norm is not None:
            self.input_norm.update(batch["obs"][batch["filled"].squeeze(-1).bool()])

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs [B, T, N, O] -> values [B, T, N], in each head's units."""
        return torch.cat([net(inputs[:, :, i]) for i, net in enumerate(self.nets)], dim=-1)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Pull]:
        """As `CentralCritic.vjp`."""
        parts = [net.vjp(inputs[:, :, i].flatten(0, 1)) for i, net in enumerate(self.nets)]
        values = torch.cat([values for values, _ in parts], dim=-1).view(*inputs.shape[:2], -1)

        def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
            size = len(out) // len(parts)
            for i, (_, pull_net) in enumerate(parts):
                pull_net(gradient[..., i].reshape(-1, 1), out[i * size : (i + 1) * size])

        return values, pull

    def _per_net(self, method: str, x: Tensor) -> list[Tensor]:
        columns = x.expand(*x.shape[:-1], len(self.nets)).split(1, dim=-1)
        return [getattr(net.head, method)(column) for net, column in zip(self.nets, columns, strict=True)]

    def normalise(self, returns: Tensor) -> Tensor:
        """Returns [B, T, 1 or N] to the heads' units, [B, T, N]."""
        return torch.cat(self._per_net("normalise", returns), dim=-1)

    def denormalise(self, values: Tensor) -> Tensor:
        """The heads' units to returns, [B, T, N]."""
        return torch.cat(self._per_net("denormalise", values), dim=-1)

    def update_normaliser(self, returns: Tensor) -> None:
        """Take in one batch of valid returns [M, 1 or N]."""
        self._per_net("update", returns)


#: What learners take for a critic.
Critic = CentralCritic | IndividualCritic


def make_critic(scheme: Scheme, args: Args) -> Critic:
    """The critic named by the key `critic`: `central` or `individual`."""
    if args.critic == "individual":
        return IndividualCritic(scheme, args)
    return CentralCritic(scheme, args, n_values=1 if args.common_reward else args.n_agents)
