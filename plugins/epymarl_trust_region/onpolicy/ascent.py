"""Steps of Adam on losses that more than one learner has. Shape letters: B episodes, T steps, N agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from ..modules.policy import Policy
from .controller import Controller
from .minibatch import Minibatch, minibatches
from .optimiser import Optimiser
from .rollout import Rollout

#: log pi_i(a_i) and H_i, each [N, B, T] -> the loss and its slopes in both, each [N, B, T], or [B, T] alike for all.
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def pulled_loss(rollout: Rollout | Minibatch, mac: Controller, optimisers: Sequence[Optimiser], loss: Loss) -> Tensor:
    """The loss of the MAC's present policies; its gradient goes to the optimisers."""
    log_probs, entropies, pull = rollout.evaluate_all(mac)
    value, of_log_probs, of_entropies = loss(log_probs, entropies)
    shape = log_probs.shape
    pull(of_log_probs.expand(shape), of_entropies.expand(shape), [o.gradients for o in optimisers])
    return value


def ascend(
    rollout: Rollout,
    mac: Controller,
    optimisers: Sequence[Optimiser],
    loss: Callable[..., tuple[Tensor, Tensor, Tensor]],
    epochs: int,
    parts: int,
) -> float:
    """`epochs` passes in `parts` steps of every network at once; gives the last loss.

    Args:
        loss: of a part of the rollout, and then as `Loss`.
    """
    for part in minibatches(rollout, epochs, parts):
        value = pulled_loss(part, mac, optimisers, partial(loss, part))
        for optimiser in optimisers:
            optimiser.step()
    return value.item()


def distil(rollout: Rollout, mac: Controller, agent: int, optimiser: Optimiser, target: Policy, epochs: int) -> None:
    """`epochs` steps of one agent's network down the mean over valid steps of KL(target || pi_i).

    Args:
        target: a distribution over [B, T], of the kind of the agent's policy.
    """
    share = (rollout.mask / rollout.mask.sum()).unsqueeze(-1)
    for _ in range(epochs):
        policy, _, pull = rollout.linearise(mac, agent)
        pull(policy.kl_slope(target) * share, optimiser.gradients)
        optimiser.step()
