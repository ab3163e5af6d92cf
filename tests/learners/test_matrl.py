"""MATRL against PPO, against its own ablations, and against enumeration.

Shape letters: B episodes, T steps, N agents.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from epymarl_trust_region.games.markov import joint_policy
from epymarl_trust_region.numerics.equilibrium import SOLVERS, Equilibrium
from epymarl_trust_region.numerics.meta_game import BatchGame
from epymarl_trust_region.onpolicy.meta_game import game_of, truncated_weights
from epymarl_trust_region.onpolicy.rollout import make_rollout
from oracles.exact import WEIGHTS, exact_setting
from support import make_batch, make_learner
from textbook import textbook_ppo

RAGGED = [6, 3, 1, 5]


def rollout_of(learner, batch):
    return make_rollout(batch, learner.mac, learner.critic, learner.config, None)


def vectors(learner) -> list[torch.Tensor]:
    return [o.vector.detach().clone() for o in learner.actor_optimisers]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vectors(a), vectors(b), strict=True))


def moments(learner) -> list[torch.Tensor]:
    return [value for o in learner.actor_optimisers for value in o.adam.moments.values()]


def individual(batch, seed: int = 5):
    """The same batch with a reward for every agent."""
    reward = torch.randn(*batch["reward"].shape[:2], 3, generator=torch.Generator().manual_seed(seed))
    batch["reward"] = reward * (batch["reward"] != 0)
    return batch


def fixed(learner, rho) -> None:
    """Let the meta-game end in `rho`."""
    learner.equilibrium = lambda game: Equilibrium(np.asarray(rho, dtype=float), 0.0, "none")


# Special cases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("common", [True, False])
def test_the_trial_step_alone_is_ppo_once_per_agent(common, double_precision):
    batch = make_batch(B=4, T=8, N=3)
    batch = batch if common else individual(batch)
    ours, ppo = (make_learner(batch, "il", common_reward=common) for _ in range(2))
    ours.train(batch, 0, 0)
    for agent in range(3):
        textbook_ppo(ppo, batch, ours.config, standardise=True, agent=agent)
    for a, b in zip(vectors(ours), vectors(ppo), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("common", [True, False])
def test_where_all_stay_it_is_ppo_from_the_current_policy(use_rnn, common):
    """rho = 1: all weights are 1, and the moments are those from before the trial. Bit for bit, update after update."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    batch = batch if common else individual(batch)
    overrides = {"use_rnn": use_rnn, "hidden_dim": 16, "common_reward": common}
    stays = make_learner(batch, "matrl", br_epochs=4, epochs=4, meta_game="current", **overrides)
    alone = make_learner(batch, "il", epochs=4, **overrides)
    for t in range(3):
        stays.train(batch, t, 0)
        alone.train(batch, t, 0)
        assert same(stays, alone)
        assert all(torch.equal(a, b) for a, b in zip(moments(stays), moments(alone), strict=True))


@pytest.mark.parametrize("wild", [False, True])
def test_where_all_move_it_is_il_pp_bit_for_bit_and_else_it_is_not(wild):
    """Own trial steps nearly always pay; steps for entropy's sake, and far too long, may not."""
    batch = individual(make_batch(lengths=RAGGED, avail=0.7), 0)
    step = {"lr": 0.5, "epochs": 3, "entropy_coef": 50.0} if wild else {"lr": 0.01}
    matrl, il_pp = (make_learner(batch, name, common_reward=False, **step) for name in ("matrl", "il_pp"))
    matrl.train(batch, 0, 0)
    il_pp.train(batch, 0, 0)
    rho = [matrl.logger.stats[f"agent_{i}_rho"][0][1] for i in range(3)]
    assert any(rho) == wild
    assert same(matrl, il_pp) == (not wild)


@pytest.mark.parametrize("mixture", ["parameters", "distilled"])
def test_without_a_response_moving_all_the_way_is_il_and_staying_is_staying(mixture):
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner, alone = make_learner(batch, "matrl_no_br", mixture=mixture), make_learner(batch, "il")
    fixed(learner, [0, 0, 0])
    for t in range(2):
        learner.train(batch, t, 0)
        alone.train(batch, t, 0)
        assert same(learner, alone)
    before = vectors(learner)
    fixed(learner, [1, 1, 1])
    learner.train(batch, 2, 0)
    assert all(torch.equal(a, b) for a, b in zip(vectors(learner), before, strict=True))


