"""The warning that the sequential factor leaves few effective samples: when it comes, what it names, and only once.

A factor of k ones and M - k zeros has an effective sample size of exactly k / M.
"""

from __future__ import annotations

import logging

import pytest
import torch
from epymarl_trust_region.onpolicy.sequential import LEAST_ESS, UPDATES
from support import make_batch, make_learner

STEPS = 8


def factor(k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One episode of 8 valid steps, k of which have weight, and 2 masked ones with a huge weight; and its mask."""
    weights = torch.tensor([[1.0] * k + [0.0] * (STEPS - k) + [99.0] * 2])
    return weights, torch.tensor([[1.0] * STEPS + [0.0] * 2])


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "factor_ess" in record.getMessage()]


@pytest.fixture(autouse=True)
def at_warning(caplog):
    caplog.set_level(logging.WARNING)


def test_the_threshold_is_half_of_the_samples_over_ten_updates():
    assert (LEAST_ESS, UPDATES) == (0.5, 10)


@pytest.mark.parametrize("k, warned", [(8, False), (5, False), (4, False), (3, True), (1, True)])
def test_it_warns_below_the_threshold_and_not_at_it(k, warned, caplog):
    learner = make_learner(make_batch())
    for _ in range(UPDATES):
        assert learner.factor_report(*factor(k))["factor_ess"] == k / STEPS
    assert bool(warnings(caplog)) is warned


def test_it_warns_once_at_the_tenth_update(caplog):
    learner = make_learner(make_batch())
    for update in range(1, 31):
        learner.factor_report(*factor(1))
        assert len(warnings(caplog)) == (update >= 10)
    learner.factor_report(*factor(8))
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("low, warned", [(5, False), (6, True)])
def test_what_counts_is_the_mean_of_the_last_ten(low, warned, caplog):
    """(10 - low) full and `low` at 1/8: 0.5625 with five of them, 0.475 with six; what came before does not count."""
    learner = make_learner(make_batch())
    for k in [8] * 40 + [1] * low:
        learner.factor_report(*factor(k))
    assert bool(warnings(caplog)) is warned


def test_weights_whose_squares_overflow_count_as_none_left(caplog):
    learner, (weights, mask) = make_learner(make_batch()), factor(8)
    for _ in range(UPDATES):
        learner.factor_report(weights * 1e30, mask)
    assert warnings(caplog)[0].startswith("factor_ess was 0 on average over the last 10 updates, below 0.5: ")


FAR = {
    "happo": {"lr": 0.01},
    "hatrpo": {"kl_threshold": 0.8, "accept_ratio": 0.01},
    "log_linear_ppo": {"beta": 0.3, "conditioning": "product"},
}
NEAR = {
    "happo": {"lr": 1e-5},
    "hatrpo": {"kl_threshold": 1e-4},
    "log_linear_ppo": {"beta": 1e3, "conditioning": "product"},
}
KEYS = {"happo": "eps_clip", "hatrpo": "kl_threshold", "log_linear_ppo": "1 / beta"}


@pytest.mark.parametrize("algorithm", FAR)
@pytest.mark.parametrize("settings, count", [(NEAR, 0), (FAR, 1)])
def test_training_warns_where_agents_move_far(algorithm, settings, count, caplog):
    batch = make_batch(N=8, B=6)
    learner = make_learner(batch, algorithm, learner_log_interval=0, **settings[algorithm])
    for t in range(UPDATES):
        learner.train(batch, t, 0)
    logged = [ess for _, ess in learner.logger.stats["factor_ess"]]
    assert len(logged) == UPDATES and (sum(logged) / UPDATES < LEAST_ESS) is bool(count)
    assert len(warnings(caplog)) == count


@pytest.mark.parametrize("algorithm, keys", KEYS.items())
@pytest.mark.parametrize("clip, verb", [(None, "set"), (0.9, "lower")])
def test_it_names_what_to_lower_and_how_many_take_turns(algorithm, keys, clip, verb, caplog):
    learner = make_learner(make_batch(N=5), algorithm, factor_clip=clip)
    for _ in range(UPDATES):
        learner.factor_report(*factor(1))
    (message,) = warnings(caplog)
    assert message.startswith("factor_ess was 0.12 on average") and "the last of 5 turns" in message
    assert message.endswith(f" Lower {keys}, or {verb} factor_clip")


def test_without_a_clip_range_it_says_to_set_one(caplog):
    learner = make_learner(make_batch(N=5), "happo", eps_clip=None)
    for _ in range(UPDATES):
        learner.factor_report(*factor(1))
    (message,) = warnings(caplog)
    assert message.endswith(" Set eps_clip, or set factor_clip")


def test_the_clipped_factor_has_at_least_one_minus_its_width_squared():
    """Kantorovich: weights in [1 - w, 1 + w] have (sum f)^2 / (M sum f^2) >= 1 - w^2, met where a share (1 - w) / 2 of
    them is 1 + w. So a `factor_clip` up to 0.7 keeps the warning away, as docs/happo.md says."""
    learner, width = make_learner(make_batch()), 0.5
    weights = torch.tensor([[1.5] + [0.5] * 3])
    assert learner.factor_report(weights, torch.ones(1, 4))["factor_ess"] == pytest.approx(1 - width**2)
    other = torch.empty(1, 1000).uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    assert learner.factor_report(other, torch.ones(1, 1000))["factor_ess"] > 1 - width**2


def test_autoregressive_log_linear_agents_have_no_factor_to_report():
    batch = make_batch()
    learner = make_learner(batch, "log_linear_ppo", learner_log_interval=0, conditioning="autoregressive")
    learner.train(batch, 0, 0)
    assert "factor_ess" not in learner.logger.stats and "beta" in learner.logger.stats
