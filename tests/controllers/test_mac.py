"""The controller: per-step and whole-sequence evaluation agree, masks hold, and the suite's interface is whole."""

from __future__ import annotations

import copy

import pytest
import torch
from epymarl_trust_region.errors import CheckpointError, NonFiniteError
from support import CONTROLLERS, make_args, make_batch, make_learner, scheme_of


def make_mac(batch, **overrides):
    torch.manual_seed(0)
    mac = CONTROLLERS["trust_region_mac"](scheme_of(batch), {"agents": 3}, make_args(batch, **overrides))
    for actor in mac.agent.agents:  # a policy far from uniform, so that differences show
        torch.nn.init.normal_(actor.head.weight)
    return mac


VARIANTS = [
    dict(use_rnn=use_rnn, share_parameters=shared, obs_last_action=last, obs_agent_id=ids)
    for use_rnn in (False, True)
    for shared in (False, True)
    for last, ids in ((False, False), (True, True))
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(k for k, on in v.items() if on) or "mlp")
def test_whole_sequence_equals_the_step_by_step_rollout(variant):
    batch = make_batch(lengths=[6, 3, 1, 5], avail=0.7)
    mac = make_mac(batch, **variant)
    mac.init_hidden(4)
    stepwise = torch.stack([mac.forward(batch, t) for t in range(6)], dim=1)  # [B, T, N, A]
    inputs = mac.build_inputs(batch)
    assert inputs.shape[:3] == (3, 4, 6)
    for i in range(3):
        policy = mac.policy(i, inputs[i], batch["avail_actions"][:, :-1, i])
        torch.testing.assert_close(policy.probs, stepwise[:, :, i], rtol=0, atol=1e-6)


def test_evaluating_a_sequence_leaves_the_rollouts_hidden_state_alone():
    batch = make_batch()
    mac = make_mac(batch, use_rnn=True)
    mac.init_hidden(4)
    mac.forward(batch, 0)
    hidden = mac.hidden_states.clone()
    mac.policy(0, mac.build_inputs(batch)[0], batch["avail_actions"][:, :-1, 0])
    assert torch.equal(mac.hidden_states, hidden)
    assert hidden.abs().max() > 0


def test_inputs_are_observation_last_action_and_agent_id():
    batch = make_batch()
    inputs = make_mac(batch, obs_last_action=True, obs_agent_id=True).build_inputs(batch)
    obs, last, ids = inputs.split([5, 4, 3], dim=-1)
    assert torch.equal(obs, batch["obs"][:, :-1].permute(2, 0, 1, 3))
    assert (last[:, :, 0] == 0).all()
    assert torch.equal(last[:, :, 1:], batch["actions_onehot"][:, :-2].permute(2, 0, 1, 3))
    assert torch.equal(ids[:, 0, 0], torch.eye(3))


def test_unavailable_actions_are_never_chosen_and_greedy_is_the_mode():
    batch = make_batch(B=200, avail=0.5)
    mac = make_mac(batch, test_greedy=True)
    mac.init_hidden(200)
    available = batch["avail_actions"][:, 2]
    for test_mode in (False, True):
        actions = mac.select_actions(batch, t_ep=2, t_env=0, test_mode=test_mode)
        assert actions.shape == (200, 3)
        assert (available.gather(-1, actions.unsqueeze(-1)) == 1).all()
    assert torch.equal(actions, mac.forward(batch, 2).argmax(-1))
    sampling = make_mac(batch, test_greedy=False)
    torch.manual_seed(0)
    assert not torch.equal(sampling.select_actions(batch, 2, 0, test_mode=True), actions)


def test_training_samples_whatever_tests_do_and_keeps_no_graph():
    batch = make_batch(B=200)
    mac = make_mac(batch, test_greedy=True, use_rnn=True)
    mac.init_hidden(200)
    torch.manual_seed(0)
    greedy = mac.select_actions(batch, 2, 0, test_mode=True)
    mac.init_hidden(200)
    assert not torch.equal(mac.select_actions(batch, 2, 0, test_mode=False), greedy)
    assert not mac.hidden_states.requires_grad  # or a rollout would hold on to every step's graph


