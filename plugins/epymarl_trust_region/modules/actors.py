"""Policy networks. Shape letters: B episodes, T steps, N agents, A actions, D inputs, H hidden units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..numerics.autograd import autograd_linear, autograd_vjp
from ..numerics.flat import flatten, is_flat
from ..numerics.gru import gru_linear
from ..numerics.mlp import ACTIVATIONS, Pull, Push, affine_pull, affine_push, mlp_linear
from .gradless import gradless
from .input_norm import RunningNorm
from .memory import Memory, unrolled
from .networks import initial_gain, linear

# A small head keeps the first policy near uniform, so that the first ratios are near 1.
_HEAD_GAIN = 0.01


class Actor(nn.Module):
    """One agent's outputs from its inputs: linear, f, then a GRU or a second linear with f, then a linear head.

    The outputs are what its policy is made of, such as logits. Every kind of actor has `forward`, `vjp` and
    `linearise`, and lists its parameters in `in_order`; one that `stacks` also acts for several networks at once.
    """

    stacks = True

    def __init__(
        self, input_dim: int, output_dim: int, hidden_dim: int, use_rnn: bool, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.hidden_dim, self.activation = hidden_dim, ACTIVATIONS[activation]
        gain = initial_gain(activation)
        self.body = linear(input_dim, hidden_dim, gain)
        self.rnn = nn.GRU(hidden_dim, hidden_dim, batch_first=True) if use_rnn else None
        self.core = None if use_rnn else linear(hidden_dim, hidden_dim, gain)
        self.head = linear(hidden_dim, output_dim, _HEAD_GAIN)
        self.f = self.activation.module()
        self.in_order = tuple(self.parameters())  # to go through the module's own dictionaries costs as much as a layer

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """By PyTorch's own layers, for autograd.

        Args:
            inputs: [B, T, D], a whole sequence at once.
            hidden: [B, H] at the first step (zeros when None); an MLP ignores it.

        Returns:
            logits [B, T, A], and the hidden state after the last step, [B, H] (None for an MLP).
        """
        x = self.f(self.body(inputs))
        if self.core is not None:
            return self.head(self.f(self.core(x))), None
        assert self.rnn is not None  # one of the two is there
        x, last = self.rnn(x, None if hidden is None else hidden.unsqueeze(0))
        return self.head(x), last.squeeze(0)

    def unrolled(self, inputs: Tensor, memory: Memory | None = None) -> Tensor:
        """`forward`'s logits of streams, [B, T, D] -> [B, T, A]; without `memory` of whole episodes."""
        return unrolled(self, inputs, memory, self.init_hidden(len(inputs)))

    def vjp(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Pull]:
        """`unrolled`, much faster, with its vector-Jacobian product; under `torch.no_grad`.

        Args:
            inputs: [B, T, D].
            memory: this agent's, of streams; None: episodes from their beginning.

        Returns:
            logits [B, T, A], and `pull(gradient of the logits, out)`, which writes the parameters' gradients.
        """
        if self.rnn is not None and inputs.is_cuda:  # cuDNN's own does all steps in one launch
            return autograd_vjp(lambda: self.unrolled(inputs, memory), self.in_order)
        logits, _, pull = self.linearise(inputs, memory)
        return logits, pull

    def linearise(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Push, Pull]:
        """`vjp` and the Jacobian-vector product beside it: what a Gauss-Newton product is made of.

        Returns:
            logits [B, T, A]; `push(direction in the parameters)`, the derivative of the logits along it; and `pull`.
            Both read the parameters: they hold until these move.
        """
        if self.rnn is not None:
            if inputs.is_cuda:
                return autograd_linear(lambda: self.unrolled(inputs, memory), self.in_order)
            return self._gru_linear(inputs, memory)
        logits, push, pull = mlp_linear(inputs.flatten(0, 1), self.in_order, self.activation)
        shape = (*inputs.shape[:2], -1)
        return (
            logits.view(shape),
            lambda d: push(d).view(shape),
            lambda gradient, out: pull(gradient.flatten(0, 1), out),
        )

    def _gru_linear(self, inputs: Tensor, memory: Memory | None) -> tuple[Tensor, Push, Pull]:
        body, body_bias, weight_x, weight_h, bias_x, bias_h, head, head_bias = self.in_order
        inputs = inputs.transpose(0, 1)  # [T, B, D], as the GRU goes through it
        flat, shape = inputs.flatten(0, 1), (*inputs.shape[:2], self.hidden_dim)
        x = self.activation.apply(torch.addmm(body_bias, flat, body.t()))

        def by_gate(weight: Tensor) -> Tensor:
            return weight.view(3, self.hidden_dim, -1)

        def gates_of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # [3, T B, H]
            return torch.baddbmm(bias.view(3, 1, -1), x.expand(3, -1, -1), by_gate(weight).transpose(1, 2))

        gates = gates_of(x, weight_x, bias_x).view(3, *shape)
        before, keep = inputs.new_zeros(shape[1:]), None
        if memory is not None:
            before, keep = memory.hidden, (~memory.begins).t().to(inputs.dtype).unsqueeze(-1)
        hidden, push_gru, pull_gru = gru_linear(gates, before, weight_h, bias_h, keep)
        logits = torch.addmm(head_bias, hidden.flatten(0, 1), head.t())

        def to_batch(of_logits: Tensor) -> Tensor:
            return of_logits.view(*shape[:2], -1).transpose(0, 1)

        def push(direction: Sequence[Tensor]) -> Tensor:
            of_x = self.activation.pull(affine_push(flat, *direction[:2]), x)
            of_gates = gates_of(x, direction[2], direction[4])
            of_gates.baddbmm_(of_x.expand(3, -1, -1), by_gate(weight_x).transpose(1, 2))
            of_hidden = push_gru(of_gates.view(3, *shape), direction[3], direction[5]).flatten(0, 1)
            return to_batch(affine_push(hidden.flatten(0, 1), *direction[6:]).addmm_(of_hidden, head.t()))

        def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
            gradient = gradient.transpose(0, 1).flatten(0, 1)
            affine_pull(gradient, hidden.flatten(0, 1), *out[6:])
            of_gates = pull_gru((gradient @ head).view(shape), out[3], out[5]).flatten(1, 2)  # [3, T B, H]
            torch.bmm(of_gates.transpose(1, 2), x.expand(3, -1, -1), out=by_gate(out[2]))
            torch.sum(of_gates, 1, out=out[4].view(3, -1))
            of_x = torch.bmm(of_gates, by_gate(weight_x)).sum(0)
            affine_pull(self.activation.pull(of_x, x), flat, *out[:2])

        return to_batch(logits), push, pull

    def init_hidden(self, batch_size: int) -> Tensor | None:
        """The state before the first step, [B, H]; None for an MLP."""
        return None if self.rnn is None else self.in_order[0].new_zeros(batch_size, self.hidden_dim)

    def act(self, layers: Sequence[Tensor], x: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """One step of K such networks at once, without gradient.

        Args:
            layers: the networks' parameters in the order of `in_order`: weights [K, in, out], vectors [K, 1, size].
            x: [K, M, D].
            hidden: [K, M, H], or None for MLPs.

        Returns:
            outputs [K, M, A], and the next hidden state.
        """
        if self.rnn is None:
            body, body_bias, core, core_bias, head, head_bias = layers
            x = self.activation.apply(_linear(x, body, body_bias))
            x = self.activation.apply(_linear(x, core, core_bias))
            return _linear(x, head, head_bias), None
        body, body_bias, *gates, head, head_bias = layers
        assert hidden is not None  # of a GRU
        x = _gru_cell(self.activation.apply(_linear(x, body, body_bias)), hidden, *gates)
        return _linear(x, head, head_bias), x


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias, x, weight)


