"""One batch as the learners see it, and the critic's regression, against loops written out.

Shape letters: B episodes, T steps, N agents, K reward columns.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from epymarl_trust_region.errors import NonFiniteError
from epymarl_trust_region.modules.critics import make_critic
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import CONTROLLERS, make_args, make_batch, make_learner, scheme_of

RAGGED = [6, 3, 1, 5]
ENDS = [(0, 5), (1, 2), (2, 0), (3, 4)]  # episode and last step


def rollout_of(batch, episode_limit=None, common_reward=True, **overrides):
    """The rollout, and the critic's values of all slots, [B, T+1, K]."""
    torch.manual_seed(0)
    args = make_args(batch, common_reward=common_reward, **overrides)
    mac = CONTROLLERS[args.mac](scheme_of(batch), {"agents": args.n_agents}, args)
    for actor in mac.agent.agents:  # far from uniform, so that a mix-up shows
        torch.nn.init.normal_(actor.head.weight)
    critic = make_critic(scheme_of(batch), args)
    with torch.no_grad():
        values = critic.denormalise(critic(critic.inputs(batch)))
    args.joint_advantage = common_reward
    return make_rollout(batch, mac, critic, args, episode_limit), values, mac


def returns_by_definition(rewards, values, length, bootstrap, gamma, lam) -> list[float]:
    """lambda-returns backwards through one episode: R_t = r_t + gamma ((1 - lam) V_{t+1} + lam R_{t+1})."""
    following = values[length] if bootstrap else 0.0
    returns = []
    for t in reversed(range(length)):
        after = values[t + 1] if t + 1 < length else following
        returns.append(rewards[t] + gamma * ((1 - lam) * after + lam * (returns[-1] if returns else following)))
    return returns[::-1]


@pytest.mark.parametrize("use_rnn", [False, True])
def test_old_log_probs_are_those_of_the_actions_taken(use_rnn):
    batch = make_batch(lengths=RAGGED, avail=0.6)
    rollout, _, mac = rollout_of(batch, use_rnn=use_rnn)
    mac.init_hidden(4)
    for t in range(6):
        probs = mac.forward(batch, t)  # [B, N, A], the runner's own way
        for b in range(4):
            for i in range(3):
                taken = probs[b, i, batch["actions"][b, t, i, 0]]
                torch.testing.assert_close(rollout.old_log_probs[i, b, t].exp(), taken)
    assert rollout.n_agents == 3
    assert torch.equal(rollout.actions[1, :, 2], batch["actions"][:, 2, 1, 0])
    assert torch.equal(rollout.avail_actions[1][:, 2], batch["avail_actions"][:, 2, 1].bool())


def test_availability_is_left_out_only_where_all_actions_are_available_at_all_valid_steps():
    batch = make_batch(lengths=RAGGED)  # at padded steps nothing is available
    assert rollout_of(batch)[0].avail_actions == (None, None, None)
    batch["avail_actions"][2, 0, 1, 3] = 0
    first, second, third = rollout_of(batch)[0].avail_actions
    assert first is None and third is None and second.sum() == batch["avail_actions"][:, :-1, 1].sum()


@pytest.mark.parametrize("bootstrap", [True, False])
def test_returns_and_advantages_episode_by_episode(bootstrap):
    """Only a termination at the limit is the limit: the others end with nothing to come."""
    batch = make_batch(lengths=RAGGED)
    rollout, values, _ = rollout_of(
        batch, 6, standardise_advantages=False, add_value_last_step=bootstrap, gamma=0.9, gae_lambda=0.8
    )
    assert torch.equal(rollout.values, values[:, :-1])
    for b, length in enumerate(RAGGED):
        rewards, v = batch["reward"][b, :, 0].tolist(), values[b, :, 0].tolist()
        expected = returns_by_definition(rewards, v, length, bootstrap and length == 6, 0.9, 0.8)
        torch.testing.assert_close(rollout.returns[b, :length, 0], torch.tensor(expected))
        torch.testing.assert_close(rollout.advantages[b, :length, 0], torch.tensor(expected) - values[b, :length, 0])
        assert (rollout.advantages[b, length:] == 0).all()


