"""Single-agent algorithms written out from their formulas, on a learner's own networks."""

from __future__ import annotations

import torch


def textbook_ppo(learner, batch, config, standardise: bool, agent: int | None = None) -> None:
    """Plain single-agent PPO (Schulman et al., 2017) on the learner's networks, from its formulas alone.

    Args:
        agent: the agent that learns, with an actor and a critic of its own observation; None: the only one, with V(s).
    """
    i = agent or 0
    actor, critic = learner.mac.agent.agents[i], learner.critic
    net, observed = (critic.net, batch["state"]) if agent is None else (critic.nets[i], batch["obs"][:, :, i])
    obs, actions = batch["obs"][:, :-1, i], batch["actions"][:, :-1, i]
    rewards, T = batch["reward"][:, :-1], batch["reward"].shape[1] - 1
    rewards = rewards if rewards.shape[-1] == 1 else rewards[..., i : i + 1]

    def log_policy():
        return torch.log_softmax(actor.head(torch.relu(actor.core(torch.relu(actor.body(obs))))), -1)

    def value(inputs):
        return net.head(net.layers(inputs))

    with torch.no_grad():
        old = log_policy().gather(-1, actions).squeeze(-1)
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
        log_probs = log_policy()
        ratio = (log_probs.gather(-1, actions).squeeze(-1) - old).exp()
        clipped = ratio.clamp(1 - config.eps_clip, 1 + config.eps_clip)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        loss = -torch.min(ratio * advantages, clipped * advantages).mean() - config.entropy_coef * entropy.mean()
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
