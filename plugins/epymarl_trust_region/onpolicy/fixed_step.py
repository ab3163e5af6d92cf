"""What INPG, IPG and WoLF share: all agents at once, each by its own gradient, with a fixed step.

Shape letters: B episodes, T steps, A actions, D observations.
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
from ..numerics.tabular import seen_available
from .learner import OnPolicyLearner
from .optimiser import FlatParameters
from .rollout import Rollout

# The logit of a probability of 0: exp of it is 0, and KL divergences from what it was stay finite.
_NEVER = -1e4


@dataclass(frozen=True, kw_only=True)
class FixedStepConfig(OnPolicyConfig):
    """Keys of learners whose actors take fixed steps without Adam."""

    joint_advantage: ClassVar[bool] = False
    shared_actors: ClassVar[str | None] = (
        "every agent follows the gradient of its own return, and one network cannot follow several; set "
        "share_parameters=False"
    )
    step_size_keys: ClassVar[str] = "eta or critic_lr"
    no_meaning: ClassVar[Mapping[str, str]] = {
        "lr": "its actors' step size is eta, without Adam; critic_lr is the critic's step size"
    }

    #: What to do where a table cannot be had.
    without_table: ClassVar[str] = "set tabular=False"

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
            raise CapabilityError(f"a table (tabular=True) has no memory; set use_rnn=False, or {self.without_table}")
        if self.tabular and self.actor_network is not None:
            raise CapabilityError(
                f"a table (tabular=True) is no network; set actor_network=None, or {self.without_table}"
            )
        for name in ("obs_agent_id", "obs_last_action", "normalise_inputs"):
            if self.tabular and getattr(self, name):
                raise CapabilityError(
                    f"a table (tabular=True) has a column for each observation, one-hot, and with {name}=True they are "
                    f"no longer that; set {name}=False, or {self.without_table}"
                )

    def check_continuous(self) -> None:
        super().check_continuous()
        if self.tabular:
            raise CapabilityError(f"a table (tabular=True) has no continuous actions; {self.without_table}")

    def unread(self) -> dict[str, str]:
        return super().unread() | ({"hidden_dim": "a table (tabular=True) has no layers"} if self.tabular else {})


class FixedStepLearner(OnPolicyLearner):
    """Base of learners whose agents all step at once from the old policies; a subclass writes `step`, one agent's."""

    config: FixedStepConfig

    def _make_actor_optimiser(self, network: int) -> FlatParameters:
        return FlatParameters(*self._actor(network))  # a fixed step, without an optimiser

    def per_return(self, eta: float) -> float:
        """eta / (1 - gamma), for gradients of discounted returns by means over steps, the normalised visitation.

        With gamma = 1, for a finite horizon, eta times that (INPG, section 2).
        """
        gamma = self.config.gamma
        return eta * (self.episode_limit or math.nan) if gamma == 1 else eta / (1 - gamma)  # checked: there is a limit

    @torch.no_grad()
    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """Each agent reads the old policies alone, so that their order does not matter."""
        if self.config.tabular:
            self._check_one_hot(rollout)
        steps = {agent: self.step(rollout, agent) for agent in range(rollout.n_agents)}
        return {f"agent_{agent}_{name}": value for agent, step in steps.items() for name, value in step.items()}

    def step(self, rollout: Rollout, agent: int) -> dict[str, float]:
        """Move one agent; gives what it wants logged."""
        raise NotImplementedError

    def _check_one_hot(self, rollout: Rollout) -> None:
        """Raise CapabilityError where an observation is no column of a table; zeros alone are none, and pass."""
        seen = rollout.mask.bool()
        for agent, inputs in enumerate(rollout.inputs):
            here = inputs[seen]
            if not ((here == 0) | (here == 1)).all() or (here.sum(-1) > 1).any():
                task = self.args.env_args.get("key") or self.args.env
                raise CapabilityError(
                    f"a table (tabular=True) has a column for each observation, one-hot, and agent {agent} of {task} "
                    f"sees others; {self.config.without_table}"
                )

    def available(self, rollout: Rollout, agent: int) -> Tensor:
        """[A, D]: the actions that were available where an observation was made; all of them without masks."""
        avail, (table,) = rollout.avail_actions[agent], self.actor_optimisers[agent].parameters
        if avail is None:
            return torch.ones_like(table, dtype=torch.bool)
        share = rollout.mask / rollout.mask.sum()
        return seen_available(rollout.inputs[agent].flatten(0, 1), avail.flatten(0, 1), share.flatten())

    def set_policy(self, agent: int, at: Tensor, policy: Tensor) -> None:
        """Let an agent's table give these probabilities, [A, K], at K observations, those that `at`, [D], marks."""
        (table,) = self.actor_optimisers[agent].parameters
        table[:, at] = policy.log().clamp_min(_NEVER)