def with_cuts(cut, marked):
    """Episodes as long as `RAGGED`: which of them a limit cut, and whether those are marked as terminated, too."""
    batch = make_batch(lengths=RAGGED)
    batch["truncated"] = torch.zeros_like(batch["terminated"])
    for b, last in ENDS:
        batch["truncated"][b, last] = int(cut[b])
        batch["terminated"][b, last] = int(not cut[b] or marked)
    return batch


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize("marked", [True, False])  # as Gymnasium's limits, and as info["episode_limit"]
@pytest.mark.parametrize("cut", [(0, 1, 0, 1), (1, 0, 1, 0), (1, 1, 1, 1), (0, 0, 0, 0)])
def test_where_the_batch_says_which_ends_are_cuts_these_and_no_others_bootstrap(cut, marked, bootstrap, use_rnn):
    """Episode 0 is as long as the limit, the others end in the midst of the batch; the definition knows no mask."""
    batch = with_cuts(cut, marked)
    changes = {"standardise_advantages": False, "add_value_last_step": bootstrap, "gamma": 0.9, "gae_lambda": 0.8}
    rollout, values, _ = rollout_of(batch, 6, use_rnn=use_rnn, **changes)
    for b, length in enumerate(RAGGED):
        assert rollout.mask[b].tolist() == [1.0] * length + [0.0] * (6 - length)
        rewards, v = batch["reward"][b, :, 0].tolist(), values[b, :, 0].tolist()
        expected = returns_by_definition(rewards, v, length, bootstrap and cut[b], 0.9, 0.8)
        torch.testing.assert_close(rollout.returns[b, :length, 0], torch.tensor(expected))
        assert (rollout.advantages[b, length:] == 0).all()


def test_the_field_decides_and_not_the_limit():
    """The numbers of one batch under every limit are the same; without the field they are not."""
    batch = with_cuts((0, 1, 0, 1), marked=True)
    found = [rollout_of(batch, limit)[0].returns for limit in (None, 1, 3, 6, 9)]
    assert all(torch.equal(found[0], returns) for returns in found)
    del batch["truncated"]
    assert not torch.equal(rollout_of(batch, 6)[0].returns, rollout_of(batch, None)[0].returns)


def test_an_unmarked_cut_of_the_suites_own_runners_bootstraps_and_ends_its_episode():
    batch = make_batch(lengths=RAGGED, terminated=False)
    rollout, values, _ = rollout_of(batch, 6, standardise_advantages=False, gamma=0.9, gae_lambda=0.8)
    for b, length in enumerate(RAGGED):
        expected = returns_by_definition(
            batch["reward"][b, :, 0].tolist(), values[b, :, 0].tolist(), length, True, 0.9, 0.8
        )
        torch.testing.assert_close(rollout.returns[b, :length, 0], torch.tensor(expected))
    assert rollout.mask.sum(1).tolist() == RAGGED


def test_no_limit_is_no_bootstrap_at_it():
    batch = make_batch()
    (unknown, *_), (limited, *_) = (rollout_of(batch, limit, standardise_advantages=False) for limit in (None, 6))
    torch.testing.assert_close(unknown.returns[:, -1], batch["reward"][:, 5])
    assert ((limited.returns[:, -1] - batch["reward"][:, 5]).abs() > 1e-3).all()


def test_standardising_moves_and_scales_advantages_alone():
    batch = make_batch(lengths=RAGGED)
    (raw, *_), (standard, *_) = (rollout_of(batch, standardise_advantages=on) for on in (False, True))
    valid = raw.mask.bool()
    x = raw.advantages[valid].double()
    std = ((x - x.mean()) ** 2).mean().sqrt()
    torch.testing.assert_close(standard.advantages[valid].double(), (x - x.mean()) / std, rtol=1e-4, atol=1e-5)
    assert (standard.advantages[~valid] == 0).all()
    for rollout in (raw, standard):
        assert rollout.raw_advantage_std.item() == pytest.approx(std.item(), rel=1e-5)
        torch.testing.assert_close(rollout.returns[valid], raw.returns[valid])


def test_a_common_reward_averages_the_individual_values():
    batch = make_batch(lengths=RAGGED)
    rollout, values, _ = rollout_of(batch, critic="individual")
    assert values.shape == (4, 7, 3) and values.std(-1).max() > 0
    torch.testing.assert_close(rollout.values.squeeze(-1), values[:, :-1].mean(-1))
    assert rollout.returns.shape == (4, 6, 1)
    assert all(torch.equal(rollout.advantage(i), rollout.advantages[..., 0]) for i in range(3))


@pytest.mark.parametrize("critic", ["central", "individual"])
def test_individual_rewards_give_every_agent_its_own_column(critic):
    batch = make_batch(lengths=RAGGED)
    noise = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(3))
    batch["reward"] = noise * (batch["reward"] != 0)
    rollout, values, _ = rollout_of(
        batch, common_reward=False, critic=critic, standardise_advantages=False, gamma=0.9, gae_lambda=0.8
    )
    for i in range(3):
        assert torch.equal(rollout.advantage(i), rollout.advantages[..., i])
        for b, length in enumerate(RAGGED):
            rewards, v = batch["reward"][b, :, i].tolist(), values[b, :, i].tolist()
            expected = returns_by_definition(rewards, v, length, False, 0.9, 0.8)
            torch.testing.assert_close(rollout.returns[b, :length, i], torch.tensor(expected))


def test_popart_values_and_returns_are_in_returns():
    batch = make_batch()
    learner = make_learner(batch, value_norm="popart")
    learner.critic.update_normaliser(torch.tensor([[40.0], [60.0]]))  # mean 50, standard deviation 10
    with torch.no_grad():
        expected = learner.critic(batch["state"])[:, :-1] * 10 + 50
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    torch.testing.assert_close(rollout.values, expected, rtol=0, atol=1e-3)


