"""The learner's own surrogate, factor and gradient against exact Markov games (Proposition 3).

The batch holds every joint action exactly as often as its probability says, so that there is no sampling error: what
the learner computes must equal enumeration. Shape letters: S states, N agents, K samples.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from epymarl_trust_region.games.markov import average_out, joint_policy, random_policies
from oracles.exact import N_ACTIONS, WEIGHTS, exact_setting, gain_in_turn, set_table

TIGHT = dict(rtol=0, atol=1e-12)
UNCLIPPED = {"entropy_coef": 0.0, "eps_clip": 0.9}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_each_agents_gradient_is_that_of_its_exact_gain(seed, order):
    rng, game, old, learner, rollout = exact_setting(seed, **UNCLIPPED)
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
        factor = factor * rollout.ratio(learner.mac, agent)


@pytest.mark.parametrize("seed", range(3))
def test_the_surrogate_is_the_exact_gain_up_to_what_the_agents_before_have_won(seed):
    """Proposition 3 without its "-1": the value shifts by E[A^{i_1:m-1}], which does not depend on agent i_m."""
    order = (1, 0, 2)
    rng, game, old, learner, rollout = exact_setting(seed, **UNCLIPPED)
    new = [0.8 * p + 0.2 * q for p, q in zip(old, random_policies(rng, 3, N_ACTIONS), strict=True)]
    advantages = game.advantages(joint_policy(old))
    factor, already = torch.ones_like(rollout.mask), 0.0
    for m, agent in enumerate(order):
        gain = WEIGHTS @ (gain_in_turn(game, old, new, order, m) * new[agent]).sum(-1)
        set_table(learner.mac.agent.agents[agent], new[agent])
        assert (rollout.ratio(learner.mac, agent) - 1).abs().max() < learner.config.eps_clip  # nothing is clipped
        surrogate = -learner.policy_loss(rollout, agent, factor).item()
        assert surrogate == pytest.approx(gain + already, abs=1e-12)
        already += gain
        factor = factor * rollout.ratio(learner.mac, agent)
    # After all agents: Lemma 1, the sum of their gains is the joint advantage of the new joint policy.
    joint = WEIGHTS @ average_out(advantages, new, [])
    assert already == pytest.approx(joint, abs=1e-12)
    assert (factor * rollout.advantage(0)).mean().item() == pytest.approx(joint, abs=1e-12)
