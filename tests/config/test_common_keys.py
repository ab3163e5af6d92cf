"""A key that stands in several algorithms' yaml files has one default and one comment, but where it is meant not to.

EPyMARL's loader knows no inheritance, so every file is whole. What a paper or HARL has, in parentheses at the end of a
comment, is of one algorithm and not compared.
"""

from __future__ import annotations

import re

import pytest
import yaml
from support import ROOT

MATRL = ("il", "il_pp", "matrl", "matrl_no_br")
RATIOS = ("ir_ippo", "ir_mappo", "jr_ppo")
LINEAR = ("log_linear_ppo", "log_linear_ppo_offline")
PRESETS = "_paper"  # ends the names of files with a paper's settings for its own tasks: different by purpose
ALL = {file.stem: file.read_text() for file in sorted((ROOT / "configs/algs").glob("*.yaml"))}
FILES = {name: text for name, text in ALL.items() if not name.endswith(PRESETS)}
OWN = {"name", "learner"}  # of each file

#: Key -> the files whose default differs from that of all others, and why.
DEFAULTS = {
    "mac": (LINEAR, "their policies are tables of features"),
    "share_parameters": (RATIOS, "as in their paper"),
    "obs_agent_id": (RATIOS, "shared actors have to tell agents apart"),
    "epochs": (MATRL, "its trial and its response are two rounds"),
    "eps_clip": (MATRL, "as in its paper"),
    "standardise_advantages": (("log_linear_ppo",), "its step has the scale of the returns"),
    "critic": (("ir_ippo", *MATRL), "each agent has an advantage of its own"),
    "meta_game": (("il", "il_pp"), "the ablation that they are"),
    "tabular": (("wolf",), "it is of tables alone"),
    "eta": (("wolf",), "a gradient in probabilities, of the size that its studies have"),
    "best_response": (("il", "matrl_no_br"), "the ablation that they are"),
}
#: Key -> the files whose comments differ from that of all others, by what they do with the key.
COMMENTS = {
    "mac": (LINEAR,),
    "hidden_dim": (("log_linear_ppo",),),
    "use_rnn": (("log_linear_ppo",), ("wolf",)),
    "share_parameters": (RATIOS, ("log_linear_ppo",)),
    "lr": (MATRL,),
    "epochs": (MATRL, RATIOS),
    "eps_clip": (MATRL, ("ir_ippo", "ir_mappo"), ("jr_ppo",)),
    "grad_norm_clip": (("hatrpo", "inpg", "ipg", "log_linear_ppo", "wolf"),),
    "agent_order": (("log_linear_ppo",),),
    "factor_clip": (("log_linear_ppo",),),
    "standardise_advantages": (("log_linear_ppo",),),
    "gamma": (("inpg", "ipg", "wolf"),),
    "critic": (MATRL, ("inpg", "ipg", "wolf"), ("ir_ippo",), ("ir_mappo",)),
    "test_greedy": (("log_linear_ppo_offline",),),
    "cg_iters": (("inpg",),),
    "cg_damping": (("inpg",),),
    "eta": (("ipg",), ("wolf",)),
    "tabular": (("wolf",),),
    "beta": (("log_linear_ppo_offline",),),
}
LINE = re.compile(r"^([a-z_]+): *(.*?) +# (.*(?:\n +# .*)*)", re.M)
SOURCES = re.compile(r" \((?:paper|HARL)[^()]*\)|, as in the paper$|; try .*$")


def entries(text: str) -> dict[str, tuple[str, str]]:
    """Key -> default and comment, without what a paper or HARL has."""
    return {key: (value, SOURCES.sub("", re.sub(r"\n +# ", " ", why))) for key, value, why in LINE.findall(text)}


KEYS = {name: entries(text) for name, text in FILES.items()}
COMMON = sorted({key for of in KEYS.values() for key in of if sum(key in other for other in KEYS.values()) > 1} - OWN)


