"""EpisodeBatch and ReplayBuffer of the built-in suite, on tensors small enough to write down."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch, OneHot, ReplayBuffer

SCHEME = {
    "obs": {"vshape": 2, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": th.long},
    "reward": {"vshape": (1,)},
    "terminated": {"vshape": (1,), "dtype": th.uint8},
}
GROUPS = {"agents": 3}
PREPROCESS = {"actions": ("actions_onehot", [OneHot(out_dim=4)])}


def make(size: int = 2, length: int = 5) -> EpisodeBatch:
    return EpisodeBatch(SCHEME, GROUPS, size, length, preprocess=PREPROCESS)


def make_numbered(numbers: list[int], length: int = 5) -> EpisodeBatch:
    """Episode i is filled with numbers[i] as its rewards."""
    batch = make(len(numbers), length)
    batch.update({"reward": th.tensor(numbers).float()[:, None].expand(-1, length)})
    return batch


def make_plain(numbers: list[int]) -> EpisodeBatch:
    """As make_numbered, without derived fields."""
    batch = EpisodeBatch(SCHEME, GROUPS, len(numbers), 5)
    batch.update({"reward": th.tensor(numbers).float()[:, None].expand(-1, 5)})
    return batch


def test_fields_start_at_zero_with_their_shapes_and_dtypes() -> None:
    fields = make().data.transition_data
    assert {key: (tuple(value.shape), value.dtype) for key, value in fields.items()} == {
        "obs": ((2, 5, 3, 2), th.float32),
        "actions": ((2, 5, 3, 1), th.long),
        "reward": ((2, 5, 1), th.float32),
        "terminated": ((2, 5, 1), th.uint8),
        "actions_onehot": ((2, 5, 3, 4), th.float32),
        "filled": ((2, 5, 1), th.long),
    }
    assert not any(value.any() for value in fields.values())


def test_scheme_gains_derived_fields_and_the_callers_stays_as_it_is() -> None:
    batch = make()
    assert batch.scheme["actions_onehot"]["vshape"] == (4,)
    assert "filled" in batch.scheme and "filled" not in SCHEME


def test_update_writes_marks_and_one_hots_only_where_told() -> None:
    batch = make()
    batch.update({"actions": th.tensor([[3, 0, 1]]).unsqueeze(1)}, bs=[1], ts=2, mark_filled=False)
    assert batch["actions"][1, 2].flatten().tolist() == [3, 0, 1]
    assert batch["actions_onehot"][1, 2].tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert batch["actions_onehot"].sum() == 3  # elsewhere all zeros, not action 0
    assert batch["filled"].sum() == 0
    batch.update({"reward": [(0.1,), (7,)], "terminated": [(False,), (True,)]}, ts=4)
    assert batch["reward"][:, 4].flatten().tolist() == [pytest.approx(0.1), 7]
    assert batch["terminated"][:, 4].flatten().tolist() == [0, 1]
    assert batch["filled"].flatten().tolist() == [0, 0, 0, 0, 1] * 2


def test_update_refuses_what_does_not_fit() -> None:
    batch = make()
    with pytest.raises(KeyError, match="rewrad"):
        batch.update({"rewrad": [0, 0]}, ts=0)
    with pytest.raises(ValueError, match="obs"):
        batch.update({"obs": th.zeros(2, 2, 3)}, ts=0)  # right size, wrong order of axes


def test_slices_are_views_and_lists_are_copies() -> None:
    batch = make_numbered([10, 20])
    front = batch[:, :3]
    assert (front.batch_size, front.max_seq_length, front["obs"].shape) == (2, 3, (2, 3, 3, 2))
    front["reward"][0, 0] = -1
    assert batch["reward"][0, 0] == -1
    picked = batch[[1, 0]]
    assert picked["reward"][:, 1].flatten().tolist() == [20, 10]
    picked["reward"][0, 0] = -2
    assert batch["reward"][1, 0] == 20
    assert batch[np.array([1])].batch_size == 1
    assert batch[1]["reward"].flatten().tolist() == [20] * 5
    assert batch[-1, 2:4]["reward"].flatten().tolist() == [20, 20]
    with pytest.raises(IndexError, match="slice"):
        batch[:, [0, 2]]


def test_max_t_filled_is_the_longest_episode_and_works_as_a_bound() -> None:
    batch = make()
    batch.update({"reward": [[1, 1]]}, bs=[0], ts=slice(0, 2))
    batch.update({"reward": [[1, 1, 1]]}, bs=[1], ts=slice(0, 3))
    assert batch.max_t_filled().tolist() == [3]
    assert batch[:, : batch.max_t_filled()].max_seq_length == 3


def test_to_moves_every_field() -> None:
    batch = make()
    batch.to("meta")
    assert batch.device == "meta"
    assert {value.device.type for value in batch.data.transition_data.values()} == {"meta"}


def test_buffer_wraps_around() -> None:
    buffer = ReplayBuffer(SCHEME, GROUPS, 5, 5, preprocess=PREPROCESS)
    buffer.insert_episode_batch(make_numbered([1, 2, 3]))
    assert (buffer.buffer_index, buffer.episodes_in_buffer, buffer.can_sample(4)) == (3, 3, False)
    buffer.insert_episode_batch(make_numbered([4, 5, 6, 7]))
    assert (buffer.buffer_index, buffer.episodes_in_buffer, buffer.can_sample(5)) == (2, 5, True)
    assert buffer["reward"][:, 0].flatten().tolist() == [6, 7, 3, 4, 5]
    assert buffer["filled"].all()


def test_buffer_copies_derived_fields_and_padding_as_they_are() -> None:
    episode = make(1)
    episode.update({"actions": th.tensor([[[3, 0, 1]]])}, ts=0)
    buffer = ReplayBuffer(SCHEME, GROUPS, 1, 5, preprocess=PREPROCESS)
    buffer.insert_episode_batch(make_numbered([9]))
    buffer.insert_episode_batch(episode)
    for key, value in episode.data.transition_data.items():
        assert th.equal(buffer[key], value), key
    episode["reward"][:] = 5
    assert not buffer["reward"].any()


def test_sample_is_all_in_order_or_distinct_episodes_from_numpys_generator() -> None:
    buffer = ReplayBuffer(SCHEME, GROUPS, 6, 5)
    buffer.insert_episode_batch(make_plain([1, 2, 3, 4, 5, 6]))
    assert buffer.sample(6)["reward"][:, 0].flatten().tolist() == [1, 2, 3, 4, 5, 6]
    np.random.seed(3)
    expected = (np.random.choice(6, 4, replace=False) + 1).tolist()
    np.random.seed(3)
    assert buffer.sample(4)["reward"][:, 0].flatten().tolist() == expected
    assert len(set(expected)) == 4
