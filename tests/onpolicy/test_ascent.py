"""Distillation: down the mean KL over valid steps, to the target, and blind to what padding holds."""

from __future__ import annotations

import torch
from epymarl_trust_region.onpolicy.ascent import distil
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import make_batch, make_learner

RAGGED = [6, 3, 1, 5]
ENDS = [(0, 5), (1, 2), (2, 0), (3, 4)]  # episode and last step


def distilled(batch, epochs: int):
    """Agent 1's vector after so many steps towards agent 0's policy, and its mean KL from that over valid steps."""
    learner = make_learner(batch, "matrl_no_br", lr=0.01)
    for actor in learner.mac.agent.agents:
        torch.nn.init.normal_(actor.head.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    target = learner.mac.policy(0, rollout.inputs[1], None).detach()  # another's policy of the same observations
    torch.nn.init.zeros_(learner.mac.agent.agents[1].head.weight)
    distil(rollout, learner.mac, 1, learner.actor_optimisers[1], target, epochs)
    kl = learner.mac.policy(1, rollout.inputs[1], None).kl(target)
    return learner.mac.agent.vector(1).clone(), ((kl * rollout.mask).sum() / rollout.mask.sum()).item()


@torch.no_grad()
def test_it_goes_to_the_target():
    before, after = (distilled(make_batch(lengths=RAGGED), epochs)[1] for epochs in (0, 100))
    assert before > 0.05 and after < 0.02 * before


@torch.no_grad()
def test_padding_is_nobodys_policy():
    clean, dirty = make_batch(lengths=RAGGED), make_batch(lengths=RAGGED)
    for b, last in ENDS:  # the observation after the last step is real
        dirty["obs"][b, last + 2 :] = 5.0
    found = [distilled(batch, 20)[0] for batch in (clean, dirty)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_slope_is_autograds_of_the_mean_kl(double_precision):
    batch = make_batch(lengths=RAGGED)
    learner = make_learner(batch, "matrl_no_br")
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    target = learner.mac.policy(0, rollout.inputs[1], None).detach()
    optimiser = learner.actor_optimisers[1]
    optimiser.step = lambda: None  # the gradient stays as it was pulled
    distil(rollout, learner.mac, 1, optimiser, target, 1)
    with torch.enable_grad():
        kl = learner.mac.policy(1, rollout.inputs[1], None).kl(target)
        gradients = torch.autograd.grad((kl * rollout.mask).sum() / rollout.mask.sum(), optimiser.parameters)
    expected = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(optimiser.vector.grad, expected, rtol=1e-10, atol=1e-14)
    assert expected.abs().max() > 1e-6
