"""Every yaml fits its dataclass and comments every key; every wrong value is refused by name, with the remedy."""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml
from epymarl_trust_region import configuration
from epymarl_trust_region.config import RUN_KEYS, check_known_keys, flatten, nearest
from epymarl_trust_region.errors import CapabilityError, ConfigError
from epymarl_trust_region.suite import algorithms
from epymarl_trust_region.suite.algorithms import check_learner
from epymarl_trust_region.suite.selection import lite_host
from support import CONTROLLERS, LEARNERS, ROOT, SCHEMAS, algorithm

ALGORITHMS = sorted((ROOT / "configs/algs").glob("*.yaml"))
HOST_DEFAULTS = yaml.safe_load((ROOT / "configs/lite/default.yaml").read_text())


def check(config) -> None:
    check_learner(config, HOST_DEFAULTS | {"device": "cpu"}, where="happo.yaml")


def test_the_configuration_of_a_learner_stands_with_it():
    for part in (*LEARNERS.values(), *algorithms.offline_learners().values()):
        learner = part.load()
        assert learner.config_class.__module__ == learner.__module__


@pytest.mark.parametrize("file", ALGORITHMS, ids=lambda f: f.stem)
def test_every_yaml_fits_its_dataclass_and_only_that(file):
    own = yaml.safe_load(file.read_text())
    schema = SCHEMAS[own["learner"]]
    fields = {f.name for f in dataclasses.fields(schema)}
    assert set(own) - {"use_cuda"} <= fields, "a key that no learner reads"  # that one is the hosts'
    assert fields <= set(algorithm(file.stem)), "a key without a default"
    check(algorithm(file.stem))
    assert own["name"] == file.stem and own["mac"] in CONTROLLERS


