"""What cannot fit in the memory is refused with the number and the key, before anything of it is taken."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from epymarl_trust_region import cli, memory
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.suite.apart import apart
from epymarl_trust_region.suite.environments import inspect
from epymarl_trust_region.suite.size import Sizes, check_size
from support import algorithm

SPREAD = {"key": "pz-mpe-simple-spread-v3", "time_limit": 25}
FREE = 16 * 2**30


@pytest.fixture(autouse=True)
def sixteen(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: FREE)


def config(name="happo", **changes) -> dict:
    return {**algorithm(name), "env": "gymma", "env_args": SPREAD, **changes}


def sized(n: int) -> dict:
    return dict.fromkeys(("batch_size_run", "batch_size", "buffer_size"), n)


def test_spread_has_the_sizes_that_its_page_says():
    assert inspect(config()) == (False, Sizes(n_agents=3, n_actions=5, obs_dim=18, state_dim=54))


# One place of spread: 3*18 + 54 + 2*3*5 + 1 = 139 numbers of 4 bytes, 4 of 8 and a byte: 589. An episode has 26.
PLACES = 589 * 26


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_dim": 10**9}, r"^hidden_dim=1000000000: this run needs about 44,703,\d+,\d+.\d GiB of memory, and "
         r"this machine has 16.0 GiB free, most of it for the actors' networks; lower hidden_dim$"),
        ({"critic_hidden_dim": 10**6}, r"^critic_hidden_dim=1000000: .*for the critic's network; lower critic_hidden"),
        (sized(2 * 10**6), r"^b.*_size.*=2000000, b.*=2000000: .* (28|29).\d GiB .*for the episodes; lower b\w+_size"),
        ({"env_args": {**SPREAD, "time_limit": 10**8}}, r"^env_args.time_limit=100000000, .*lower env_args.time_lim"),
        ({"rollout_steps": 10**8}, r"^rollout_steps=100000000, .*; lower rollout_steps$"),
        ({"runner": "parallel", **sized(10**5)}, r"batch_size_run=100000: .* for the worker processes; lower batch_si"),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_the_key_to_lower(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_size(config(**changes), Sizes(3, 5, 18, 54))


@pytest.mark.parametrize("buffer_size, batches", [(1000, 1), (3000, 4)])
def test_the_largest_that_fits_passes(monkeypatch, buffer_size, batches):
    """By hand: its episodes, a buffer if that keeps more than these, three actors and a critic of width 64."""
    networks = 3 * (64 * (18 + 5) + 64**2) * 16 + 64 * (54 + 64) * 16
    asked = config(**sized(1000), hidden_dim=64, critic_hidden_dim=64, use_rnn=False, critic="central", t_max=10**6)
    asked["buffer_size"], need = buffer_size, batches * 1000 * PLACES + networks
    monkeypatch.setattr(memory, "available", lambda: need)
    check_size(asked, Sizes(3, 5, 18, 54))
    monkeypatch.setattr(memory, "available", lambda: need - 1)
    with pytest.raises(ConfigError):
        check_size(asked, Sizes(3, 5, 18, 54))
    monkeypatch.setattr(memory, "available", lambda: None)  # nobody knows
    check_size(asked | {"hidden_dim": 10**9}, Sizes(3, 5, 18, 54))


def test_without_sizes_and_with_networks_of_ones_own_little_is_known():
    check_size(config(hidden_dim=10**9, actor_network="a:B"))
    check_size({"env": "sc2", "env_args": {"map_name": "3m"}, "batch_size_run": 1})
    with pytest.raises(ConfigError, match="hidden_dim=10000000: "):
        check_size({"env": "sc2", "env_args": {}, "hidden_dim": 10**7})


def test_too_many_agents_are_refused_before_an_environment_is_made_of_them():
    with pytest.raises(
        ConfigError, match=r"^env_args.N=100000: what 100000 agents see of each other needs about 1,490"
    ):
        inspect(config(env_args={**SPREAD, "N": 100_000}, batch_size_run=10))


class Glutton(gymnasium.Env):
    def __init__(self, n: int) -> None:
        self.taken = np.ones(n * 2**20)


gymnasium.register("Glutton-v0", entry_point=Glutton)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process's memory")
def test_an_environment_that_takes_too_much_is_stopped(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 200 * 2**20)
    with pytest.raises(MemoryError):
        apart(functools.partial(np.ones, 100 * 2**20))
    with pytest.raises(
        ConfigError, match="Glutton-v0: one environment alone needs more memory .* lower env_args.n=300"
    ):
        inspect({"env": "gymma", "env_args": {"key": "Glutton-v0", "time_limit": 5, "n": 300, "seed": 999}})
    assert apart(lambda: float(np.ones(2**20).sum())) == 2**20  # what is there may be taken


@pytest.mark.parametrize("param", ["hidden_dim=1000000000", "env_args.time_limit=1000000000"])
def test_a_run_is_refused_in_a_line(param, capsys, own_folder):
    flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off"]
    given = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", param]
    assert cli.main(["run", *flags, "with", *given]) == 2
    err = capsys.readouterr().err
    key, _, value = param.partition("=")
    assert err.startswith(f"error: {key}={value}") and err.endswith(f"lower {key}\n") and " GiB " in err
    assert err.count("\n") == 1 and not Path("results").exists()


def test_the_memory_of_this_machine_is_read(monkeypatch):
    monkeypatch.undo()
    assert 2**20 < memory.available() < 2**50
    assert memory.gib(3 * 2**29) == "1.5 GiB" and memory.does_not_fit(0) is None
    monkeypatch.setattr(memory, "_of_the_group", lambda limit, taken: 5)
    assert memory.available() == 5