def _gru_cell(x: Tensor, hidden: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor) -> Tensor:
    """PyTorch's `GRUCell`, network by network."""
    g_r, g_z, g_n = _linear(x, weight_x, bias_x).chunk(3, -1)
    u_r, u_z, u_n = _linear(hidden, weight_h, bias_h).chunk(3, -1)
    new = torch.tanh(g_n + torch.sigmoid(g_r + u_r) * u_n)
    return new + torch.sigmoid(g_z + u_z) * (hidden - new)


class TabularActor(nn.Module):
    """One logit per observation and action, for one-hot observations: logits = inputs table^T, all 0 at first.

    The interface is `Actor`'s.
    """

    stacks = True

    def __init__(self, input_dim: int, n_actions: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(n_actions, input_dim))
        self.in_order = (self.table,)

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, None]:
        """inputs [B, T, D] -> logits [B, T, A], and no hidden state."""
        return inputs @ self.table.t(), None

    def unrolled(self, inputs: Tensor, memory: Memory | None = None) -> Tensor:
        """As `Actor.unrolled`."""
        return self(inputs)[0]

    def vjp(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Pull]:
        """As `Actor.vjp`."""
        logits, _, pull = self.linearise(inputs)
        return logits, pull

    def linearise(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Push, Pull]:
        """As `Actor.linearise`; the logits are linear in the table, so it holds wherever that moves."""
        flat = inputs.flatten(0, 1)

        def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
            torch.mm(gradient.flatten(0, 1).t(), flat, out=out[0])

        return inputs @ self.table.t(), lambda direction: inputs @ direction[0].t(), pull

    def init_hidden(self, batch_size: int) -> None:
        """A table has no memory."""

    def act(self, layers: Sequence[Tensor], x: Tensor, hidden: Tensor | None) -> tuple[Tensor, None]:
        """As `Actor.act`."""
        (table,) = layers
        return x @ table, None