# The penalty --------------------------------------------------------------------------------------------------------


def test_the_penalised_trial_is_the_written_objective(double_precision):
    """Autograd and torch's Adam on mean [min(r A, clip(r) A) + c H - k (r - 1 - log r)]."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner, reference = (make_learner(batch, "il", lr=0.02, epochs=3, kl_coef=0.7) for _ in range(2))
    rollout = rollout_of(learner, batch)
    learner.update_policies(rollout)
    for i, actor in enumerate(reference.mac.agent.agents):
        optimiser = torch.optim.Adam(actor.parameters(), lr=0.02, eps=learner.config.optim_eps, fused=True)
        for _ in range(3):
            policy = rollout.policy(reference.mac, i)
            log_ratio = (policy.log_prob(rollout.actions[i]) - rollout.old_log_probs[i]) * rollout.mask
            ratio, advantage = log_ratio.exp(), rollout.advantage(i)
            gain = torch.min(ratio * advantage, ratio.clamp(0.9, 1.1) * advantage)
            gain = gain + learner.config.entropy_coef * policy.entropy() - 0.7 * (ratio - 1 - log_ratio)
            optimiser.zero_grad()
            (-(gain * rollout.mask).sum() / rollout.mask.sum()).backward()
            optimiser.step()
        own = torch.cat([p.detach().flatten() for p in actor.parameters()])
        torch.testing.assert_close(learner.mac.agent.vector(i), own, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["il", "il_pp", "matrl", "matrl_no_br"])
def test_the_penalty_holds_policies_back(name):
    """Of a batch large enough for its estimate to be one; none at all is 0."""
    batch, moved = individual(make_batch(B=32)), []
    for kl_coef in (0.0, 0.0, 1.0, 100.0):
        learner = make_learner(batch, name, lr=0.01, kl_coef=kl_coef, common_reward=False)
        learner.train(batch, 0, 0)
        moved.append(learner.logger.stats["kl_mean"][0][1])
    assert moved[0] == moved[1] > 1.1 * moved[2] > 1.1 * moved[3]


# The response -------------------------------------------------------------------------------------------------------


def test_the_response_is_the_written_objective(double_precision):
    """Autograd and torch's Adam on mean min(q c A, clip(q) c A), c from the policies' probabilities."""
    batch, rho = make_batch(lengths=RAGGED, avail=0.7), np.array([0.2, 1.0, 0.6])
    learner = make_learner(batch, "matrl", lr=0.01, br_epochs=3, meta_ratio_clip=0.05, br_weight_clip=0.06)
    trial = make_learner(batch, "il", lr=0.01)
    rollout = rollout_of(learner, batch)
    trial.update_policies(rollout)
    ratios = [rollout.ratio(trial.mac, i).detach().clamp(0.95, 1.05) for i in range(3)]
    w = [x + (1 - x) * r for x, r in zip(rho, ratios, strict=True)]
    fixed(learner, rho)
    reference = make_learner(batch, "matrl")
    learner.update_policies(rollout)
    clipped = 0
    for i, actor in enumerate(reference.mac.agent.agents):
        product = torch.stack([w[j] for j in range(3) if j != i]).prod(0)
        c = product.clamp(0.94, 1.06)
        clipped += (product != c).sum().item()
        optimiser = torch.optim.Adam(actor.parameters(), lr=0.01, eps=learner.config.optim_eps, fused=True)
        for _ in range(3):
            policy = rollout.policy(reference.mac, i)
            q = (policy.log_prob(rollout.actions[i]) - rollout.old_log_probs[i]).exp()
            gain = torch.min(q * c * rollout.advantage(i), q.clamp(0.9, 1.1) * c * rollout.advantage(i))
            loss = -((gain + learner.config.entropy_coef * policy.entropy()) * rollout.mask).sum() / rollout.mask.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        own = torch.cat([p.detach().flatten() for p in actor.parameters()])
        torch.testing.assert_close(learner.mac.agent.vector(i), own, rtol=0, atol=1e-11)
    assert clipped > 0


@torch.no_grad()
def test_weights_are_those_of_the_mixtures_of_the_others():
    """prod_{j != i} pibar_j / pi_j on the actions taken, by the distributions; an agent's own never enters."""
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner, rho = make_learner(batch, "il", lr=0.02), np.array([0.3, 0.0, 0.8])
    rollout = rollout_of(learner, batch)
    learner.update_policies(rollout)
    predicted = [rollout.policy(learner.mac, i) for i in range(3)]
    ratios = torch.stack([rollout.ratio(learner.mac, i) for i in range(3)])
    mixtures = [old.mixed_with(new, x) for old, new, x in zip(rollout.old_policies, predicted, rho, strict=True)]
    own = [
        (m.log_prob(a) - old).exp() for m, a, old in zip(mixtures, rollout.actions, rollout.old_log_probs, strict=True)
    ]
    valid = rollout.mask.bool()
    for width in (0.999, 0.01):
        weights = truncated_weights(ratios, rho, width)
        for i in range(3):
            expected = torch.stack([own[j] for j in range(3) if j != i]).prod(0).clamp(1 - width, 1 + width)
            torch.testing.assert_close(weights[i][valid], expected[valid], rtol=1e-5, atol=1e-6)
    assert torch.equal(truncated_weights(ratios, np.ones(3), 0.1), torch.ones_like(ratios))


