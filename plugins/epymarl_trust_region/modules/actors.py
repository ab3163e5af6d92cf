"""Policy networks. Shape letters: B episodes, T steps, N agents, A actions, D inputs, H hidden units."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..numerics.flat import flatten, is_flat
from ..numerics.gru import gru_linear
from ..numerics.mlp import Pull, Push, affine_pull, affine_push, mlp_linear, relu_pull
from .networks import linear

# A small head keeps the first policy near uniform, so that the first ratios are near 1.
_HEAD_GAIN = 0.01


class Actor(nn.Module):
    """One agent's logits from its inputs: linear, ReLU, then a GRU or a second linear with ReLU, then a linear head."""

    def __init__(self, input_dim: int, n_actions: int, hidden_dim: int, use_rnn: bool) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.body = linear(input_dim, hidden_dim)
        self.rnn = nn.GRU(hidden_dim, hidden_dim, batch_first=True) if use_rnn else None
        self.core = None if use_rnn else linear(hidden_dim, hidden_dim)
        self.head = linear(hidden_dim, n_actions, _HEAD_GAIN)
        self.in_order = tuple(self.parameters())  # to go through the module's own dictionaries costs as much as a layer

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """By PyTorch's own layers, for autograd.

        Args:
            inputs: [B, T, D], a whole sequence at once.
            hidden: [B, H] at the first step (zeros when None); an MLP ignores it.

        Returns:
            logits [B, T, A], and the hidden state after the last step, [B, H] (None for an MLP).
        """
        x = torch.relu(self.body(inputs))
        if self.rnn is None:
            return self.head(torch.relu(self.core(x))), None
        x, last = self.rnn(x, None if hidden is None else hidden.unsqueeze(0))
        return self.head(x), last.squeeze(0)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Pull]:
        """The same from a zero hidden state, much faster, with its vector-Jacobian product; under `torch.no_grad`.

        Args:
            inputs: [B, T, D].

        Returns:
            logits [B, T, A], and `pull(gradient of the logits, out)`, which writes the parameters' gradients.
        """
        if self.rnn is not None and inputs.is_cuda:  # cuDNN's own does all steps in one launch
            return autograd_vjp(lambda: self(inputs)[0], self.in_order)
        logits, _, pull = self.linearise(inputs)
        return logits, pull

    def linearise(self, inputs: Tensor) -> tuple[Tensor, Push, Pull]:
        """`vjp` and the Jacobian-vector product beside it: what a Gauss-Newton product is made of.

        Returns:
            logits [B, T, A]; `push(direction in the parameters)`, the derivative of the logits along it; and `pull`.
            Both read the parameters: they hold until these move.
        """
        if self.rnn is not None:
            on_gpu = inputs.is_cuda
            return autograd_linear(lambda: self(inputs)[0], self.in_order) if on_gpu else self._gru_linear(inputs)
        logits, push, pull = mlp_linear(inputs.flatten(0, 1), self.in_order)
        shape = (*inputs.shape[:2], -1)
        return (
            logits.view(shape),
            lambda d: push(d).view(shape),
            lambda gradient, out: pull(gradient.flatten(0, 1), out),
        )

    def _gru_linear(self, inputs: Tensor) -> tuple[Tensor, Push, Pull]:
        body, body_bias, weight_x, weight_h, bias_x, bias_h, head, head_bias = self.in_order
        inputs = inputs.transpose(0, 1)  # [T, B, D], as the GRU goes through it
        flat, shape = inputs.flatten(0, 1), (*inputs.shape[:2], self.hidden_dim)
        x = torch.addmm(body_bias, flat, body.t()).relu_()

        def by_gate(weight: Tensor) -> Tensor:
            return weight.view(3, self.hidden_dim, -1)

        def gates_of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # [3, T B, H]
            return torch.baddbmm(bias.view(3, 1, -1), x.expand(3, -1, -1), by_gate(weight).transpose(1, 2))

        gates = gates_of(x, weight_x, bias_x).view(3, *shape)
        hidden, push_gru, pull_gru = gru_linear(gates, inputs.new_zeros(shape[1:]), weight_h, bias_h)
        logits = torch.addmm(head_bias, hidden.flatten(0, 1), head.t())

        def to_batch(of_logits: Tensor) -> Tensor:
            return of_logits.view(*shape[:2], -1).transpose(0, 1)

        def push(direction: Sequence[Tensor]) -> Tensor:
            of_x = relu_pull(affine_push(flat, *direction[:2]), x)
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
            affine_pull(relu_pull(torch.bmm(of_gates, by_gate(weight_x)).sum(0), x), flat, *out[:2])

        return to_batch(logits), push, pull


def autograd_vjp(function: Callable[[], Tensor], parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Pull]:
    """The output of `function` and its vector-Jacobian product, by autograd."""
    with torch.enable_grad():
        output = function()

    def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
        for place, value in zip(out, torch.autograd.grad(output, parameters, gradient), strict=True):
            place.copy_(value)

    return output.detach(), pull


def autograd_linear(function: Callable[[], Tensor], parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Push, Pull]:
    """The output of `function` and its derivatives both ways, by autograd on a graph that is kept.

    The gradient for u pulled back is linear in u, and its derivative in u pushes. cuDNN has no second derivative.
    """
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        output = function()
        u = torch.zeros_like(output, requires_grad=True)
        pulled = torch.autograd.grad(output, parameters, u, create_graph=True)

    def push(direction: Sequence[Tensor]) -> Tensor:
        return torch.autograd.grad(pulled, u, direction, retain_graph=True)[0]

    def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
        for place, value in zip(out, torch.autograd.grad(output, parameters, gradient, retain_graph=True), strict=True):
            place.copy_(value)

    return output.detach(), push, pull