@pytest.mark.parametrize("file", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_every_key_of_every_yaml_has_a_comment(file):
    for line in file.read_text().splitlines():
        if re.match(r"\s*[a-z_]+:", line):
            assert re.search(r"#\s+\S", line), f"{file.name}: {line}"


def test_harls_tuned_values_for_mujoco_are_overrides_that_pass():
    """They stand in comments of the environment's yaml, `key=value` for all robots and a table for each."""
    text = (ROOT / "configs/envs/mamujoco.yaml").read_text().partition("# HARL's tuned runs")[2]
    common, _, rest = text.partition("#   HAPPO ")
    table, _, of_hatrpo = rest.partition("#   MAPPO")
    header, *rows = [re.split(r"\s{2,}", line.strip("# ")) for line in table.strip().splitlines()]
    assert header == ["lr", "critic_lr", "both epochs", "both num_mini_batch", "eps_clip", "entropy_coef",
                      "use_linear_lr_decay"] and len(rows) == 6  # fmt: skip
    shared = dict(re.findall(r"(\w+)=(\S+)", common))
    for _, *values in rows:
        lr, critic_lr, passes, parts, clip, entropy, decay = values
        own = dict(lr=lr, critic_lr=critic_lr, epochs=passes, critic_epochs=passes, actor_num_mini_batch=parts)
        own |= dict(critic_num_mini_batch=parts, eps_clip=clip, entropy_coef=entropy, use_linear_lr_decay=decay)
        check_overrides("happo", shared | own)
    of_all = dict(re.findall(r"(\w+)=([\d.]+)", of_hatrpo.partition("#   HATRPO: ")[2]))
    assert of_all.keys() == {"critic_lr", "critic_epochs"}
    thresholds = re.findall(r" +(0\.0\d+)$", of_hatrpo, re.M)
    assert thresholds == ["0.01", "0.005", "0.001"]
    for threshold in thresholds:
        check_overrides("hatrpo", shared | of_all | {"kl_threshold": threshold})


def check_overrides(name: str, overrides: dict[str, str]) -> None:
    assert overrides.keys() <= algorithm(name).keys()
    check(algorithm(name, **{key: yaml.safe_load(value) for key, value in overrides.items()}))


def test_the_keys_of_every_run_are_those_of_the_yaml_and_known_everywhere():
    run = yaml.safe_load((ROOT / "configs/run.yaml").read_text())
    assert set(run) == set(RUN_KEYS) and not set(run) & set(HOST_DEFAULTS)
    for file in ALGORITHMS:
        check(algorithm(file.stem, **run))


def test_the_dataclasses_hold_no_defaults():
    for schema in SCHEMAS.values():
        for f in dataclasses.fields(schema):
            assert f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING, f.name


@pytest.mark.parametrize(
    "override, message",
    [
        ({"eps_clip": -1}, r"eps_clip=-1.* out of range.* eps_clip > 0 and eps_clip < 1"),
        ({"eps_clip": 0.0}, "eps_clip > 0"),
        ({"gamma": 1.5}, "gamma <= 1"),
        ({"gae_lambda": -0.1}, "gae_lambda >= 0"),
        ({"epochs": 0}, "epochs >= 1"),
        ({"epochs": 2.5}, "not of type int.* whole number"),
        ({"epochs": True}, "not of type int"),
        ({"lr": "1e-3"}, r"not of type float.*1\.0e-3"),
        ({"lr": float("nan")}, "lr=nan is out of range"),
        ({"entropy_coef": float("inf")}, "out of range"),
        ({"use_rnn": 1}, "not of type bool.* True or False"),
        ({"critic": "centrall"}, "critic='centrall' is unknown; choose one of central, individual"),
        ({"agent_order": "reverse"}, "choose one of random, fixed"),
        ({"value_norm": "running"}, "choose one of none, popart"),
        ({"huber_delta": 0}, "huber_delta > 0"),
        ({"factor_clip": 1.0}, "factor_clip < 1"),
        ({"lr": None}, "not of type float"),
        ({"mac": "basic_mac"}, "choose one of trust_region_mac"),
        ({"batch_size": 20}, "batch_size=20, batch_size_run=10 and buffer_size=10.* must be equal"),
        ({"buffer_size": 5000}, "must be equal"),
    ],
)
def test_wrong_values_are_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message):
        check(algorithm(**override))


