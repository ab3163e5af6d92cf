"""The convolutional network for pictures: what it takes, and that it sees pictures as pictures."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.modules.pixels import PixelNetwork


def test_leading_axes_are_kept_and_rows_are_apart():
    network = PixelNetwork(2 * 42 * 42, 6)
    inputs = torch.randn(3, 4, 2 * 42 * 42)
    outputs = network(inputs)
    assert outputs.shape == (3, 4, 6)
    torch.testing.assert_close(outputs[1, 2], network(inputs[1, 2]))


def test_what_is_beside_the_pictures_counts_too():
    network = PixelNetwork(24 * 24 + 2, 1, stack=1, side=24, channels=2, hidden_dim=8)
    one = torch.rand(24 * 24 + 2)
    other = torch.cat([one[:-1], one[-1:] + 5])
    assert network(one) != network(other)


def test_a_convolution_sees_rows_above_each_other():
    """A pixel of the second picture's upper left corner reaches the upper left of the first layer, and nothing else."""
    network = PixelNetwork(2 * 42 * 42, 1)
    picture = torch.zeros(2 * 42 * 42)
    picture[42 * 42 + 2 * 42 + 3] = 1  # row 2, column 3 of picture 1
    first = network.convolutions[0]
    change = first(picture.reshape(1, 2, 42, 42)) - first(torch.zeros(1, 2, 42, 42))
    rows, columns = change[0].abs().amax(0).nonzero().T
    assert set(rows.tolist()) == {0, 1} and set(columns.tolist()) == {0, 1}
    torch.testing.assert_close(change[0, :, 0, 0], first.weight[:, 1, 2, 3])


def test_too_few_inputs_are_refused():
    with pytest.raises(ConfigError, match="2 pictures of 42 x 42 are 3528 inputs, and there are 128"):
        PixelNetwork(128, 6)
