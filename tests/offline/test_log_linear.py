"""Offline log-linear PPO on recorded plays of one-shot games, whose values are means.

Shape letters as in the learner.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.normal_form import climbing_game
from epymarl_trust_region.offline.log_linear import LogLinearOffline
from support import CONTROLLERS, SCHEMAS, algorithm, make_batch, scheme_of

RAGGED = [6, 3, 1, 5]


def recorded(batch, truncated: torch.Tensor | None = None):
    """A batch as recorded episodes: `truncated` beside the suite's fields."""
    batch["truncated"] = torch.zeros_like(batch["terminated"]) if truncated is None else truncated
    return batch


def plays(payoff: np.ndarray, copies: int = 1, leave_out: Collection[tuple[int, ...]] = (), noise=0.0):
    """Every joint action of a one-shot game, `copies` times, but for those left out; payoffs plus `noise`."""
    N, A = payoff.ndim, payoff.shape[0]
    joint = [a for a in itertools.product(range(A), repeat=N) if a not in leave_out] * copies
    batch = make_batch(B=len(joint), T=1, N=N, A=A, obs_dim=1)
    batch["obs"][:], batch["state"][:] = 1.0, 1.0
    actions = torch.tensor(joint)
    batch["actions"][:, 0] = actions.unsqueeze(-1)
    batch["actions_onehot"][:, 0] = torch.nn.functional.one_hot(actions, A).float()
    rewards = np.array([payoff[a] for a in joint]) + noise * np.random.default_rng(0).normal(size=len(joint))
    batch["reward"][:, 0, 0] = torch.from_numpy(rewards).float()
    return recorded(batch)


def made(batch, seed: int = 0, **overrides) -> LogLinearOffline:
    torch.manual_seed(seed)
    config = algorithm("log_linear_ppo_offline", **overrides)
    n_agents, n_actions = batch["avail_actions"].shape[2:]
    args = SimpleNamespace(**config, n_agents=n_agents, n_actions=n_actions)
    mac = CONTROLLERS[args.mac](scheme_of(batch), {"agents": n_agents}, args)
    return LogLinearOffline(mac, batch, SCHEMAS["log_linear_offline"].from_mapping(config))


def conditional(learner: LogLinearOffline, m: int, earlier: tuple[int, ...] = ()) -> np.ndarray:
    mac, A = learner.mac, learner.mac.n_actions
    x = torch.zeros(mac.agent.actor(m).table.shape[1])
    x[:2] = 1.0
    for j, action in enumerate(earlier):
        x[2 + j * A + action] = 1
    return torch.softmax(mac.agent.actor(m).table.detach() @ x, -1).numpy()


def test_steps_cut_by_a_time_limit_go_on_and_padding_is_no_step():
    batch = make_batch(lengths=RAGGED, avail=0.7)
    cut = torch.zeros_like(batch["terminated"])
    cut[1, 2] = 1  # the second episode was cut at its third and last step
    learner = made(recorded(batch, cut))
    data = learner.data
    assert len(data.rewards) == sum(RAGGED) and data.first.tolist() == [0, 6, 9, 10]
    assert data.goes_on.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13]
    assert torch.equal(data.next_features[8], learner.mac.features(batch["obs"][1, 3]))
    assert torch.equal(data.next_avail[8], batch["avail_actions"][1, 3])
    assert torch.equal(data.actions[9], batch["actions"][2, 0, :, 0])
    assert torch.equal(data.rewards[10:], batch["reward"][3, :5, 0])


def test_joint_features_make_the_sum_of_own_and_pairwise_parts():
    torch.manual_seed(0)
    psi, actions = torch.randn(7, 3, 2).double(), torch.randint(4, (7, 3))
    learner = made(recorded(make_batch(N=3, A=4, obs_dim=1)))
    phi = learner.joint(psi, actions)
    assert phi.shape == (7, learner.joint.size)
    omega = torch.randn(learner.joint.size).double()
    own, pairs = learner.joint.parts(omega)
    for k in range(7):
        a = actions[k]
        expected = sum(psi[k, m] @ own[m][:, a[m]] for m in range(3))
        expected += sum(pairs[j, m][a[j], a[m]] for j, m in itertools.combinations(range(3), 2))
        assert (phi[k] @ omega).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_problem_is_the_bellman_equation_of_the_present_policies():
    """Policies that are all but deterministic, so that averages over their plays are single plays."""
    batch = make_batch(lengths=RAGGED, N=2, A=3, avail=0.7)
    cut = torch.zeros_like(batch["terminated"])
    cut[1, 2] = 1
    learner = made(recorded(batch, cut), gamma=0.6, ridge=0.0)
    for actor in learner.mac.agent.agents:
        torch.nn.init.normal_(actor.table, std=1e4)
    problem, data = learner.problem(), learner.data

    def play(psi, avail):
        return learner.joint(psi.double(), learner.mac.play(psi, avail, lambda policy, _: policy.mode())).numpy()

    phi = learner.joint(data.features.double(), data.actions).numpy()
    after = play(data.next_features, data.next_avail)
    expected = phi - 0.6 * data.goes_on.numpy()[:, None] * after
    np.testing.assert_allclose(problem.phi, phi)
    np.testing.assert_allclose(problem.change, expected, atol=1e-6)
    first = [0, *np.cumsum(RAGGED)[:-1]]
    np.testing.assert_allclose(problem.initial, play(data.features[first], data.avail[first]).mean(0), atol=1e-6)
    np.testing.assert_allclose(problem.rewards, data.rewards)


