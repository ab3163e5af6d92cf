"""Environment ids: where they lead, and what is said of one that does not exist."""

from __future__ import annotations

import os
import subprocess
import sys

import gymnasium
import pytest
from epymarl_trust_region.environments import mpe
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite import environments
from epymarl_trust_region.suite.environment_code import INSTALL
from epymarl_trust_region.suite.environments import check_environment, inspect, own_limit, resolve_key, resolved
from epymarl_trust_region.suite.size import Sizes
from support import ROOT

SPREAD = "pz-mpe-simple-spread-v3"
CLIMBING = "trust-region-climbing-v0"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Gymnasium's own registry, put back afterwards."""
    for key in list(gymnasium.registry):
        monkeypatch.setitem(gymnasium.registry, key, gymnasium.registry[key])
    return gymnasium.registry


@pytest.mark.parametrize(
    "key, module",
    [
        (SPREAD, "epymarl_trust_region.environments.mpe"),
        ("pz-mpe-no-such-thing-v9", "epymarl_trust_region.environments.mpe"),
        (CLIMBING, "epymarl_trust_region.environments.games"),
        ("trust-region-penalty-v0", "epymarl_trust_region.environments.games"),
    ],
)
def test_our_ids_name_the_module_that_registers_them(key, module, registry):
    mpe.register()
    assert resolve_key(key) == f"{module}:{key}"  # registered here already: a spawned worker knows nothing of that
    registry.pop(key, None)
    assert resolve_key(key) == f"{module}:{key}"


@pytest.mark.parametrize("key", ["lbforaging:Foraging-8x8-2p-3f-v3", "CartPole-v1", "x:pz-mpe-simple-v3", "a/b"])
def test_other_ids_are_left_as_they_are(key):
    assert resolve_key(key) == key


def test_an_id_that_the_host_has_registered_is_the_hosts(registry):
    registry.pop(SPREAD, None)
    gymnasium.register(SPREAD, entry_point="pettingzoo_wrapper:Else")
    assert resolve_key(SPREAD) == SPREAD