class OwnNetwork(nn.Module):
    """A user's network behind `Actor`'s interface; its derivatives are autograd's.

    Args:
        network: any module from inputs [..., D] to outputs [..., A]. One with a method `init_hidden(batch_size)`, which
            gives [B, H], is recurrent: it is called with inputs [B, T, D] and the state before them, and gives outputs
            [B, T, A] and the state after them.
    """

    stacks = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network  # of methods that only its author knows
        self.recurrent = hasattr(network, "init_hidden")
        self.in_order = tuple(self.parameters())

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """As `Actor.forward`."""
        if not self.recurrent:
            return self.network(inputs), None
        return self.network(inputs, self.init_hidden(len(inputs)) if hidden is None else hidden)

    def unrolled(self, inputs: Tensor, memory: Memory | None = None) -> Tensor:
        """As `Actor.unrolled`."""
        return unrolled(self, inputs, memory, self.init_hidden(len(inputs)))

    def vjp(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Pull]:
        """As `Actor.vjp`."""
        return autograd_vjp(lambda: self.unrolled(inputs, memory), self.in_order)

    def linearise(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Push, Pull]:
        """As `Actor.linearise`."""
        return autograd_linear(lambda: self.unrolled(inputs, memory), self.in_order)

    def init_hidden(self, batch_size: int) -> Tensor | None:
        """As `Actor.init_hidden`."""
        return self.network.init_hidden(batch_size) if self.recurrent else None