def test_the_beta_of_the_theory_goes_by_the_largest_spread_of_values_so_far():
    learner = made(plays(climbing_game()), beta="auto", iterations=32)
    for values, spread in (([0.0, 3.0, -1.0], 4.0), ([1.0, 2.0], 4.0), ([-5.0, 1.0], 6.0)):
        assert learner.beta(np.array(values)) == pytest.approx(spread * math.sqrt(32 / (2 * math.log(3))))


def test_with_every_play_on_record_least_squares_is_the_mean_payoff():
    payoff = climbing_game()
    learner = made(plays(payoff), action_samples=400, ridge=1e-9, pessimism=None)
    omega, found = learner.evaluate()
    assert found["J_lstd"] == pytest.approx(payoff.mean(), abs=0.5)  # the policies' plays are sampled
    np.testing.assert_allclose(learner._phi @ omega, payoff.ravel(), atol=1e-5)
    assert found["J_pessimistic"] == found["J_lstd"] and "lam" not in found


def test_pessimism_takes_off_what_is_inversely_proportional_to_lam():
    gaps = []
    for lam in (10.0, 100.0):
        learner = made(plays(climbing_game()), pessimism=lam, ridge=1e-6)
        torch.manual_seed(1)
        found = learner.evaluate()[1]
        gaps.append(found["J_lstd"] - found["J_pessimistic"])
        assert found["lam"] == lam
    assert gaps[0] > 0 and gaps[0] == pytest.approx(10 * gaps[1], rel=1e-6)


@pytest.mark.parametrize("z", [1.0, 2.0])
def test_the_automatic_strength_is_z_standard_errors_below_least_squares(z):
    """Even plays and even policies: every play counts once, so the standard error is that of the mean reward."""
    batch = plays(climbing_game(), copies=40, noise=2.0)
    learner = made(batch, pessimism="auto", z=z, ridge=1e-6, action_samples=400)
    _, found = learner.evaluate()
    expected = z * batch["reward"][:, 0, 0].numpy().std() / math.sqrt(360)
    assert found["J_lstd"] - found["J_pessimistic"] == pytest.approx(expected, rel=0.05)


def test_the_noise_is_the_spread_of_rewards_over_the_longest_episode_or_without_end():
    batch = make_batch(lengths=RAGGED)
    learner = made(recorded(batch), gamma=0.9)
    spread = learner.data.rewards.double().std(correction=0).item()
    assert learner._noise() == pytest.approx(spread * sum(0.9**t for t in range(6)))
    assert made(batch, gamma=1.0)._noise() == pytest.approx(6 * spread)
    cut = torch.zeros_like(batch["terminated"])
    cut[1, 2] = 1
    assert made(recorded(batch, cut), gamma=0.9)._noise() == pytest.approx(10 * spread)
    with pytest.raises(ConfigError, match="set gamma below 1, or give pessimism a number"):
        made(batch, gamma=1.0).evaluate()


def test_the_step_is_the_exponential_weights_step_with_prefix_values():
    """The last agent's exactly; the first's up to the sampling of what the second does."""
    payoff = climbing_game()
    learner = made(plays(payoff, copies=200), beta=20.0, pessimism=None, ridge=1e-9)
    first = torch.tensor([0.3, -0.2, 0.1])
    second = torch.tensor([[0.2, 0.0, -0.4], [0.0, 0.5, 0.0], [-0.3, 0.1, 0.0]])
    learner.mac.agent.actor(0).table.data[:, 1] = first
    learner.mac.agent.actor(1).table.data[:, 2:5] = second
    old_first = conditional(learner, 0)
    old_second = [conditional(learner, 1, (a,)) for a in range(3)]
    learner.iterate()

    def step(policy, values):
        new = policy * np.exp(values / 20.0)
        return new / new.sum()

    for a in range(3):
        np.testing.assert_allclose(conditional(learner, 1, (a,)), step(old_second[a], payoff[a]), atol=1e-5)
    prefix = np.array([old_second[a] @ payoff[a] for a in range(3)])
    np.testing.assert_allclose(conditional(learner, 0), step(old_first, prefix), atol=0.02)


def test_rewards_that_are_all_the_same_leave_nothing_to_doubt():
    found = made(plays(np.full((3, 3), 2.0), copies=10), ridge=1e-6).evaluate()[1]
    assert found["J_pessimistic"] == pytest.approx(found["J_lstd"], abs=1e-9)


