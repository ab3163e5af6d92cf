"""Environments of every shape, under every algorithm: a run of a few updates is completed, or refused in one line.

A bounded set of the same cases in every test run; `make fuzz` tries others, a tenth of FUZZ, for each is
a run, and says how many.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from epymarl_trust_region.main import main
from gymnasium.spaces import Box, Discrete, Tuple

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

LONG = os.environ.get("FUZZ")
settings = hypothesis.settings(
    max_examples=max(int(LONG or 150) // 10, 1), derandomize=not LONG, database=None, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
tried: Counter[str] = Counter()
shape: dict[str, Any] = {}  # of the environment that is made next


class Anyone(gym.Env):
    """Random observations, and rewards that say how many agents chose their first action."""

    def __init__(self) -> None:
        self.shape = dict(shape)
        self.n_agents = len(shape["observations"])
        self.observation_space, self.action_space = Tuple(shape["observations"]), Tuple(shape["actions"])
        if shape["state_size"]:
            self.state_size = self.n_agents * max(gym.spaces.flatdim(space) for space in self.observation_space)
        if shape["masks"] and isinstance(shape["actions"][0], Discrete):
            self.get_avail_actions = self._masks

    def _masks(self) -> list[list[int]]:
        sizes = [int(space.n) for space in self.action_space]
        return [[int(a < size and (a == 0 or (self.t + a) % 2)) for a in range(max(sizes))] for size in sizes]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, actions):
        self.t += 1
        assert all(space.contains(action) for space, action in zip(self.action_space, actions, strict=True))
        over = self.t == self.shape["length"]
        rewards = [float(np.ravel(a)[0] == np.ravel(b)[0]) for a, b in zip(actions, actions[::-1], strict=True)]
        reward = sum(rewards) if self.shape["one_reward"] else rewards
        ended = over and not self.shape["cut"]
        flags = [[ended] * self.n_agents, [over and not ended] * self.n_agents]
        terminated, truncated = flags if self.shape["flags"] else (flags[0][0], flags[1][0])
        return self.observation_space.sample(), reward, terminated, truncated, {"t": self.t}


gym.register("Anyone-v0", entry_point=Anyone)

seen = st.one_of(
    st.integers(0, 5).map(lambda n: Box(-1, 1, (n,))),
    st.integers(1, 3).map(lambda n: Box(-1, 1, (n, 2))),
    st.integers(1, 3).map(lambda n: Box(-1, 1, (n,), np.float64)),
    st.integers(1, 4).map(Discrete),
)
discrete = st.builds(lambda n, start: Discrete(n, start=start), st.integers(1, 4), st.integers(0, 2))
boxes = st.builds(lambda n, high: Box(-1, high, (n,)), st.integers(1, 3), st.floats(0.5, 2, width=32))


@st.composite
def shapes(draw) -> dict[str, Any]:
    n = draw(st.integers(1, 4) | st.sampled_from([1, 2, 10, 30]))
    kind = draw(st.sampled_from([discrete, discrete, boxes]))
    bits = draw(
        st.fixed_dictionaries({k: st.booleans() for k in ("masks", "one_reward", "cut", "flags", "state_size")})
    )
    several = {"observations": draw(st.lists(seen, min_size=n, max_size=n))}
    several["actions"] = draw(st.lists(kind, min_size=n, max_size=n))
    return {**bits, **several, "length": draw(st.integers(1, 4))}


ALGORITHMS = ("happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "il", "il_pp", "matrl", "matrl_no_br", "inpg", "ipg")


@st.composite
def words(draw) -> list[str]:
    config = draw(st.sampled_from([*ALGORITHMS, "log_linear_ppo"]))
    given = [f"env_args.time_limit={draw(st.integers(1, 5))}", f"common_reward={draw(st.booleans())}"]
    if config != "log_linear_ppo":
        given += [f"use_rnn={draw(st.booleans())}", "hidden_dim=4", "critic_hidden_dim=4"]
        if draw(st.integers(0, 3)) == 0:
            given += ["rollout_steps=6", f"normalise_inputs={draw(st.booleans())}"]
    return [f"--config={config}", "with", *given]


FEW = ("batch_size_run=2", "batch_size=2", "buffer_size=2", "t_max=9", "test_interval=4", "test_nepisode=2")


@pytest.fixture(autouse=True, scope="module")
def say_how_many():
    yield
    print(f"\ntried: {', '.join(f'{count} {kind}' for kind, count in sorted(tried.items()))}")


@settings
@hypothesis.given(shapes(), words())
def test_environments(own_folder, capfd, form, command):
    shape.clear()
    shape.update(form)
    flags = ("--suite=lite", "--quiet", "--progress=off", "--env-config=gymma")
    code = main([*flags, *command, "env_args.key=Anyone-v0", "env_processes=1", *FEW])
    logging.getLogger().handlers.clear()
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said and (code, len(lines)) in ((0, 0), (2, 1)), said
    tried["runs completed" if code == 0 else "runs refused"] += 1
    if code:
        tried[f"({lines[0][7:90]})"] += 1
