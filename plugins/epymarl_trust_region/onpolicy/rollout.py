"""One batch as the learners see it: everything an update needs, computed once, never changed.

Shape letters: B episodes, T steps, N agents, A actions, D actor inputs, K reward columns (1 or N). Of a packed batch
the valid steps stand in one row: B is 1, and T is how many they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import OnPolicyConfig
from ..errors import NonFiniteError
from ..interfaces import Batch
from ..modules.critics import Critic
from ..modules.memory import Memory, stream_mask
from ..modules.policy import Policy
from ..numerics.mlp import Pull, Push
from .controller import Controller
from .returns import gae, standardise, step_mask, true_terminations


@dataclass(frozen=True)
class Rollout:
    """Actor-side tensors are agent by agent, so that `x[i]` is contiguous."""

    inputs: Tensor  # [N, B, T, D]
    avail_actions: tuple[
        Tensor | None, ...
    ]  # N times [B, T, A], bool, or None where an agent always has all of its actions
    actions: Tensor  # [N, B, T] int64, or [N, B, T, A] where they are real-valued
    old_policies: tuple[Policy, ...]  # N distributions over [B, T], without gradient
    old_log_probs: Tensor  # [N, B, T]
    mask: Tensor  # [B, T], 1 at valid steps
    advantages: Tensor  # [B, T, K], as the actors use them
    returns: Tensor  # [B, T, K], value targets R = A + V
    values: Tensor  # [B, T, K], V before the update, in returns
    raw_advantage_std: Tensor  # scalar, before standardisation
    critic_inputs: Tensor  # [B, T, ...]
    recurrent: bool = False  # whether policies depend on the steps before
    memory: Memory | None = None  # of streams, where they do: all agents'

    @property
    def n_agents(self) -> int:
        """N."""
        return self.inputs.shape[0]

    def advantage(self, agent: int) -> Tensor:
        """[B, T]: the joint advantage, or agent's own where rewards are individual."""
        return self.advantages[..., agent if self.advantages.shape[-1] > 1 else 0]

    def old_log_prob(self, agent: int) -> Tensor:
        """log pi_old of the actions that one agent took, [B, T]."""
        return self.old_log_probs[agent]

    def pick(self, x: Tensor) -> Tensor:
        """Of a tensor [B, T, ...] what belongs to these steps: all of it (see `Minibatch`)."""
        return x

    pick_all = pick

    def evaluate(self, mac: Controller, agent: int) -> tuple[Tensor, Tensor, Callable]:
        """log pi_i of the actions taken and pi_i's entropy, [B, T], under the MAC's present parameters, and `pull`."""
        return mac.evaluate(
            agent, self.inputs[agent], self.avail_actions[agent], self.actions[agent], self._memory(agent)
        )

    def evaluate_all(self, mac: Controller) -> tuple[Tensor, Tensor, Callable]:
        """`evaluate` for all agents at once, [N, B, T]; `pull` takes one sequence of tensors per network."""
        return mac.evaluate_all(self.inputs, self.avail_actions, self.actions, self.memory)

    def linearise(self, mac: Controller, agent: int) -> tuple[Policy, Push, Pull]:
        """pi_i under the MAC's present parameters, and the derivatives of its logits: `push` and `pull`."""
        return mac.linearise(agent, self.inputs[agent], self.avail_actions[agent], self._memory(agent))

    def policy(self, mac: Controller, agent: int) -> Policy:
        """pi_i under the MAC's present parameters, over [B, T]."""
        return mac.policy(agent, self.inputs[agent], self.avail_actions[agent], self._memory(agent))

    def _memory(self, agent: int) -> Memory | None:
        return self.memory and self.memory.of(agent)

    def ratio(self, mac: Controller, agent: int) -> Tensor:
        """pi_i / pi_old of the actions taken, under the MAC's present parameters; [B, T], 1 at masked steps."""
        return self.log_ratio(agent, self.policy(mac, agent).log_prob(self.actions[agent])).exp()

    def log_ratio(self, agent: int, log_probs: Tensor) -> Tensor:
        """log pi_new / pi_old of the actions taken, 0 at masked steps: log_probs [B, T] -> [B, T]."""
        return (log_probs - self.old_log_probs[agent]) * self.mask


#: The share of padding from which on it is left out: to gather the other steps is a copy of all that is kept of them.
_WORTH_PACKING = 1 / 16