@pytest.mark.parametrize(
    "name, override, message",
    [
        ("hatrpo", {"kl_threshold": 0}, "kl_threshold=0.0 is out of range; it must be kl_threshold > 0 .*without room"),
        ("hatrpo", {"kl_threshold": -0.1}, "kl_threshold > 0"),
        ("hatrpo", {"accept_ratio": 0.0}, "accept_ratio > 0 and accept_ratio < 1 .*share of the promised gain"),
        ("hatrpo", {"accept_ratio": 1}, "accept_ratio > 0 and accept_ratio < 1"),
        ("hatrpo", {"backtrack_coef": 1.0}, "backtrack_coef > 0 and backtrack_coef < 1"),
        ("hatrpo", {"backtrack_coef": 0}, "backtrack_coef > 0 and backtrack_coef < 1"),
        ("hatrpo", {"line_search_steps": -1}, "line_search_steps >= 0"),
        ("hatrpo", {"cg_iters": 0}, "cg_iters=0 is out of range; it must be cg_iters >= 1 .*no direction"),
        ("hatrpo", {"cg_damping": -1.0}, "cg_damping >= 0"),
        ("hatrpo", {"lr": 0.001}, "key `lr` in happo.yaml has no meaning for HATRPO: .* kl_threshold .*; remove it"),
        ("hatrpo", {"epochs": 5}, "unknown key `epochs`"),
        ("hatrpo", {"eps_clip": 0.2}, "unknown key `eps_clip`"),
        ("hatrpo", {"entropy_coef": 0.0}, "unknown key `entropy_coef`"),
        ("hatrpo", {"cg_iter": 5}, r"unknown key `cg_iter` in happo.yaml \(did you mean cg_iters\?\)"),
        ("jr_ppo", {"eps_clip": 1.5}, "eps_clip > 0 and eps_clip <= 1"),
        ("jr_ppo", {"clip_scaling": "none"}, "unknown key `clip_scaling`"),
        ("ir_mappo", {"clip_scaling": "per_step"}, "clip_scaling='per_step' is unknown; choose one of none, per_agent"),
        ("ir_ippo", {"eps_clip": 0}, "eps_clip > 0 and eps_clip <= 1"),
        ("jr_ppo", {"eps_clip": "null"}, "eps_clip=null is text on the command line; write eps_clip=None"),
        ("matrl", {"kl_coef": -0.01}, "kl_coef=-0.01 is out of range; it must be kl_coef >= 0"),
        ("ipg", {"gamma": 1}, "gamma=1.0 needs a horizon, .*: set env_args.time_limit, or gamma below 1"),
        ("happo", {"max_bad_updates": 0}, "max_bad_updates >= 1"),
        ("matrl", {"meta_game": "best"}, "meta_game='best' is unknown; choose one of nash, predicted, current"),
        ("matrl", {"selection": "first"}, "selection='first' is unknown; choose one of random, welfare"),
        ("matrl", {"mixture": "network"}, "mixture='network' is unknown; choose one of parameters, distilled"),
        ("matrl", {"meta_ratio_clip": 1.0}, "meta_ratio_clip > 0 and meta_ratio_clip < 1 .*a ratio of 0"),
        ("matrl", {"br_weight_clip": 1}, "br_weight_clip > 0 and br_weight_clip < 1 .*turn advantages around"),
        ("il_pp", {"br_epochs": 0}, "br_epochs >= 1"),
        ("matrl_no_br", {"distill_epochs": 0}, "distill_epochs >= 1"),
    ],
)
def test_wrong_values_of_the_other_algorithms_are_refused_by_name(name, override, message):
    with pytest.raises(ConfigError, match=message):
        check(algorithm(name, **override))


@pytest.mark.parametrize(
    "name, override",
    [
        ("hatrpo", {"cg_damping": 0, "line_search_steps": 0, "cg_iters": 1}),
        ("hatrpo", {"lr": HOST_DEFAULTS["lr"]}),  # the host's own default, which is always there
        ("jr_ppo", {"eps_clip": 1}),
        ("jr_ppo", {"eps_clip": None}),
        ("ir_mappo", {"eps_clip": None}),
        ("matrl", {"eps_clip": None, "kl_coef": 0.01}),
        ("inpg", {"gamma": 1, "env_args": {"time_limit": 25}}),
        ("jr_ppo", {"share_parameters": False, "critic": "individual"}),
        ("ir_mappo", {"clip_scaling": "per_agent", "eps_clip": 1.0}),
        ("ir_ippo", {"common_reward": False}),
        ("ir_mappo", {"common_reward": False}),
        ("matrl", {"common_reward": False}),
        ("il", {"critic": "central"}),
    ],
)
def test_right_values_of_the_other_algorithms_pass(name, override):
    check(algorithm(name, **override))


@pytest.mark.parametrize(
    "override",
    [
        {"huber_delta": None},
        {"huber_delta": 10},
        {"eps_clip": None},
        {"gamma": 1},
        {"factor_clip": 0.2},
        {"entropy_coef": 0, "gae_lambda": 0, "value_norm_beta": 0, "learner_log_interval": 0, "epochs": 1},
        {"gae_lambda": 1},
        {"critic": "individual"},  # HAPPO can do with it
        {"seed": 1, "plugin": {"host": "lite"}},  # Sacred's key and ours; no yaml has them
    ],
)
def test_right_values_pass(override):
    check(algorithm(**override))


