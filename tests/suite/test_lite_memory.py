"""What the built-in suite's loop holds while a learner learns: one rollout, wherever it stands."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import torch
from epymarl_trust_region.runners.env_group import Field
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch, LastRollout, OneHot, ReplayBuffer, make_buffer
from epymarl_trust_region.suite.lite.run import _Training

SCHEME = {"reward": {"vshape": (1,)}}


def test_a_rollout_is_gone_when_it_is_learnt_from():
    seen, rollouts = [], []

    def run(test_mode: bool) -> EpisodeBatch:
        batch = EpisodeBatch(SCHEME, {}, 2, 3)
        batch.update({"reward": [[[1.0]] * 3] * 2})
        rollouts.append(weakref.ref(batch))
        training.runner.t_env += 6
        return batch

    training = object.__new__(_Training)
    training.args = SimpleNamespace(batch_size=2, device="cpu", save_model=False, t_max=5)
    training.buffer = ReplayBuffer(SCHEME, {}, 2, 3)
    training.runner = SimpleNamespace(run=run, t_env=0)
    training.loop = SimpleNamespace(episode=2, learnt=False)
    training.learner = SimpleNamespace(
        train=lambda batch, *_: seen.append((rollouts[0](), batch["reward"].sum().item()))
    )
    training.logger = SimpleNamespace(console_logger=SimpleNamespace(info=lambda text: None))
    training.learnt = None
    for name in ("_test", "_save_at_intervals", "_log"):
        setattr(training, name, lambda *_: None)
    training._to_the_end()
    assert seen == [(None, 6.0)]


def test_a_buffer_of_one_rollout_hands_it_on():
    size = {"batch_size": 2, "batch_size_run": 2}
    args, preprocess = SimpleNamespace(**size, buffer_size=2), {"actions": ("actions_onehot", [OneHot(3)])}
    scheme = SCHEME | {"actions": {"vshape": (1,), "dtype": torch.long}}
    buffer = make_buffer(args, scheme, {}, 3, preprocess, "cpu")
    kept = make_buffer(SimpleNamespace(**size, buffer_size=4), scheme, {}, 3, preprocess, "cpu")
    assert isinstance(buffer, LastRollout) and isinstance(kept, ReplayBuffer) and buffer.scheme == kept.scheme
    assert not buffer.can_sample(2)
    batch = EpisodeBatch(SCHEME, {}, 2, 3)
    buffer.insert_episode_batch(batch)
    assert buffer.can_sample(2) and buffer.sample(2) is batch


def test_what_is_learnt_from_begins_where_pytorchs_own_tensors_do():
    """Else its matrix products may round otherwise from one process to the next."""
    for length in (1, 3, 7, 200):
        for dtype in (np.uint8, np.float32, np.int64):
            array = Field.like(np.zeros((2, length), dtype)).array()
            array[:] = 1
            assert array.ctypes.data % 64 == 0 and array.flags.writeable and array.shape == (2, length)
