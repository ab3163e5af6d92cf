"""Single-agent algorithms written out from their formulas, on a learner's own networks.

Policies are PyTorch's distributions: softmaxes of logits, or Gaussians of means and a log deviation per dimension.
"""

from __future__ import annotations

import math

import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence


def distribution(outputs: torch.Tensor, continuous: bool):
    """The policy that an actor's outputs stand for."""
    if not continuous:
        return Categorical(logits=outputs)
    mean, log_std = outputs.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


def textbook_ppo(learner, batch, config, standardise: bool, agent: int | None = None) -> None:
    """Plain single-agent PPO (Schulman et al., 2017) on the learner's networks, from its formulas alone.

    Args:
        agent: the agent that learns, with an actor and a critic of its own observation; None: the only one, with V(s).
    """
    i = agent or 0
    actor, critic = learner.mac.agent.agents[i], learner.critic
    layers, continuous = getattr(actor, "network", actor), hasattr(actor, "log_std")
    net, observed = (critic.net, batch["state"]) if agent is None else (critic.nets[i], batch["obs"][:, :, i])
    obs, actions = batch["obs"][:, :-1, i], batch["actions"][:, :-1, i]
    actions = actions if continuous else actions.squeeze(-1)
    rewards, T = batch["reward"][:, :-1], batch["reward"].shape[1] - 1
    rewards = rewards if rewards.shape[-1] == 1 else rewards[..., i : i + 1]

    def policy():
        outputs = layers.head(torch.relu(layers.core(torch.relu(layers.body(obs)))))
        if continuous:
            outputs = torch.cat([outputs, actor.log_std.expand_as(outputs)], -1)
        return distribution(outputs, continuous)

    def value(inputs):
        return net.head(net.layers(inputs))

    with torch.no_grad():
        old = policy().log_prob(actions)
        values = value(observed)
        advantages, running = torch.zeros(len(obs), T, 1), torch.zeros(len(obs), 1)
        for t in reversed(range(T)):  # full-length episodes that end by themselves
            following = torch.zeros(()) if t == T - 1 else values[:, t + 1]
            delta = rewards[:, t] + config.gamma * following - values[:, t]
            running = delta + config.gae_lambda * config.gamma * running
            advantages[:, t] = running
        returns = advantages + values[:, :-1]
        if standardise:
            advantages = (advantages - advantages.mean()) / (advantages.var(unbiased=False).sqrt() + 1e-8)
        advantages = advantages.squeeze(-1)

    optimiser = torch.optim.Adam(actor.parameters(), lr=config.lr, eps=config.optim_eps, fused=True)
    for _ in range(config.epochs):
        new = policy()
        ratio = (new.log_prob(actions) - old).exp()
        clipped = ratio.clamp(1 - config.eps_clip, 1 + config.eps_clip)
        loss = -torch.min(ratio * advantages, clipped * advantages).mean() - config.entropy_coef * new.entropy().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(actor.parameters(), config.grad_norm_clip)
        optimiser.step()

    optimiser = torch.optim.Adam(net.parameters(), lr=config.critic_lr, eps=config.optim_eps, fused=True)
    for _ in range(config.critic_epochs):
        loss = (0.5 * (value(observed[:, :-1]) - returns) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.grad_norm_clip)
        optimiser.step()


def textbook_trpo(actor, obs, actions, advantage, mask, config) -> torch.Tensor:
    """The parameters after one step of TRPO (Schulman et al., 2015), dense, from its formulas and autograd alone.

    Args:
        actor: from obs [B, T, O] to outputs [B, T, ...].
        actions: [B, T], or [B, T, A] of a Gaussian policy.
        advantage, mask: [B, T].
    """

    def policy(parameters):
        names = [name for name, _ in actor.named_parameters()]
        shapes = [p.shape for p in actor.parameters()]
        parts = [x.view(s) for x, s in zip(parameters.split([s.numel() for s in shapes]), shapes, strict=True)]
        outputs, _ = torch.func.functional_call(actor, dict(zip(names, parts, strict=True)), (obs,))
        return distribution(outputs, hasattr(actor, "log_std"))

    def gain(parameters):
        ratio = (policy(parameters).log_prob(actions) - old_log_prob).exp()
        return (mask * ratio * advantage).sum() / mask.sum()

    def kl(parameters):
        return (mask * kl_divergence(old, policy(parameters))).sum() / mask.sum()

    start = torch.cat([p.detach().flatten() for p in actor.parameters()])
    with torch.no_grad():
        old = policy(start)
        old_log_prob = old.log_prob(actions)
    gradient = torch.autograd.functional.jacobian(gain, start)
    fisher = torch.autograd.functional.hessian(kl, start) + config.cg_damping * torch.eye(len(start))
    x = torch.linalg.solve(fisher, gradient)
    step = math.sqrt(2 * config.kl_threshold / (x @ fisher @ x)) * x
    for j in range(config.line_search_steps + 1):
        candidate = start + config.backtrack_coef**j * step
        improvement, expected = gain(candidate) - gain(start), config.backtrack_coef**j * (gradient @ step)
        if kl(candidate) <= config.kl_threshold and improvement > 0 and improvement >= config.accept_ratio * expected:
            return candidate
    return start
