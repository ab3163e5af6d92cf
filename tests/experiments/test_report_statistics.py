"""The numbers of a report against values that are worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from epymarl_trust_region.experiments.report.statistics import (
    above,
    interquartile_mean,
    interval,
    pooled_mean,
    probability_of_improvement,
    shared_core,
    steps_to,
)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([[-1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0]], (2 + 3 + 4 + 5) / 4),  # two of eight at each end
        ([[5.0, 1.0, 100.0, 3.0, -7.0]], (1 + 3 + 5) / 3),  # a quarter of five is one
        ([[1.0, 2.0, 9.0]], 4.0),  # and of three none
        ([[-1000.0, 1.0, 2.0, 1000.0], [3.0, 4.0, 5.0, 6.0]], (2 + 3 + 4 + 5) / 4),  # pooled over tasks
    ],
)
def test_the_interquartile_mean_is_of_the_middle_half_of_all_runs(samples, expected):
    assert interquartile_mean(*map(np.array, samples)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (([5.0, 6.0, 7.0], [1.0, 2.0]), 1.0),
        (([1.0, 2.0], [5.0, 6.0, 7.0]), 0.0),
        (([1.0, 3.0], [2.0, 2.0]), 0.5),
        (([2.0], [2.0, 1.0, 1.0, 3.0]), (0.5 + 2) / 4),  # a tie counts one half
        (([5.0], [1.0], [1.0], [5.0]), 0.5),  # one of two tasks
        (([5.0], [1.0, 9.0], [9.0, 8.0], [5.0]), (0.5 + 1.0) / 2),  # a task counts once, however many runs it has
    ],
)
def test_the_probability_of_improvement_is_that_of_pairs(samples, expected):
    assert probability_of_improvement(*map(np.array, samples)) == pytest.approx(expected)


def test_the_probability_of_improvement_is_mann_and_whitneys_u():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(3)
    x, y = rng.normal(0.3, 1, 7), rng.normal(0, 1, 5)
    assert probability_of_improvement(x, y) == pytest.approx(mannwhitneyu(x, y).statistic / 35)


def test_a_profile_counts_the_runs_above_each_threshold():
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    assert above(scores, [0.0, 0.1, 0.4, 0.5, 0.9]).mean(0).tolist() == [1.0, 0.75, 0.75, 0.25, 0.0]


def test_an_interval_holds_the_mean_and_is_the_same_each_time():
    sample = np.array([1.0, 2.0, 4.0, 8.0])
    low, high = interval(pooled_mean, sample)
    assert 1.0 < low < sample.mean() < high < 8.0
    many = np.random.default_rng(5).normal(size=20)  # of so many, two draws of resamples have no percentile in common
    assert interval(pooled_mean, many) == interval(pooled_mean, many)


def test_an_interval_is_that_of_the_bootstrap_distribution():
    """Three runs have 27 equally likely resamples: the smallest mean has 8/27 of them, the largest 1/27, above 2.5%."""
    assert interval(pooled_mean, np.array([0.0, 0.0, 3.0])) == (0.0, 3.0)
    low, high = interval(pooled_mean, np.array([0.0] * 50 + [1.0] * 50))
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.015)  # the binomial's


def test_whole_runs_are_drawn_and_within_their_task():
    """Steps of a run go together, and a task's runs never stand for another's."""
    curves = np.array([[0.0, 10.0], [1.0, 11.0], [5.0, 15.0]])
    (low, high) = interval(pooled_mean, curves)
    assert low[1] - low[0] == pytest.approx(10) and high[1] - high[0] == pytest.approx(10)
    assert interval(pooled_mean, np.zeros(4), np.ones(4)) == (0.5, 0.5)  # were they mixed, it would vary


def test_there_is_no_interval_of_two_runs():
    assert interval(pooled_mean, np.array([1.0, 2.0])) is None
    assert interval(pooled_mean, np.ones(5), np.array([1.0, 2.0])) is None


def test_steps_to_a_threshold_are_those_of_the_first_test_that_has_it():
    steps, values = [0, 100, 200, 300], [1.0, 5.0, 4.0, 6.0]
    assert [steps_to(steps, values, t) for t in (0.0, 5.0, 5.5, 7.0)] == [0, 100, 300, math.inf]


def test_who_lacks_the_tasks_of_others_is_left_out():
    runs = {"a": {"1", "2", "3"}, "b": {"2", "3"}, "c": {"1"}}
    assert shared_core(runs) == (["a", "b"], ["2", "3"])
    assert shared_core({"a": {"1"}, "b": {"1", "2"}}) == (["a", "b"], ["1"])
    assert shared_core({}) == ([], [])
