"""MATRL's meta-game: N players, each choosing between its current and its predicted policy; exact on a batch.

"Multi-agent trust region learning" (below: the paper), section 3.2 of the version under review. With
r_j = pi^_j(a_j) / pi_j(a_j) on the actions taken, the payoff of player i at a pure profile b (b_j = 1: predicted) is
mean[prod_{j: b_j = 1} r_j A_i]. At a mixed profile rho, rho_j being the weight of the *current* policy,

    sum_b prod_j rho_j^(1 - b_j) (1 - rho_j)^(b_j) prod_{j: b_j = 1} r_j = prod_j w_j,    w_j = rho_j + (1 - rho_j) r_j

on every sample, so G_i(rho) = mean[prod_j w_j A_i] is the payoff of the estimated 2^N table without that table, in
O(N K), and F_i = dG_i / drho_i = mean[(1 - r_i) prod_{j != i} w_j A_i]. Shape letters: N players, K samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_SMALLEST_DIVISOR = 1e-3  # of a weight: quotients by larger ones are exact to 1e-13 or so


class Game(Protocol):
    """N players with two actions each: payoffs are affine in every player's rho_j, in [0, 1]."""

    @property
    def n_players(self) -> int:
        """N."""

    def payoffs(self, rho: np.ndarray) -> np.ndarray:
        """G at one profile or at many: rho [..., N] -> [..., N]."""

    def derivatives(self, rho: np.ndarray) -> np.ndarray:
        """F_i = dG_i / drho_i, which does not depend on rho_i: rho [..., N] -> [..., N]."""

    def jacobian(self, rho: np.ndarray) -> np.ndarray:
        """dF_i / drho_j at one profile: rho [N] -> [N, N]."""


@dataclass(frozen=True, eq=False)
class BatchGame:
    """The meta-game of a batch.

    Args:
        ratios: r, [N, K], finite. Clip each of them beforehand if they vary much, never their product: payoffs then
            stay affine in each rho_j.
        advantages: A, [N, K]. Centred, they make the payoff of "all current" 0, as the paper sets it.
    """

    ratios: np.ndarray
    advantages: np.ndarray

    @property
    def n_players(self) -> int:
        return len(self.ratios)

    def payoffs(self, rho: np.ndarray) -> np.ndarray:
        return self._weights(rho).prod(-2) @ self.advantages.T / self.ratios.shape[1]

    def derivatives(self, rho: np.ndarray) -> np.ndarray:
        return self._terms(rho).mean(-1)

    def standard_errors(self, rho: np.ndarray) -> np.ndarray:
        """Of each derivative, [..., N], for samples that are independent."""
        return self._terms(rho).std(-1) / np.sqrt(max(self.ratios.shape[1] - 1, 1))

    def jacobian(self, rho: np.ndarray) -> np.ndarray:
        """mean[(1 - r_i) (1 - r_j) prod_{k not i, j} w_k A_i], one product of matrices where no w_j is about 0."""
        weights = self._weights(rho)
        if np.abs(weights).min() < _SMALLEST_DIVISOR:
            return jacobian_by_differences(self, rho)
        found = self._terms(rho) @ ((1 - self.ratios) / weights).T / self.ratios.shape[1]
        np.fill_diagonal(found, 0.0)
        return found

    def others(self, rho: np.ndarray) -> np.ndarray:
        """prod_{j != i} w_j, [..., N, K]: those before times those after, without a division."""
        weights = self._weights(rho)
        others = np.ones_like(weights)
        np.cumprod(weights[..., :-1, :], axis=-2, out=others[..., 1:, :])
        others[..., :-1, :] *= np.cumprod(weights[..., :0:-1, :], axis=-2)[..., ::-1, :]
        return others

    def _weights(self, rho: np.ndarray) -> np.ndarray:
        return self.ratios + rho[..., None] * (1 - self.ratios)

    def _terms(self, rho: np.ndarray) -> np.ndarray:
        """What F is the mean of, [..., N, K]."""
        return (1 - self.ratios) * self.others(rho) * self.advantages

    def table(self) -> TableGame:
        """All 2^N payoffs written out, for tests: N up to about 12."""
        profiles = np.indices((2,) * self.n_players).reshape(self.n_players, -1).T  # [2^N, N], 1 is predicted
        payoffs = np.array([self.payoffs(1.0 - profile) for profile in profiles]).T
        return TableGame(payoffs.reshape(self.n_players, *(2,) * self.n_players))


class TableGame:
    """A game as the table of its payoffs, [N, 2, ..., 2]: an axis per player, index 0 being rho_j = 1."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.n_players = table, len(table)
        # What choosing rho_i = 1 adds: profiles of the players before i in the rows, of those after it, the last player
        # first, in the columns.
        gains = [-np.diff(own, axis=i).reshape(2**i, *(2,) * (self.n_players - 1 - i)) for i, own in enumerate(table)]
        self._gains = [gain.transpose(0, *range(gain.ndim - 1, 0, -1)).reshape(len(gain), -1) for gain in gains]

    def payoffs(self, rho: np.ndarray) -> np.ndarray:
        return self._chances(rho)[-1] @ self.table.reshape(self.n_players, -1).T

    def derivatives(self, rho: np.ndarray) -> np.ndarray:
        before, after = self._chances(rho), self._chances(rho[..., ::-1])
        last = self.n_players - 1
        found = [((before[i] @ own) * after[last - i]).sum(-1) for i, own in enumerate(self._gains)]
        return np.stack(found, axis=-1)

    def jacobian(self, rho: np.ndarray) -> np.ndarray:
        return jacobian_by_differences(self, rho)

    @staticmethod
    def _chances(rho: np.ndarray) -> list[np.ndarray]:
        """How likely each pure profile of the first k players is, [..., 2^k], for k = 0 .. N."""
        chances = [np.ones((*rho.shape[:-1], 1))]
        for weight in np.moveaxis(rho, -1, 0):
            pair = np.stack([weight, 1 - weight], axis=-1)
            chances.append((chances[-1][..., None] * pair[..., None, :]).reshape(*rho.shape[:-1], -1))
        return chances


def jacobian_by_differences(game: Game, rho: np.ndarray) -> np.ndarray:
    """dF_i / drho_j [N, N] at rho [N], exact: F is affine in each rho_j, and does not depend on rho_i itself."""
    itself = np.eye(game.n_players)
    low, high = rho * (1 - itself), rho * (1 - itself) + itself
    return np.subtract(*np.split(game.derivatives(np.concatenate([high, low])), 2)).T


def deviation_gains(rho: np.ndarray, derivatives: np.ndarray) -> np.ndarray:
    """What each player would gain by its best deviation alone, [N]: max((1 - rho_i) F_i, -rho_i F_i)."""
    return np.maximum((1 - rho) * derivatives, -rho * derivatives)
