"""Log-linear multi-agent PPO (Zhao et al., ICML 2023): sequential localised updates of log-linear policies.

With autoregressive policies the ideal step of agent m, argmax <Q_k^{1:m}, pi> - beta KL(pi || pi_k), is
pi_{k+1}^m proportional to pi_k^m exp(Q_k^{1:m} / beta), and in the features of the policy itself it is
theta^m += w^m / beta, with w^m the regression of Q on agent m's features. Shape letters: B episodes, T steps, N agents,
A actions, D inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import LogLinearConfig
from ..errors import ConfigError
from ..interfaces import Args, Logger, Scheme
from ..numerics.ridge import ridge_by_action
from ..onpolicy.controller import LogLinearController
from ..onpolicy.diagnostics import explained_variance
from ..onpolicy.optimiser import FlatParameters
from ..onpolicy.rollout import Rollout
from ..onpolicy.sequential import SequentialLearner
from ..onpolicy.turns import turns

_LARGEST_GRAM = 2 * 2**30  # bytes of one regression's matrix


@dataclass(frozen=True, kw_only=True)
class LogLinearPPOConfig(LogLinearConfig):
    """Keys of `log_linear_ppo_learner`."""

    algorithm: ClassVar[str] = "log-linear PPO"


class LogLinearPPOLearner(SequentialLearner):
    """For m = 1 .. N: w^m = argmin mean[(phi_m . w - G)^2] + ridge |w|^2, theta^m += w^m / beta.

    The samples' later agents act by pi_k, so the regression on agent m's features averages them out by itself. All m
    use the values of pi_k, and with autoregressive policies the earlier actions are given: no factor, and no order but
    that of the conditioning. With product policies agents take turns, and samples are weighted by what the earlier ones
    have become, so that their actions are averaged over pi_{k+1}.
    """

    config_class = LogLinearPPOConfig
    config: LogLinearPPOConfig
    mac: LogLinearController
    largest_target = 0.0
    carried = (*SequentialLearner.carried, "largest_target")

    def __init__(self, mac: LogLinearController, scheme: Scheme, logger: Logger, args: Args) -> None:
        super().__init__(mac, scheme, logger, args)
        size, needed = mac.width(self.n_agents), 8 * mac.width(self.n_agents) ** 2
        if needed > _LARGEST_GRAM:
            raise ConfigError(
                f"log-linear policies with {size} features need {needed / 2**30:.1f} GiB for one regression; "
                "use features=fourier with fewer fourier_features, or policy_input=obs"
            )

    def _make_actor_optimiser(self, network: int) -> FlatParameters:
        return FlatParameters(*self._actor(network))  # the step is w / beta

    @torch.no_grad()
    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """One step of every agent, all with the values of the policies that collected the batch."""
        targets, valid = self.targets(rollout), rollout.mask.bool()
        beta, fits = self.beta(rollout, targets[valid]), {}
        for agent, factor in self.turns(rollout):
            actor, (table,) = self.actor_optimisers[agent], self.actor_optimisers[agent].gradients
            width = self.mac.width(agent)
            x, a, g = rollout.inputs[agent][valid][:, :width], rollout.actions[agent][valid], targets[valid]
            w = ridge_by_action(x, a, g, factor[valid], len(table), self.config.ridge)
            fits[f"agent_{agent}_fit"] = explained_variance(g.double(), (x.double() * w[a]).sum(-1))
            table.zero_()[:, :width] = w
            if actor.has_finite_gradient():
                actor.vector.add_(actor.gradient, alpha=1 / beta)
        if self.config.conditioning == "product":
            fits |= self.factor_report(factor, rollout.mask)
        return {"beta": beta, "target_max": self.largest_target, **fits}

    def targets(self, rollout: Rollout) -> Tensor:
        """[B, T]: lambda-returns G, or their advantages, G - V(s), which differ from them by what a softmax ignores."""
        return rollout.advantage(0) if self.config.target == "advantage" else rollout.returns[..., 0]

    def turns(self, rollout: Rollout) -> Iterator[tuple[int, Tensor]]:
        """Agents in order, each with the weights of its samples, [B, T]."""
        if self.config.conditioning == "product":
            yield from turns(rollout, self.mac, self.config)
        else:
            yield from ((agent, torch.ones_like(rollout.mask)) for agent in range(rollout.n_agents))

    def beta(self, rollout: Rollout, targets: Tensor) -> float:
        """`beta`, or that of the theory, Qmax sqrt(K / (2 log A)).

        K: how many updates of this size `t_max` has room for; Qmax: the largest target so far, in absolute value.
        """
        self.largest_target = max(self.largest_target, targets.abs().max().item())
        if not isinstance(self.config.beta, str):  # "auto"
            return self.config.beta
        updates = max(self.config.t_max / rollout.mask.sum().item(), 1.0)
        n_actions = self.mac.n_actions
        return max(self.largest_target, 1e-8) * math.sqrt(updates / (2 * math.log(max(n_actions, 2))))
