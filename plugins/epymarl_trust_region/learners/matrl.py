"""MATRL: multi-agent trust region learning (Wen et al.), Algorithm 2, with a meta-game that is exact on the batch.

"Multi-agent trust region learning" (below: the paper), the version under review. Shape letters: B episodes, T steps, N
agents, K valid steps of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..config import PPOConfig, key
from ..numerics.equilibrium import Equilibrium, solve
from ..numerics.meta_game import BatchGame, deviation_gains
from ..onpolicy.ascent import ascend, distil
from ..onpolicy.learner import OnPolicyLearner
from ..onpolicy.losses import clipped_loss, kl_penalty
from ..onpolicy.meta_game import game_of, statistics, truncated_weights
from ..onpolicy.minibatch import Minibatch
from ..onpolicy.optimiser import Optimiser
from ..onpolicy.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class MATRLConfig(PPOConfig):
    """Keys of `matrl_learner`."""

    algorithm: ClassVar[str] = "MATRL"
    joint_advantage: ClassVar[bool] = False
    shared_actors: ClassVar[str | None] = (
        "each player of its meta-game has a predicted policy of its own, and one network would move them all at once; "
        "set share_parameters=False, or use --config=ir_ippo"
    )

    kl_coef: float = key(ge=0)
    meta_game: str = key(choices=("nash", "predicted", "current"))
    selection: str = key(choices=("random", "welfare"))
    meta_ratio_clip: float = key(gt=0, lt=1, why="a ratio of 0 or less is none")
    best_response: bool = key()
    br_epochs: int = key(ge=1)
    br_weight_clip: float = key(gt=0, lt=1, why="a weight of 0 or less would turn advantages around")
    mixture: str = key(choices=("parameters", "distilled"))
    distill_epochs: int = key(ge=1)

    def unread(self) -> dict[str, str]:
        found = super().unread()
        if self.meta_game != "nash":
            found["selection"] = f"meta_game={self.meta_game} solves no game"
        if self.meta_game == "predicted" and not self.best_response:
            found["meta_ratio_clip"] = "meta_game=predicted without best_response is the trial step alone"
        if not self.best_response:
            found |= dict.fromkeys(("br_epochs", "br_weight_clip"), "best_response=False responds to nothing")
        if self.best_response or self.meta_game != "nash":
            why = f"best_response={self.best_response} with meta_game={self.meta_game} moves to no mixture"
            found |= dict.fromkeys(("mixture", "distill_epochs"), why)
        elif self.mixture == "parameters":
            found["distill_epochs"] = "mixture=parameters distils nothing"
        return found


class MATRLLearner(OnPolicyLearner):
    """Each agent tries a PPO step of its own; a game between current and predicted policies says how far the others are
    trusted to go; then each agent, from where it was, responds to that.

    `rho` is each agent's weight on its *current* policy. The paper's ablations are settings: IL is the trial step alone
    (`meta_game: predicted` without `best_response`), IL-PP responds to the predicted policies (`predicted` with it).
    """

    config_class = MATRLConfig
    config: MATRLConfig
    actor_optimisers: Sequence[Optimiser]
    updates = 0
    as_il_pp = 0  # updates with rho = 0, where MATRL is IL-PP
    carried = (*OnPolicyLearner.carried, "updates", "as_il_pp")

    @torch.no_grad()
    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """Algorithm 2, lines 3 to 7. What an agent keeps of Adam's moments are those of the steps that it keeps."""
        config, actors = self.config, self.actor_optimisers
        advantages = torch.stack([rollout.advantage(i) for i in range(rollout.n_agents)])  # [N, B, T]
        here, back = [actor.vector.detach().clone() for actor in actors], [actor.bookmark() for actor in actors]
        parts, loss = config.actor_num_mini_batch, partial(self.surrogate, advantages)
        pg_loss = ascend(rollout, self.mac, actors, loss, config.epochs, parts)  # theta^, equation 2
        if config.meta_game == "predicted" and not config.best_response:
            return {"pg_loss": pg_loss}
        game, ratios = game_of(rollout, self.mac, advantages, config.meta_ratio_clip)
        answer = self.equilibrium(game)
        self.updates, self.as_il_pp = self.updates + 1, self.as_il_pp + bool((answer.rho == 0).all())
        if config.best_response:  # equation 6
            weights = truncated_weights(ratios, answer.rho, config.br_weight_clip)
            for restore in back:
                restore()
            loss = partial(self.surrogate, weights * advantages)
            pg_loss = ascend(rollout, self.mac, actors, loss, config.br_epochs, parts)
        else:
            self.move_to_mixture(rollout, answer.rho, here)
        return {"pg_loss": pg_loss, "il_pp_share": self.as_il_pp / self.updates, **statistics(game, answer)}

    def surrogate(
        self, advantages: Tensor, part: Rollout | Minibatch, log_probs: Tensor, entropies: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """PPO's clipped surrogate of every agent for `advantages` [N, B, T] on a part of the batch, less `kl_coef`
        times the divergence from the current policy, and its slopes.
        """
        config, old = self.config, part.old_log_probs
        found = clipped_loss(
            log_probs, entropies, old, part.pick_all(advantages), part.mask, config.eps_clip, config.entropy_coef
        )
        if not config.kl_coef:
            return found
        (loss, slope, of_entropies), (kl, of_kl) = found, kl_penalty(log_probs, old, part.mask)
        return loss + config.kl_coef * kl, slope.add_(of_kl, alpha=config.kl_coef), of_entropies

    def equilibrium(self, game: BatchGame) -> Equilibrium:
        """rho, solved or given. If the trial steps led nowhere finite, nobody trusts them."""
        finite = np.isfinite(game.ratios).all() and np.isfinite(game.advantages).all()
        if finite and self.config.meta_game == "nash":
            seed = int(torch.randint(2**31, (1,)).item())  # of the generator that checkpoints keep
            return solve(game, np.random.default_rng(seed), self.config.selection)
        rho = np.full(game.n_players, float(not finite or self.config.meta_game == "current"))
        return Equilibrium(rho, float(deviation_gains(rho, game.derivatives(rho)).max()), "none")

    @torch.no_grad()
    def move_to_mixture(self, rollout: Rollout, rho: np.ndarray, here: list[Tensor]) -> None:
        """MATRL without a best response: to pibar_i = rho_i pi_i + (1 - rho_i) pi^_i, as far as a network can.

        In `parameters` it is rho_i theta_i + (1 - rho_i) theta^_i, whose policy is another one; `distilled` goes on
        from there by Adam's steps on the mean KL(pibar_i || pi_theta).
        """
        for i, actor in enumerate(self.actor_optimisers):
            predicted = rollout.policy(self.mac, i) if self.config.mixture == "distilled" else None
            actor.vector.lerp_(here[i], rho[i])
            if predicted is not None and 0 < rho[i] < 1:
                target = rollout.old_policies[i].mixed_with(predicted, rho[i])
                distil(rollout, self.mac, i, actor, target, self.config.distill_epochs)
