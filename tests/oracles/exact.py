"""A learner on a batch without sampling error, on an exact Markov game: what it computes must equal enumeration.

The batch holds every joint action exactly as often as its probability says. Shape letters: S states, N agents, K
samples.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from epymarl_trust_region.games.markov import joint_policy, multi_agent_advantage, random_game
from epymarl_trust_region.onpolicy.rollout import make_rollout
from oracles.exact_batch import exact_batch, rational_policies
from support import HandMadeBatch, make_learner

DENOMINATOR = 6
N_ACTIONS = (2, 3, 2)
STATE_COUNTS = (1, 2, 1)
WEIGHTS = np.array(STATE_COUNTS) / sum(STATE_COUNTS)


def set_table(actor, policy: np.ndarray) -> None:
    """Make the actor say pi(a|s) = policy[s, a] for one-hot s: log pi in its table, or behind identity layers."""
    n_states, n_actions = policy.shape
    with torch.no_grad():
        if hasattr(actor, "table"):
            actor.table[:n_actions] = torch.from_numpy(np.log(policy)).T
            return
        for layer in (actor.body, actor.core):
            layer.weight.zero_()
            layer.weight[:n_states, :n_states] = torch.eye(n_states)
            layer.bias.zero_()
        actor.head.weight.zero_()
        actor.head.bias.zero_()
        actor.head.weight[:n_actions, :n_states] = torch.from_numpy(np.log(policy)).T


def exact_setting(seed: int, algorithm: str = "happo", common_reward: bool = True, **overrides):
    """A random game, its rational policies, and a double-precision learner on the exact batch with exact advantages."""
    rng = np.random.default_rng(seed)
    game = random_game(rng, n_states=3, n_actions=N_ACTIONS, common_reward=common_reward)
    old = rational_policies(rng, 3, N_ACTIONS, DENOMINATOR)
    states, actions = exact_batch(old, DENOMINATOR, STATE_COUNTS)
    advantages = game.advantages(joint_policy(old))[(..., states, *actions.T)]  # [K], or [N, K]
    columns = 1 if common_reward else len(N_ACTIONS)
    onehot = torch.eye(3, dtype=torch.float64)[torch.from_numpy(states)]
    K = len(states)
    obs = onehot[:, None, None].expand(K, 2, 3, 3).contiguous()
    avail = torch.zeros(K, 2, 3, 3, dtype=torch.int32)
    for i, count in enumerate(N_ACTIONS):
        avail[:, :, i, :count] = 1
    batch = HandMadeBatch(
        obs=obs,
        state=onehot[:, None].expand(K, 2, 3).contiguous(),
        actions=torch.from_numpy(actions)[:, None, :, None].expand(K, 2, 3, 1).contiguous(),
        actions_onehot=torch.zeros(K, 2, 3, 3),
        avail_actions=avail,
        reward=torch.zeros(K, 2, columns, dtype=torch.float64),
        terminated=torch.tensor([1, 0], dtype=torch.uint8).view(1, 2, 1).expand(K, 2, 1),
        filled=torch.ones(K, 2, 1, dtype=torch.long),
    )
    learner = make_learner(
        batch,
        algorithm,
        hidden_dim=8,
        share_parameters=False,
        obs_agent_id=False,
        common_reward=common_reward,
        **overrides,
    )
    learner.mac.agent.double()
    learner.critic.double()
    learner._make_optimisers()  # on the converted parameters
    for actor, policy in zip(learner.mac.agent.agents, old, strict=True):
        set_table(actor, policy)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    rollout = dataclasses.replace(
        rollout,
        advantages=torch.from_numpy(advantages.reshape(columns, K).T.copy()).view(K, 1, columns),
        mask=rollout.mask.double(),
    )
    return rng, game, old, learner, rollout


def policies_of(learner, rollout) -> list[np.ndarray]:
    """N x [S, A^i] for the one-hot observations of the exact batch."""
    first = [int((rollout.inputs[0][:, 0, s] == 1).nonzero()[0]) for s in range(3)]
    found = [rollout.policy(learner.mac, i).probs[first, 0].detach().numpy() for i in range(len(N_ACTIONS))]
    return [p[:, :count] for p, count in zip(found, N_ACTIONS, strict=True)]


def gain_in_turn(game, old, new, order, m) -> np.ndarray:
    """E over the earlier agents' new policies of A^{i_m}(s, a^{1:m-1}, a^m), by enumeration: [S, A^m]."""
    earlier, agent = list(order[:m]), order[m]
    q = game.q_values(joint_policy(old))
    table = multi_agent_advantage(q, old, earlier, [agent])  # [S, A^{i_1}, .., A^{i_m}]
    for j in earlier:
        table = np.einsum("sa,sa...->s...", new[j], table)
    return table
