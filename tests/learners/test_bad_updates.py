"""NaN in a gradient: the step is skipped and said so; a run that goes on like that stops, and leaves a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from epymarl_trust_region.errors import NonFiniteError
from support import make_batch, make_learner, one_hot

ALGORITHMS = ("happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "inpg", "ipg", "wolf", "matrl", "il",
              "log_linear_ppo")  # fmt: skip
NAN = float("nan")


def actors(learner) -> list[torch.Tensor]:
    return [o.vector.detach().clone() for o in learner.actor_optimisers]


def poison(learner, network: int, value: float = NAN) -> None:
    """Let the network's gradients come out as `value`, wherever they are pulled."""
    optimiser = learner.actor_optimisers[network]
    measure = optimiser.has_finite_gradient

    def has_finite_gradient():
        optimiser.gradients[0].view(-1)[0] = value
        return measure()

    optimiser.has_finite_gradient = has_finite_gradient


def cure(learner, network: int) -> None:
    del learner.actor_optimisers[network].has_finite_gradient


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_bad_gradient_moves_nothing_of_its_own_and_everything_else(algorithm, value, caplog):
    batch = one_hot(make_batch(lengths=[6, 3, 1, 5]))
    learner = make_learner(batch, algorithm, share_parameters=False, max_bad_updates=3)
    before, critic = actors(learner), learner.critic_optimiser.vector.detach().clone()
    poison(learner, 1, value)
    with caplog.at_level(logging.WARNING):
        learner.train(batch, 0, 0)
    moved = [not torch.equal(a, b) for a, b in zip(actors(learner), before, strict=True)]
    assert moved == [True, False, True] and not torch.equal(critic, learner.critic_optimiser.vector)
    assert "the gradient of agent 1's actor is NaN or infinite: skipped (bad update 1 of 3 in a row)" in caplog.text
    expected = getattr(learner.config, "epochs", 1) + getattr(learner.config, "br_epochs", 0) * (algorithm == "matrl")
    assert learner.logger.stats["skipped_steps"] == [(0, expected)]
    assert all(parameter.isfinite().all() for parameter in learner.mac.parameters())


def test_a_skipped_step_leaves_adams_moments_alone():
    batch = make_batch()
    learner, twin = (make_learner(batch, agent_order="fixed") for _ in range(2))
    for other in (learner, twin):
        other.train(batch, 0, 0)
    optimiser = learner.actor_optimisers[1]
    optimiser.gradients[0][:] = NAN
    optimiser.step()
    moments, expected = (o.actor_optimisers[1].adam.state_dict()["state"][0] for o in (learner, twin))
    assert all(torch.equal(moments[name], expected[name]) for name in expected) and len(expected) == 3
    assert torch.equal(optimiser.vector, twin.actor_optimisers[1].vector)


def test_good_updates_in_between_start_the_count_anew():
    batch = make_batch()
    learner = make_learner(batch, max_bad_updates=2, epochs=1)
    for t in range(4):
        poison(learner, 0)
        learner.train(batch, t, 0)
        cure(learner, 0)
        learner.train(batch, t, 0)
    assert learner.bad_updates == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_too_many_in_a_row_stop_the_run_with_a_checkpoint_to_go_on_from(algorithm, tmp_path):
    batch = one_hot(make_batch())
    place = {"local_results_path": str(tmp_path), "unique_token": "this_run"}
    learner = make_learner(batch, algorithm, max_bad_updates=2, **place)
    poison(learner, 0)
    learner.train(batch, 100, 0)
    assert not list(tmp_path.iterdir())
    named = {"hatrpo": "kl_threshold", "inpg": "eta", "ipg": "eta", "log_linear_ppo": "1 / beta"}
    named["wolf"] = "eta, eta_winning"
    step_size = named.get(algorithm, "lr")
    folder = tmp_path / "models" / "this_run"
    message = (
        rf"in update 2 of max_bad_updates=2 in a row: .* in {folder}; lower {step_size} or critic_lr, .*checkpoint"
    )
    with pytest.raises(NonFiniteError, match=message):
        learner.train(batch, 200, 0)
    resumed = make_learner(batch, algorithm, seed=9)
    resumed.load_models(str(folder / "200"))
    for a, b in zip(actors(resumed), actors(learner), strict=True):
        assert torch.equal(a, b) and a.isfinite().all()
    resumed.train(batch, 300, 0)


def test_the_shared_actor_is_named_as_that(caplog):
    batch = make_batch()
    learner = make_learner(batch, "jr_ppo")
    poison(learner, 0)
    with caplog.at_level(logging.WARNING):
        learner.train(batch, 0, 0)
    assert "the gradient of the shared actor is NaN" in caplog.text


@pytest.mark.parametrize("value_norm", ["none", "popart"])
def test_a_critic_that_has_overflowed_is_left_alone_and_so_is_its_normaliser(value_norm, caplog):
    batch = make_batch()
    learner = make_learner(batch, value_norm=value_norm, max_bad_updates=2)
    learner.critic.net.head.layer.bias.data.fill_(float("inf"))
    before = {name: value.clone() for name, value in learner.critic.state_dict().items()}
    policies = actors(learner)
    with caplog.at_level(logging.WARNING):
        learner.train(batch, 0, 0)
    assert "the critic is NaN or infinite" in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in learner.critic.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(actors(learner), policies, strict=True))


def test_without_a_host_the_checkpoint_is_named_after_the_algorithm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batch = make_batch()
    learner = make_learner(batch, max_bad_updates=1)
    poison(learner, 2)
    with pytest.raises(NonFiniteError, match="results/models/happo"):
        learner.train(batch, 7, 0)
    assert Path("results/models/happo/7/agent.th").exists()
