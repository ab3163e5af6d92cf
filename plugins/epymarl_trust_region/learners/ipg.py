"""IPG: independent policy gradient, all agents at once, with a fixed step; for tables in the direct parametrisation.

Leonardos et al., "Global convergence of multi-agent policy gradient in Markov potential games" (2021); the baseline of
the paper of INPG. Shape letters: B episodes, T steps, A actions, D observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..numerics.tabular import observed, project_to_simplex
from ..onpolicy.fixed_step import FixedStepConfig, FixedStepLearner
from ..onpolicy.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class IPGConfig(FixedStepConfig):
    """Keys of `ipg_learner`."""

    algorithm: ClassVar[str] = "IPG"


class IPGLearner(FixedStepLearner):
    """theta_i <- theta_i + eta / (1 - gamma) g_i for all agents at once, g_i = mean[A_i grad log pi_i].

    g_i / (1 - gamma) is the gradient of agent i's discounted return: the mean over steps stands for the normalised
    visitation. With `tabular` it is the gradient in the probabilities themselves, and these are projected back.
    """

    config_class = IPGConfig
    config: IPGConfig

    def step(self, rollout: Rollout, agent: int) -> dict[str, float]:
        actor, share = self.actor_optimisers[agent], rollout.mask / rollout.mask.sum()
        policy: Any  # of tables it has `probs`
        policy, _, pull = rollout.linearise(self.mac, agent)
        weighted = share * rollout.advantage(agent)
        score = policy.score(rollout.actions[agent])
        if self.config.tabular:  # d log pi(a) / d pi(a) instead
            score = (score + policy.probs) / policy.probs
            score = torch.where(score.isfinite(), score, 0.0)
        pull(score * weighted.unsqueeze(-1), actor.gradients)
        if not actor.has_finite_gradient():
            return {}
        if self.config.tabular:
            self._project(rollout, agent, policy, share)
        else:
            actor.vector.add_(actor.gradient, alpha=self.per_return(self.config.eta))
        return {}

    def _project(self, rollout: Rollout, agent: int, policy: Any, share: Tensor) -> None:
        """pi(.|o) <- Proj(pi(.|o) + rate d(o) Q_i(o, .)) at every observation that was made."""
        (gradient,) = self.actor_optimisers[agent].gradients
        visits, probs = observed(rollout.inputs[agent].flatten(0, 1), policy.probs.flatten(0, 1), share.flatten())
        made, possible = visits > 0, self.available(rollout, agent)
        moved = probs[:, made] + self.per_return(self.config.eta) * gradient[:, made]
        self.set_policy(agent, made, project_to_simplex(moved, possible[:, made]))
