"""INPG and IPG: independent (natural) policy gradient, all agents at once, with a fixed step.

"Independent natural policy gradient always converges in Markov potential games" (below: the paper), section 2.1; IPG
in the direct parametrisation as Leonardos et al. (2021) have it. Shape letters: B episodes, T steps, N agents, A
actions, D observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..config import ConfigT, OnPolicyConfig, key
from ..errors import CapabilityError, ConfigError
from ..numerics.conjugate_gradient import conjugate_gradient
from ..numerics.gauss_newton import gauss_newton_product
from ..numerics.tabular import natural_direction, observed, project_to_simplex
from ..onpolicy.learner import OnPolicyLearner
from ..onpolicy.optimiser import FlatParameters
from ..onpolicy.rollout import Rollout

# The logit of a probability of 0: exp of it is 0, and KL divergences from what it was stay finite.
_NEVER = -1e4


@dataclass(frozen=True, kw_only=True)
class IPGConfig(OnPolicyConfig):
    """Keys of `ipg_learner`."""

    algorithm: ClassVar[str] = "IPG"
    joint_advantage: ClassVar[bool] = False
    shared_actors: ClassVar[str | None] = (
        "every agent follows the gradient of its own return, and one network cannot follow several; set "
        "share_parameters=False"
    )
    step_size_keys: ClassVar[str] = "eta or critic_lr"
    no_meaning: ClassVar[Mapping[str, str]] = {
        "lr": "its actors' step size is eta, without Adam; critic_lr is the critic's step size"
    }

    eta: float = key(gt=0)
    tabular: bool = key()

    @classmethod
    def from_mapping(cls: type[ConfigT], config: Mapping[str, Any], where: str = "the configuration") -> ConfigT:
        made = cast(Any, super()).from_mapping(config, where)
        if made.gamma == 1 and not (config.get("env_args") or {}).get("time_limit"):
            raise ConfigError(
                "gamma=1.0 needs a horizon, which stands for 1 / (1 - gamma) in the step: set env_args.time_limit, or "
                "gamma below 1"
            )
        return made

    def check_capabilities(self, common_reward: bool) -> None:
        super().check_capabilities(common_reward)
        if self.tabular and self.use_rnn:
            raise CapabilityError("a table (tabular=True) has no memory; set use_rnn=False, or tabular=False")
        if self.tabular and self.actor_network is not None:
            raise CapabilityError("a table (tabular=True) is no network; set actor_network=None, or tabular=False")

    def check_continuous(self) -> None:
        super().check_continuous()
        if self.tabular:
            raise CapabilityError("a table (tabular=True) has no continuous actions; set tabular=False")

    def unread(self) -> dict[str, str]:
        return super().unread() | ({"hidden_dim": "a table (tabular=True) has no layers"} if self.tabular else {})


@dataclass(frozen=True, kw_only=True)
class INPGConfig(IPGConfig):
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


class IPGLearner(OnPolicyLearner):
    """theta_i <- theta_i + eta / (1 - gamma) g_i for all agents at once, g_i = mean[A_i grad log pi_i].

    g_i / (1 - gamma) is the gradient of agent i's discounted return: the mean over steps stands for the normalised
    visitation. With `tabular` it is the gradient in the probabilities themselves, and these are projected back.
    """

    config_class = IPGConfig
    config: IPGConfig

    def _make_actor_optimiser(self, network: int) -> FlatParameters:
        return FlatParameters(*self._actor(network))  # a fixed step, without an optimiser

    @property
    def rate(self) -> float:
        """eta / (1 - gamma); with gamma = 1, for a finite horizon, eta times that (section 2 of the paper)."""
        eta, gamma = self.config.eta, self.config.gamma
        return eta * (self.episode_limit or math.nan) if gamma == 1 else eta / (1 - gamma)  # checked: there is a limit

    @torch.no_grad()
    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """Each agent reads the old policies alone, so that their order does not matter."""
        steps = {agent: self.step(rollout, agent) for agent in range(rollout.n_agents)}
        return {f"agent_{agent}_{name}": value for agent, step in steps.items() for name, value in step.items()}

    def step(self, rollout: Rollout, agent: int) -> dict[str, float]:
        """Move one agent; gives what it wants logged."""
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
            actor.vector.add_(actor.gradient, alpha=self.rate)
        return {}

    def _project(self, rollout: Rollout, agent: int, policy: Any, share: Tensor) -> None:
        """pi(.|o) <- Proj(pi(.|o) + rate d(o) Q_i(o, .)) at every observation that was made, as logits."""
        (table,), (gradient,) = self.actor_optimisers[agent].parameters, self.actor_optimisers[agent].gradients
        inputs, avail = rollout.inputs[agent].flatten(0, 1), rollout.avail_actions[agent]
        visits, probs = observed(inputs, policy.probs.flatten(0, 1), share.flatten())
        possible = torch.ones_like(probs, dtype=torch.bool)
        if avail is not None:
            possible = avail.flatten(0, 1).to(inputs.dtype).t() @ (inputs * share.flatten().unsqueeze(-1)) > 0
        made = visits > 0
        new = project_to_simplex(probs[:, made] + self.rate * gradient[:, made], possible[:, made])
        table[:, made] = new.log().clamp_min(_NEVER)


class INPGLearner(IPGLearner):
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
        # The quadratic model of the KL: damping belongs to the direction, and is no distance.
        rate, kl = self.rate, 0.5 * self.rate**2 * max(torch.dot(direction, fisher(direction)).item(), 0.0)
        cap = math.inf if config.kl_cap is None else config.kl_cap
        capped = kl > cap
        if capped:
            rate *= math.sqrt(cap / kl)
        actor.vector.add_(direction, alpha=rate)
        return {"predicted_kl": kl, "kl_capped": float(capped), "cg_residual": residual}
