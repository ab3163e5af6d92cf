"""What all on-policy learners share: one Rollout per update, the critic, logging, saving and loading."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.adam import adam

from ..config import OnPolicyConfig
from ..errors import CheckpointError, NonFiniteError
from ..modules import files
from ..modules.critics import make_critic
from ..numerics.flat import flatten, views
from . import checkpoint
from .diagnostics import policy_statistics, value_statistics
from .losses import value_loss
from .rollout import Rollout, make_rollout


class Optimiser:
    """Adam on one set of parameters as one vector, with gradient clipping and a guard against NaN."""

    def __init__(self, owner: str, parameters, lr: float, config: OnPolicyConfig, vector: Tensor | None = None) -> None:
        """
        Args:
            owner: whose parameters they are, for messages.
            vector: the vector of which the parameters are views already; None makes one of them.
        """
        self.owner, self.grad_norm_clip = owner, config.grad_norm_clip
        self.parameters = list(parameters)
        self.vector = torch.nn.Parameter(flatten(self.parameters) if vector is None else vector)
        self.vector.grad = torch.zeros_like(self.vector)
        self.gradients = views(self.vector.grad, self.parameters)
        self.adam = torch.optim.Adam([self.vector], lr=lr, eps=config.optim_eps, fused=True)
        self.grad_norm = 0.0

    def step(self) -> None:
        """One descent step along `gradients`, into which a network's `pull` has written.

        Raises:
            NonFiniteError: the gradient is NaN or infinite; the parameters are left as they were.
        """
        norm = math.sqrt(torch.dot(self.vector.grad, self.vector.grad).item())
        if not norm < float("inf"):
            raise NonFiniteError(
                f"the gradient of {self.owner} is {norm}: training has diverged; lower lr or critic_lr, or go on from "
                "the last checkpoint with checkpoint_path"
            )
        if norm > self.grad_norm_clip:
            self.vector.grad.mul_(self.grad_norm_clip / (norm + 1e-6))
        self._descend()
        self.grad_norm = norm

    def _descend(self) -> None:
        """`self.adam.step()`, without its hooks and searches, which on one small vector take most of its time."""
        state = self.adam.state.get(self.vector)
        if not state:
            self.adam.step()  # which makes the state
            return
        group = self.adam.param_groups[0]
        moments = [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]]
        options = {name: group[name] for name in ("fused", "amsgrad", "lr", "weight_decay", "eps", "maximize")}
        with torch.no_grad():
            beta1, beta2 = group["betas"]
            adam([self.vector], [self.vector.grad], *moments, beta1=beta1, beta2=beta2, **options)


class OnPolicyLearner:
    """Base of the learners; a subclass names its `config_class` and writes `update_policies`, the pseudocode."""

    config_class: ClassVar[type[OnPolicyConfig]]

    def __init__(self, mac, scheme: dict, logger, args) -> None:
        """
        Args:
            mac: a TrustRegionMAC.
            scheme: the suite's batch scheme.
            logger: the suite's logger.
            args: the suite's arguments; this learner's own are checked again here, whoever called.

        Raises:
            ConfigError, CapabilityError: see `config.py`.
        """
        self.mac, self.logger, self.args = mac, logger, args
        self.config = self.config_class.from_mapping(vars(args))
        self.config.check_capabilities(args.common_reward)
        self.n_agents = args.n_agents
        # The suite's wrappers store the time limit as a termination; this is how to tell the two apart.
        self.episode_limit: int | None = args.env_args.get("time_limit")
        self.critic = make_critic(scheme, args)
        self._make_optimisers()
        self.log_stats_t = -self.config.learner_log_interval - 1

    def _make_optimisers(self) -> None:
        mac, config = self.mac, self.config
        self.actor_optimisers = [  # one per network: N, or one if actors are shared
            Optimiser(f"agent {i}'s actor", mac.agent_parameters(i), config.lr, config, mac.agent.vector(i))
            for i in range(len(mac.agent.agents))
        ]
        self.critic_optimiser = Optimiser("the critic", self.critic.parameters(), config.critic_lr, config)

    # One update -------------------------------------------------------------------------------------------------

    @torch.no_grad()  # gradients are pulled back through the networks by hand
    def train(self, batch, t_env: int, episode_num: int) -> None:
        """Update actors and critic from one batch of fresh episodes.

        Args:
            batch: EpisodeBatch of B episodes and T+1 slots.
            t_env: environment steps so far.
            episode_num: episodes so far (unused).

        Raises:
            NonFiniteError: NaN or infinity in a reward, an observation or a gradient.
        """
        rollout = make_rollout(batch, self.mac, self.critic, self.config, self.args.common_reward, self.episode_limit)
        statistics = self.update_policies(rollout)
        critic_loss = self.fit_critic(rollout)
        if t_env - self.log_stats_t >= self.config.learner_log_interval:
            self._log({**statistics, "critic_loss": critic_loss}, rollout, t_env)
            self.log_stats_t = t_env

    def update_policies(self, rollout: Rollout) -> dict[str, float]:
        """The algorithm: update all actors in place; returns what it wants logged."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_critic(self, rollout: Rollout) -> float:
        """Regress V on the returns for `critic_epochs` passes; the last loss, in the critic's units."""
        critic, mask = self.critic, rollout.mask.unsqueeze(-1)
        critic.update_normaliser(rollout.returns[rollout.mask.bool()])
        targets = critic.normalise(rollout.returns)
        for _ in range(self.config.critic_epochs):
            values, pull = critic.vjp(rollout.critic_inputs)
            loss, slope = value_loss(values, targets, mask, self.config.huber_delta)
            pull(slope, self.critic_optimiser.gradients)
            self.critic_optimiser.step()
        return loss.item()

    # Diagnostics ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _log(self, statistics: dict[str, float], rollout: Rollout, t_env: int) -> None:
        policies = [self.mac.policy(i, rollout.inputs[i], rollout.avail_actions[i]) for i in range(self.n_agents)]
        statistics |= policy_statistics(rollout, policies, getattr(self.config, "eps_clip", None))
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
        optimisers = [*self.actor_optimisers, self.critic_optimiser]
        checkpoint.write(
            path,
            {
                "algorithm": self.config.algorithm,
                "critic": self.critic.state_dict(),
                "optimisers": [optimiser.adam.state_dict() for optimiser in optimisers],
                "log_stats_t": self.log_stats_t,
                "random": checkpoint.random_state(),
            },
        )

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
            raise CheckpointError(
                f"the checkpoint in {path} was written by {state.get('algorithm')}, not {self.config.algorithm}; use "
                "the configuration that wrote it"
            )
        self.mac.load_models(path)
        try:
            self.critic.load_state_dict(state["critic"])
            optimisers = [*self.actor_optimisers, self.critic_optimiser]
            for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
                optimiser.adam.load_state_dict(saved)
        except (RuntimeError, ValueError, KeyError) as error:
            raise files.foreign(path, error) from error
        self.log_stats_t = state["log_stats_t"]
        checkpoint.restore_random_state(state["random"])