def test_a_machine_with_a_gpu_trains_on_the_cpu_until_told_otherwise():
    """No GPU has been measured. The suite's own default, and so that of its own algorithms, is to use one."""
    assert HOST_DEFAULTS["use_cuda"] is True
    for file in ALGORITHMS:
        merged = configuration.read(lite_host(), file.stem, "gymma")[0]
        assert merged["use_cuda"] is ("offline" in file.stem), file.stem


POSITIVE = (
    "t_max",
    "lr",
    "critic_lr",
    "grad_norm_clip",
    "optim_eps",
    "gamma",
    "eps_clip",
    "factor_clip",
    "huber_delta",
)
AT_LEAST_ONE = (
    "batch_size",
    "batch_size_run",
    "buffer_size",
    "hidden_dim",
    "critic_hidden_dim",
    "epochs",
    "critic_epochs",
)
AT_LEAST_ZERO = ("entropy_coef", "gae_lambda", "value_norm_beta", "learner_log_interval")
BELOW_ONE = ("eps_clip", "factor_clip", "value_norm_beta")
AT_MOST_ONE = ("gamma", "gae_lambda")


@pytest.mark.parametrize(
    "name, value",
    [(name, 0) for name in POSITIVE + AT_LEAST_ONE]
    + [(name, -1) for name in AT_LEAST_ZERO]
    + [(name, 1) for name in BELOW_ONE]
    + [(name, 2) for name in AT_MOST_ONE],
)
def test_every_number_has_its_range(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}={value}(\.0)? is out of range; it must be {name} [<>]"):
        check(algorithm(**{name: value}))


def test_a_truth_value_is_no_number():
    with pytest.raises(ConfigError, match="^lr=True is not of type float; give lr a number$"):
        check(algorithm(lr=True))


def test_a_whole_number_serves_as_a_float():
    schema = SCHEMAS["happo_learner"]
    assert isinstance(schema.from_mapping(algorithm(gamma=1)).gamma, float)


def test_a_missing_key_is_named():
    config = algorithm()
    del config["gae_lambda"]
    with pytest.raises(ConfigError, match="`gae_lambda` is missing"):
        check(config)


def test_an_unknown_key_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown key `epss_clip` in happo.yaml \(did you mean eps_clip\?\)"):
        check(algorithm(epss_clip=0.2))
    with pytest.raises(ConfigError, match="unknown key `zzz` in happo.yaml; nothing reads it"):
        check(algorithm(zzz=1))


def test_the_hosts_own_algorithms_are_left_to_the_host():
    check_learner({"learner": "q_learner", "mixer": "qmix", "anything": 1}, HOST_DEFAULTS)


@pytest.mark.parametrize(
    "name, override, message",
    [
        ("happo", {"share_parameters": True}, "HAPPO does not support share_parameters=True.*ir_mappo"),
        ("happo", {"common_reward": False}, "HAPPO does not support common_reward=False.*Lemma 1.*ir_ippo"),
        ("hatrpo", {"share_parameters": True}, "HATRPO does not support share_parameters=True.*different policies"),
        ("hatrpo", {"common_reward": False}, "HATRPO does not support common_reward=False.*Lemma 1"),
        ("jr_ppo", {"common_reward": False}, "JR-PPO does not support common_reward=False.*joint ratio.*ir_ippo"),
        ("matrl", {"share_parameters": True}, "MATRL does not support share_parameters=True.*meta-game.*ir_ippo"),
    ],
)
def test_capabilities_are_enforced_with_the_reason(name, override, message):
    with pytest.raises(CapabilityError, match=message):
        check(algorithm(name, **override))


def test_nearest_flatten_and_known_keys():
    assert nearest("hapo", ["happo", "qmix"]) == " (did you mean happo?)"
    assert nearest("xyz", ["happo"]) == ""
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": {}}) == {"a.b": 1, "a.c.d": 2, "e": {}}
    check_known_keys(["a"], ["a", "b"], "here")
    with pytest.raises(ConfigError, match="`c` in here"):
        check_known_keys(["a", "c"], ["a", "b"], "here")