class TabularActor(nn.Module):
    """One logit per observation and action, for one-hot observations: logits = inputs table^T, all 0 at first.

    The interface is `Actor`'s.
    """

    def __init__(self, input_dim: int, n_actions: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(n_actions, input_dim))
        self.in_order = (self.table,)

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, None]:
        """inputs [B, T, D] -> logits [B, T, A], and no hidden state."""
        return inputs @ self.table.t(), None

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Pull]:
        """As `Actor.vjp`."""
        logits, _, pull = self.linearise(inputs)
        return logits, pull

    def linearise(self, inputs: Tensor) -> tuple[Tensor, Push, Pull]:
        """As `Actor.linearise`; the logits are linear in the table, so it holds wherever that moves."""
        flat = inputs.flatten(0, 1)

        def pull(gradient: Tensor, out: Sequence[Tensor]) -> None:
            torch.mm(gradient.flatten(0, 1).t(), flat, out=out[0])

        return inputs @ self.table.t(), lambda direction: inputs @ direction[0].t(), pull


class ActorSet(nn.Module):
    """The actors of all N agents: N networks or tables, or a single shared one (`share_parameters`).

    Their parameters lie in one matrix, a row per network, of which each parameter is a view. So a network is one vector
    to an optimiser, and a layer of all networks is one tensor when they act together.
    """

    def __init__(
        self,
        n_agents: int,
        input_dim: int,
        n_actions: int,
        hidden_dim: int,
        use_rnn: bool,
        share_parameters: bool,
        tabular: bool = False,
    ) -> None:
        super().__init__()
        self.n_agents, self.hidden_dim, self.use_rnn, self.tabular = n_agents, hidden_dim, use_rnn, tabular
        count = 1 if share_parameters else n_agents
        self.agents = nn.ModuleList(
            TabularActor(input_dim, n_actions) if tabular else Actor(input_dim, n_actions, hidden_dim, use_rnn)
            for _ in range(count)
        )
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

    def _together(self) -> None:
        """Bring the parameters back into one matrix if something (a device, a copy) has taken them out of it."""
        if not is_flat(self.agents[0].in_order, self._rows):
            self._flatten()

    def actor(self, agent: int) -> Actor | TabularActor:
        """The network that agent `agent` acts with."""
        return self.agents[self.network(agent)]

    def network(self, agent: int) -> int:
        """The index of that network."""
        return agent if len(self.agents) > 1 else 0

    def vector(self, agent: int) -> Tensor:
        """All parameters of that network as one vector [P]; writing to it moves them."""
        self._together()
        return self._rows[self.network(agent)]

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor, Sequence[Sequence[Tensor]]], None]]:
        """All agents' logits over whole sequences, as `Actor.vjp` for one.

        Args:
            inputs: [N, B, T, D].

        Returns:
            logits [N, B, T, A], and `pull(gradient of the logits, out)` with one sequence of tensors in `out` per
            network: a network that agents share gets the sum of their gradients.
        """
        shape = inputs.shape[:3]
        by_network = inputs.reshape(len(self.agents), shape[0] * shape[1] // len(self.agents), *inputs.shape[2:])
        parts = [actor.vjp(own) for actor, own in zip(self.agents, by_network, strict=True)]

        def pull(gradient: Tensor, out: Sequence[Sequence[Tensor]]) -> None:
            of_networks = gradient.reshape(len(parts), -1, *gradient.shape[2:])
            for (_, pull_actor), of_own, places in zip(parts, of_networks, out, strict=True):
                pull_actor(of_own, places)

        return torch.stack([logits for logits, _ in parts]).view(*shape, -1), pull

    def init_hidden(self, batch_size: int) -> Tensor | None:
        """Zero hidden states [B, N, H]; None for MLPs."""
        shape = (batch_size, self.n_agents, self.hidden_dim)
        return self.agents[0].in_order[0].new_zeros(shape) if self.use_rnn else None

    @torch.no_grad()
    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """One step of all agents at once, without gradient.

        Args:
            inputs: [B, N, D].
            hidden: [B, N, H], or None for MLPs.

        Returns:
            logits [B, N, A] and the next hidden [B, N, H] (None for MLPs).
        """
        self._together()
        shape = inputs.shape[:2]
        if self.tabular:
            return self._by_agent(self._by_network(inputs) @ self._layers[0].transpose(1, 2), shape), None
        x = torch.relu_(self._linear(self._by_network(inputs), *self._layers[:2]))
        if not self.use_rnn:
            x = torch.relu_(self._linear(x, *self._layers[2:4]))
            return self._by_agent(self._linear(x, *self._layers[4:]), shape), None
        x = self._gru_cell(x, self._by_network(hidden))
        return self._by_agent(self._linear(x, *self._layers[6:]), shape), self._by_agent(x, shape)

    def _by_network(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [N, B, D], or [1, N*B, D] where all agents share one network."""
        B, N, D = x.shape
        return x.transpose(0, 1).reshape(len(self.agents), B * N // len(self.agents), D)  # D may be 0

    def _by_agent(self, x: Tensor, shape: torch.Size) -> Tensor:
        """The way back."""
        return x.reshape(shape[1], shape[0], -1).transpose(0, 1)

    @staticmethod
    def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    def _gru_cell(self, x: Tensor, hidden: Tensor) -> Tensor:
        weight_x, weight_h, bias_x, bias_h = self._layers[2:6]  # in the order of torch.nn.GRU
        g_r, g_z, g_n = self._linear(x, weight_x, bias_x).chunk(3, -1)
        u_r, u_z, u_n = self._linear(hidden, weight_h, bias_h).chunk(3, -1)
        new = torch.tanh(g_n + torch.sigmoid(g_r + u_r) * u_n)
        return new + torch.sigmoid(g_z + u_z) * (hidden - new)
