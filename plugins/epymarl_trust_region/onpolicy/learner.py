"""What all on-policy learners share: one Rollout per update, the critic, logging, saving and loading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..config import OnPolicyConfig
from ..errors import CheckpointError, ConfigError, NonFiniteError
from ..interfaces import Args, Batch, Logger, Scheme
from ..modules import files
from ..modules.critics import make_critic
from ..modules.device import check_device
from ..modules.threads import threads, threads_for
from ..seeding import random_state, restore_random_state
from . import checkpoint
from .controller import Controller
from .diagnostics import policy_statistics, value_statistics
from .elsewhere import Elsewhere
from .losses import value_loss
from .minibatch import shuffled
from .optimiser import FlatParameters, Optimiser
from .rollout import Rollout, make_rollout


class OnPolicyLearner:
    """Base of the learners; a subclass names its `config_class` and writes `update_policies`, the pseudocode."""

    config_class: ClassVar[type[OnPolicyConfig]]
    joint_ratio: ClassVar[bool] = False  # whether the product of all agents' ratios is clipped, and not each
    #: Attributes that one update leaves to the next, beside parameters and optimisers: plain values, lists of tensors.
    carried: ClassVar[tuple[str, ...]] = ("log_stats_t", "bad_updates")
    config: OnPolicyConfig  # a subclass says which
    actor_optimisers: Sequence[FlatParameters]  # one per network: N, or one if actors are shared

    def __init__(self, mac: Controller, scheme: Scheme, logger: Logger, args: Args) -> None:
        """
        Args:
            mac: a TrustRegionMAC.
            scheme: the suite's batch scheme.
            logger: the suite's logger.
            args: the suite's arguments; this learner's own are checked again here, whoever called.

        Raises:
            ConfigError, CapabilityError: see `config.py`.
        """
        self.logger, self.args = logger, args
        self.config = self.config_class.from_mapping(vars(args))
        self.config.check_capabilities(args.common_reward)
        if mac.continuous:
            self.config.check_continuous()
        mac.step_size_keys = self.config.step_size_keys  # for its messages
        device = getattr(args, "learner_device", None)  # of the run, whosever algorithm it is
        check_device(device, getattr(args, "use_cuda", False))
        self.torch_threads = getattr(args, "torch_threads", 1)  # of the run, too
        self.elsewhere = None if device is None else Elsewhere(mac, device)
        self.mac: Controller = self.elsewhere.learning if self.elsewhere else mac  # what is learnt from, and moved
        self.n_agents = args.n_agents
        # The suite's runners store the time limit as a termination; so are the two told apart where no field says more.
        self.episode_limit: int | None = args.env_args.get("time_limit")
        self.critic = make_critic(scheme, args)
        if self.elsewhere:
            self.critic.to(self.elsewhere.device)
        self._make_optimisers()
        self.log_stats_t = -self.config.learner_log_interval - 1
        self.bad_updates = 0  # in a row

    def _make_optimisers(self) -> None:
        self.actor_optimisers = [self._make_actor_optimiser(i) for i in range(len(self.mac.agent.agents))]
        self.critic_optimiser = Optimiser("the critic", self.critic.parameters(), self.config.critic_lr, self.config)

    def _make_actor_optimiser(self, network: int) -> FlatParameters:
        owner, parameters, vector = self._actor(network)
        lr = getattr(self.config, "lr", None)
        if lr is None:  # who has none makes others
            raise ConfigError(
                f"{type(self.config).__name__} has no key `lr`, the step size of Adam; add `lr: float = key(gt=0)`, "
                f"and a line to the yaml, or let {type(self).__name__} override _make_actor_optimiser"
            )
        return Optimiser(owner, parameters, lr, self.config, vector)

    def _actor(self, network: int) -> tuple[str, list[torch.nn.Parameter], torch.Tensor]:
        """What a network is called in messages, its parameters, and the vector of which they are views."""
        owner = "the shared actor" if self.config.share_parameters else f"agent {network}'s actor"
        return owner, self.mac.agent_parameters(network), self.mac.agent.vector(network)

    # One update -------------------------------------------------------------------------------------------------

    @torch.no_grad()  # gradients are pulled back through the networks by hand
    def train(self, batch: Batch, t_env: int, episode_num: int) -> None:
        """Update actors and critic from one batch of fresh episodes.

        Args:
            batch: EpisodeBatch of B episodes and T+1 slots.
            t_env: environment steps so far.
            episode_num: episodes so far (unused).

        Raises:
            NonFiniteError: NaN or infinity in a reward or an observation; or in a gradient, `max_bad_updates` times in
                a row.
        """
        with threads(threads_for(self.torch_threads, self._steps_at_once(batch))):
            self._train(batch, t_env)

    def _steps_at_once(self, batch: Batch) -> int:
        """Environment steps of the largest step of an optimiser: the whole batch's, or a minibatch's."""
        parts = min(getattr(self.config, "actor_num_mini_batch", 1), self.config.critic_num_mini_batch)
        return batch.batch_size * (batch.max_seq_length - 1) // parts

    def _train(self, batch: Batch, t_env: int) -> None:
        self._set_step_sizes(t_env)
        if self.elsewhere:
            batch = self.elsewhere.bring(batch)
        rollout = make_rollout(batch, self.mac, self.critic, self.config, self.episode_limit, pack=True)
        statistics = self.update_policies(rollout)
        if not isinstance(statistics, dict):
            raise ConfigError(
                f"{type(self).__name__}.update_policies gives {statistics!r}; return a dictionary to be logged"
            )
        self.mac.agent.project()
        statistics["critic_loss"] = self.fit_critic(rollout)
        statistics["skipped_steps"] = self._count_skipped_steps(t_env)
        if t_env - self.log_stats_t >= self.config.learner_log_interval:
            self._log(statistics, rollout, t_env)
            self.log_stats_t = t_env
        self.mac.take_in(batch)  # last: what was computed above is of the policies that have played
        self.critic.take_in(batch)
        if self.elsewhere:
            self.elsewhere.hand_back()

    def _set_step_sizes(self, t_env: int) -> None:
        """`use_linear_lr_decay`: Adam's step sizes fall in a straight line from their values to 0 at `t_max`."""
        if self.config.use_linear_lr_decay:
            left = max(1 - t_env / self.config.t_max, 0.0)
            for optimiser in (*self.actor_optimisers, self.critic_optimiser):
                optimiser.scale_lr(left)

    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """The algorithm: update all actors in place; returns what it wants logged."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_critic(self, rollout: Rollout) -> float:
        """Regress V on the returns for `critic_epochs` passes; the last loss, in the critic's units."""
        critic, valid = self.critic, rollout.mask.flatten().nonzero().flatten()
        returns = rollout.returns.flatten(0, 1).index_select(0, valid)
        if not returns.isfinite().all():  # which would stay in the normaliser for good
            self.critic_optimiser.skipped += 1
            return float("nan")
        critic.update_normaliser(returns)
        for inputs, targets, weights in self._critic_batches(rollout, critic.normalise(rollout.returns), valid):
            values, pull = critic.vjp(inputs)
            loss, slope = value_loss(values, targets, weights, self.config.huber_delta)
            pull(slope, self.critic_optimiser.gradients)
            self.critic_optimiser.step()
        return loss.item()

    def _critic_batches(self, rollout: Rollout, targets: Tensor, valid: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Inputs, targets and mask of every step of the critic: `valid` steps in random parts, or the whole batch."""
        everything = rollout.critic_inputs, targets, rollout.mask.unsqueeze(-1)
        parts = self.config.critic_num_mini_batch
        if parts == 1:
            yield from (everything for _ in range(self.config.critic_epochs))
            return
        flat = [x.flatten(0, 1) for x in everything]
        for _ in range(self.config.critic_epochs):
            for index in shuffled(valid, parts):
                yield tuple(x.index_select(0, index).unsqueeze(0) for x in flat)

    def _count_skipped_steps(self, t_env: int) -> int:
        """Steps of this update that were skipped because their gradient was not finite; stops a run that goes on so."""
        counts = {o.owner: o.take_skipped() for o in (*self.actor_optimisers, self.critic_optimiser)}
        owners = [owner for owner, count in counts.items() if count]
        self.bad_updates = self.bad_updates + 1 if owners else 0
        if owners:
            what = f"the gradient of {', '.join(owners)} is NaN or infinite"
            limit = self.config.max_bad_updates
            if self.bad_updates >= limit:
                raise NonFiniteError(
                    f"{what}, in update {limit} of max_bad_updates={limit} in a row: training has diverged. The last "
                    f"good parameters are in {self._save_last_good(t_env)}; lower {self.config.step_size_keys}, and go "
                    "on from there with checkpoint_path"
                )
            self.logger.console_logger.warning(f"{what}: skipped (bad update {self.bad_updates} of {limit} in a row)")
        return sum(counts.values())

    def _save_last_good(self, t_env: int) -> Path:
        """Save where the host saves its models; no bad step was taken, so every parameter is finite."""
        run = getattr(self.args, "unique_token", self.config.name)
        folder = Path(getattr(self.args, "local_results_path", "results")) / "models" / run
        with files.whole(folder / str(t_env)) as unfinished:
            self.save_models(str(unfinished))
        return folder

    # Diagnostics ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _log(self, statistics: dict[str, float], rollout: Rollout, t_env: int) -> None:
        policies = [rollout.policy(self.mac, i) for i in range(self.n_agents)]
        statistics |= policy_statistics(rollout, policies, self.config.clip_range(self.n_agents), self.joint_ratio)
        statistics |= value_statistics(rollout)
        statistics["critic_grad_norm"] = self.critic_optimiser.grad_norm
        norms = [optimiser.grad_norm for optimiser in self.actor_optimisers]
        statistics["agent_grad_norm"] = sum(norms) / len(norms)
        statistics |= {f"agent_{i}_grad_norm": norm for i, norm in enumerate(norms)}
        for name, value in statistics.items():
            self.logger.log_stat(name, value, t_env)

    # The suite's remaining interface ----------------------------------------------------------------------------

    def cuda(self) -> None:
        """Move everything to the GPU; to be called before the first update, as both hosts do."""
        self.mac.cuda()
        self.critic.cuda()
        self._make_optimisers()  # on the vectors' new place

    def save_models(self, path: str) -> None:
        """Write actors, critic, normaliser, optimisers and random state under `path`."""
        self.mac.save_models(path)
        optimisers = (*self.actor_optimisers, self.critic_optimiser)
        checkpoint.write(
            path,
            {
                "algorithm": self.config.algorithm,
                "critic": self.critic.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                "grad_norms": [optimiser.grad_norm for optimiser in optimisers],
                "carried": {name: getattr(self, name) for name in self.carried},
                "random": random_state(),
            },
        )

    checkpoint_files = checkpoint.FILES

    @staticmethod
    def check_files(path: str) -> None:
        """Raise CheckpointError if the files under `path` are missing or damaged."""
        checkpoint.check(path)

    def load_models(self, path: str) -> None:
        """Read what `save_models` wrote; training then goes on as if it had never stopped.

        Raises:
            CheckpointError: missing, damaged, of another algorithm, or made for other shapes.
        """
        state = checkpoint.read(path)
        if state.get("algorithm") != self.config.algorithm:
            by, ours = _name(state.get("algorithm")), self.config.algorithm
            raise CheckpointError(
                f"the checkpoint in {path} was written by {by}, not {ours}; use the configuration that wrote it"
            )
        self.mac.load_models(path)
        if self.elsewhere:
            self.elsewhere.hand_back()
        try:
            self.critic.load_state_dict(state["critic"])
            optimisers = (*self.actor_optimisers, self.critic_optimiser)
            for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            for optimiser, norm in zip(optimisers, state.get("grad_norms", ()), strict=False):
                optimiser.grad_norm = float(norm)
            self._take_up(state["carried"] if "carried" in state else {"log_stats_t": state["log_stats_t"]})
            restore_random_state(state["random"])
        except files.DO_NOT_FIT as error:
            raise files.foreign(path, error) from error

    def _take_up(self, carried: dict[str, Any]) -> None:
        """Of `carried` what this class knows; older versions have kept less."""
        for name in self.carried:
            if name in carried:
                setattr(self, name, type(getattr(self, name))(carried[name]))


def _name(algorithm: object) -> str:
    return " ".join(algorithm.split())[:40] if isinstance(algorithm, str) else "something else"
