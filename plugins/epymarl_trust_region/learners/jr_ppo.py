"""JR-PPO, and IPPO and MAPPO as its paper writes them: all agents at once, with joint or with independent ratios.

"Monotonic improvement guarantees under non-stationarity for decentralized PPO" (below: the paper), equation 6 and
section 6. Shape letters: B episodes, T steps, N agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..config import PPOConfig, key
from ..onpolicy.ascent import pulled_loss
from ..onpolicy.learner import OnPolicyLearner
from ..onpolicy.losses import clipped_loss
from ..onpolicy.minibatch import Minibatch, minibatches
from ..onpolicy.optimiser import Optimiser
from ..onpolicy.rollout import Rollout

# exp of it is far outside every clip range and far from overflowing.
_LARGEST_LOG_RATIO = 20.0


@dataclass(frozen=True, kw_only=True)
class JRPPOConfig(PPOConfig):
    """Keys of `jr_ppo_learner`."""

    algorithm: ClassVar[str] = "JR-PPO"
    individual_rewards: ClassVar[str | None] = (
        "its joint ratio multiplies one advantage that all agents share; set common_reward=True, or use "
        "--config=ir_ippo or the suite's ippo"
    )

    eps_clip: float | None = key(gt=0, le=1, optional=True)  # up to 1, and without, in the paper's experiments


@dataclass(frozen=True, kw_only=True)
class IndependentRatioConfig(PPOConfig):
    """Keys of `independent_ratio_learner`."""

    algorithm: ClassVar[str] = "independent-ratio PPO"
    joint_advantage: ClassVar[bool] = False

    eps_clip: float | None = key(gt=0, le=1, optional=True)
    clip_scaling: str = key(choices=("none", "per_agent"))

    def clip_range(self, n_agents: int) -> float | None:
        """eps, or alpha / N (section 6.2 of the paper); None where nothing is clipped."""
        if self.eps_clip is None or self.clip_scaling == "none":
            return self.eps_clip
        return self.eps_clip / n_agents

    def unread(self) -> dict[str, str]:
        found = super().unread()
        if self.eps_clip is None:
            found["clip_scaling"] = "eps_clip=None clips nothing"
        return found


class SimultaneousLearner(OnPolicyLearner):
    """Some epochs of ascent on all agents' parameters at once."""

    config: PPOConfig
    actor_optimisers: Sequence[Optimiser]

    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """One step of every network per part of the batch. The advantage is computed once and serves all epochs."""
        for part in minibatches(rollout, self.config.epochs, self.config.actor_num_mini_batch):
            policy_loss = self.policy_loss(part)
            for optimiser in self.actor_optimisers:
                optimiser.step()
        return {"pg_loss": policy_loss.item()}

    def policy_loss(self, rollout: Rollout | Minibatch) -> Tensor:
        """The negative of the objective; its gradient goes to the optimisers."""
        return pulled_loss(rollout, self.mac, self.actor_optimisers, partial(self.loss, rollout))

    def loss(self, rollout: Rollout | Minibatch, log_probs: Tensor, entropies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of log pi_i(a_i) and H_i, each [N, B, T], and its slopes in both: [N, B, T], or [B, T] alike."""
        raise NotImplementedError


class JointRatioLearner(SimultaneousLearner):
    """Maximises mean[min(l A, clip(l, 1 - eps, 1 + eps) A)], l = prod_k pi_new^k(a^k | o^k) / pi_old^k(a^k | o^k)."""

    config_class = JRPPOConfig
    config: JRPPOConfig
    joint_ratio = True

    def loss(self, rollout: Rollout | Minibatch, log_probs: Tensor, entropies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Equation 6. The entropy of the joint policy is the sum of the agents'.

        A log ratio is cut off at +-20, but not its slope, so that a step can still lead back.
        """
        log_ratio = (log_probs - rollout.old_log_probs).sum(0)
        return clipped_loss(
            log_ratio.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO),
            entropies.sum(0),
            torch.zeros_like(log_ratio),
            rollout.advantage(0),
            rollout.mask,
            self.config.eps_clip,
            self.config.entropy_coef,
        )


class IndependentRatioLearner(SimultaneousLearner):
    """Maximises sum_k mean[min(l_k A_k, clip(l_k, 1 - eps_k, 1 + eps_k) A_k)], l_k the ratio of agent k alone.

    With a central critic A_k is one advantage for all (MAPPO), with individual ones agent k's own (IPPO). eps_k is
    `eps_clip`, or `eps_clip` / N with `clip_scaling: per_agent` (section 6.2).
    """

    config_class = IndependentRatioConfig
    config: IndependentRatioConfig

    def loss(self, rollout: Rollout | Minibatch, log_probs: Tensor, entropies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Section 6.1's objective."""
        return clipped_loss(
            log_probs,
            entropies,
            rollout.old_log_probs,
            torch.stack([rollout.advantage(i) for i in range(rollout.n_agents)]),
            rollout.mask,
            self.config.clip_range(rollout.n_agents),
            self.config.entropy_coef,
        )
