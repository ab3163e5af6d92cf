"""A batch mean must be the exact expectation, and every joint action must be there exactly as often as it should."""

import numpy as np
import pytest
from epymarl_trust_region.games.markov import joint_policy
from oracles.exact_batch import exact_batch, rational_policies


def test_batch_mean_of_any_function_is_its_expectation():
    rng = np.random.default_rng(0)
    n_actions, copies = (2, 3, 2), np.array([1, 3, 2])
    policies = rational_policies(rng, 3, n_actions, 5)
    states, actions = exact_batch(policies, 5, copies)
    assert states.shape == (6 * 5**3,) and actions.shape == (6 * 5**3, 3)
    joint = joint_policy(policies)
    for _ in range(5):
        f = rng.normal(size=joint.shape)
        expected = (copies / 6) @ (joint * f).sum(axis=(1, 2, 3))
        assert f[(states, *actions.T)].mean() == pytest.approx(expected, abs=1e-12)


def test_every_joint_action_appears_as_often_as_its_probability_says():
    policies = [np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])]
    states, actions = exact_batch(policies, 4)
    count = np.zeros((2, 2, 3), dtype=int)
    np.add.at(count, (states, *actions.T), 1)
    np.testing.assert_array_equal(count[0], [[2, 1, 1], [6, 3, 3]])
    np.testing.assert_array_equal(count[1], [[0, 8, 8], [0, 0, 0]])


def test_rational_policies_are_positive_multiples_that_sum_to_one():
    policies = rational_policies(np.random.default_rng(1), 50, (2, 4), 4)
    for policy in policies:
        np.testing.assert_array_equal(policy * 4, np.rint(policy * 4))
        np.testing.assert_array_equal(policy.sum(-1), 1)
        assert policy.min() == 0.25
    assert {tuple(row) for row in policies[0]} == {(0.25, 0.75), (0.5, 0.5), (0.75, 0.25)}
    with pytest.raises(ValueError, match="denominator must be at least 4"):
        rational_policies(np.random.default_rng(1), 1, (2, 4), 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.3, 0.7], "not multiples of 1/4"),
        ([1.25, -0.25], "not multiples of 1/4"),
        ([0.25, 0.25], "do not sum to 1"),
    ],
)
def test_policies_that_have_no_such_batch_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        exact_batch([np.array([row])], 4)
