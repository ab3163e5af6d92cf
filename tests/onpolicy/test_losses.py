"""The clipped surrogate, ratio by ratio."""

import torch
from epymarl_trust_region.onpolicy.losses import clipped_surrogate


def surrogate(ratio, advantage, mask=(1.0,)):
    tensors = [torch.tensor([list(x)]) for x in (ratio, advantage, mask)]
    return clipped_surrogate(tensors[0].log(), tensors[1], tensors[2], eps_clip=0.2)


def test_only_what_would_gain_is_clipped():
    for ratio, advantage, expected in (
        (1.1, 2.0, 2.2),
        (1.5, 2.0, 2.4),  # clipped at 1.2
        (0.5, 2.0, 1.0),  # a loss counts in full
        (0.5, -2.0, -1.6),  # clipped at 0.8
        (1.5, -2.0, -3.0),
        (0.9, -2.0, -1.8),
    ):
        torch.testing.assert_close(surrogate([ratio], [advantage]), torch.tensor(expected))


def test_the_mean_is_over_valid_steps():
    value = surrogate([1.0, 1.0, 1.1], [1.0, 4.0, 1000.0], [1.0, 1.0, 0.0])
    torch.testing.assert_close(value, torch.tensor(2.5))


def test_clipped_steps_and_masked_ones_give_no_gradient():
    log_ratio = torch.tensor([[1.5, 1.5, 1.1, 1.1]]).log().requires_grad_()
    advantage, mask = torch.tensor([[1.0, -1.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    clipped_surrogate(log_ratio, advantage, mask, eps_clip=0.2).backward()
    torch.testing.assert_close(log_ratio.grad, torch.tensor([[0.0, -0.5, 1.1 / 3, 0.0]]))
