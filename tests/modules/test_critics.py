"""Critics: what each value may depend on, how many columns there are, and that every column has its own PopArt.

Shape letters: B episodes, T steps, N agents, K value columns.
"""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.modules.critics import CentralCritic, IndividualCritic, make_critic
from epymarl_trust_region.modules.value_norm import PopArtHead
from support import make_args, make_batch, scheme_of

B, T, N = 4, 6, 3


def make(batch, **overrides):
    torch.manual_seed(0)
    return make_critic(scheme_of(batch), make_args(batch, **overrides))


def batch_with_a_state_of_its_own():
    batch = make_batch(B=B, T=T, N=N)
    batch["state"] = torch.randn(B, T + 1, 7, generator=torch.Generator().manual_seed(5))
    return batch


def test_the_central_critic_reads_the_state_and_nothing_else():
    batch = batch_with_a_state_of_its_own()
    critic = make(batch)
    assert isinstance(critic, CentralCritic)
    assert torch.equal(critic.inputs(batch), batch["state"])
    before = critic(critic.inputs(batch))
    batch["obs"] += 1
    assert torch.equal(critic(critic.inputs(batch)), before)
    batch["state"][1, 2] += 1
    changed = (critic(critic.inputs(batch)) != before).squeeze(-1)
    assert changed.nonzero().tolist() == [[1, 2]]  # that episode, that step


def test_obs_individual_obs_appends_all_observations_to_the_state():
    batch = batch_with_a_state_of_its_own()
    critic = make(batch, obs_individual_obs=True)
    inputs = critic.inputs(batch)
    assert inputs.shape == (B, T + 1, 7 + N * 5)
    assert torch.equal(inputs[..., :7], batch["state"])
    for i in range(N):
        assert torch.equal(inputs[..., 7 + 5 * i : 12 + 5 * i], batch["obs"][:, :, i])
    assert critic(inputs).shape == (B, T + 1, 1)


@pytest.mark.parametrize("common_reward, columns", [(True, 1), (False, N)])
def test_one_value_per_column_of_the_reward(common_reward, columns):
    batch = batch_with_a_state_of_its_own()
    critic = make(batch, common_reward=common_reward)
    assert critic(critic.inputs(batch)).shape == (B, T + 1, columns)


@pytest.mark.parametrize("agent", range(N))
def test_each_individual_value_sees_its_own_observation_alone(agent):
    batch = batch_with_a_state_of_its_own()
    critic = make(batch, critic="individual")
    assert isinstance(critic, IndividualCritic)
    before = critic(critic.inputs(batch))
    assert before.shape == (B, T + 1, N)
    batch["state"] += 1
    batch["obs"][2, 3, agent] += 1
    assert (critic(critic.inputs(batch)) != before).nonzero().tolist() == [[2, 3, agent]]


def test_individual_critics_share_no_weight():
    batch = make_batch(N=N)
    critic = make(batch, critic="individual")
    same = batch["obs"][:, :, :1].expand(-1, -1, N, -1)
    assert (critic(same).std(-1) > 0).all()
    critic(critic.inputs(batch))[..., 1].sum().backward()
    assert [any(p.grad.any() for p in net.parameters()) for net in critic.nets] == [False, True, False]


def returns_of(columns) -> torch.Tensor:
    """[M, K]: column k has mean 10 k + 5 and standard deviation k + 2, exactly."""
    return torch.stack([10.0 * k + 5 + (k + 2) * torch.tensor([1.0, -1.0, 1.0, -1.0]) for k in range(columns)], -1)


@pytest.mark.parametrize("overrides", [{"critic": "individual"}, {"critic": "central", "common_reward": False}])
def test_popart_treats_every_column_alone_and_moves_no_estimate(overrides):
    batch = make_batch(B=B, T=T, N=N)
    critic = make(batch, value_norm="popart", **overrides)
    before = critic.denormalise(critic(critic.inputs(batch)))
    critic.update_normaliser(returns_of(N))
    normalised = critic.normalise(returns_of(N))
    torch.testing.assert_close(normalised, torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).expand(-1, N))
    torch.testing.assert_close(critic.denormalise(normalised), returns_of(N))
    after = critic(critic.inputs(batch))
    assert (after - before).abs().min() > 0.01  # the layer moved, ...
    torch.testing.assert_close(critic.denormalise(after), before, rtol=0, atol=1e-5)  # ... what it says did not


def test_every_individual_critic_normalises_a_common_return():
    batch = make_batch(N=N)
    critic = make(batch, critic="individual", value_norm="popart")
    critic.update_normaliser(returns_of(2)[:, 1:])
    torch.testing.assert_close(critic.normalise(torch.tensor([[18.0]])), torch.ones(1, N))
    torch.testing.assert_close(critic.denormalise(torch.ones(1, N)), torch.full((1, N), 18.0))


def test_without_value_norm_units_are_returns():
    batch = make_batch(N=N)
    for critic in (make(batch), make(batch, critic="individual")):
        critic.update_normaliser(returns_of(1))
        values = critic(critic.inputs(batch))
        assert torch.equal(critic.denormalise(values), values)
        assert torch.equal(critic.normalise(values), values)


def test_value_norm_beta_is_the_weight_of_the_old_moments():
    batch = make_batch(N=N)
    critic = make(batch, value_norm="popart", value_norm_beta=0.5)
    head = critic.net.head
    assert isinstance(head, PopArtHead)
    for mean in (0.0, 3.0):
        critic.update_normaliser(torch.full((2, 1), mean))
    # weights 1/4 and 1/2, debiased: mean 2, second moment 6
    torch.testing.assert_close(critic.denormalise(torch.tensor([0.0, 1.0])), torch.tensor([2.0, 2 + 2**0.5]))


def test_sizes_come_from_the_configuration():
    critic = make(make_batch(), critic_hidden_dim=17, hidden_dim=5)
    assert [layer.out_features for layer in critic.net.layers if hasattr(layer, "out_features")] == [17, 17]


def test_layers_are_orthogonal_with_gain_root_two_and_the_value_head_one():
    net = make(make_batch(N=1, obs_dim=5), critic_hidden_dim=16).net
    for layer, gain in ((net.layers[0], 2.0), (net.layers[2], 2.0), (net.head.layer, 1.0)):
        w = layer.weight if layer.weight.shape[0] <= layer.weight.shape[1] else layer.weight.T
        torch.testing.assert_close(w @ w.T, gain * torch.eye(len(w)), atol=1e-5, rtol=0)
        assert (layer.bias == 0).all()


def test_the_network_is_two_relu_layers_and_a_linear_head():
    batch = make_batch(N=1, obs_dim=5)
    critic = make(batch)
    first, _, second, _ = critic.net.layers
    hidden = (batch["state"] @ first.weight.T).clamp_min(0)  # biases are zero
    hidden = (hidden @ second.weight.T).clamp_min(0)
    expected = hidden @ critic.net.head.layer.weight.T
    torch.testing.assert_close(critic(critic.inputs(batch)), expected)