def groups(key: str, part: int, apart: tuple[tuple[str, ...], ...]) -> list[set[str]]:
    """What the files say of a key, group by group: first those that stand in none."""
    rest = tuple(name for name in FILES if not any(name in group for group in apart))
    return [{KEYS[name][key][part] for name in group if key in KEYS[name]} for group in (rest, *apart)]


@pytest.mark.parametrize("key", COMMON)
def test_a_common_key_has_one_default_and_one_comment(key):
    for part, apart in ((0, DEFAULTS.get(key, ())[:1]), (1, COMMENTS.get(key, ()))):
        found = groups(key, part, apart)
        assert all(len(group) == 1 for group in found), found
        assert len(set.union(*found)) == len(found), f"no longer different: {found}"


def test_the_tables_name_common_keys_and_files_that_have_them():
    assert set(DEFAULTS) <= set(COMMON) and set(COMMENTS) <= set(COMMON)
    for key in COMMON:
        for group in (*DEFAULTS.get(key, ())[:1], *COMMENTS.get(key, ())):
            assert all(key in KEYS[name] for name in group), (key, group)


def test_every_key_is_seen():
    for name, text in FILES.items():
        assert list(KEYS[name]) == re.findall(r"^([a-z_]+):", text, re.M), name


def test_a_preset_has_the_keys_of_its_algorithm():
    presets = {name: entries(text) for name, text in ALL.items() if name not in FILES}
    assert presets
    for name, found in presets.items():
        assert set(found) == set(KEYS[of(name)]), name


def of(preset: str) -> str:
    """The algorithm of a preset: the longest name that it begins with."""
    return max((name for name in FILES if preset.startswith(f"{name}_")), key=len)


#: A paper's tables: what they say of a key, under the names that we have for it.
TABLES = {
    "happo_smac_paper": dict(lr=5e-4, epochs=5, eps_clip=0.3, critic_lr=5e-4, gamma=0.99, hidden_dim=64, batch=3200),
    "hatrpo_smac_paper": dict(accept_ratio=0.5, critic_lr=5e-4, gamma=0.99, hidden_dim=64, batch=3200),
    "ir_mappo_smac_paper": dict(lr=5e-4, epochs=5, eps_clip=0.3, critic_lr=5e-4, gamma=0.99, batch=3200),
    "happo_mamujoco_paper": dict(lr=5e-6, epochs=5, eps_clip=0.3, critic_lr=5e-3, gamma=0.99, batch=4000),
    "hatrpo_mamujoco_paper": dict(kl_threshold=1e-4, accept_ratio=0.5, critic_lr=5e-3, gamma=0.99, batch=4000),
    "ir_mappo_mamujoco_paper": dict(lr=5e-6, epochs=5, eps_clip=0.3, critic_lr=5e-3, gamma=0.99, batch=4000),
    "ir_ippo_mamujoco_paper": dict(lr=5e-6, epochs=5, eps_clip=0.3, critic_lr=5e-3, gamma=0.99, batch=4000),
    "matrl_grid_paper": dict(lr=2e-3, epochs=10, br_epochs=5, kl_coef=1e-3, entropy_coef=0.05, gamma=0.99, eps_clip=0.1,
                             br_weight_clip=0.1, hidden_dim=128, activation="leaky_relu", batch=2000),
    "matrl_mamujoco_paper": dict(lr=2e-3, epochs=10, br_epochs=5, kl_coef=0.01, entropy_coef=0.05, gamma=0.99,
                                 batch=4000),
    "matrl_pong_paper": dict(lr=2e-3, epochs=10, br_epochs=5, kl_coef=0.01, entropy_coef=0.05, gamma=0.99, batch=4000),
    "jr_ppo_paper": dict(eps_clip=0.1, share_parameters=True),
    "ir_ippo_paper": dict(eps_clip=0.1, share_parameters=True),
    "ir_mappo_paper": dict(eps_clip=0.1, share_parameters=True),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ALL if name not in FILES])
def test_a_preset_is_what_the_papers_tables_say(name):
    found = yaml.safe_load(ALL[name])
    found["batch"] = found["batch_size_run"] * found["rollout_steps"]
    assert {key: found[key] for key in TABLES[name]} == TABLES[name]
