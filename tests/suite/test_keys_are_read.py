"""Which keys a run reads, by watching it: none of those that can be set is left over.

The other half, that a key which is refused changes nothing, is in tests/learners/test_unread_keys.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from epymarl_trust_region.config import OnPolicyConfig
from epymarl_trust_region.learners.matrl import MATRLLearner
from epymarl_trust_region.numerics.equilibrium import Equilibrium
from epymarl_trust_region.run_config import LABELS, RunConfig, unread
from epymarl_trust_region.suite.host import run_defaults
from epymarl_trust_region.suite.lite import registries
from epymarl_trust_region.suite.lite import run as host
from epymarl_trust_region.suite.registration import register_into
from support import LEARNERS, ROOT, SCHEMAS, algorithm

NAMES = {"env", "runner", "mac", "learner"}  # of parts: the host looks them up before anything is read
ONLINE = [f.stem for f in sorted((ROOT / "configs/algs").glob("*.yaml")) if algorithm(f.stem)["learner"] in LEARNERS]
MIXED = {"meta_game": "nash", "best_response": False, "mixture": "distilled"}
AFTER_A_FAILURE = {"max_bad_updates"}  # tests/learners/test_bad_updates.py
OF_OWN_NETWORKS = {"actor_args", "critic_args"}  # refused without one: tests/learners/test_own_networks.py
OF_GAUSSIANS = {"log_std_init", "log_std_min", "log_std_max"}  # tests/learners/test_continuous.py
# What else a learner has to be told, so that it reads every key that it has: one run for each, beside one for all.
FOR_ALL = {"critic": "central", "value_norm": "popart", "obs_individual_obs": True}
VARIANTS = {
    "matrl_learner": (MIXED, {"meta_game": "nash", "best_response": True}),
    "log_linear_ppo_learner": ({"features": "fourier", "conditioning": "product"},),
    "inpg_learner": ({"tabular": True},),
    "ipg_learner": ({"tabular": True},),
}


class Sacred:
    info: dict = {}

    def log_scalar(self, *_) -> None:
        pass


class Reads:
    """The keys that are read of the host's arguments and of our learners' configurations; checks do not count."""

    def __init__(self, monkeypatch) -> None:
        self.seen, self.paused = set(), False
        monkeypatch.setattr(
            host, "SimpleNamespace", type("Arguments", (SimpleNamespace,), self._watching(SimpleNamespace))
        )
        for name, member in self._watching(object).items():
            monkeypatch.setattr(OnPolicyConfig, name, member, raising=False)
        for schema in SCHEMAS.values():
            for name in ("check_fresh_batch", "check_capabilities"):
                monkeypatch.setattr(schema, name, self._pausing(getattr(schema, name)))

    def _watching(self, base: type) -> dict:
        reads = self

        def __getattribute__(self, name):
            if not reads.paused:
                reads.seen.add(name)
            return base.__getattribute__(self, name)

        return {"__getattribute__": __getattribute__}

    def _pausing(self, check):
        def paused(*arguments):
            before, self.paused = self.paused, True
            try:
                return check(*arguments)
            finally:
                self.paused = before

        return paused


@pytest.fixture
def reads(monkeypatch, own_folder) -> Reads:
    environments, runners = dict(registries.ENVIRONMENTS), dict(registries.RUNNERS)
    for name, copy in (("ENVIRONMENTS", environments), ("RUNNERS", runners), ("LEARNERS", {}), ("CONTROLLERS", {})):
        monkeypatch.setattr(registries, name, copy)
        monkeypatch.setattr(host, name, copy)
    register_into(registries.LEARNERS, registries.CONTROLLERS, runners, environments, registries.vector_runner)
    return Reads(monkeypatch)


def complete(name: str, **changes) -> dict:
    small = {"batch_size_run": 2, "batch_size": 2, "buffer_size": 2, "t_max": 16, "test_nepisode": 2, "seed": 1}
    small |= {"test_interval": 8, "log_interval": 8, "learner_log_interval": 0, "env_processes": 1}
    env = {"env": "gymma", "env_args": {"key": "trust-region-climbing-v0", "time_limit": 2, "max_steps": 2, "seed": 1}}
    return {**run_defaults(), **algorithm(name), **small, **env, **changes}


@pytest.mark.parametrize("name", ONLINE)
def test_every_key_of_an_algorithm_is_read_by_its_run(name, reads, monkeypatch):
    learner = algorithm(name)["learner"]
    solve = MATRLLearner.equilibrium

    def mixed(self, game):
        found = solve(self, game)
        return Equilibrium(np.full(game.n_players, 0.5), found.gain, found.solver)

    monkeypatch.setattr(MATRLLearner, "equilibrium", mixed)  # so that there is something to distil
    for changes in ({}, FOR_ALL, *VARIANTS.get(learner, ())):
        config = complete(name, **changes)
        host.run(Sacred(), config, logging.getLogger("test"))
        left_over = {f.name for f in dataclasses.fields(SCHEMAS[learner])} - reads.seen - NAMES
        left_over -= AFTER_A_FAILURE | OF_GAUSSIANS | OF_OWN_NETWORKS
        if learner in ("log_linear_ppo_learner", "wolf_learner"):
            left_over -= {"actor_network", "hidden_dim", "use_rnn"}  # refused, whatever else is set
        assert left_over <= set(SCHEMAS[learner].from_mapping(config).unread()), changes
    assert not left_over


def test_every_key_of_the_host_is_read_or_refused(reads, monkeypatch):
    fake = SimpleNamespace(id="1", dir="wandb", log=lambda *_, **__: None, finish=lambda: None)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: fake))
    wandb = {"use_wandb": True, "wandb_team": "t", "wandb_project": "p", "wandb_save_model": True, "save_model": True}
    folder = host.run(Sacred(), complete("happo", **wandb), logging.getLogger("test"))
    host.run(Sacred(), complete("happo", checkpoint_path=folder, evaluate=True), logging.getLogger("test"))
    defaults = yaml.safe_load((ROOT / "configs/lite/default.yaml").read_text())
    assert set(defaults) - reads.seen - NAMES == {*LABELS, *OnPolicyConfig.no_meaning}
    assert {f.name for f in dataclasses.fields(RunConfig)} - reads.seen <= NAMES
    assert set(unread(complete("happo"))) < reads.seen


def test_the_watch_sees_what_is_read_and_no_more(reads):
    schema = SCHEMAS["happo_learner"]
    config = schema.from_mapping(complete("happo"))
    config.check_capabilities(True)
    assert not {f.name for f in dataclasses.fields(schema)} & reads.seen
    assert config.eps_clip and "eps_clip" in reads.seen and "epochs" not in reads.seen
    arguments = host.SimpleNamespace(**complete("happo"))
    with contextlib.suppress(AttributeError):
        _ = arguments.t_max
    assert "t_max" in reads.seen
