"""What is asked for beside training is had, or refused in one line before anything is built; and what is warned of."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import pytest
from epymarl_trust_region.environments import mamujoco
from epymarl_trust_region.errors import CapabilityError, ConfigError
from epymarl_trust_region.suite.feasible import check_feasible, shared_reward_warning
from support import algorithm

MPE = {"key": "pz-mpe-simple-spread-v3", "time_limit": 25, "seed": 3}


class Screen(gymnasium.Env):
    metadata = {"render_modes": ["human", "rgb_array"]}
    open, drawn = 0, multiprocessing.Value("i", 0)  # it is tried in a process of its own

    def __init__(self, render_mode=None) -> None:
        self.render_mode = render_mode
        Screen.open += 1

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def render(self) -> None:
        Screen.drawn.value += 1

    def close(self) -> None:
        Screen.open -= 1


gymnasium.register("Screen-v0", entry_point=Screen)


def config(**changes) -> dict:
    off = dict.fromkeys(("evaluate", "save_replay", "render", "use_tensorboard", "use_wandb"), False)
    return {"env": "gymma", "env_args": MPE, "checkpoint_path": "", **off, **changes}


def test_a_run_that_asks_for_nothing_passes():
    check_feasible(config())
    check_feasible({"learner": "q_learner"})


@pytest.mark.parametrize("key", ["evaluate", "save_replay"])
def test_a_model_that_is_to_be_tested_has_to_be_named(key):
    with pytest.raises(ConfigError, match=f"^{key}=True needs a model: add checkpoint_path=FOLDER.*set {key}=False"):
        check_feasible(config(env="sc2", **{key: True}))
    check_feasible(config(env="sc2", checkpoint_path="there", **{key: True}))


@pytest.mark.parametrize("env", ["gymma", "smax", "smaclite"])
def test_environments_without_replays_are_refused(env):
    with pytest.raises(
        CapabilityError, match=f"^save_replay=True: environments of env={env} keep no replays; use eval"
    ):
        check_feasible(config(env=env, checkpoint_path="there", save_replay=True))


@pytest.mark.parametrize(
    "key, error, message",
    [
        ("trust-region-climbing-v0", CapabilityError, r"cannot be drawn on a screen \(it draws nothing\)"),
        ("trust-region-checkers-v0", CapabilityError, r"cannot be drawn on a screen \(it draws rgb_array\)"),
        ("pz-mpe-simple-spread-v3", ConfigError, "only where it was made for a screen: add env_args.render_mode=human"),
        ("lbforaging:Foraging-5x5-2p-1f-v3", ConfigError, "add env_args.render_mode=human"),
        ("Screen-v0", ConfigError, "render=True shows Screen-v0 only .*render_mode=human, or set render=False"),
    ],
)
def test_drawing_that_nobody_would_see_is_refused(key, error, message):
    importlib.import_module("epymarl_trust_region.environments.games")
    importlib.import_module("lbforaging")
    with pytest.raises(error, match=message):
        check_feasible(config(render=True, env_args={"key": key, "time_limit": 5}))
    check_feasible(config(render=False, env_args={"key": key, "time_limit": 5}))


def test_an_environment_that_is_made_for_a_screen_is_drawn():
    env_args = {"key": "Screen-v0", "time_limit": 5, "seed": 1, "pretrained_wrapper": None, "render_mode": "human"}
    check_feasible(config(render=True, env_args=env_args))
    assert Screen.drawn.value == 1
    with pytest.raises(ConfigError, match="made for a screen"):
        check_feasible(config(render=True, env_args=env_args | {"render_mode": "rgb_array"}))
    assert Screen.open == 0
    check_feasible(config(render=True, env="sc2", env_args={"map_name": "3m"}))  # the host knows


def only_where_it_is_tried_apart() -> None:
    if sys.platform != "linux" or "jax" in sys.modules:
        pytest.skip("it is tried in this process, which it would end")


def test_a_package_that_ends_the_process_where_there_is_no_screen_is_one_line(monkeypatch):
    only_where_it_is_tried_apart()
    env_args = {"key": "Screen-v0", "time_limit": 5, "seed": 1, "render_mode": "human"}
    monkeypatch.setattr(Screen, "render", lambda self: os.abort())
    with pytest.raises(
        CapabilityError, match=r"^render=True: Screen-v0 cannot be drawn here .*exit code -6\); set rend"
    ):
        check_feasible(config(render=True, env_args=env_args))


def test_a_robot_is_drawn_on_a_screen_alone(monkeypatch):
    pytest.importorskip("gymnasium_robotics")
    only_where_it_is_tried_apart()
    robot = {"key": "mamujoco", "scenario": "Hopper", "partition": "3x1", "time_limit": 5}
    for mode in (None, "rgb_array"):
        with pytest.raises(
            ConfigError, match="^render=True shows a robot only .*env_args.render_mode=human, or set rend"
        ):
            check_feasible(config(render=True, env="mamujoco", env_args={**robot, "render_mode": mode}))
    on_screen = config(render=True, env="mamujoco", env_args={**robot, "render_mode": "human"})
    monkeypatch.setattr(mamujoco.MaMuJoCoEnv, "render", lambda self: os.abort())
    with pytest.raises(
        CapabilityError, match=r"^render=True: Hopper cannot be drawn here .*exit code -6\); set render"
    ):
        check_feasible(on_screen)
    monkeypatch.setattr(mamujoco.MaMuJoCoEnv, "render", lambda self: None)
    check_feasible(on_screen)


def test_smax_is_not_drawn():
    with pytest.raises(CapabilityError, match="SMAX battles cannot be drawn; set render=False"):
        check_feasible(config(render=True, env="smax", env_args={"map_name": "3m"}))


def test_tensorboard_that_is_missing_or_broken_is_refused(monkeypatch):
    package: Any = ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = None
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    check_feasible(config(use_tensorboard=True))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        ConfigError, match="^use_tensorboard=True needs the package tensorboard: pip install tensorboard$"
    ):
        check_feasible(config(use_tensorboard=True))

    def broken(name):
        raise TypeError("Descriptors cannot be created directly.\nIf this call came from a _pb2.py file, ...")

    monkeypatch.setattr("epymarl_trust_region.suite.feasible.importlib", SimpleNamespace(import_module=broken))
    with pytest.raises(
        ConfigError, match=r"cannot be imported \(Descriptors cannot be created directly.\); pip install"
    ):
        check_feasible(config(use_tensorboard=True))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({}, "use_wandb=True needs wandb_team and wandb_project; name"),
        ({"wandb_team": "a"}, "use_wandb=True needs wandb_project; name"),
        ({"wandb_team": "a", "wandb_project": "b"}, "use_wandb=True needs the package wandb: pip install wandb"),
    ],
)
def test_wandb_that_cannot_be_used_is_refused(changes, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=message):
        check_feasible(config(use_wandb=True, **changes))


def warned(key: str, **changes) -> str | None:
    common = {"common_reward": True, "reward_scalarisation": "sum"}
    return shared_reward_warning(config(env_args={"key": key, "time_limit": 25}) | common | changes)


@pytest.mark.parametrize("name", ["simple-tag-v3", "simple-adversary-v3", "simple-push-v3", "simple-world-comm-v3"])
def test_adversaries_that_share_a_reward_with_their_prey_are_warned_of(name):
    said = warned(f"pz-mpe-{name}")
    assert said.startswith(f"pz-mpe-{name} has two sides, and common_reward=True pays both the sum of what they win")
    assert "common_reward=False" in said and "ir_ippo" in said
    assert warned(f"epymarl_trust_region.environments.mpe:pz-mpe-{name}")
    assert warned(f"pz-mpe-{name}", common_reward=False) is None
    assert warned(f"pz-mpe-{name}", env="other") is None


def test_vmas_has_the_same_games_and_others_have_one_side():
    assert warned("vmas-simple_tag") and warned("vmas-simple_adversary")
    for key in (
        "pz-mpe-simple-spread-v3",
        "pz-mpe-simple-v3",
        "vmas-balance",
        "trust-region-climbing-v0",
        "mine:tag-v0",
    ):
        assert warned(key) is None
    pretrained = {"key": "pz-mpe-simple-tag-v3", "pretrained_wrapper": "PretrainedTag"}  # plays the prey
    assert warned("", env_args=pretrained) is None and warned("", env_args=pretrained | {"pretrained_wrapper": None})


def test_a_screen_that_is_not_there_is_named_before_the_run(monkeypatch):
    def windowless(self):
        raise OSError("windows not\n available")

    monkeypatch.setattr(Screen, "render", windowless)
    env_args = {"key": "Screen-v0", "time_limit": 5, "render_mode": "human"}
    message = (
        r"^render=True: Screen-v0 cannot be drawn here \(OSError: windows not available\); set render=False, or run"
    )
    with pytest.raises(CapabilityError, match=message):
        check_feasible(config(render=True, env_args=env_args))
    assert Screen.open == 0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "happo",
            {"learner": "q_learner", "name": "qmix"},
            "qmix chooses among discrete ones; use an algorithm with Gau",
        ),
        ("log_linear_ppo", {}, "log-linear PPO does not support continuous actions: .* use --config=happo"),
        ("inpg", {"tabular": True}, "tabular=True.* has no continuous actions"),
        ("happo", {"runner": "parallel"}, "runner=parallel cannot carry; set runner=vector"),
    ],
)
def test_what_knows_discrete_actions_alone_is_refused_where_they_are_continuous(name, changes, message):
    sizes = dict.fromkeys(("batch_size", "batch_size_run", "buffer_size"), 4)
    config = algorithm(name) | sizes | {"env": "mamujoco", "env_processes": None, "batched_envs": "exact"}
    own = {"env": "gymma", "env_args": {"key": "Own-v0"}}
    if name == "happo":
        check_feasible(config, continuous=True)
        check_feasible(config | own | {"save_episodes": "there"}, continuous=True)
    for task in ({}, own):
        with pytest.raises(CapabilityError, match=message):
            check_feasible(config | task | changes, continuous=True)
    if name != "inpg":
        check_feasible(config | changes)