def test_only_the_running_episodes_get_actions():
    batch = make_batch(B=4)
    mac = make_mac(batch, test_greedy=True)
    mac.init_hidden(4)
    everything = mac.select_actions(batch, 1, 0, test_mode=True)
    assert torch.equal(mac.select_actions(batch, 1, 0, bs=[1, 3], test_mode=True), everything[[1, 3]])


def test_separate_actors_share_nothing_and_shared_ones_everything():
    batch = make_batch()
    separate, shared = make_mac(batch), make_mac(batch, share_parameters=True)
    ids = [{id(p) for p in separate.agent_parameters(i)} for i in range(3)]
    assert not ids[0] & ids[1] and not ids[1] & ids[2]
    assert ids[0] | ids[1] | ids[2] == {id(p) for p in separate.parameters()}
    assert {id(p) for p in shared.agent_parameters(0)} == {id(p) for p in shared.agent_parameters(2)}


def test_copies_states_and_files_carry_the_policy(tmp_path):
    batch = make_batch()
    mac = make_mac(batch)
    other = CONTROLLERS["trust_region_mac"](scheme_of(batch), {}, make_args(batch))
    mac.init_hidden(4), other.init_hidden(4)
    expected = mac.forward(batch, 0)
    assert not torch.equal(other.forward(batch, 0), expected)
    assert torch.equal(copy.deepcopy(mac).forward(batch, 0), expected)
    mac.save_models(str(tmp_path))
    other.load_models(str(tmp_path))
    assert torch.equal(other.forward(batch, 0), expected)
    third = CONTROLLERS["trust_region_mac"](scheme_of(batch), {}, make_args(batch))
    third.load_state(mac)
    third.init_hidden(4)
    assert torch.equal(third.forward(batch, 0), expected)


def test_first_policies_are_near_uniform():
    batch = make_batch()
    torch.manual_seed(0)
    mac = CONTROLLERS["trust_region_mac"](scheme_of(batch), {}, make_args(batch))
    mac.init_hidden(4)
    torch.testing.assert_close(mac.forward(batch, 0), torch.full((4, 3, 4), 0.25), atol=0.02, rtol=0)


def test_a_missing_truncated_or_foreign_file_is_one_clear_error(tmp_path):
    batch = make_batch()
    mac = make_mac(batch)
    with pytest.raises(CheckpointError, match="agent.th is missing"):
        mac.load_models(str(tmp_path))
    mac.save_models(str(tmp_path))
    file = tmp_path / "agent.th"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is damaged"):
        mac.load_models(str(tmp_path))
    file.write_bytes(whole)
    with pytest.raises(CheckpointError, match="another task or network"):
        make_mac(batch, hidden_dim=32).load_models(str(tmp_path))


def test_an_actor_that_has_overflowed_is_named_when_it_should_act():
    batch = make_batch()
    mac = make_mac(batch)
    with torch.no_grad():
        mac.agent.agents[1].head.bias.fill_(float("nan"))
    mac.init_hidden(4)
    with pytest.raises(
        NonFiniteError, match="probabilities of agent 1 are NaN: .*lower the step size, .*checkpoint_path"
    ):
        mac.select_actions(batch, t_ep=0, t_env=0)


@pytest.mark.parametrize(
    "name, keys", [("happo", "lr"), ("hatrpo", "kl_threshold"), ("inpg", "eta"), ("log_linear_ppo", "1 / beta")]
)
def test_the_advice_names_the_keys_of_the_algorithm(name, keys):
    batch = make_batch()
    mac = make_learner(batch, name).mac
    with torch.no_grad():
        for parameter in mac.agent_parameters(1):
            parameter.fill_(float("nan"))
    mac.init_hidden(4)
    with pytest.raises(NonFiniteError, match=f"of agent 1 are NaN: .*lower {keys} or critic_lr, and go on from"):
        mac.select_actions(batch, t_ep=0, t_env=0)