def test_log_ratio_is_of_the_agent_asked_for_and_zero_at_masked_steps():
    batch = make_batch(lengths=RAGGED)
    rollout, *_ = rollout_of(batch)
    for i in range(3):
        ratio = rollout.log_ratio(i, rollout.old_log_probs[i] + 0.25)
        assert torch.equal(ratio != 0, rollout.mask.bool())
        torch.testing.assert_close(ratio, 0.25 * rollout.mask)


def test_a_rollout_holds_no_gradient_and_is_never_changed():
    rollout, *_ = rollout_of(make_batch())
    tensors = {f.name: getattr(rollout, f.name) for f in dataclasses.fields(rollout)}
    assert not any(x.requires_grad for x in tensors.values() if isinstance(x, torch.Tensor))
    assert not any(policy.log_probs.requires_grad for policy in rollout.old_policies)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rollout.mask = None


@pytest.mark.parametrize("key, name", [("reward", "reward"), ("obs", "observation")])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_is_not_finite_is_named_with_its_place(key, name, value):
    batch = make_batch(lengths=RAGGED)
    batch[key][3, 4] = value
    batch[key][1, 1] = value
    with pytest.raises(NonFiniteError, match=rf"^{name} is {value} in episode 1 of the batch at step 1: .*checkpoint"):
        rollout_of(batch)


def test_the_observation_after_the_last_step_counts_too():
    batch = make_batch(lengths=RAGGED)
    batch["state"][0, 2, 1] = float("inf")
    with pytest.raises(NonFiniteError, match="state is inf in episode 0 of the batch at step 2"):
        rollout_of(batch)
    batch["obs"][1, 3, 2, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="observation is nan in episode 1 of the batch at step 3"):
        rollout_of(batch)


def test_what_padding_holds_is_nobodys_business():
    clean, dirty = make_batch(lengths=RAGGED), make_batch(lengths=RAGGED)
    for b, last in ENDS:
        dirty["reward"][b, last + 1 :] = float("nan")
        dirty["obs"][b, last + 2 :] = 1e3
    (expected, *_), (rollout, *_) = (rollout_of(batch) for batch in (clean, dirty))
    valid = expected.mask.bool()
    assert torch.equal(rollout.mask, expected.mask)
    assert torch.equal(rollout.advantages, expected.advantages)
    assert torch.equal(rollout.returns[valid], expected.returns[valid])
    assert torch.equal(rollout.raw_advantage_std, expected.raw_advantage_std)


# The critic's regression -----------------------------------------------------------------------------------------


def fitted(epochs, **overrides):
    batch = make_batch(lengths=RAGGED)
    learner = make_learner(batch, critic_epochs=epochs, critic_hidden_dim=64, critic_lr=0.003, **overrides)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    loss = learner.fit_critic(rollout)
    return learner, rollout, loss


@pytest.mark.parametrize("critic", ["central", "individual"])
@pytest.mark.parametrize("value_norm", ["none", "popart"])
@pytest.mark.parametrize("huber_delta", [None, 0.5])
def test_the_critic_ends_at_the_targets_of_a_fixed_batch(critic, value_norm, huber_delta):
    learner, rollout, loss = fitted(400, critic=critic, value_norm=value_norm, huber_delta=huber_delta)
    values = learner.critic.denormalise(learner.critic(rollout.critic_inputs))
    valid = rollout.mask.bool()
    error = (values - rollout.returns)[valid]  # every column of an individual critic has the same target
    assert error.abs().max() < 0.05
    assert loss < 1e-4
    assert (rollout.values - rollout.returns)[valid].abs().max() > 1  # it was far from them


def test_the_loss_is_half_the_mean_squared_error_over_valid_steps():
    _, rollout, loss = fitted(1)
    squared = ((rollout.values - rollout.returns) ** 2)[rollout.mask.bool()]
    assert loss == pytest.approx(0.5 * squared.mean().item(), rel=1e-5)


def test_the_loss_of_an_individual_critic_is_the_mean_over_its_columns():
    batch = make_batch(lengths=RAGGED)
    learner = make_learner(batch, critic="individual", critic_epochs=1)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    with torch.no_grad():
        squared = ((learner.critic(batch["obs"][:, :-1]) - rollout.returns) ** 2)[rollout.mask.bool()]
    assert squared.shape == (15, 3)
    assert learner.fit_critic(rollout) == pytest.approx(0.5 * squared.mean().item(), rel=1e-5)


def test_popart_takes_in_the_valid_returns_once_and_before_the_regression():
    learner, rollout, _ = fitted(3, value_norm="popart", value_norm_beta=0.75)
    head, valid = learner.critic.net.head, rollout.returns[rollout.mask.bool()]
    assert head.weight == 0.25
    torch.testing.assert_close(head.first_moment, 0.25 * valid.double().mean(0))
    torch.testing.assert_close(head.second_moment, 0.25 * (valid.double() ** 2).mean(0))