def test_actions_that_the_policy_has_given_up_are_valued_too():
    """The first agent always plays 1 by now, the second 0; the first's values of 0 and 2 are against that."""
    payoff = climbing_game()
    learner = made(plays(payoff, copies=200), pessimism=None, ridge=1e-6)
    for agent, action in ((0, 1), (1, 0)):
        learner.mac.agent.actor(agent).table.data[action, 1] = 20.0
    omega, _ = learner.evaluate()
    weights = learner._prefix_weights(0, torch.from_numpy(omega)).numpy().sum(-1)  # both features are 1
    np.testing.assert_allclose(weights - weights.mean(), payoff[:, 0] - payoff[:, 0].mean(), atol=0.1)


@pytest.mark.parametrize("m", [0, 1])
def test_what_values_have_of_an_agents_own_features_is_taken_over_as_it_is(m):
    """The other agent adds a thousand whatever it does: nothing that ridge should draw to 0, here or there."""
    learner = made(recorded(make_batch(lengths=RAGGED, N=2, A=3, avail=0.7)), policy_input="obs", ridge=1.0)
    width = learner.data.features.shape[-1]
    assert learner.data.features.std(0).max() > 0.1 and (learner.data.features[..., -1] == 1).all()
    omega = torch.randn(learner.joint.size, dtype=torch.float64, generator=torch.Generator().manual_seed(m))
    own, pairs = learner.joint.parts(omega)  # views
    own[1 - m].zero_()[-1] = 1000.0
    if m == 0:
        pairs[0, 1].zero_()
    found = learner._prefix_weights(m, omega)
    torch.testing.assert_close(found[:, :width], own[m].t(), rtol=0, atol=1e-9)
    if m == 1:
        torch.testing.assert_close(found[:, width:], pairs[0, 1].t(), rtol=0, atol=1e-9)


def test_from_even_plays_the_best_joint_action_of_the_climbing_game_is_found():
    learner = made(plays(climbing_game(), copies=200), beta=20.0)
    for _ in range(150):
        found = learner.iterate()
    assert conditional(learner, 0)[0] > 0.9 and conditional(learner, 1, (0,))[0] > 0.9
    assert found["J_lstd"] > 10


def test_pessimism_is_about_what_the_policies_do_and_the_data_do_not():
    """(0, 0) was never played: who would play it is promised less, by far, than who plays what is on record."""
    taken_off = {}
    for joint in ((0, 0), (1, 1)):
        learner = made(plays(climbing_game(), copies=30, leave_out=[(0, 0)]), pessimism=10.0)
        learner.mac.agent.actor(0).table.data[joint[0], 1] = 20.0
        learner.mac.agent.actor(1).table.data[joint[1], 1] = 20.0
        _, found = learner.evaluate()
        taken_off[joint] = found["J_lstd"] - found["J_pessimistic"]
    assert taken_off[0, 0] > 20 * taken_off[1, 1] > 0


@pytest.mark.parametrize("seed", range(6))
def test_where_data_have_holes_pessimism_takes_the_best_of_what_was_played(seed):
    """Costs in [-1, 0], four joint actions of nine in the data. Least squares goes where it knows nothing."""
    rng = np.random.default_rng(seed)
    payoff = rng.uniform(-1, 0, (3, 3))
    order = [np.unravel_index(k, (3, 3)) for k in rng.permutation(9)]
    played, holes = order[:4], [tuple(map(int, a)) for a in order[4:]]
    value, in_holes, promise = {}, {}, {}
    for pessimism in (None, "auto"):
        batch = plays(payoff, copies=25, leave_out=holes, noise=0.2)
        learner = made(batch, pessimism=pessimism, beta=2.0)
        for _ in range(150):
            found = learner.iterate()
        joint = conditional(learner, 0)[:, None] * np.array([conditional(learner, 1, (a,)) for a in range(3)])
        value[pessimism], promise[pessimism] = (joint * payoff).sum(), found["J_pessimistic"]
        in_holes[pessimism] = sum(joint[a] for a in holes)
    best_played = max(payoff[a] for a in played)
    assert value["auto"] > best_played - 0.05 and in_holes["auto"] < 0.1 and promise["auto"] < value["auto"]
    if best_played < -0.1:  # else what was played is hardly worse than the 0 that ridge gives to what was not
        assert in_holes[None] > 0.5


def test_product_policies_learn_offline_too():
    payoff = np.array([[1.0, 0.0], [0.0, 3.0]])
    learner = made(plays(payoff, copies=50), iterations=80, conditioning="product")
    for _ in range(80):
        learner.iterate()
    assert conditional(learner, 0)[1] > 0.9 and conditional(learner, 1)[1] > 0.9


def test_too_many_features_are_refused_with_the_number(monkeypatch):
    monkeypatch.setattr("epymarl_trust_region.offline.log_linear._LARGEST_TABLE", 3000)  # of 2 * 8 * 9 * 21
    with pytest.raises(ConfigError, match=r"21 joint features of 9 transitions need 0.0 GiB; use fewer"):
        made(plays(climbing_game()))
