"""Every key of a host's default.yaml is read, or refused when changed, or a label of the user; each has its type."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from epymarl_trust_region.config import RUN_KEYS, OnPolicyConfig
from epymarl_trust_region.config_files import name_of
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments.sweep import read_sweep
from epymarl_trust_region.run_config import LABELS, RunConfig, check_run, unread
from epymarl_trust_region.suite.algorithms import check_learner
from support import ROOT, SCHEMAS, algorithm

LITE = yaml.safe_load((ROOT / "configs/lite/default.yaml").read_text())
RUN = yaml.safe_load((ROOT / "configs/run.yaml").read_text())
FIELDS = {f.name: f for f in dataclasses.fields(RunConfig)}
FULL = {**LITE, **RUN, "name": "x", "learner": "happo_learner", "seed": 1, "env": "gymma", "device": "cpu"}
# One value of each type, none of which is a choice of any key.
SAMPLES = {"int": 3, "float": 0.5, "bool": True, "str": "abc"}


def check(config, before=FULL) -> None:
    check_run(config, before, "here")


def accounted_for(defaults, schema) -> set[str]:
    """Keys of a default.yaml that are checked, refused when changed, or labels."""
    of_learner = {f.name for f in dataclasses.fields(schema)} | {*OnPolicyConfig.no_meaning, *schema.no_meaning}
    return {*FIELDS, *of_learner, *LABELS, "env_args"}.intersection(defaults)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda schema: schema.__name__)
def test_every_key_of_the_hosts_defaults_is_accounted_for(schema):
    # EPyMARL's default.yaml is the same: tests/integration/test_conformance.py.
    assert accounted_for(LITE, schema) == set(LITE)


def test_the_defaults_pass():
    check(FULL)
    check({})  # hosts of other versions may have fewer keys


def test_every_key_of_run_yaml_is_checked_here_or_by_the_recording():
    assert set(RUN) == set(RUN_KEYS)
    assert set(RUN) - set(FIELDS) == {"save_episodes", "save_episodes_overwrite"}


@pytest.mark.parametrize("name", FIELDS)
def test_every_key_has_its_type(name):
    kind = FIELDS[name].type.split(" |")[0]
    for other, value in SAMPLES.items():
        if other != kind:
            with pytest.raises(ConfigError, match=rf"^{name}={value!r} is not of type {kind}; give {name} "):
                check(FULL | {name: value})


@pytest.mark.parametrize("name", [name for name in FIELDS if not FIELDS[name].metadata["optional"]])
def test_null_is_none_of_them(name):
    with pytest.raises(ConfigError, match=f"^{name}=None is not of type"):
        check(FULL | {name: None})


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"torch_threads": "many"},
            "torch_threads=.many. is not of type int; give torch_threads a whole number, or the word auto",
        ),
        ({"test_nepisode": "abc"}, "test_nepisode='abc' is not of type int"),
        ({"test_nepisode": 0}, "test_nepisode=0 is out of range; it must be test_nepisode >= 1"),
        ({"test_interval": float("nan")}, "test_interval=nan is not of type int"),
        ({"test_interval": float("inf")}, "test_interval=inf is not of type int"),
        ({"test_interval": 0}, "test_interval > 0"),
        ({"test_interval": 0.5}, "test_interval=0.5 is not of type int"),
        ({"log_interval": -1}, "log_interval >= 0"),
        ({"runner_log_interval": -1}, "runner_log_interval >= 0"),
        ({"learner_log_interval": -1}, "learner_log_interval >= 0"),
        ({"t_max": 0}, "t_max > 0"),
        ({"save_model": True, "save_model_interval": -1}, "save_model_interval >= 0"),
        ({"checkpoint_path": "x", "load_step": -1}, "load_step >= 0"),
        ({"batch_size_run": 0}, "batch_size_run >= 1"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"buffer_size": 0}, "buffer_size >= 1"),
        ({"env_processes": 0}, "env_processes >= 1"),
        ({"seed": -1}, "seed=-1 is out of range; it must be seed >= 0 and seed <= 4294967295"),
        ({"seed": 2**32}, "seed <= 4294967295"),
        ({"name": ""}, "name is empty; give name a word"),
        ({"local_results_path": ""}, "local_results_path is empty"),
        ({"common_reward": "%s"}, "common_reward='%s' is not of type bool"),
        ({"reward_scalarisation": "max"}, "reward_scalarisation='max' is unknown; choose one of sum, mean"),
        ({"wandb_mode": "on"}, "wandb_mode='on' is unknown; choose one of offline, online"),
        ({"batched_envs": "all"}, "batched_envs='all' is unknown; choose one of exact, any, none"),
        ({"env_args": 3}, "env_args=3 is no group of keys"),
    ],
)
def test_wrong_values_are_refused_by_name_whosever_algorithm_it_is(changes, message):
    for learner in ("happo_learner", "q_learner"):
        with pytest.raises(ConfigError, match=message):
            check(FULL | {"learner": learner} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"t_max": 1e6, "test_interval": 1e4, "log_interval": 0, "learner_log_interval": 0, "runner_log_interval": 1e3},
        {"save_model": True, "save_model_interval": 1e5},
        {"checkpoint_path": "there", "load_step": 5e4},
        {"wandb_team": None, "wandb_project": None, "env_processes": None},
        {"seed": 0},
        {"seed": 2**32 - 1},
        {"repeat_id": "a", "label": 3, "hypergroup": [1]},  # labels
        {"lr": "fast", "mixer": 3},  # of the suite's algorithms: theirs
        {"env_args": {}},
    ],
)
def test_right_values_pass(changes):
    check(FULL | changes)


def test_steps_written_as_1e6_are_taken_by_our_learners():
    assert SCHEMAS["happo_learner"].from_mapping(algorithm(t_max=1e6, learner_log_interval=1e4)).t_max == 1_000_000
    with pytest.raises(ConfigError, match="t_max=10.5 is not of type int"):
        SCHEMAS["happo_learner"].from_mapping(algorithm(t_max=10.5))


@pytest.mark.parametrize(
    "changes, message, needs",
    [
        ({"save_model_interval": 10}, "save_model_interval=10 in here does nothing: save_model=False", "save_model"),
        ({"load_step": 10}, "load_step=10 in here does nothing: there is no checkpoint_path", "checkpoint_path"),
        ({"wandb_team": "a"}, "wandb_team=a in here does nothing: use_wandb=False", "use_wandb"),
        ({"wandb_project": "a"}, "wandb_project=a .*use_wandb=False", "use_wandb"),
        ({"wandb_mode": "online"}, "wandb_mode=online .*use_wandb=False", "use_wandb"),
        ({"wandb_save_model": True, "save_model": True}, "wandb_save_model=True .*use_wandb=False", "use_wandb"),
        ({"wandb_save_model": True, "use_wandb": True}, "wandb_save_model=True .*save_model=False", "save_model"),
    ],
)
def test_a_key_that_needs_another_is_refused_without_it(changes, message, needs):
    with pytest.raises(ConfigError, match=f"^{message}.*; remove it$"):
        check(FULL | changes)
    check(FULL | changes | {needs: "there" if needs == "checkpoint_path" else True})
    check(FULL | changes, before=FULL | changes)  # a yaml file's own values are no user's mistake


def test_a_scalarisation_of_one_reward_or_of_individual_ones_is_refused():
    for changes in ({"common_reward": False}, {"env": "smax"}, {"env": "smaclite"}, {"env": "sc2"}, {"env": "sc2v2"}):
        with pytest.raises(ConfigError, match="^reward_scalarisation=mean in here does nothing: "):
            check(FULL | {"reward_scalarisation": "mean"} | changes)
    check(FULL | {"reward_scalarisation": "mean"})
    assert "reward_scalarisation" not in unread(FULL)


@pytest.mark.parametrize("file", sorted((ROOT / "configs/sweeps").glob("*.yaml")), ids=lambda f: f.stem)
def test_our_own_sweeps_set_nothing_that_does_nothing(file):
    for experiment in read_sweep(file).experiments:
        own = ROOT / "configs/algs" / f"{experiment.config}.yaml"
        theirs = {"learner": "theirs", "runner": "parallel", "name": name_of(experiment.config)}
        algorithm_keys = yaml.safe_load(own.read_text()) if own.exists() else theirs
        before = {**LITE, **RUN, "env": experiment.env_config, **algorithm_keys}
        given = {key: value for key, value in experiment.overrides.items() if "." not in key}
        check_run(before | given, before, experiment.name)
        check_learner(before | given, LITE, experiment.name, before)
        assert before["runner"] == "vector" or not {"env_processes", "batched_envs"}.intersection(given)
