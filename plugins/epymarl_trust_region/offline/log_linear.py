"""Log-linear multi-agent PPO from recorded episodes alone, with pessimistic values.

Q is linear in joint features, the sum over agents of those of their policies:

    Q(s, a) = sum_m psi_m(s) . W_m[a^m] + sum_{j < m} U_jm[a^j, a^m]

Each iteration evaluates the policies by `numerics/pessimistic.py` and takes the online learner's step with that Q,
agent m's prefix values averaging later agents over pi_k. Shape letters: M transitions, B episodes, N agents, A actions,
P features, D joint features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..config import LogLinearConfig, key
from ..controllers.log_linear_mac import LogLinearMAC
from ..errors import ConfigError
from ..numerics.pessimistic import Evaluation, confident_lam, lstd, noise_scale, pessimistic
from ..numerics.ridge import ridge_by_action
from ..recordings.episodes import Episodes
from .transitions import transitions

_LARGEST_TABLE = 4 * 2**30  # bytes of the joint features of all transitions


@dataclass(frozen=True, kw_only=True)
class LogLinearOfflineConfig(LogLinearConfig):
    """Keys of `log_linear_offline`, which `epymarl-tr offline` trains."""

    algorithm: ClassVar[str] = "offline log-linear PPO"

    iterations: int = key(ge=1)
    pessimism: float | str | None = key(gt=0, auto=True, optional=True)
    z: float = key(gt=0)
    action_samples: int = key(ge=1)
    max_episodes: int | None = key(ge=1, optional=True)

    def unread(self) -> dict[str, str]:
        found = super().unread()
        if self.pessimism != "auto":
            found["z"] = f"pessimism={self.pessimism} is not chosen by it"
        return found


class LogLinearOffline:
    """K iterations on fixed data; what plays, and trains on, what was learnt is the algorithm `plays_as`."""

    config_class = LogLinearOfflineConfig
    plays_as = "log_linear_ppo"

    def __init__(self, mac: LogLinearMAC, episodes: Episodes, config: LogLinearOfflineConfig) -> None:
        """
        Args:
            mac: a LogLinearMAC; its tables are what is learnt.
            episodes: recorded episodes with a common reward.

        Raises:
            ConfigError: the features of all transitions do not fit in memory.
        """
        self.mac, self.config = mac, config
        self.data = transitions(episodes, mac)
        self.joint, M = mac.joint, len(self.data.rewards)
        needed = 2 * 8 * M * self.joint.size
        if needed > _LARGEST_TABLE:
            raise ConfigError(
                f"{self.joint.size} joint features of {M} transitions need {needed / 2**30:.1f} GiB; use fewer "
                "fourier_features, policy_input=obs, or fewer episodes (max_episodes)"
            )
        self._phi = self._phi_of(self.data.features, self.data.actions)
        self.largest_value = 0.0

    def _phi_of(self, psi: Tensor, actions: Tensor) -> np.ndarray:
        return self.joint(psi.double(), actions).numpy()

    def _expected(self, psi: Tensor, avail: Tensor) -> np.ndarray:
        """Joint features averaged over `action_samples` plays of the policies, [M, D]."""
        plays = (
            self.mac.play(psi, avail, lambda policy, _: policy.sample()) for _ in range(self.config.action_samples)
        )
        total: Any = sum(self._phi_of(psi, actions) for actions in plays)
        return total / self.config.action_samples

    @torch.no_grad()
    def problem(self) -> Evaluation:
        """The least-squares problem of evaluating the present policies."""
        data = self.data
        following = self._expected(data.next_features, data.next_avail) * data.goes_on.double().numpy()[:, None]
        first = self._expected(data.features[data.first], data.avail[data.first])
        return Evaluation(
            phi=self._phi,
            change=self._phi - self.config.gamma * following,
            rewards=data.rewards.double().numpy(),
            initial=first.mean(0),
            weights=np.full(len(self._phi), 1 / len(self._phi)),
            ridge=self.config.ridge,
        )

    def evaluate(self) -> tuple[np.ndarray, dict[str, float]]:
        """omega as `pessimism` has it, and what both estimates promise."""
        problem = self.problem()
        plain, lam = lstd(problem), self.config.pessimism
        if isinstance(lam, str):  # "auto"
            lam = confident_lam(problem, self.config.z, self._noise())
        omega = plain if lam is None else pessimistic(problem, lam)
        found = {"J_lstd": problem.estimate(plain), "J_pessimistic": problem.estimate(omega)}
        return omega, found | ({} if lam is None else {"lam": float(lam)})

    def _noise(self) -> float:
        """How far values can be apart.

        Raises:
            ConfigError: there is no bound.
        """
        gamma, horizon = self.config.gamma, self.data.horizon()
        if gamma == 1 and horizon is None:
            raise ConfigError(
                "gamma=1.0 with episodes that a time limit cut: values have no bound that pessimism=auto could take; "
                "set gamma below 1, or give pessimism a number"
            )
        return noise_scale(self.data.rewards.double().numpy(), gamma, horizon) or 1e-12

    @torch.no_grad()
    def iterate(self) -> dict[str, float]:
        """Evaluate, then move every agent's table by its prefix values over beta."""
        omega, found = self.evaluate()
        weights = torch.from_numpy(omega)
        beta = self.beta(self._phi @ omega)
        for m in range(self.mac.n_agents):
            actor: Any = self.mac.agent.actor(m)
            table = actor.table.data
            table[:, : self.mac.width(m)] += (self._prefix_weights(m, weights) / beta).to(table.dtype)
        return found | {"beta": beta}

    def beta(self, values: np.ndarray) -> float:
        """`beta`, or the theory's Qmax sqrt(K / (2 log A)) for `iterations`; Qmax: the spread of Q so far."""
        self.largest_value = max(self.largest_value, float(np.ptp(values)))
        if not isinstance(self.config.beta, str):  # "auto"
            return self.config.beta
        return max(self.largest_value, 1e-8) * math.sqrt(
            self.config.iterations / (2 * math.log(max(self.mac.n_actions, 2)))
        )

    def _prefix_weights(self, m: int, omega: Tensor) -> Tensor:
        """w^m with phi_m . w^m = Q^{1:m} but for what does not depend on a^m, [A, width].

        What Q has of agent m's own features is taken over as it is, so that pessimism about an action nobody took stays
        with it. The rest, which m's action moves through what later agents do, is a regression on plays in which m
        chooses evenly; with product policies the earlier agents' plays are those of their new policies.
        """
        mac, data, A = self.mac, self.data, self.mac.n_actions
        own, pairs = self.joint.parts(omega)
        P, found = own.shape[1], omega.new_zeros(A, mac.width(m))
        found[:, :P] = own[m].t()
        even = data.avail[:, m].double()

        def choose(policy: Any, agent: int) -> Tensor:
            return torch.multinomial(even, 1) if agent == m else policy.sample()

        actions = mac.play(data.features, data.avail, choose)
        rest = torch.from_numpy(self._phi_of(data.features, actions)) @ omega
        rest = rest - (data.features[:, m].double() * own[m].t()[actions[:, m]]).sum(-1)
        inputs = [data.features[:, m].double()]
        if mac.autoregressive:
            for j in range(m):
                found[:, P + j * A : P + (j + 1) * A] = pairs[j, m].t()
                rest = rest - pairs[j, m][actions[:, j], actions[:, m]]
                inputs.append(torch.nn.functional.one_hot(actions[:, j], A).double())
        fitted = ridge_by_action(
            torch.cat(inputs, 1), actions[:, m], rest - rest.mean(), torch.ones_like(rest), A, self.config.ridge
        )
        return found + fitted