class GaussianActor(nn.Module):
    """Means by another actor, and log standard deviations that depend on no input: outputs [..., 2A], mean first.

    They are held between a floor and a ceiling; where one lies beyond, its derivative is 0.
    """

    network: Actor | OwnNetwork

    def __init__(
        self, network: Actor | OwnNetwork, dimensions: int, initial: float, floor: float, ceiling: float
    ) -> None:
        super().__init__()
        self.network, self.bounds = network, (floor, ceiling)
        self.log_std = nn.Parameter(torch.full((dimensions,), float(initial)))
        self.stacks = network.stacks
        self.in_order = tuple(self.parameters())  # log_std, then the network's

    def _with(self, mean: Tensor, log_std: Tensor) -> Tensor:
        return torch.cat([mean, log_std.clamp(*self.bounds).expand_as(mean)], -1)

    def _inside(self) -> Tensor:
        return (self.log_std >= self.bounds[0]) & (self.log_std <= self.bounds[1])

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """As `Actor.forward`."""
        mean, hidden = self.network(inputs, hidden)
        return self._with(mean, self.log_std), hidden

    def unrolled(self, inputs: Tensor, memory: Memory | None = None) -> Tensor:
        """As `Actor.unrolled`."""
        return self._with(self.network.unrolled(inputs, memory), self.log_std)

    def vjp(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Pull]:
        """As `Actor.vjp`."""
        mean, pull_mean = self.network.vjp(inputs, memory)
        return self._with(mean, self.log_std), self._pull(pull_mean)

    def linearise(self, inputs: Tensor, memory: Memory | None = None) -> tuple[Tensor, Push, Pull]:
        """As `Actor.linearise`."""
        mean, push_mean, pull_mean = self.network.linearise(inputs, memory)
        inside = self._inside()

        def push(direction: Sequence[Tensor]) -> Tensor:
            of_log_std, *of_network = direction
            return torch.cat([push_mean(of_network), (of_log_std * inside).expand_as(mean)], -1)

        return self._with(mean, self.log_std), push, self._pull(pull_mean)

    def _pull(self, pull_mean: Pull) -> Pull:
        inside = self._inside()

        def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
            of_log_std, *of_network = out
            of_mean, of_deviations = gradient.chunk(2, -1)
            torch.mul(of_deviations.flatten(0, -2).sum(0), inside, out=of_log_std)
            pull_mean(of_mean, of_network)

        return pull

    def act(self, layers: Sequence[Tensor], x: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As `Actor.act`."""
        log_std, *of_network = layers
        mean, hidden = self.network.act(of_network, x, hidden)  # type: ignore[operator]  # it stacks, if this does
        return self._with(mean, log_std), hidden

    def init_hidden(self, batch_size: int) -> Tensor | None:
        """As `Actor.init_hidden`."""
        return self.network.init_hidden(batch_size)

    @torch.no_grad()
    def project(self) -> None:
        """Bring log standard deviations that a step has led beyond their bounds back to them."""
        self.log_std.clamp_(*self.bounds)


AnyActor = Actor | TabularActor | OwnNetwork | GaussianActor


class ActorSet(nn.Module):
    """The actors of all N agents: N networks, or a single shared one.

    Their parameters lie in one matrix, a row per network, of which each parameter is a view. So a network is one vector
    to an optimiser, and a layer of all networks is one tensor when they act together.
    """

    input_norm: RunningNorm  # the controller's, where inputs are normalised

    def __init__(self, n_agents: int, make_actor: Callable[[], AnyActor], share_parameters: bool) -> None:
        """
        Args:
            make_actor: makes an `Actor`, or another module with its interface.
        """
        super().__init__()
        self.n_agents = n_agents
        agents = nn.ModuleList(make_actor() for _ in range(1 if share_parameters else n_agents))
        self.agents = cast(Sequence[AnyActor], agents)
        self._actors = tuple(self.agents)  # to ask a ModuleList takes as long as a layer
        self._flatten()

    def _flatten(self) -> None:
        parameters = [list(actor.parameters()) for actor in self.agents]
        size = sum(parameter.numel() for parameter in parameters[0])
        self._rows = parameters[0][0].new_empty(len(parameters), size)
        for row, of_actor in zip(self._rows, parameters, strict=True):
            flatten(of_actor, row)
        shapes = [parameter.shape for parameter in parameters[0]]
        blocks = self._rows.split([shape.numel() for shape in shapes], dim=1)
        self._layers = [block.view(len(parameters), *shape) for block, shape in zip(blocks, shapes, strict=True)]
        # As products of all networks at once take them: weights [K, in, out], biases [K, 1, out].
        self._layers = [x.transpose(1, 2) if x.dim() == 3 else x.unsqueeze(1) for x in self._layers]

    def _together(self) -> None:
        """Bring the parameters back into one matrix if something (a device, a copy) has taken them out of it."""
        if not is_flat(self._actors[0].in_order, self._rows):
            self._flatten()

    @torch.no_grad()
    def take_over(self, other: ActorSet) -> None:
        """Parameters and buffers of another set like this one, on whatever device it is: the parameters in one copy."""
        self._together()
        other._together()
        self._rows.copy_(other._rows)
        for own, its in zip(self.buffers(), other.buffers(), strict=True):
            own.copy_(its)

    def actor(self, agent: int) -> AnyActor:
        """The network that agent `agent` acts with."""
        return self._actors[self.network(agent)]

    def network(self, agent: int) -> int:
        """The index of that network."""
        return agent if len(self._actors) > 1 else 0

    def vector(self, agent: int) -> Tensor:
        """All parameters of that network as one vector [P]; writing to it moves them."""
        self._together()
        return self._rows[self.network(agent)]

    def project(self) -> None:
        """Bring parameters that have bounds back to them; to be called after an update."""
        for actor in self.agents:
            if isinstance(actor, GaussianActor):
                actor.project()

    def vjp(
        self, inputs: Tensor, memory: Memory | None = None
    ) -> tuple[Tensor, Callable[[Tensor, Sequence[Sequence[Tensor]]], None]]:
        """All agents' logits over whole sequences, as `Actor.vjp` for one.

        Args:
            inputs: [N, B, T, D].
            memory: all agents'.

        Returns:
            logits [N, B, T, A], and `pull(gradient of the logits, out)` with one sequence of tensors in `out` per
            network: a network that agents share gets the sum of their gradients.
        """
        shape = inputs.shape[:3]
        by_network = inputs.reshape(len(self.agents), shape[0] * shape[1] // len(self.agents), *inputs.shape[2:])
        memories = [self._memory(memory, network) for network in range(len(self.agents))]
        parts = [actor.vjp(*own) for actor, *own in zip(self.agents, by_network, memories, strict=True)]

        def pull(gradient: Tensor, out: Sequence[Sequence[Tensor]]) -> None:
            of_networks = gradient.reshape(len(parts), -1, *gradient.shape[2:])
            for (_, pull_actor), of_own, places in zip(parts, of_networks, out, strict=True):
                pull_actor(of_own, places)

        return torch.stack([logits for logits, _ in parts]).view(*shape, -1), pull

    def _memory(self, memory: Memory | None, network: int) -> Memory | None:
        """A network's own, of all agents'; of a shared one that of all agents, one behind the other."""
        if memory is None or len(self.agents) > 1:
            return memory and memory.of(network)
        return Memory(memory.hidden.flatten(0, 1), memory.begins.repeat(self.n_agents, 1))

    def init_hidden(self, batch_size: int) -> Tensor | None:
        """Hidden states before the first step, [B, N, H]; None where networks have no memory."""
        states = [self.actor(agent).init_hidden(batch_size) for agent in range(self.n_agents)]
        known = [state for state in states if state is not None]
        return torch.stack(known, dim=1) if known else None

    @gradless
    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """One step of all agents at once, without gradient.

        Args:
            inputs: [B, N, D].
            hidden: [B, N, H], or None for networks without memory.

        Returns:
            outputs [B, N, A] and the next hidden [B, N, H] (None without memory).
        """
        self._together()
        x, before = self._by_network(inputs), None if hidden is None else self._by_network(hidden)
        first = self._actors[0]
        act = self._act_one_by_one if isinstance(first, OwnNetwork) or not first.stacks else first.act
        outputs, after = act(self._layers, x, before)
        shape = inputs.shape[:2]
        return self._by_agent(outputs, shape), None if after is None else self._by_agent(after, shape)

    def _act_one_by_one(self, _: Sequence[Tensor], x: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        before = [None] * len(x) if hidden is None else hidden
        parts = [actor(own.unsqueeze(1), state) for actor, own, state in zip(self.agents, x, before, strict=True)]
        after = None if hidden is None else torch.stack([state for _, state in parts])
        return torch.stack([outputs.squeeze(1) for outputs, _ in parts]), after

    def _by_network(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [N, B, D], or [1, N*B, D] where all agents share one network."""
        B, N, D = x.shape
        return x.transpose(0, 1).reshape(len(self._actors), B * N // len(self._actors), D)  # D may be 0

    def _by_agent(self, x: Tensor, shape: torch.Size) -> Tensor:
        """The way back."""
        return x.reshape(shape[1], shape[0], -1).transpose(0, 1)