# The meta-game ------------------------------------------------------------------------------------------------------


def meta_game(learner, rollout, advantages):
    return game_of(rollout, learner.mac, advantages, learner.config.meta_ratio_clip)


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_its_payoffs_are_the_exact_expected_advantages_of_the_mixtures(seed, common):
    """On a batch without sampling error, after a real trial step: G_i(rho) = E_{d^pi, pibar}[A_i]."""
    rng, game, old, learner, rollout = exact_setting(
        seed, "matrl", common, lr=0.02, meta_ratio_clip=0.9, entropy_coef=0.0, critic="central"
    )
    advantages = torch.stack([rollout.advantage(i) for i in range(3)])
    learner.config = dataclasses.replace(learner.config, meta_game="predicted", best_response=False)
    learner.update_policies(rollout)
    meta, ratios = meta_game(learner, rollout, advantages)
    assert ratios.max() < 1.9 and ratios.min() > 0.1 and (ratios - 1).abs().max() > 0.02  # nothing was clipped
    first = [int((rollout.inputs[0][:, 0, s] == 1).nonzero()[0]) for s in range(3)]
    new = [rollout.policy(learner.mac, i).probs[first, 0].detach().numpy()[:, : old[i].shape[1]] for i in range(3)]
    exact = game.advantages(joint_policy(old))
    for rho in (np.zeros(3), np.ones(3), rng.random(3)):
        mixed = joint_policy([x * p + (1 - x) * q for x, p, q in zip(rho, old, new, strict=True)])
        expected = np.broadcast_to(((mixed * exact).sum(axis=(-3, -2, -1)) * WEIGHTS).sum(-1), 3)
        np.testing.assert_allclose(meta.payoffs(rho), expected, atol=1e-12)
    assert abs(expected).max() > 1e-4


def test_padding_is_not_played_and_advantages_are_centred():
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner = make_learner(batch, "matrl", critic="individual")
    rollout = rollout_of(learner, batch)
    game, ratios = meta_game(learner, rollout, torch.stack([rollout.advantage(i) for i in range(3)]))
    assert game.ratios.shape == (3, sum(RAGGED)) and torch.equal(ratios, torch.ones_like(ratios))
    np.testing.assert_allclose(game.advantages.mean(1), np.zeros(3), atol=1e-9)
    np.testing.assert_allclose(game.payoffs(np.ones(3)), np.zeros(3), atol=1e-9)


