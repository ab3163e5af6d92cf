"""HAA2C: heterogeneous-agent advantage actor-critic, policy gradients with HAPPO's sequential factor."""

from dataclasses import dataclass
from typing import ClassVar

from epymarl_trust_region.config import SequentialConfig, key
from epymarl_trust_region.onpolicy.sequential import SequentialLearner
from epymarl_trust_region.onpolicy.turns import turns


@dataclass(frozen=True, kw_only=True)
class HAA2CConfig(SequentialConfig):
    """Keys of `haa2c_learner`: those of every learner whose agents take turns, and these."""

    algorithm: ClassVar[str] = "HAA2C"  # its name in messages
    distance_keys: ClassVar[str] = "lr"  # what says how far an agent moves in its turn

    lr: float = key(gt=0)
    entropy_coef: float = key(ge=0)


class HAA2CLearner(SequentialLearner):
    """Agents take turns; agent i_m takes one step up mean[factor A log pi^{i_m}(a | o)] and an entropy bonus."""

    config_class = HAA2CConfig

    def update_policies(self, rollout) -> dict[str, float]:
        """One update. `factor`, [B, T], is the product of the ratios of the agents before, as in HAPPO."""
        weight = rollout.mask / rollout.mask.sum()  # [B, T]: a mean over valid steps
        for agent, factor in turns(rollout, self.mac, self.config):
            log_prob, entropy, pull = rollout.evaluate(self.mac, agent)  # each [B, T]
            advantage = factor * rollout.advantage(agent)
            # The loss's derivatives by log_prob and by entropy, pulled back through the network.
            pull(-weight * advantage, -weight * self.config.entropy_coef, self.actor_optimisers[agent].gradients)
            self.actor_optimisers[agent].step()
        loss = -(weight * (advantage * log_prob + self.config.entropy_coef * entropy)).sum()
        return {"pg_loss": loss.item(), **self.factor_report(factor, rollout.mask)}
