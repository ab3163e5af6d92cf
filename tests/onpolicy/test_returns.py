"""Masks, time limits and advantages against sums written out episode by episode."""

import pytest
import torch
from epymarl_trust_region.onpolicy.returns import gae, masked_mean, standardise, step_mask, true_terminations
from support import make_batch


def brute_force_gae(rewards, values, length, terminated, gamma, lam):
    """A_t = sum_k (gamma lam)^k delta_{t+k}, the definition, for one episode as plain floats."""
    deltas = []
    for t in range(length):
        last = t == length - 1
        following = 0.0 if (last and terminated) else values[t + 1]
        deltas.append(rewards[t] + gamma * following - values[t])
    return [sum((gamma * lam) ** k * deltas[t + k] for k in range(length - t)) for t in range(length)]


@pytest.mark.parametrize("terminated", [True, False])
def test_gae_equals_its_definition_episode_by_episode(terminated):
    lengths = [6, 3, 1, 5]
    batch = make_batch(B=4, T=6, lengths=lengths, terminated=terminated)
    if not terminated:  # without a termination only a full-length episode is well defined
        lengths = [6, 6, 6, 6]
        batch = make_batch(B=4, T=6, terminated=False)
    values = torch.randn(4, 7, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = step_mask(batch["filled"], batch["terminated"]).double()
    rewards = batch["reward"][:, :-1].double()
    done = true_terminations(batch["terminated"][:, :-1], None, True).double()
    advantages = gae(rewards, values, done, mask, gamma=0.9, lam=0.8)
    for b, length in enumerate(lengths):
        expected = brute_force_gae(rewards[b, :, 0].tolist(), values[b, :, 0].tolist(), length, terminated, 0.9, 0.8)
        torch.testing.assert_close(advantages[b, :length, 0], torch.tensor(expected, dtype=torch.float64))
        assert (advantages[b, length:] == 0).all()


def test_lambda_one_is_the_discounted_return_minus_the_value():
    batch = make_batch(B=1, T=5)
    rewards, values = batch["reward"][:, :-1], torch.randn(1, 6, 1)
    done, mask = batch["terminated"][:, :-1].float(), torch.ones(1, 5, 1)
    discounted = sum(0.9**t * rewards[0, t, 0] for t in range(5))
    advantage = gae(rewards, values, done, mask, 0.9, 1.0)[0, 0, 0]
    torch.testing.assert_close(advantage, discounted - values[0, 0, 0])


def test_mask_ends_with_the_terminating_step():
    batch = make_batch(B=3, T=4, lengths=[4, 2, 1])
    mask = step_mask(batch["filled"], batch["terminated"]).squeeze(-1)
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_mask_ends_with_a_cut_however_it_is_marked():
    """In the midst of a batch: as SMAC's limit, unmarked; with `truncated` alone; and with both."""
    batch = make_batch(B=3, T=4, lengths=[4, 2, 1], terminated=False)
    cut = torch.zeros_like(batch["terminated"])
    cut[[0, 1, 2], [3, 1, 0]] = 1
    expected = [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    for terminated, truncated in ((0 * cut, None), (0 * cut, cut), (cut, cut)):
        assert step_mask(batch["filled"], terminated, truncated).squeeze(-1).tolist() == expected


def test_a_cut_goes_on_and_an_end_does_not_wherever_they_are():
    """Episodes: terminated at the limit, cut there, terminated before it, cut before it unmarked, and going on."""
    terminated = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]).unsqueeze(-1)
    truncated = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]).unsqueeze(-1)
    done = true_terminations(terminated, 3, True, truncated).squeeze(-1)
    assert done.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    ends = true_terminations(terminated, 3, False, truncated).squeeze(-1)  # add_value_last_step=False: an end is an end
    assert ends.tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_only_a_termination_at_the_limit_is_taken_for_the_limit():
    terminated = torch.tensor([[0, 0, 1], [0, 1, 0]]).unsqueeze(-1)
    cut = true_terminations(terminated, episode_limit=3, bootstrap_at_limit=True).squeeze(-1)
    assert cut.tolist() == [[0, 0, 0], [0, 1, 0]]
    cut = true_terminations(terminated, episode_limit=2, bootstrap_at_limit=True).squeeze(-1)
    assert cut.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_the_batch_itself_is_not_written_to():
    terminated = torch.ones(1, 1, 1)
    assert true_terminations(terminated, episode_limit=1, bootstrap_at_limit=True) == 0
    assert terminated == 1


@pytest.mark.parametrize("limit, bootstrap", [(3, False), (None, True), (4, True)])
def test_a_termination_stays_one_when_asked_or_before_the_limit(limit, bootstrap):
    terminated = torch.tensor([[0, 0, 1]]).unsqueeze(-1)
    assert true_terminations(terminated, limit, bootstrap).squeeze().tolist() == [0, 0, 1]


def test_masked_mean_and_standardise_ignore_masked_steps():
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    x = torch.tensor([[1.0, 2.0, 99.0], [6.0, -99.0, 7.0]])
    assert masked_mean(x, mask) == 3.0
    scaled = standardise(x.unsqueeze(-1), mask.unsqueeze(-1)).squeeze(-1)
    std = (14 / 3) ** 0.5  # of 1, 2, 6
    torch.testing.assert_close(scaled, torch.tensor([[-2 / std, -1 / std, 0.0], [3 / std, 0.0, 0.0]]))


def test_standardise_treats_each_agents_column_alone():
    x = torch.stack([torch.arange(6.0).view(2, 3), 100 * torch.arange(6.0).view(2, 3) + 5], dim=-1)
    scaled = standardise(x, torch.ones(2, 3, 1))
    torch.testing.assert_close(scaled[..., 0], scaled[..., 1])


@pytest.mark.parametrize("episodes, columns", [(5, 1), (5, 3), (1, 1)])
def test_gae_in_numpy_is_that_of_torch_to_the_last_bit(episodes, columns):
    torch.manual_seed(0)
    rewards, values = torch.randn(episodes, 40, columns), torch.randn(episodes, 41, columns)
    done, mask = (torch.rand(episodes, 40, 1) < 0.1).float(), (torch.rand(episodes, 40, 1) < 0.9).float()
    rewards[:, -1], values[:, -1] = -0.0, 0.0
    values[:, -2] = 0.0  # so that the last difference is a zero with a sign
    done[:, -1] = 1
    fast = gae(rewards, values, done, mask, 0.99, 0.95)
    slow = gae(rewards.clone().requires_grad_(), values, done, mask, 0.99, 0.95)  # which autograd has to follow
    assert slow.requires_grad and fast.numpy().tobytes() == slow.detach().numpy().tobytes()
