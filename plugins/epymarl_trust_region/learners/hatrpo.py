"""HATRPO: heterogeneous-agent trust region policy optimisation (Kuba et al., ICLR 2022, Algorithm 2).

Shape letters: B episodes, T steps, N agents, A actions, P parameters of one actor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import SequentialConfig, key
from ..numerics.conjugate_gradient import conjugate_gradient
from ..numerics.gauss_newton import gauss_newton_product
from ..numerics.line_search import backtrack
from ..onpolicy.optimiser import FlatParameters
from ..onpolicy.rollout import Policy, Rollout
from ..onpolicy.sequential import SequentialLearner
from ..onpolicy.turns import turns


@dataclass(frozen=True, kw_only=True)
class HATRPOConfig(SequentialConfig):
    """Keys of `hatrpo_learner`."""

    algorithm: ClassVar[str] = "HATRPO"
    distance_keys: ClassVar[str] = "kl_threshold"
    step_size_keys: ClassVar[str] = "kl_threshold or critic_lr"
    no_meaning: ClassVar[Mapping[str, str]] = {
        "lr": "its actors' steps have the size that kl_threshold allows; critic_lr is the critic's step size"
    }

    kl_threshold: float = key(gt=0, why="a trust region without room lets no policy move")
    accept_ratio: float = key(gt=0, lt=1, why="the share of the promised gain that a step has to bring")
    backtrack_coef: float = key(gt=0, lt=1, why="each try of the line search is this times as long as the one before")
    line_search_steps: int = key(ge=0)
    cg_iters: int = key(ge=1, why="without an iteration there is no direction to step in")
    cg_damping: float = key(ge=0)

    def unread(self) -> dict[str, str]:
        found = super().unread()
        if self.line_search_steps == 0:
            found["backtrack_coef"] = "line_search_steps=0 tries one step"
        return found


class HATRPOLearner(SequentialLearner):
    """Agents take turns; agent i_m maximises mean[r M^{i_1:m}], r its own ratio, inside its trust region

        mean over steps of KL(pi_old^{i_m}(. | o), pi^{i_m}(. | o)) <= kl_threshold.

    The KL is the true one: weighted by the old policy, over available actions, over valid steps.
    """

    config_class = HATRPOConfig
    config: HATRPOConfig

    def _make_actor_optimiser(self, network: int) -> FlatParameters:
        return FlatParameters(*self._actor(network))  # moved by the line search

    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """Algorithm 2, lines 8 to 15. The advantage is computed once and serves all agents."""
        statistics: dict[str, float] = {}
        for agent, factor in turns(rollout, self.mac, self.config):
            of_agent = self.trust_region_step(rollout, agent, factor)
            statistics |= {f"agent_{agent}_{name}": value for name, value in of_agent.items()}
        return {**statistics, **self.factor_report(factor, rollout.mask)}

    @torch.no_grad()
    def trust_region_step(self, rollout: Rollout, agent: int, factor: Tensor) -> dict[str, float]:
        """Lines 11 to 13 for agent i_m.

        Args:
            agent: i_m.
            factor: product of the ratios of the agents before it, [B, T].

        Returns:
            What the step came to; `line_search_step` is -1 if there was none.
        """
        config, actor = self.config, self.actor_optimisers[agent]
        share = rollout.mask / rollout.mask.sum()  # 1 / (B T) at valid steps
        weighted = share * factor * rollout.advantage(agent)  # M^{i_1:m} / (B T)
        policy, push, pull = rollout.linearise(self.mac, agent)

        # Line 11: g, and x = (H + damping I)^-1 g.
        pull(policy.score(rollout.actions[agent]) * weighted.unsqueeze(-1), actor.gradients)
        gradient = actor.gradient if actor.has_finite_gradient() else torch.zeros_like(actor.vector)
        hessian = gauss_newton_product(
            push, lambda u: policy.fisher_product(u) * share.unsqueeze(-1), pull, actor.parameters, config.cg_damping
        )
        x, residual, relative_residual, iterations = conjugate_gradient(hessian, gradient, config.cg_iters)

        # Line 12: beta = sqrt(2 delta / x.Hx), where H x is g - residual.
        curvature = torch.dot(x, gradient - residual).item()
        beta = math.sqrt(2 * config.kl_threshold / curvature) if curvature > 0 else 0.0

        # Line 13: the longest of beta x, alpha beta x, ... that keeps to the region and gains enough.
        outcome = backtrack(
            actor.vector,
            beta * x,
            gradient,
            lambda: self.gain_and_kl(rollout, agent, policy, weighted, share),
            config.kl_threshold,
            config.accept_ratio,
            config.backtrack_coef,
            config.line_search_steps,
        )
        return {
            "line_search_step": outcome.index,
            "improvement": outcome.gain,
            "expected_improvement": outcome.expected,
            "cg_iterations": iterations,
            "cg_residual": relative_residual,
        }

    def gain_and_kl(
        self, rollout: Rollout, agent: int, old: Policy, weighted: Tensor, share: Tensor
    ) -> tuple[float, float]:
        """mean[r M] - mean[M] and mean KL(old || new) of the agent's present policy; weights as in the step, [B, T]."""
        new = rollout.policy(self.mac, agent)
        log_ratio = rollout.log_ratio(agent, new.log_prob(rollout.actions[agent]))
        found = torch.stack([(weighted * log_ratio.expm1()).sum(), (share * new.kl(old)).sum()])
        gain, kl = found.tolist()  # at once: on a GPU to read a number is to wait
        return gain, kl