def test_a_resolved_id_is_found_by_a_process_that_knows_nothing_else():
    code = f"import gymnasium; gymnasium.make({resolve_key(CLIMBING)!r}); gymnasium.make({resolve_key(SPREAD)!r})"
    path = os.pathsep.join([str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_resolved_gives_a_copy():
    env_args = {"key": CLIMBING, "time_limit": 1}
    copy = resolved(env_args)
    assert copy == {"key": f"epymarl_trust_region.environments.games:{CLIMBING}", "time_limit": 1}
    assert env_args == {"key": CLIMBING, "time_limit": 1}
    copy = resolved({"map_name": "3m"})  # sc2 and the like have no key
    assert copy == {"map_name": "3m"}
    copy = resolved({"key": None})
    assert copy == {"key": None}


def gymma(key, time_limit=25, **more) -> dict:
    return {"env": "gymma", "env_args": {"key": key, "time_limit": time_limit, **more}}


@pytest.mark.parametrize(
    "config",
    [
        gymma(SPREAD, 25),
        gymma(CLIMBING, 1),
        gymma("lbforaging:Foraging-8x8-2p-3f-v3", 50),
        {"env": "sc2", "env_args": {"map_name": "3m"}},  # the host's own affair
        {"env": "sc2"},
        {},
    ],
)
def test_what_exists_passes(config):
    check_environment(config)


@pytest.mark.parametrize("key", [None, 7])
def test_a_missing_key_is_named_with_an_example(key):
    with pytest.raises(ConfigError, match=rf"^env_args\.key is missing; .*`with env_args\.key={SPREAD}`"):
        check_environment(gymma(key))
    with pytest.raises(ConfigError, match=r"^env_args\.map_name is missing; .*`with env_args\.map_name=2s3z`"):
        check_environment({"env": "smaclite", "env_args": {"map_name": key, "time_limit": 120}})


@pytest.mark.parametrize("limit", [None, 0, -1, 2.5, "25", True])
def test_a_time_limit_that_is_none_is_refused(limit):
    with pytest.raises(ConfigError, match=rf"^env_args\.time_limit={limit!r} is missing or not a positive"):
        check_environment(gymma(CLIMBING, limit))


@pytest.mark.parametrize(
    "key, message",
    [
        ("nosuchpackage:Thing-v0", "^environment nosuchpackage:Thing-v0: there is no module nosuchpackage in"),
        ("no.such.package:Thing-v0", "^environment no.such.package:Thing-v0: there is no module no in"),
        (
            "pz-mpe-simple-sprad-v3",
            r"^environment pz-mpe-simple-sprad-v3 does not exist: .*simple-spread",
        ),
        ("lbforaging:Foraging-8x8-2p-3f-v9", r"v9 does not exist: [^?]*; check env_args\.key"),
        ("Foraging-no-such-v0", r"does not exist: [^?]*; check env_args\.key.*as in lbforaging:Foraging-8x8-2p-3f-v3"),
        ("CartPole-v77", "CartPole-v77 does not exist"),
        ("not an id", "not an id does not exist"),
    ],
)
def test_an_id_that_does_not_exist_is_named_with_the_remedy(key, message):
    with pytest.raises(EnvironmentMissingError, match=message):
        check_environment(gymma(key))


@pytest.mark.parametrize("package, command", INSTALL.items())
def test_a_package_that_is_not_installed_is_named_with_its_command(package, command, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # any import of it fails
    with pytest.raises(EnvironmentMissingError) as caught:
        check_environment(gymma(f"{package}:Thing-v0"))
    assert str(caught.value).startswith(f"environment {package}:Thing-v0 needs the package {package} (")
    assert str(caught.value).endswith(f"; {command}")


def test_smaclite_maps_are_looked_up_in_smaclite(monkeypatch):
    config = {"env": "smaclite", "env_args": {"map_name": "2s3z", "time_limit": 120}}
    monkeypatch.setitem(sys.modules, "smaclite", None)
    with pytest.raises(EnvironmentMissingError, match="^environment smaclite:smaclite/2s3z-v0 needs the package"):
        check_environment(config)
    monkeypatch.delitem(sys.modules, "smaclite")
    monkeypatch.syspath_prepend(environments._STUBS)  # as beside EPyMARL: it can be imported, and registers nothing
    with pytest.raises(EnvironmentMissingError, match=r"does not exist: .*is it installed\? pip install git\+"):
        check_environment(config)
    monkeypatch.setitem(gymnasium.registry, "smaclite/2s3z-v0", gymnasium.spec("CartPole-v1"))
    check_environment(config)


MAMUJOCO = {"env": "mamujoco", "env_args": {"key": "mamujoco", "scenario": "Ant", "partition": "4x2", "time_limit": 9}}


def test_multi_agent_mujoco_is_checked_before_it_is_made():
    pytest.importorskip("gymnasium_robotics")
    check_environment(MAMUJOCO)
    check_environment({"env": "mamujoco", "env_args": MAMUJOCO["env_args"] | {"seed": 3, "map_name": "mine"}})
    for changed, message in [
        ({"scenario": "Aunt"}, "env_args.scenario=Aunt is unknown .did you mean Ant"),
        ({"partition": "3x2"}, "env_args.partition=3x2 is unknown for Ant; there are 1x8, 2x4, 2x4d, 4x2, 8x1"),
        ({"time_limit": None}, "env_args.time_limit=None"),
    ]:
        with pytest.raises(ConfigError, match=message):
            check_environment({"env": "mamujoco", "env_args": MAMUJOCO["env_args"] | changed})
    with pytest.raises(ConfigError, match="env_args.scenario=None is unknown"):
        check_environment({"env": "mamujoco"})
    assert "mujoco" in sys.modules


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            {"reset_noise_scale": -1},
            "partition=4x2 with env_args.reset_noise_scale=-1 cannot be played",
        ),
        ({"main_body": 99}, r"main_body=99 cannot be played \(IndexError: Invalid index 99.*\); correct env_args$"),
        ({"frame_skip": 0}, "^env_args.frame_skip=0: give simulated steps per action, 1 to 1000"),
        ({"frame_skip": 10**8}, "^env_args.frame_skip=100000000: give"),
        ({"healthy_z_range": [1, 0]}, r"^env_args.healthy_z_range=\[1, 0\] cannot be used: give it a value like \(0.2"),
        ({"healthy_z_range": [True, 2]}, r"^env_args.healthy_z_range=\[True, 2\] cannot be used"),
        ({"forward_reward_weight": float("inf")}, "^env_args.forward_reward_weight=inf cannot be used"),
        ({"width": -1}, "^env_args.width=-1: give the pixels"),
        (
            {"terminate_when_unhealthy": "false"},
            "^env_args.terminate_when_unhealthy='false' is a word, .*; write",
        ),
        ({"scenario": "ManySegmentSwimmer", "partition": "1x1"}, "partition=1x1: 1 segments in all; give .* 2 to 500"),
        ({"scenario": "ManySegmentAnt", "partition": "5000x1000"}, "partition=5000x1000: 5000000 segments in all"),
    ],
)
def test_a_robot_that_cannot_be_played_is_refused_before_anything_is_built(changed, message):
    pytest.importorskip("gymnasium_robotics")
    with pytest.raises(ConfigError, match=message) as refused:
        check_environment({"env": "mamujoco", "env_args": MAMUJOCO["env_args"] | changed})
    assert "\n" not in str(refused.value)


