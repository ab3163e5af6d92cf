"""The learner's own surrogate, factor and gradient against exact Markov games (Proposition 3).

The batch holds every joint action exactly as often as its probability says, so that there is no sampling error: what
the learner computes must equal enumeration. Shape letters: S states, N agents, K samples.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from epymarl_trust_region.games.exact_batch import exact_batch, rational_policies
from epymarl_trust_region.games.markov import (
    average_out,
    joint_policy,
    multi_agent_advantage,
    random_game,
    random_policies,
)
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import HandMadeBatch, make_learner

DENOMINATOR = 6
N_ACTIONS = (2, 3, 2)
STATE_COUNTS = (1, 2, 1)
WEIGHTS = np.array(STATE_COUNTS) / sum(STATE_COUNTS)
TIGHT = dict(rtol=0, atol=1e-12)


def set_table(actor, policy: np.ndarray) -> None:
    """Make the network say pi(a|s) = policy[s, a] for one-hot observations: identity layers, log pi in the head."""
    n_states, n_actions = policy.shape
    with torch.no_grad():
        for layer in (actor.body, actor.core):
            layer.weight.zero_()
            layer.weight[:n_states, :n_states] = torch.eye(n_states)
            layer.bias.zero_()
        actor.head.weight.zero_()
        actor.head.bias.zero_()
        actor.head.weight[:n_actions, :n_states] = torch.from_numpy(np.log(policy)).T


def exact_setting(seed: int):
    """A random game, its rational policies, and a double-precision learner on the exact batch with exact advantages."""
    rng = np.random.default_rng(seed)
    game = random_game(rng, n_states=3, n_actions=N_ACTIONS)
    old = rational_policies(rng, 3, N_ACTIONS, DENOMINATOR)
    states, actions = exact_batch(old, DENOMINATOR, STATE_COUNTS)
    advantages = game.advantages(joint_policy(old))[(states, *actions.T)]
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
        reward=torch.zeros(K, 2, 1, dtype=torch.float64),
        terminated=torch.tensor([1, 0], dtype=torch.uint8).view(1, 2, 1).expand(K, 2, 1),
        filled=torch.ones(K, 2, 1, dtype=torch.long),
    )
    learner = make_learner(batch, hidden_dim=8, entropy_coef=0.0, eps_clip=0.9)
    learner.mac.agent.double()
    learner.critic.double()
    learner._make_optimisers()  # on the converted parameters
    for actor, policy in zip(learner.mac.agent.agents, old, strict=True):
        set_table(actor, policy)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, True, None)
    rollout = dataclasses.replace(
        rollout, advantages=torch.from_numpy(advantages).view(K, 1, 1), mask=rollout.mask.double()
    )
    return rng, game, old, learner, rollout


def gain_in_turn(game, old, new, order, m) -> np.ndarray:
    """E over the earlier agents' new policies of A^{i_m}(s, a^{1:m-1}, a^m), by enumeration: [S, A^m]."""
    earlier, agent = list(order[:m]), order[m]
    q = game.q_values(joint_policy(old))
    table = multi_agent_advantage(q, old, earlier, [agent])  # [S, A^{i_1}, .., A^{i_m}]
    for j in earlier:
        table = np.einsum("sa,sa...->s...", new[j], table)
    return table


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_each_agents_gradient_is_that_of_its_exact_gain(seed, order):
    rng, game, old, learner, rollout = exact_setting(seed)
    new = [0.7 * p + 0.3 * q for p, q in zip(old, random_policies(rng, 3, N_ACTIONS), strict=True)]
    factor = torch.ones_like(rollout.mask)
    for m, agent in enumerate(order):
        actor = learner.mac.agent.agents[agent]
        learner.policy_loss(rollout, agent, factor)
        gradient = -dict(zip(actor.in_order, learner.actor_optimisers[agent].gradients, strict=True))[actor.head.weight]
        gain, p = gain_in_turn(game, old, new, order, m), old[agent]
        # d/d logit_a of sum_b p_b g_b is p_a (g_a - sum_b p_b g_b), weighted by the share of the state.
        expected = WEIGHTS[:, None] * p * (gain - (p * gain).sum(-1, keepdims=True))
        found = gradient[: N_ACTIONS[agent], :3].numpy().T
        np.testing.assert_allclose(found, expected, **TIGHT)
        assert np.abs(expected).max() > 1e-3
        set_table(actor, new[agent])  # the agent has had its turn
        factor = factor * learner.new_ratio(rollout, agent)


@pytest.mark.parametrize("seed", range(3))
def test_the_surrogate_is_the_exact_gain_up_to_what_the_agents_before_have_won(seed):
    """Proposition 3 without its "-1": the value shifts by E[A^{i_1:m-1}], which does not depend on agent i_m."""
    order = (1, 0, 2)
    rng, game, old, learner, rollout = exact_setting(seed)
    new = [0.8 * p + 0.2 * q for p, q in zip(old, random_policies(rng, 3, N_ACTIONS), strict=True)]
    advantages = game.advantages(joint_policy(old))
    factor, already = torch.ones_like(rollout.mask), 0.0
    for m, agent in enumerate(order):
        gain = WEIGHTS @ (gain_in_turn(game, old, new, order, m) * new[agent]).sum(-1)
        set_table(learner.mac.agent.agents[agent], new[agent])
        assert (learner.new_ratio(rollout, agent) - 1).abs().max() < learner.config.eps_clip  # nothing is clipped
        surrogate = -learner.policy_loss(rollout, agent, factor).item()
        assert surrogate == pytest.approx(gain + already, abs=1e-12)
        already += gain
        factor = factor * learner.new_ratio(rollout, agent)
    # After all agents: Lemma 1, the sum of their gains is the joint advantage of the new joint policy.
    joint = WEIGHTS @ average_out(advantages, new, [])
    assert already == pytest.approx(joint, abs=1e-12)
    assert (factor * rollout.advantage(0)).mean().item() == pytest.approx(joint, abs=1e-12)
