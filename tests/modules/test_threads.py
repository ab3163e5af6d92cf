"""Threads of an update: by its size and the cores, given back after it, and refused where nobody reads the key."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.modules import threads as module
from epymarl_trust_region.modules.threads import threads, threads_for
from epymarl_trust_region.suite.registration import _check_learner_device
from support import make_batch, make_learner


@pytest.mark.parametrize(
    "wanted, steps, cores, said, expected",
    [
        (1, 10**6, 8, None, 1),
        (3, 10, 8, None, 3),
        ("auto", 9_999, 8, None, 1),
        ("auto", 10_000, 8, None, 2),
        ("auto", 22_000, 8, None, 4),
        ("auto", 10**6, 8, None, 8),
        ("auto", 10**6, 1, None, 1),
        ("auto", 10**6, 8, "2", 2),
        ("auto", 10**6, 8, "1", 1),  # as under `sweep`
        ("auto", 10**6, 4, "16", 4),
        ("auto", 10**6, 4, "two,1", 4),
    ],
)
def test_auto_goes_by_size_cores_and_what_the_user_has_said(monkeypatch, wanted, steps, cores, said, expected):
    monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads_for(wanted, steps) == expected


def test_threads_are_given_back_after_an_error_too():
    with pytest.raises(KeyError), threads(2):
        assert torch.get_num_threads() == 2
        raise KeyError
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    "given, parts, expected", [({}, 1, 1), ({"torch_threads": 2}, 1, 2), ({"torch_threads": "auto"}, 2, 3)]
)
def test_an_update_has_them(monkeypatch, given, parts, expected):
    """A batch of 4 x 6 steps, in 2 parts 12 at once, with a thread for each 4 from 8 on."""
    monkeypatch.setattr(module, "cores", lambda: 8)
    monkeypatch.setattr(module, "_PER_THREAD", 4)
    monkeypatch.setattr(module, "_FROM", 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    batch, seen = make_batch(0, lengths=[6, 3, 6, 5]), []
    learner = make_learner(batch, "happo", actor_num_mini_batch=parts, critic_num_mini_batch=parts, **given)
    own = learner.update_policies
    learner.update_policies = lambda rollout: (seen.append(torch.get_num_threads()), own(rollout))[1]
    learner.train(batch, 0, 0)
    assert seen == [expected] and torch.get_num_threads() == 1


def test_the_suites_own_learners_do_not_read_the_key():
    _check_learner_device({"learner": "q_learner", "torch_threads": 1})
    _check_learner_device({"learner": "happo_learner", "torch_threads": "auto"})
    with pytest.raises(
        ConfigError, match="^torch_threads=auto is for this plugin's learners, and q_learner is the suite"
    ):
        _check_learner_device({"learner": "q_learner", "torch_threads": "auto"})
