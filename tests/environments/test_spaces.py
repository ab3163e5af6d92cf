"""Which environments may run at all: one line, before anything is made, the same whatever the host."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from data.faulty import ACTIONS, KEY, VECTORS, Faulty
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.main import main
from epymarl_trust_region.suite.environments import check_environment
from epymarl_trust_region.suite.lite.gymma import GymmaEnv
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

SUPPORTED = "supported are one Discrete space per agent, say by numbering its choices, or one Box of float32 or float64"
BOX = Box(-1, 1, (2,))
SPREAD = "pz-mpe-simple-spread-v3"


class Contained(Faulty):
    """Spaces in another container than a Tuple, or sizes that contradict them."""

    def __init__(self, action_space=None, observation_space=None, n_agents=2, state_size=None) -> None:
        super().__init__()
        self.action_space = action_space or self.action_space
        self.observation_space = observation_space or self.observation_space
        self.n_agents = n_agents
        if n_agents is None:
            del self.n_agents
        if state_size is not None:
            self.state_size = state_size


gym.register("Contained-v0", entry_point=Contained)


def check(key: str, **env_args) -> bool:
    return check_environment({"env": "gymma", "env_args": {"key": key, "time_limit": 9, **env_args}})


BAD = [
    (KEY, {"actions": (Discrete(3), BOX)}, r"agent 1 is Box\(.*, and that of agent 0 Discrete\(3\); give all agents"),
    (KEY, {"actions": (BOX, Discrete(3))}, r"agent 1 is Discrete\(3\), and that of agent 0 Box\(.*all of them Boxes"),
    (KEY, {"actions": (BOX, Box(-np.inf, np.inf, (2,)))}, r"agent 1 is Box\(.*, without a bound at place 0; give it"),
    (KEY, {"actions": (BOX, Box(np.zeros(2), np.array([1, np.inf])))}, "agent 1 .* without a bound at place 1"),
    (KEY, {"actions": (Box(np.float32([[0, -np.inf]]), np.float32([[1, 1]])), BOX)}, "without a bound at place 0, 1;"),
    (KEY, {"actions": (Box(0, 9, (2,), np.int64), BOX)}, rf"of agent 0 is Box\(.*int64\); {SUPPORTED}"),
    (KEY, {"actions": (Box(-1, 1, (0,)), BOX)}, r"of agent 0 is Box\(.*, whose shape \(0,\) has no place for a number"),
    (KEY, {"actions": (BOX, Box(-1, 1, ()))}, r"of agent 1 is Box\(.*, whose shape \(\) has no place for a number"),
    (KEY, {"actions": (Box(-1, 1, (2,), np.float16), BOX)}, rf"of agent 0 is Box\(.*float16\); {SUPPORTED}"),
    (KEY, {"actions": (BOX, Box(-1, 1, (2,), np.longdouble))}, rf"of agent 1 is Box\(.*; {SUPPORTED}"),
    (KEY, {"actions": (MultiBinary(2), Discrete(3))}, rf"of agent 0 is MultiBinary\(2\); {SUPPORTED}"),
    (KEY, {"actions": (MultiDiscrete([3, 2]), Discrete(3))}, rf"of agent 0 is MultiDiscrete\(.*; {SUPPORTED}"),
    (KEY, {"actions": (Discrete(3), Tuple([Discrete(2)]))}, rf"of agent 1 is Tuple\(Discrete\(2\)\); {SUPPORTED}"),
    (KEY, {"observations": (VECTORS[0], Graph(VECTORS[0], None))}, r"space of agent 1 is Graph\(.*cannot be flattened"),
    (KEY, {"observations": (VECTORS[0], Sequence(Discrete(2)))}, r"observation space of agent 1 is Sequence\("),
    (KEY, {"observations": VECTORS[:1]}, "n_agents=2, 2 action spaces and 1 observation spaces; give each agent one"),
    ("Contained-v0", {"action_space": Dict(a=Discrete(3), b=Discrete(3))}, r"the action space Dict\(.*a Tuple of one"),
    ("Contained-v0", {"observation_space": Dict(a=VECTORS[0], b=VECTORS[1])}, r"the observation space Dict\(.*a Tuple"),
    ("Contained-v0", {"action_space": MultiDiscrete([3, 3])}, r"has the action space MultiDiscrete\(\[3 3\]\); needed"),
    ("Contained-v0", {"n_agents": 3}, "has n_agents=3, 2 action spaces and 2 observation spaces"),
    ("Contained-v0", {"n_agents": None}, "has no `n_agents`; set it on the environment to 2"),
    ("Contained-v0", {"state_size": 5}, r"has state_size=5, .*2 \* 2 = 4; set state_size to that, or leave it out"),
    ("CartPole-v1", {}, r"has the action space Discrete\(2\); needed is a Tuple of one observation space and"),
]  # fmt: skip


@pytest.mark.parametrize("key, env_args, message", BAD)
def test_spaces_that_no_policy_can_use(key: str, env_args: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^env_args\.key={re.escape(key)}.*" + message) as before:
        check(key, **env_args)
    assert "\n" not in str(before.value)
    run = {"time_limit": 9, "seed": 0, "common_reward": True, "reward_scalarisation": "sum"}
    with pytest.raises(ConfigError) as built:  # who builds it without that check reads the same
        GymmaEnv(key=key, **run, **env_args)
    assert str(built.value) == str(before.value)


@pytest.mark.integration
@pytest.mark.parametrize("key, env_args, message", BAD)
def test_epymarls_wrapper_says_it_in_the_same_words(key: str, env_args: dict, message: str, of_epymarl) -> None:
    run = {"time_limit": 9, "seed": 0, "common_reward": True, "reward_scalarisation": "sum"}
    with pytest.raises(ConfigError, match=message):
        of_epymarl.environments["gymma"](key=key, pretrained_wrapper=None, **run, **env_args)


@pytest.mark.parametrize(
    "key, env_args",
    [
        (KEY, {}),
        (KEY, {"actions": (Discrete(3, start=-1), Discrete(7))}),
        (KEY, {"observations": (Box(0, 255, (8, 8, 3), np.uint8), MultiDiscrete([3, 4]))}),
        (KEY, {"observations": (Dict(a=Box(-1, 1, (2,)), b=Tuple([Discrete(2), MultiBinary(3)])), Text(3))}),
        (KEY, {"observations": (Box(-1, 1, (0,)), Box(-1, 1, (0,)))}),
        (KEY, {"actions": ACTIONS[:1], "observations": VECTORS[:1]}),
        ("Contained-v0", {"state_size": 4}),
        ("pz-mpe-simple-v3", {}),  # one agent
        (SPREAD, {"continuous_actions": True}),
        (KEY, {"actions": (BOX, Box(-2, 3, (1, 2), np.float64))}),
    ],
)
def test_spaces_that_policies_can_use(key: str, env_args: dict) -> None:
    continuous = "continuous_actions" in env_args or isinstance(env_args.get("actions", [0])[0], Box)
    assert check(key, **env_args) == continuous


class Restless(Faulty):
    """It draws, counts, prints and imports when it is made."""

    made = 0

    def __init__(self, fail: str = "") -> None:
        super().__init__()
        Restless.made += 1
        print("made")
        random.random(), np.random.random(), torch.rand(1)
        import this  # noqa: F401

        if fail == "raise":
            raise RuntimeError("no\nscreen")
        if fail == "exit":
            sys.exit(7)


gym.register("Restless-v0", entry_point=Restless)


@pytest.mark.parametrize("forked", [True, False])
def test_looking_at_spaces_leaves_the_process_as_it_was(forked: bool, capfd, monkeypatch) -> None:
    if forked:
        monkeypatch.delitem(sys.modules, "this", raising=False)
        monkeypatch.delitem(sys.modules, "jax", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "jax", None)  # a process in which JAX runs must not be forked
    made, states = Restless.made, []
    for look in (lambda: None, lambda: check("Restless-v0")):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        look()
        states.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert states[0] == states[1]
    if forked:
        assert Restless.made == made and "this" not in sys.modules and capfd.readouterr().out == ""
    else:
        assert Restless.made == made + 1


@pytest.mark.parametrize(
    "key, env_args, message",
    [
        ("Restless-v0", {"fail": "raise"}, "cannot be made: RuntimeError: no screen; correct env_args, or mend"),
        ("Restless-v0", {"fail": "exit"}, "cannot be made: ChildProcessError: its process ended with exit code 7"),
        (SPREAD, {"NN": 3}, "cannot be made: TypeError: .*unexpected keyword argument 'NN'"),
    ],
)
def test_an_environment_that_cannot_be_made(key: str, env_args: dict, message: str, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    with pytest.raises(ConfigError, match=rf"^env_args\.key={key}: the environment {message}") as error:
        check(key, **env_args)
    assert "\n" not in str(error.value)
    if sys.version_info >= (3, 11) and "ChildProcessError" not in message:
        assert "in __init__" in error.value.__cause__.__notes__[0]  # the traceback of the process that has ended


@pytest.mark.parametrize("suite", ["lite", pytest.param("epymarl", marks=pytest.mark.integration)])
def test_a_run_is_refused_before_it_has_a_folder(suite: str, own_folder: Path, capsys, request) -> None:
    if suite == "epymarl":
        request.getfixturevalue("of_epymarl")
    command = [f"--suite={suite}", "--quiet", "--progress=off", "--config=happo", "--env-config=gymma", "with"]
    assert main([*command, "env_args.key=Contained-v0", "env_args.n_agents=3", "env_args.time_limit=9", "t_max=5"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: env_args.key=Contained-v0 has n_agents=3, 2 action spaces and 2 observation spaces")
    assert list(own_folder.iterdir()) == []