@torch.no_grad()
def make_rollout(
    batch: Batch,
    mac: Controller,
    critic: Critic,
    config: OnPolicyConfig,
    episode_limit: int | None,
    pack: bool = False,
) -> Rollout:
    """Turn a host's EpisodeBatch into a Rollout.

    Args:
        batch: EpisodeBatch of T+1 slots (the last holds the observation after the last step).
        mac: gives inputs and, as the behaviour policy, the old log-probabilities; on-policy data only.
        critic: gives values of all T+1 observations.
        config: an OnPolicyConfig. With `joint_advantage` the critic's columns are averaged into one joint value, and
            K = 1; else there is an advantage for each column of the critic or of the reward.
        episode_limit: see `true_terminations`; not read where the batch has `truncated`.
        pack: leave much padding out, where policies do not depend on the steps before.

    Raises:
        NonFiniteError: a reward of a valid step, or an observation or state, the last included, is NaN or infinite.
    """
    truncated = _field(batch, "truncated")
    mask = _checked_mask(batch, truncated)
    critic_inputs = critic.inputs(batch)
    values = critic.denormalise(critic.vjp(critic_inputs)[0])
    if config.joint_advantage:
        values = values.mean(-1, keepdim=True)
    advantages = _advantages(batch, values, config, mask, episode_limit, truncated)
    values = values[:, :-1]
    slots = _worth_keeping(mask) if pack and not mac.recurrent else None
    memory = mac.memory(batch)
    inputs, actions = _kept(mac.build_inputs(batch), slots, 1), _kept(mac.taken_actions(batch), slots, 1)
    avail = _availability(batch["avail_actions"][:, :-1], mask, slots)
    policies = tuple(mac.policy(i, inputs[i], avail[i], memory and memory.of(i)) for i in range(len(inputs)))
    used = standardise(advantages, mask, values) if config.standardise_advantages else advantages
    return Rollout(
        inputs=inputs,
        avail_actions=avail,
        actions=actions,
        old_policies=policies,
        old_log_probs=torch.stack([policy.log_prob(a) for policy, a in zip(policies, actions, strict=True)]),
        mask=_kept(mask, slots).squeeze(-1),
        advantages=_kept(used, slots),
        returns=_kept(advantages + values, slots),
        values=_kept(values, slots),
        raw_advantage_std=_std(advantages, mask),
        critic_inputs=_kept(critic_inputs[:, :-1], slots),
        recurrent=mac.recurrent,
        memory=memory,
    )


def _advantages(
    batch: Batch,
    values: Tensor,
    config: OnPolicyConfig,
    mask: Tensor,
    episode_limit: int | None,
    truncated: Tensor | None,
) -> Tensor:
    """[B, T, K], of values [B, T+1, K]."""
    bootstrap = config.add_value_last_step
    done = true_terminations(batch["terminated"], episode_limit, bootstrap, truncated)[:, :-1].to(mask.dtype)
    rewards = torch.where(mask.bool(), batch["reward"][:, :-1], 0.0)  # whatever padding holds, 0 * NaN would be NaN
    return gae(rewards, values, done, mask, config.gamma, config.gae_lambda)


def _worth_keeping(mask: Tensor) -> Tensor | None:
    """The valid ones of the B T slots of a mask [B, T, 1]; None: all are kept, padding and all."""
    slots = mask.flatten().nonzero().flatten()
    return slots if 0 < len(slots) <= (1 - _WORTH_PACKING) * mask.numel() else None


def _kept(x: Tensor, slots: Tensor | None, first: int = 0) -> Tensor:
    """Of a tensor [..., B, T, ...], B at the dimension `first`, these slots in one row: [..., 1, M, ...]."""
    return x if slots is None else x.flatten(first, first + 1).index_select(first, slots).unsqueeze(first)


def _checked_mask(batch: Batch, truncated: Tensor | None) -> Tensor:
    """Where an action counted, [B, T, 1], of a batch that is finite there."""
    mask = stream_mask(batch)
    if mask is None:  # whole episodes
        mask = step_mask(batch["filled"], batch["terminated"], truncated)
    else:  # streams, which say it themselves
        mask = mask[:, :-1]
    mask = mask.to(batch["reward"].dtype)
    seen = batch["filled"]  # the last observations too: values are read off them
    check_finite(
        {
            "reward": (batch["reward"][:, :-1], mask),
            "observation": (batch["obs"].flatten(2), seen),
            "state": (batch["state"].flatten(2), seen),
        }
    )
    return mask


def _field(batch: Any, name: str) -> Tensor | None:
    """[B, T+1, 1]; None where the runner did not add this field to the suite's scheme."""
    fields = batch.data.transition_data if hasattr(batch, "data") else batch
    return fields.get(name)


def _availability(avail_actions: Tensor, mask: Tensor, slots: Tensor | None) -> tuple[Tensor | None, ...]:
    """Agent by agent, [B, T, A] as bool; None, which costs nothing later, if all are available at all valid steps."""
    available = _kept(avail_actions.permute(2, 0, 1, 3) != 0, slots, 1)
    everything = (available | (_kept(mask, slots) == 0)).flatten(1).all(1).tolist()
    return tuple(None if full else own.contiguous() for full, own in zip(everything, available, strict=True))


def _std(x: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation over valid steps and columns, a scalar."""
    weight = mask.expand_as(x)
    mean = (x * weight).sum() / weight.sum()
    return (((x - mean) ** 2 * weight).sum() / weight.sum()).sqrt()


def check_finite(parts: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Refuse NaN and infinity at valid steps.

    Args:
        parts: what it is -> x [B, T, K] and its mask [B, T, 1].

    Raises:
        NonFiniteError: names the first episode of the batch and step.
    """
    sums = torch.stack([x.sum().isfinite() for x, _ in parts.values()])  # a sum with a NaN or an infinity in it is one
    if not sums.all():  # asked of all at once: on a GPU to ask is to wait
        for what, (x, mask) in parts.items():
            _refuse_bad(x, mask, what)


def _refuse_bad(x: Tensor, mask: Tensor, what: str) -> None:
    bad = (~torch.isfinite(x)) & mask.bool()
    if bad.any():
        episode, step, column = bad.nonzero()[0].tolist()
        value = x[episode, step, column].item()
        raise NonFiniteError(
            f"{what} is {value} in episode {episode} of the batch at step {step}: the environment is at fault; "
            "mend it, or go on from the last checkpoint with checkpoint_path"
        )