def test_a_robots_sizes_are_known_beforehand():
    pytest.importorskip("gymnasium_robotics")
    assert inspect(MAMUJOCO) == (True, Sizes(4, 2, 105, 105))


@pytest.mark.parametrize("word, meant", [("false", "False"), ("True ", "True"), ("null", "None")])
@pytest.mark.parametrize("group", ["env_args", "actor_args", "critic_args"])
def test_a_word_is_not_taken_for_a_truth_value(group, word, meant):
    """Any word is true: continuous_actions=false would be continuous."""
    config = {"env": "gymma", "env_args": {"key": "pz-mpe-simple-spread-v3", "time_limit": 25}}
    config[group] = {**config.get(group, {}), "own": {"continuous_actions": word}}
    with pytest.raises(ConfigError, match=rf"^{group}.own.continuous_actions='{word}' is a word, .*actions={meant}$"):
        check_environment(config)


def test_none_may_be_a_word_of_a_networks_own():
    config = {"env": "gymma", "env_args": {"key": "pz-mpe-simple-spread-v3", "time_limit": 25}}
    check_environment({**config, "actor_args": {"norm": "none"}})


def test_multi_agent_mujoco_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(EnvironmentMissingError, match=r"pip install -c constraints.txt -e '.\[mujoco\]'$"):
        check_environment(MAMUJOCO)


@pytest.mark.parametrize(
    "env, env_args, limit",
    [
        ("gymma", {"key": "CartPole-v1"}, 500),  # what Gymnasium keeps for the id
        ("gymma", {"key": "gymnasium:CartPole-v1", "max_episode_steps": 7}, 7),
        ("gymma", {"key": "CartPole-v1", "max_episode_steps": -1}, None),  # how Gymnasium is told of none
        ("gymma", {"key": CLIMBING}, None),
        ("gymma", {"key": "no-such-id-v0"}, None),
        ("gymma", {"key": SPREAD}, 25),
        ("gymma", {"key": f"epymarl_trust_region.environments.mpe:{SPREAD}", "max_cycles": 50}, 50),
        ("gymma", {"key": "vmas-balance"}, None),
        ("gymma", {"key": "vmas-balance", "max_steps": 30}, 30),
        ("gymma", {"key": None}, None),
        ("smaclite", {"map_name": "2s3z"}, None),
        ("sc2", {"map_name": "3m"}, None),
    ],
)
def test_the_limit_that_an_environment_keeps_itself(env, env_args, limit):
    assert own_limit(env, env_args) == limit
