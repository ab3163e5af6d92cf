"""HAPPO's update against PPO, against enumeration, and against what it must not depend on.

Shape letters: B episodes, T steps, N agents, A actions.
"""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from epymarl_trust_region.errors import NonFiniteError
from epymarl_trust_region.onpolicy.rollout import make_rollout
from support import continuous, make_batch, make_learner
from textbook import textbook_ppo

RAGGED = [6, 3, 1, 5]
# What holds for HAPPO alone is asked of HAPPO alone.
ALGORITHMS = ("happo", "hatrpo", "jr_ppo", "ir_ippo", "inpg", "matrl")


def parameters(learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in [*learner.mac.parameters(), *learner.critic.parameters()]]


def assert_bit_equal(first, second) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("standardise", [True, False])
def test_one_agent_is_ppo(standardise, gaussian, double_precision):
    batch = make_batch(B=4, T=8, N=1)
    batch = continuous(batch) if gaussian else batch
    happo, ppo = (make_learner(batch, standardise_advantages=standardise, agent_order="fixed") for _ in range(2))
    assert_bit_equal(parameters(happo), parameters(ppo))
    start = parameters(happo)
    happo.train(batch, 0, 0)
    textbook_ppo(ppo, batch, happo.config, standardise)
    for ours, theirs in zip(parameters(happo), parameters(ppo), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
    assert any(not torch.equal(a, b) for a, b in zip(start, parameters(happo), strict=True))


class RecordFactors:
    """Remember the factor that each agent was given, in turn."""

    def __init__(self, learner) -> None:
        self.turns: list[tuple[int, torch.Tensor]] = []
        original = learner.policy_loss

        def policy_loss(rollout, agent, factor):
            if not self.turns or self.turns[-1][0] != agent:
                self.turns.append((agent, factor.clone()))
            return original(rollout, agent, factor)

        learner.policy_loss = policy_loss


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("order", ["random", "fixed"])
def test_factor_is_the_product_of_the_ratios_of_the_agents_before(use_rnn, order):
    batch = make_batch(lengths=RAGGED, avail=0.7)
    learner = make_learner(batch, use_rnn=use_rnn, lr=0.01, agent_order=order)
    recorded = RecordFactors(learner)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    learner.update_policies(rollout)
    assert sorted(agent for agent, _ in recorded.turns) == [0, 1, 2]
    product = torch.ones_like(rollout.mask)
    for agent, factor in recorded.turns:
        torch.testing.assert_close(factor, product)
        policy = learner.mac.policy(agent, rollout.inputs[agent], rollout.avail_actions[agent])
        log_probs = policy.log_prob(rollout.actions[agent]).detach()
        ratio = (log_probs - rollout.old_log_probs[agent]).exp()
        product = product * torch.where(rollout.mask.bool(), ratio, 1.0)
    assert (recorded.turns[0][1] == 1).all()  # the first agent's factor
    assert (product - 1).abs().max() > 0.05  # and the last one's says something


def test_steps_of_a_dead_agent_count_in_its_means_and_give_it_nothing_else(double_precision):
    """Ratio 1, entropy 0, no gradient: so its gradient is that of its steps alive, times their share."""
    batch, dead = make_batch(lengths=RAGGED), torch.zeros(4, 7, dtype=torch.bool)
    dead[0, 2:] = dead[3, 1:] = True
    batch["avail_actions"][..., 1, :][dead] = torch.tensor([1, 0, 0, 0], dtype=torch.int32)
    batch["actions"][..., 1, 0][dead] = 0
    learner = make_learner(batch, entropy_coef=0.1)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    alive = dataclasses.replace(rollout, mask=rollout.mask * ~dead[:, :-1])
    factor, vector = torch.rand(4, 6) + 0.5, learner.actor_optimisers[1].vector
    vector.detach().add_(0.1 * torch.randn_like(vector))  # another policy than the old one
    gradients = []
    for seen in (rollout, alive):
        learner.policy_loss(seen, 1, factor)
        gradients.append(vector.grad.clone())
    share = alive.mask.sum() / rollout.mask.sum()
    assert share == (15 - 8) / 15
    torch.testing.assert_close(gradients[0], share * gradients[1], rtol=1e-12, atol=1e-15)
    assert gradients[0].abs().max() > 1e-3
    ratio = rollout.ratio(learner.mac, 1)
    assert (ratio[dead[:, :-1]] == 1).all() and ((ratio != 1) == alive.mask.bool()).all()


def test_random_orders_are_all_drawn_and_fixed_is_fixed():
    from epymarl_trust_region.onpolicy.turns import agent_sequence

    torch.manual_seed(0)
    assert {tuple(agent_sequence(3, "random")) for _ in range(200)} == {
        (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}  # fmt: skip
    assert agent_sequence(4, "fixed") == [0, 1, 2, 3]


def test_factor_clip_bounds_the_factor():
    batch = make_batch(B=16, T=8)
    for clip, bound in ((None, None), (0.05, 0.05)):
        learner = make_learner(batch, lr=0.02, factor_clip=clip)
        recorded = RecordFactors(learner)
        learner.train(batch, 0, 0)
        widest = max((factor - 1).abs().max().item() for _, factor in recorded.turns)
        assert widest <= bound + 1e-6 if bound else widest > 0.1


@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("critic", ["central", "individual"])
@pytest.mark.parametrize("value_norm", ["none", "popart"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_data_at_masked_steps_changes_nothing(algorithm, use_rnn, critic, value_norm):
    batch = make_batch(lengths=RAGGED, avail=0.7)
    garbage = batch.copy()
    after_end = (batch["terminated"].cumsum(1) - batch["terminated"]).squeeze(-1).bool()  # after the last valid step
    random = make_batch(seed=9, avail=0.5)
    for key in ("obs", "state", "reward", "actions", "actions_onehot", "avail_actions"):
        garbage[key][after_end] = random[key][after_end] * (1e3 if garbage[key].is_floating_point() else 1)
    options = {"use_rnn": use_rnn, "critic": critic, "value_norm": value_norm}
    learners = [make_learner(batch, algorithm, **options) for _ in range(2)]
    for learner, data in zip(learners, (batch, garbage), strict=True):
        torch.manual_seed(1)
        for _ in range(2):
            learner.train(data, 0, 0)
    for a, b in zip(parameters(learners[0]), parameters(learners[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
    logged = [learner.logger.stats for learner in learners]
    for key, ((_, value),) in {k: v[:1] for k, v in logged[0].items()}.items():
        assert logged[1][key][0][1] == pytest.approx(value, abs=1e-5), key


def test_only_the_agent_whose_turn_it_is_moves():
    batch = make_batch()
    learner = make_learner(batch)
    rollout = make_rollout(batch, learner.mac, learner.critic, learner.config, None)
    before = [copy.deepcopy(list(actor.parameters())) for actor in learner.mac.agent.agents]
    learner.policy_loss(rollout, 1, torch.ones_like(rollout.mask))
    learner.actor_optimisers[1].step()
    moved = [
        any(not torch.equal(a, b) for a, b in zip(old, actor.parameters(), strict=True))
        for old, actor in zip(before, learner.mac.agent.agents, strict=True)
    ]
    assert moved == [False, True, False]


def test_the_advantage_is_the_same_for_all_agents_and_all_epochs():
    """The critic moves after the actors, so no agent in the sequence sees another A."""
    batch = make_batch()
    learner = make_learner(batch)
    events = []
    loss, critic_step = learner.policy_loss, learner.fit_critic

    def policy_loss(rollout, agent, factor):
        events.append(rollout.advantages)
        return loss(rollout, agent, factor)

    def fit_critic(rollout):
        events.append("critic")
        return critic_step(rollout)

    learner.policy_loss, learner.fit_critic = policy_loss, fit_critic
    learner.train(batch, 0, 0)
    assert events[-1] == "critic" and len(events) == 3 * 5 + 1
    assert all(advantages is events[0] for advantages in events[:-1])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("use_rnn", [False, True])
@pytest.mark.parametrize("value_norm", ["none", "popart"])
def test_save_load_and_continue_equals_never_having_stopped(tmp_path, algorithm, use_rnn, value_norm):
    batches = [make_batch(seed=s, lengths=RAGGED) for s in range(6)]
    straight = make_learner(batches[0], algorithm, use_rnn=use_rnn, value_norm=value_norm)
    for batch in batches[:3]:
        straight.train(batch, 0, 0)
    straight.save_models(str(tmp_path))

    def go_on(learner):
        for batch in batches[3:]:
            learner.train(batch, 0, 0)
        learner.mac.init_hidden(4)
        return learner.mac.select_actions(batches[0], t_ep=0, t_env=0)

    never_stopped = go_on(straight)
    resumed = make_learner(batches[0], algorithm, seed=77, use_rnn=use_rnn, value_norm=value_norm)
    resumed.load_models(str(tmp_path))
    assert torch.equal(never_stopped, go_on(resumed))
    assert_bit_equal(parameters(straight), parameters(resumed))
    assert straight.log_stats_t == resumed.log_stats_t


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_nan_reward_stops_before_anything_moves(value):
    batch = make_batch(lengths=RAGGED)
    batch["reward"][1, 2] = value
    learner = make_learner(batch)
    before = parameters(learner)
    with pytest.raises(NonFiniteError, match=r"reward is (nan|inf) in episode 1 of the batch at step 2"):
        learner.train(batch, 0, 0)
    assert_bit_equal(before, parameters(learner))
    batch = make_batch(lengths=RAGGED)
    batch["reward"][1, 5] = value  # after the episode's end: padding, nobody's business
    learner.train(batch, 0, 0)


def test_the_update_raises_the_surrogate_of_a_known_best_action():
    """One state, reward 1 for a joint action and 0 else: its probability must rise, update after update."""
    torch.manual_seed(0)
    batch = make_batch(B=512, T=1, N=2, A=2, obs_dim=1)
    batch["obs"][:] = 1.0
    batch["state"][:] = 1.0
    learner = make_learner(batch, lr=0.01)
    probability = []
    for _ in range(30):
        learner.mac.init_hidden(512)
        batch["actions"][:, 0] = learner.mac.select_actions(batch, 0, 0).unsqueeze(-1)
        batch["reward"][:, 0] = (batch["actions"][:, 0] == 1).all(1).float()
        learner.train(batch, 0, 0)
        learner.mac.init_hidden(512)
        probability.append(learner.mac.forward(batch, 0)[0, :, 1].prod().item())
    assert probability[-1] > 0.95
    assert probability[0] < 0.7
    assert all(later > earlier - 0.02 for earlier, later in zip(probability, probability[1:], strict=False))
