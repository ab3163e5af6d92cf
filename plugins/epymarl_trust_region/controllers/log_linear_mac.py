"""The controller of log-linear policies: one agent after the other, each seeing what those before it have chosen.

Shape letters: B episodes, T steps, N agents, A actions, S state, P features, D inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..interfaces import Args, Batch, Scheme
from ..modules.distributions import MaskedCategorical
from ..modules.features import JointFeatures, make_features
from .trust_region_mac import Rows, TrustRegionMAC


class LogLinearMAC(TrustRegionMAC):
    """pi^m(a^m | s, a^{1:m-1}) proportional to exp(theta^m . phi_m), with the features

        phi_m = psi(s) x onehot(a^m)   and, with `conditioning: autoregressive`,   onehot(a^j) x onehot(a^m) for j < m,

    so that agent m's logits are a table times its inputs (psi(s), onehot(a^1), ..., onehot(a^{m-1}), 0, ...). Agents
    choose in the order of their indices. With `conditioning: product` no agent sees another's action.
    """

    always_tabular = True

    def __init__(self, scheme: Scheme, groups: dict, args: Args) -> None:
        self.autoregressive = args.conditioning == "autoregressive"
        super().__init__(scheme, groups, args)
        self.agent.add_module("features", self.features)  # its random numbers belong to the checkpoint
        self.joint = JointFeatures(self.n_agents, self.features.size, self.n_actions)  # of what agents see together

    def _input_dim(self, scheme: Scheme) -> int:
        of_state = self.args.policy_input == "state"
        self.features = make_features(scheme["state"]["vshape"] if of_state else super()._input_dim(scheme), self.args)
        return self.width(self.n_agents)

    def width(self, agent: int) -> int:
        """How many of the D inputs agent `agent` can see; the others are 0."""
        return self.features.size + (agent * self.n_actions if self.autoregressive else 0)

    @torch.no_grad()
    def select_actions(
        self, ep_batch: Batch, t_ep: int, t_env: int, bs: Rows = slice(None), test_mode: bool = False
    ) -> Tensor:
        """As TrustRegionMAC's, agent by agent."""
        if not self.autoregressive:
            return super().select_actions(ep_batch, t_ep, t_env, bs, test_mode)
        features = self.features_of(ep_batch, slice(t_ep, t_ep + 1)).squeeze(1)[bs]
        avail = ep_batch["avail_actions"][:, t_ep][bs]
        return self.play(features, avail, lambda policy, m: self._choose(policy, test_mode, first=m))

    def play(self, features: Tensor, avail: Tensor, choose: Callable[[MaskedCategorical, int], Tensor]) -> Tensor:
        """Let the agents choose in order.

        Args:
            features: psi, [M, N, P].
            avail: [M, N, A].
            choose: actions [M, 1] of agent m's policy over [M, 1].

        Returns:
            [M, N], int64.
        """
        earlier, chosen = features.new_zeros(len(features), self.n_agents * self.n_actions), []
        for m in range(self.n_agents):
            inputs = torch.cat([features[:, m], earlier], -1) if self.autoregressive else features[:, m]
            logits, _ = self.agent.actor(m)(inputs)
            chosen.append(choose(MaskedCategorical(logits.unsqueeze(1), avail[:, m : m + 1]), m))
            earlier.scatter_(1, m * self.n_actions + chosen[m], 1.0)
        return torch.cat(chosen, dim=1)

    def _inputs(self, ep_batch: Batch, ts: slice) -> Tensor:
        features = self.features_of(ep_batch, ts)
        if not self.autoregressive:
            return features
        actions = ep_batch["actions_onehot"][:, ts].to(features.dtype)  # [B, T', N, A]
        earlier = torch.ones(self.n_agents, self.n_agents, dtype=features.dtype, device=features.device).tril(-1)
        earlier = earlier[..., None] * actions.unsqueeze(2)  # [B, T', N, N, A]
        return torch.cat([features, earlier.flatten(-2)], -1)

    def features_of(self, ep_batch: Batch, ts: slice) -> Tensor:
        """psi, [B, T', N, P]."""
        if self.args.policy_input == "state":
            return self.features(ep_batch["state"][:, ts]).unsqueeze(2).expand(-1, -1, self.n_agents, -1)
        return self.features(super()._inputs(ep_batch, ts))
