"""A key that is refused because nothing reads it changes nothing; one that is not refused, or not there, does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.numerics.equilibrium import Equilibrium
from epymarl_trust_region.suite.algorithms import check_learner
from support import LEARNERS, ROOT, SCHEMAS, algorithm, make_batch, make_learner, one_hot

HOST_DEFAULTS = yaml.safe_load((ROOT / "configs/lite/default.yaml").read_text()) | {"device": "cpu"}
NASH = {"meta_game": "nash", "best_response": False}
DISTILLED = NASH | {"mixture": "distilled"}

# Algorithm, settings beside which the key is not read, the key, another value, settings beside which it is read
# (None: there are none).
UNREAD = [
    ("happo", {}, "value_norm_beta", 0.5, {"value_norm": "popart"}),
    ("happo", {"critic": "individual"}, "obs_individual_obs", True, {"critic": "central"}),
    ("hatrpo", {"line_search_steps": 0}, "backtrack_coef", 0.1, {"line_search_steps": 9, "kl_threshold": 1.0}),
    ("il", {}, "br_epochs", 9, {"best_response": True}),
    ("il", {}, "br_weight_clip", 0.9, {"best_response": True, "lr": 0.05}),
    ("il", {}, "meta_ratio_clip", 0.9, {"best_response": True, "lr": 0.05}),
    ("il", {}, "selection", "welfare", {"meta_game": "nash", "best_response": True}),
    ("il", {}, "mixture", "distilled", NASH | {"lr": 0.05}),
    ("il", {}, "distill_epochs", 3, DISTILLED | {"lr": 0.05}),
    ("il_pp", {}, "selection", "welfare", {"meta_game": "nash"}),
    ("il_pp", {}, "mixture", "distilled", NASH | {"lr": 0.05}),
    ("matrl", {}, "mixture", "distilled", NASH | {"lr": 0.05}),
    ("matrl", {}, "distill_epochs", 3, DISTILLED | {"lr": 0.05}),
    ("matrl", {"best_response": False, "meta_game": "current"}, "mixture", "distilled", NASH | {"lr": 0.05}),
    ("matrl_no_br", {}, "br_epochs", 9, {"best_response": True}),
    ("matrl_no_br", {}, "br_weight_clip", 0.9, {"best_response": True, "lr": 0.05}),
    ("matrl_no_br", {}, "distill_epochs", 3, DISTILLED | {"lr": 0.05}),
    ("ir_ippo", {"eps_clip": None}, "clip_scaling", "per_agent", {"eps_clip": 0.05, "lr": 0.05}),
    ("inpg", {"tabular": True}, "hidden_dim", 8, {"tabular": False}),
    ("inpg", {"tabular": True}, "cg_iters", 1, {"tabular": False}),
    ("inpg", {"tabular": True}, "cg_damping", 0.5, {"tabular": False}),
    ("ipg", {"tabular": True}, "hidden_dim", 8, {"tabular": False}),
    ("wolf", {}, "hidden_dim", 8, None),
    ("log_linear_ppo", {}, "hidden_dim", 8, None),
    ("log_linear_ppo", {}, "agent_order", "fixed", {"conditioning": "product"}),
    ("log_linear_ppo", {}, "factor_clip", 0.01, {"conditioning": "product", "beta": 0.1}),
    ("log_linear_ppo", {}, "fourier_features", 8, {"features": "fourier"}),
    ("log_linear_ppo", {}, "fourier_width", 9.0, {"features": "fourier"}),
    ("log_linear_ppo", {"policy_input": "state"}, "obs_agent_id", True, {"policy_input": "obs"}),
    ("log_linear_ppo", {"policy_input": "state"}, "obs_last_action", True, {"policy_input": "obs"}),
]  # fmt: skip


def trained(name: str, **settings) -> list[torch.Tensor]:
    """Every parameter of actors and critic after three updates."""
    batches = [one_hot(make_batch(seed=seed, B=3, T=4, A=4)) for seed in range(3)]
    learner = make_learner(batches[0], name, learner_log_interval=0, **settings)
    if settings.get("meta_game") == "nash":  # an equilibrium that every choice of settings would show
        learner.equilibrium = lambda game: Equilibrium(np.full(game.n_players, 0.5), 0.0, "none")
    torch.manual_seed(0)
    for t_env, batch in enumerate(batches):
        learner.train(batch, t_env, 0)
    return [parameter.detach().clone() for parameter in (*learner.mac.parameters(), *learner.critic.parameters())]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("name, settings, key, value, reads", UNREAD, ids=lambda x: x if isinstance(x, str) else "")
def test_what_is_refused_changes_nothing_and_what_is_not_does(name, settings, key, value, reads):
    before = algorithm(name, **settings)
    with pytest.raises(ConfigError, match=rf"^{key}={value} in the configuration does nothing: .*; remove it$"):
        check_learner(before | {key: value}, HOST_DEFAULTS, before=before)
    assert same(trained(name, **settings), trained(name, **settings, **{key: value}))
    if reads is None:
        return
    before = algorithm(name, **settings, **{k: v for k, v in reads.items() if k not in settings}) | reads
    check_learner(before | {key: value}, HOST_DEFAULTS, before=before)
    settings = settings | reads
    if key != "selection":  # it is between several equilibria
        assert not same(trained(name, **settings), trained(name, **settings, **{key: value}))


def test_every_key_that_can_be_refused_is_in_the_table():
    """For every learner, over all words and truth values that its keys can take, two at a time."""
    found = set()
    for file in sorted((ROOT / "configs/algs").glob("*.yaml")):
        config = algorithm(file.stem)
        schema = SCHEMAS[config["learner"]]
        if config["learner"] not in LEARNERS:  # learns from recorded episodes: tests/offline/test_command.py
            continue
        options = {f.name: f.metadata["choices"] or (True, False) for f in dataclasses.fields(schema)
                   if f.metadata["choices"] or f.type == "bool"}  # fmt: skip
        for one, values in options.items():
            for other, more in options.items():
                for changes in ({one: a, other: b} for a in values for b in more):
                    unread = schema.from_mapping(config | changes | {"line_search_steps": 0, "eps_clip": None}).unread()
                    found |= {(schema, key) for key in unread}
    assert found == {(SCHEMAS[algorithm(name)["learner"]], key) for name, _, key, _, _ in UNREAD} | {
        (schema, key) for schema in {schema for schema, _ in found} for key in ("value_norm_beta", "obs_individual_obs")
    }


def test_a_value_of_the_yaml_itself_is_no_mistake():
    for file in sorted((ROOT / "configs/algs").glob("*.yaml")):
        config = algorithm(file.stem)
        check_learner(config, HOST_DEFAULTS, before=config)
        check_learner(
            config | {"br_epochs": 9} if "br_epochs" in config else config, HOST_DEFAULTS
        )  # nothing to compare


def test_what_the_host_alone_has_is_refused_by_every_learner():
    for file in sorted((ROOT / "configs/algs").glob("*.yaml")):
        for key, value in (("agent", "nonsense"), ("optim_alpha", 0.5)):
            with pytest.raises(ConfigError, match=f"key `{key}` in the configuration has no meaning for .*; remove it"):
                check_learner(algorithm(file.stem, **{key: value}), HOST_DEFAULTS)
