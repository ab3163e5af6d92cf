"""WoLF policy gradient for tables: win or learn fast, the step size by which an agent's game can converge.

M. Bowling and M. Veloso, "Multiagent learning using a variable learning rate" (2002). A baseline for games with
opponents. Shape letters: A actions, D observations, K of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..config import key
from ..errors import CapabilityError
from ..numerics.tabular import natural_direction, observed, project_to_simplex
from ..onpolicy.fixed_step import FixedStepConfig, FixedStepLearner
from ..onpolicy.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class WoLFConfig(FixedStepConfig):
    """Keys of `wolf_learner`."""

    algorithm: ClassVar[str] = "WoLF"
    step_size_keys: ClassVar[str] = "eta, eta_winning or critic_lr"
    without_table: ClassVar[str] = "use another algorithm, as --config=inpg"

    eta_winning: float = key(gt=0)
    exploration: float = key(ge=0, lt=1, why="it is the share of play that stays uniform")

    def check_capabilities(self, common_reward: bool) -> None:
        super().check_capabilities(common_reward)
        if not self.tabular:
            raise CapabilityError("WoLF averages policies, which it can do in tables alone; set tabular=True")
        if self.eta_winning > self.eta:
            raise CapabilityError(
                f"eta_winning={self.eta_winning} is above eta={self.eta}: who wins is to learn more slowly than who "
                "loses; set eta_winning to at most eta"
            )


class WoLFLearner(FixedStepLearner):
    """pi(.|o) <- Proj(pi(.|o) + step A(o, .)) for all agents at once: WoLF-IGA at each observation.

    An agent wins at o where its policy is worth more than its average policy, sum_a (pi - pibar)(a|o) A(o, a) > 0;
    pibar stands for the equilibrium that it does not know, as in WoLF-PHC. The step is eta_winning / (1 - gamma) where
    it wins and eta / (1 - gamma) where it does not. A is the batch's estimate.
    """

    config_class = WoLFConfig
    config: WoLFConfig
    carried = (*FixedStepLearner.carried, "averages", "counts")
    averages: list[torch.Tensor]  # pibar of each agent, over the policies with which it came to an observation, [A, D]
    counts: list[torch.Tensor]  # how many these are, [D]

    def _make_optimisers(self) -> None:
        super()._make_optimisers()
        tables = [optimiser.parameters[0] for optimiser in self.actor_optimisers]
        self.averages = [torch.zeros_like(table.detach()) for table in tables]
        self.counts = [torch.zeros_like(average[0]) for average in self.averages]

    def step(self, rollout: Rollout, agent: int) -> dict[str, float]:
        config, actor, share = self.config, self.actor_optimisers[agent], rollout.mask / rollout.mask.sum()
        policy: Any  # of tables it has `probs`
        policy, _, pull = rollout.linearise(self.mac, agent)
        weighted = share * rollout.advantage(agent)
        pull(policy.score(rollout.actions[agent]) * weighted.unsqueeze(-1), actor.gradients)
        if not actor.has_finite_gradient():
            return {}
        visits, probs = observed(rollout.inputs[agent].flatten(0, 1), policy.probs.flatten(0, 1), share.flatten())
        advantage, made = natural_direction(actor.gradients[0], visits, probs), visits > 0
        wins = ((probs - self._average(agent, probs, made)) * advantage).sum(0) > 0
        slow, fast = (probs.new_tensor(self.per_return(eta)) for eta in (config.eta_winning, config.eta))
        rate = torch.where(wins, slow, fast)
        possible = self.available(rollout, agent)[:, made]
        self.set_policy(agent, made, self._nearest((probs + rate * advantage)[:, made], possible))
        return {"winning": (visits * wins).sum().item()}

    def _average(self, agent: int, probs: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """pibar, the present policy included."""
        average, count = self.averages[agent].to(probs), self.counts[agent].to(probs)
        count = count + made
        average = average + torch.where(made, (probs - average) / count.clamp_min(1), 0.0)
        self.averages[agent], self.counts[agent] = average, count
        return average

    def _nearest(self, moved: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
        """The nearest distribution in which `exploration` is shared equally among what is possible: [A, K] each."""
        uniform, rest = possible.to(moved.dtype) / possible.sum(0), 1 - self.config.exploration
        least = self.config.exploration * uniform
        return least + rest * project_to_simplex((moved - least) / rest, possible)