def test_what_it_logs_is_what_it_did():
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner, shares, solved = make_learner(batch, "matrl", lr=0.01, learner_log_interval=0), [], []
    solve = learner.equilibrium

    def overheard(game):
        solved.append((game, solve(game)))
        return solved[-1][1]

    learner.equilibrium = overheard
    for t in range(6):
        learner.train(batch, t, 0)
        (game, answer), stats = solved[-1], {name: values[-1][1] for name, values in learner.logger.stats.items()}
        slopes, errors = game.derivatives(answer.rho), game.standard_errors(answer.rho)
        assert [stats[f"agent_{i}_rho"] for i in range(3)] == answer.rho.tolist()
        assert stats["meta_gain"] == max(0, *((1 - answer.rho) * slopes), *(-answer.rho * slopes))
        assert SOLVERS[stats["meta_solver"]] == answer.solver
        assert stats["agent_1_meta_significance"] == pytest.approx(abs(slopes[1]) / errors[1])
        shares.append(not answer.rho.any())
        assert stats["il_pp_share"] == pytest.approx(sum(shares) / len(shares))


@pytest.mark.parametrize("common", [True, False])
def test_a_trial_that_led_nowhere_is_trusted_by_nobody(common):
    batch = make_batch(lengths=RAGGED)
    batch = batch if common else individual(batch)
    learner = make_learner(batch, "matrl", common_reward=common)
    rollout = rollout_of(learner, batch)
    game, _ = meta_game(learner, rollout, torch.full_like(rollout.old_log_probs, float("nan")))
    assert learner.equilibrium(game).rho.tolist() == [1, 1, 1]


def test_the_choice_among_equilibria_follows_the_generator_that_checkpoints_keep():
    learner, answers = make_learner(make_batch(), "matrl"), []
    ratios = np.array([[2.0, 2.0, 0.5, 0.5], [2.0, 0.5, 2.0, 0.5]])
    game = BatchGame(ratios, np.array([[1.0, -1.0, -1.0, 1.5]] * 2))  # both stay, or both move
    for seed in (*range(8), *range(8)):
        torch.manual_seed(seed)
        answers.append(tuple(learner.equilibrium(game).rho))
    assert answers[:8] == answers[8:] and len(set(answers)) > 1


# The mixture --------------------------------------------------------------------------------------------------------


def test_a_mixture_of_parameters_is_one_and_distilling_comes_closer_to_the_policies_mixture():
    batch, rho = make_batch(B=16, avail=0.7), [0.5, 0.25, 0.75]
    distances = {}
    for mixture in ("parameters", "distilled"):
        learner = make_learner(batch, "matrl_no_br", lr=0.01, epochs=20, mixture=mixture, distill_epochs=30)
        ahead = make_learner(batch, "il", lr=0.01, epochs=20)
        rollout, start = rollout_of(learner, batch), vectors(learner)
        ahead.update_policies(rollout)
        fixed(learner, rho)
        learner.update_policies(rollout)
        if mixture == "parameters":
            for x, here, there, now in zip(rho, start, vectors(ahead), vectors(learner), strict=True):
                torch.testing.assert_close(now, x * here + (1 - x) * there, rtol=0, atol=1e-6)
        targets = [rollout.old_policies[i].mixed_with(rollout.policy(ahead.mac, i), rho[i]) for i in range(3)]
        distances[mixture] = [rollout.policy(learner.mac, i).kl(t).mean().item() for i, t in enumerate(targets)]
    for distilled, mixed in zip(distances["distilled"], distances["parameters"], strict=True):
        assert 0 <= distilled < 0.9 * mixed


# Its tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 3])
def test_a_bookmark_brings_parameters_and_moments_back(steps):
    batch = make_batch()
    learner, twin = make_learner(batch, "il"), make_learner(batch, "il")
    for t in range(steps):
        learner.train(batch, t, 0)
        twin.train(batch, t, 0)
    back = [o.bookmark() for o in learner.actor_optimisers]
    for _ in range(2):  # more than once
        learner.update_policies(rollout_of(learner, batch))
        assert not same(learner, twin)
        for restore in back:
            restore()
        assert same(learner, twin)
    learner.update_policies(rollout_of(learner, batch))
    twin.update_policies(rollout_of(twin, batch))
    assert same(learner, twin)
