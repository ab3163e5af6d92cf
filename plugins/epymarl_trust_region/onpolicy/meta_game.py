"""MATRL's meta-game of a rollout: what it is made of, what follows from its answer, what is logged of it.

The game itself: numerics/meta_game.py; its equilibria: numerics/equilibrium.py. Shape letters: B episodes, T steps, N
agents.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..numerics.equilibrium import SOLVERS, Equilibrium
from ..numerics.meta_game import BatchGame
from .controller import Controller
from .rollout import Rollout


@torch.no_grad()
def game_of(rollout: Rollout, mac: Controller, advantages: Tensor, width: float) -> tuple[BatchGame, Tensor]:
    """The game on the valid steps, and the ratios r_j = pi^_j / pi_j it is made of, clipped to 1 +- width: [N, B, T].

    Advantages, [N, B, T], are centred agent by agent, so that "all stay" pays 0.
    """
    ratios = torch.stack([rollout.ratio(mac, i) for i in range(rollout.n_agents)]).clamp(1 - width, 1 + width)
    valid = rollout.mask.bool()
    r, a = (x[:, valid].double().cpu().numpy() for x in (ratios, advantages))
    return BatchGame(r, a - a.mean(1, keepdims=True)), ratios


def truncated_weights(ratios: Tensor, rho: np.ndarray, width: float) -> Tensor:
    """c_i = clip(prod_{j != i} w_j, 1 +- width), w_j = rho_j + (1 - rho_j) r_j = pibar_j / pi_j: [N, B, T].

    The paper prints pi / pibar; samples of pi are weighted by pibar / pi.
    """
    game = BatchGame(ratios.flatten(1).double().cpu().numpy(), np.empty(0))
    others = torch.from_numpy(game.others(rho)).to(ratios).view(ratios.shape)
    return others.clamp_(1 - width, 1 + width)


def statistics(game: BatchGame, answer: Equilibrium) -> dict[str, float]:
    """See docs/matrl.md."""
    rho = answer.rho
    significance = np.abs(game.derivatives(rho)) / np.maximum(game.standard_errors(rho), 1e-300)
    return {
        "meta_gain": answer.gain,
        "meta_solver": SOLVERS.index(answer.solver),
        "rho_mean": float(rho.mean()),
        **{f"agent_{i}_rho": float(x) for i, x in enumerate(rho)},
        **{f"agent_{i}_meta_significance": float(x) for i, x in enumerate(significance)},
    }
