"""Learning elsewhere than acting: the same numbers as in one place, handed back after each update, and refused where
there is no such place. A copy that stays on the CPU goes the whole way but for the bus."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.modules.device import check_device
from resuming import configured, last_checkpoint, play, resumed
from support import continuous, make_batch, make_learner, one_hot

ALGORITHMS = ("happo", "hatrpo", "matrl", "matrl_no_br", "jr_ppo", "ir_ippo", "inpg", "ipg", "wolf", "log_linear_ppo")
SPREAD = ("gymma", {"key": "pz-mpe-simple-spread-v3", "time_limit": 6})
STREAMS = {"rollout_steps": 5, "use_rnn": True, "normalise_inputs": True, "obs_last_action": True}


def batch_of(seed: int, gaussian: bool = False):
    batch = make_batch(seed, lengths=[6, 3, 6, 5], avail=0.7)
    return continuous(batch, seed) if gaussian else batch


def batch_for(name: str, seed: int, gaussian: bool):
    return one_hot(batch_of(seed)) if name == "wolf" else batch_of(seed, gaussian)


def updated(name: str, device: str | None, gaussian: bool = False, **overrides):
    """A learner after two updates, each on episodes of its own, and the next random number."""
    learner = make_learner(
        batch_for(name, 0, gaussian), name, learner_device=device, learner_log_interval=0, **overrides
    )
    acting = learner.elsewhere.acting if device else learner.mac
    for t in range(2):
        learner.train(batch_for(name, t, gaussian), t, 0)
    return learner, acting, torch.rand(1)


def assert_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "name, more",
    [
        *((name, {}) for name in ALGORITHMS),
        ("happo", {"use_rnn": True, "normalise_inputs": True, "value_norm": "popart"}),
        ("happo", {"gaussian": True, "actor_num_mini_batch": 2, "critic_num_mini_batch": 3}),
        ("jr_ppo", {"share_parameters": True, "obs_last_action": True, "obs_agent_id": True, "critic": "individual"}),
        ("happo", {"actor_network": "my_networks:Recurrent", "actor_args": {"width": 7}}),
    ],
)
def test_the_numbers_are_those_of_one_place(name, more):
    there, acting, drawn = updated(name, "cpu", **more)
    here, mac, same = updated(name, None, **more)
    assert_equal(acting.agent.state_dict(), mac.agent.state_dict())
    assert_equal(there.mac.agent.state_dict(), mac.agent.state_dict())
    assert_equal(there.critic.state_dict(), here.critic.state_dict())
    assert there.logger.stats.keys() == here.logger.stats.keys() > {"kl_mean", "critic_loss"}
    assert str(there.logger.stats) == str(here.logger.stats) and torch.equal(drawn, same)


def test_by_default_there_is_one_place():
    learner = make_learner(batch_of(0))
    assert learner.elsewhere is None


def test_what_acts_moves_when_an_update_is_over_and_not_before():
    learner = make_learner(batch_of(0), learner_device="cpu")
    acting, fit = learner.elsewhere.acting, learner.fit_critic
    before, seen = acting.agent.vector(0).clone(), []

    def fit_critic(rollout):
        seen.append((acting.agent.vector(0).clone(), learner.mac.agent.vector(0).clone()))
        return fit(rollout)

    learner.fit_critic = fit_critic
    batch = batch_of(0)
    learner.train(batch, 0, 0)
    assert torch.equal(seen[0][0], before) and not torch.equal(seen[0][1], before)
    assert torch.equal(acting.agent.vector(0), seen[0][1])
    assert acting.agent.vector(0).data_ptr() != learner.mac.agent.vector(0).data_ptr()


def test_the_callers_batch_stays_where_it_is():
    learner, batch = make_learner(batch_of(0), learner_device="cpu"), batch_of(0)
    learner.elsewhere.device = torch.device("meta")
    fields = dict(batch)
    there = learner.elsewhere.bring(batch)
    assert {x.device.type for x in there.values()} == {"meta"} and dict(batch).keys() == there.keys()
    assert all(batch[key] is x for key, x in fields.items())


@pytest.mark.parametrize("writes, reads", [(None, "cpu"), ("cpu", None), ("cpu", "cpu")])
def test_checkpoints_are_the_same(writes, reads, tmp_path):
    writer, _, _ = updated("happo", writes, normalise_inputs=True)
    writer.save_models(str(tmp_path))
    reader = make_learner(batch_of(0), seed=1, learner_device=reads, normalise_inputs=True)
    acting = reader.elsewhere.acting if reads else reader.mac
    reader.load_models(str(tmp_path))
    assert_equal(acting.agent.state_dict(), writer.mac.agent.state_dict())
    for learner in (writer, reader):
        torch.manual_seed(1)
        learner.train(batch_of(3), 9, 0)
    assert_equal(acting.agent.state_dict(), writer.mac.agent.state_dict())
    assert_equal(reader.critic.state_dict(), writer.critic.state_dict())


@pytest.mark.parametrize("changes", [{}, STREAMS])
def test_a_run_logs_the_same_numbers_and_can_be_resumed(changes, tmp_path):
    """With streams, what episodes were in the midst of goes along with each batch."""
    rounds = {"t_max": 110, "test_interval": 40, "log_interval": 30, "save_model_interval": 50, **changes}
    config = configured(tmp_path / "one", "happo", *SPREAD, **rounds)
    one, steps = play(config)
    config |= {"learner_device": "cpu"}
    assert play(config | {"local_results_path": str(tmp_path / "two")})[0].logged == one.logged
    config["local_results_path"] = str(tmp_path / "broken")
    play(config, stop_at=int(0.6 * steps))
    assert resumed(config, last_checkpoint(tmp_path / "broken")).logged == one.logged
    assert len(set(one.logged["kl_mean"])) > 2


@pytest.mark.parametrize(
    "name, use_cuda, cards, message",
    [
        ("gpu", False, 0, "^learner_device=gpu is no device; name one: cpu, cuda or cuda:0, or set it to null$"),
        ("cuda:x", False, 1, "is no device"),
        ("mps", False, 1, "is no device"),
        ("cuda", False, 0, "^learner_device=cuda, but PyTorch finds no CUDA device; set learner_device=null, or "),
        ("cuda:2", False, 2, "^learner_device=cuda:2, but PyTorch's last CUDA device is cuda:1; name one up to it$"),
        ("cuda", True, 1, "^learner_device=cuda is for acting on the CPU, and use_cuda=True acts on the GPU; set "),
        ("cpu", True, 0, "use_cuda=False"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name, use_cuda, cards, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    with pytest.raises(ConfigError, match=message):
        check_device(name, use_cuda)
    with pytest.raises(ConfigError, match=message):
        make_learner(batch_of(0), learner_device=name, use_cuda=use_cuda)


def test_devices_that_are_there_pass(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in (None, "cpu", "cuda", "cuda:1"):
        check_device(name, use_cuda=False)
    check_device(None, use_cuda=True)


def refused(suite: str, algorithm: str, folder, device: str) -> str:
    """The one line of a run that does not begin, in a process of its own: EPyMARL's modules stay there."""
    task = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "use_cuda=False"]
    words = [
        f"--config={algorithm}",
        "--env-config=gymma",
        f"--suite={suite}",
        "with",
        *task,
        f"learner_device={device}",
    ]
    run = [sys.executable, "-m", "epymarl_trust_region", "run", *words]
    done = subprocess.run(
        run, cwd=folder, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 2 and not (folder / "results").exists(), done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("suite", ["lite", pytest.param("epymarl", marks=pytest.mark.integration)])
def test_a_run_without_its_device_does_not_begin(suite, tmp_path):
    error = refused(suite, "happo", tmp_path, "cuda")
    assert error.startswith("error: learner_device=cuda, but PyTorch finds no CUDA device; ")


@pytest.mark.integration
def test_the_suites_own_learners_learn_where_they_act(tmp_path):
    error = refused("epymarl", "qmix", tmp_path, "cpu")
    assert "learner_device=cpu is for this plugin's learners, and q_learner is the suite's own" in error
