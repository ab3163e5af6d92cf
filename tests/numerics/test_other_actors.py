"""Networks of a user's own, and Gaussian actors, against the built-in ones and against autograd.

Shape letters: B episodes, T steps, N agents, A outputs, D inputs, H hidden units.
"""

from __future__ import annotations

import copy

import pytest
import torch
from epymarl_trust_region.modules.actors import Actor, ActorSet, GaussianActor, OwnNetwork, TabularActor
from epymarl_trust_region.numerics.autograd import autograd_linear
from torch import nn

INPUTS = torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Recurrent(nn.Module):
    """The built-in GRU actor's layers as a user would write them."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.body, self.rnn, self.head = (copy.deepcopy(part) for part in (actor.body, actor.rnn, actor.head))

    def init_hidden(self, batch_size: int) -> torch.Tensor:
        return self.head.weight.new_zeros(batch_size, 8)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, last = self.rnn(torch.relu(self.body(x)), hidden.unsqueeze(0))
        return self.head(x), last.squeeze(0)


def built_in_and_own(use_rnn: bool) -> tuple[Actor, OwnNetwork]:
    torch.manual_seed(1)
    actor = Actor(4, 3, 8, use_rnn).double()
    for parameter in actor.parameters():
        nn.init.normal_(parameter, std=0.5)
    parts = (actor.body, nn.ReLU(), actor.core, nn.ReLU(), actor.head)
    own = Recurrent(actor) if use_rnn else nn.Sequential(*copy.deepcopy(parts))
    return actor, OwnNetwork(own)


def both_derivatives(actor: nn.Module, kind: str) -> list[torch.Tensor]:
    """Outputs, a push (for `linearise`) and a pull, in the parameters' order."""
    generator = torch.Generator().manual_seed(2)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in actor.parameters()]
    out = [torch.full_like(p, 7.0) for p in actor.parameters()]
    with torch.no_grad():
        outputs, *push, pull = getattr(actor, kind)(INPUTS)
        pull(torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype), out)
        return [outputs, *(along(direction) for along in push), *out]


@pytest.mark.parametrize("kind", ["vjp", "linearise"])
@pytest.mark.parametrize("use_rnn", [False, True])
def test_a_network_of_ones_own_is_the_built_in_one_with_the_same_layers(use_rnn, kind):
    for ours, theirs in zip(*(both_derivatives(actor, kind) for actor in built_in_and_own(use_rnn)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        assert ours.abs().max() > 0


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: GaussianActor(a, 3, -0.5, -5.0, 2.0).double()])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("use_rnn", [False, True])
def test_acting_step_by_step_is_the_whole_sequence(use_rnn, shared, wrap):
    """All agents at once, with built-in networks and with others."""
    for which in (0, 1):
        made = iter(range(3))

        def make(which=which, made=made) -> nn.Module:
            actor = wrap(built_in_and_own(use_rnn)[which])
            with torch.no_grad():  # agents that differ
                next(p for n, p in actor.named_parameters() if "head" in n or "4" in n or "log_std" in n).add_(
                    next(made)
                )
            return actor

        actors = ActorSet(3, make, shared)
        inputs = torch.stack([INPUTS, 2 * INPUTS, -INPUTS], 2)  # [B, T, N, D]
        hidden, steps = actors.init_hidden(5), []
        assert (hidden is None) is not use_rnn
        for t in range(6):
            outputs, hidden = actors(inputs[:, t], hidden)
            steps.append(outputs)
        for i in range(3):
            with torch.no_grad():
                whole, _ = actors.actor(i)(inputs[:, :, i].contiguous())
            torch.testing.assert_close(torch.stack(steps, 1)[:, :, i], whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("use_rnn", [False, True])
def test_a_gaussian_actors_derivatives_are_autograds(use_rnn):
    actor = GaussianActor(built_in_and_own(use_rnn)[0], 3, -0.5, -1.0, 2.0).double()
    with torch.no_grad():
        actor.log_std.copy_(torch.tensor([0.25, -1.5, 2.5]))  # inside, below the floor, above the ceiling
    outputs = actor(INPUTS)[0]
    assert outputs.shape == (5, 6, 6)
    assert torch.equal(outputs[..., 3:], torch.tensor([0.25, -1.0, 2.0], dtype=torch.float64).expand(5, 6, 3))
    ours = both_derivatives(actor, "linearise")
    graph = copy.deepcopy(actor)
    graph.linearise = lambda x: autograd_linear(lambda: graph(x)[0], graph.in_order)
    for mine, autograds in zip(ours, both_derivatives(graph, "linearise"), strict=True):
        torch.testing.assert_close(mine, autograds, rtol=1e-12, atol=1e-12)
    of_log_std = ours[2]
    assert of_log_std[0] != 0 and (of_log_std[1:] == 0).all()
    for mine, pulled in zip([ours[0], *ours[2:]], both_derivatives(actor, "vjp"), strict=True):
        torch.testing.assert_close(mine, pulled)


def test_deviations_that_a_step_has_led_beyond_their_bounds_come_back():
    actors = ActorSet(2, lambda: GaussianActor(Actor(4, 3, 8, False), 3, -0.5, -1.0, 2.0), False)
    actors.vector(1)[:3] = torch.tensor([-9.0, 0.5, 9.0])
    actors.project()
    assert actors.agents[1].log_std.tolist() == [-1.0, 0.5, 2.0]
    assert actors.agents[0].log_std.tolist() == [-0.5, -0.5, -0.5]
    ActorSet(2, lambda: TabularActor(4, 3), False).project()  # nothing to do
