"""INPG: independent natural policy gradient, all agents at once, with a fixed step.

"Independent natural policy gradient always converges in Markov potential games" (below: the paper), section 2.1. Shape
letters: B episodes, T steps, A actions, D observations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..config import key
from ..numerics.conjugate_gradient import conjugate_gradient
from ..numerics.gauss_newton import gauss_newton_product
from ..numerics.tabular import natural_direction, observed
from ..onpolicy.fixed_step import FixedStepConfig, FixedStepLearner
from ..onpolicy.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class INPGConfig(FixedStepConfig):
    """Keys of `inpg_learner`."""

    algorithm: ClassVar[str] = "INPG"

    cg_iters: int = key(ge=1, why="without an iteration there is no direction to step in")
    cg_damping: float = key(ge=0)
    kl_cap: float | None = key(gt=0, optional=True)

    def unread(self) -> dict[str, str]:
        found = super().unread()
        if self.tabular:
            found |= dict.fromkeys(("cg_iters", "cg_damping"), "a table (tabular=True) has its step in closed form")
        return found


class INPGLearner(FixedStepLearner):
    """theta_i <- theta_i + eta / (1 - gamma) (F_i + damping I)^-1 g_i for all agents at once (Lemma 2.1).

    For tables in closed form, pi_i <- pi_i exp(eta A_i / (1 - gamma)) up to a constant, with A_i the batch's estimate
    at each observation; observations that were not made do not move.
    """

    config_class = INPGConfig
    config: INPGConfig

    def step(self, rollout: Rollout, agent: int) -> dict[str, float]:
        config, actor, share = self.config, self.actor_optimisers[agent], rollout.mask / rollout.mask.sum()
        policy: Any  # of tables it has `probs`
        policy, push, pull = rollout.linearise(self.mac, agent)
        weighted = share * rollout.advantage(agent)
        pull(policy.score(rollout.actions[agent]) * weighted.unsqueeze(-1), actor.gradients)  # g_i
        if not actor.has_finite_gradient():
            return {}
        gradient, residual = actor.gradient, 0.0
        fisher = gauss_newton_product(
            push, lambda u: policy.fisher_product(u) * share.unsqueeze(-1), pull, actor.parameters
        )
        if config.tabular:
            at = observed(rollout.inputs[agent].flatten(0, 1), policy.probs.flatten(0, 1), share.flatten())
            direction = natural_direction(actor.gradients[0], *at).flatten()
        else:
            direction, _, residual, _ = conjugate_gradient(
                lambda v: fisher(v).add_(v, alpha=config.cg_damping), gradient.clone(), config.cg_iters
            )
        rate = self.per_return(config.eta)
        # The quadratic model of the KL: damping belongs to the direction, and is no distance.
        kl = 0.5 * rate**2 * max(torch.dot(direction, fisher(direction)).item(), 0.0)
        cap = math.inf if config.kl_cap is None else config.kl_cap
        capped = kl > cap
        if capped:
            rate *= math.sqrt(cap / kl)
        actor.vector.add_(direction, alpha=rate)
        return {"predicted_kl": kl, "kl_capped": float(capped), "cg_residual": residual}
