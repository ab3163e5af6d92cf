"""HAPPO: heterogeneous-agent proximal policy optimisation (Kuba et al., ICLR 2022, Algorithm 3).

Shape letters: B episodes, T steps, N agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..config import PPOConfig, SequentialConfig
from ..onpolicy.losses import clipped_loss
from ..onpolicy.minibatch import Minibatch, minibatches
from ..onpolicy.optimiser import Optimiser
from ..onpolicy.rollout import Rollout
from ..onpolicy.sequential import SequentialLearner
from ..onpolicy.turns import turns


@dataclass(frozen=True, kw_only=True)
class HAPPOConfig(SequentialConfig, PPOConfig):
    """Keys of `happo_learner`."""

    algorithm: ClassVar[str] = "HAPPO"
    distance_keys: ClassVar[str] = "eps_clip"


class HAPPOLearner(SequentialLearner):
    """Agents take turns; agent i_m maximises the clipped surrogate of

        M^{i_1:m}(s, a) = A(s, a) * prod_{j < m} pi_new^{i_j}(a^{i_j} | o^{i_j}) / pi_old^{i_j}(a^{i_j} | o^{i_j}),

    the joint advantage as it is once the agents before it have moved (Proposition 3). The factor is positive, so
    factor * min(r A, clip(r) A) and min(r M, clip(r) M) are the same thing.
    """

    config_class = HAPPOConfig
    config: HAPPOConfig
    actor_optimisers: Sequence[Optimiser]

    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """Algorithm 3, lines 8 to 13. The advantage is computed once and serves all agents."""
        for agent, factor in turns(rollout, self.mac, self.config):
            for part in minibatches(rollout, self.config.epochs, self.config.actor_num_mini_batch):
                policy_loss = self.policy_loss(part, agent, part.pick(factor))
                self.actor_optimisers[agent].step()
        return {"pg_loss": policy_loss.item(), **self.factor_report(factor, rollout.mask)}

    def policy_loss(self, rollout: Rollout | Minibatch, agent: int, factor: Tensor) -> Tensor:
        """The negative of equation (11)'s clipped objective with an entropy bonus; its gradient goes to the optimiser.

        Args:
            agent: i_m.
            factor: product of the ratios of the agents before it, [B, T].
        """
        log_prob, entropy, pull = rollout.evaluate(self.mac, agent)
        loss, *slopes = clipped_loss(
            log_prob,
            entropy,
            rollout.old_log_prob(agent),
            factor * rollout.advantage(agent),
            rollout.mask,
            self.config.eps_clip,
            self.config.entropy_coef,
        )
        pull(*slopes, self.actor_optimisers[agent].gradients)
        return loss
