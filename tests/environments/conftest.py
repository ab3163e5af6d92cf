"""Both hosts' wrappers around Gymnasium's environments, with the real EPyMARL in this process for a while."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from data.faulty import KEY
from epymarl_trust_region.suite import epymarl, registration
from epymarl_trust_region.suite.host import Host
from epymarl_trust_region.suite.lite.gymma import GymmaEnv


@pytest.fixture(scope="module")
def of_epymarl(epymarl_home: Path) -> Iterator[Host]:
    """EPyMARL with this plugin's parts; its modules and environment ids are gone afterwards."""
    kept = {name: module for name, module in sys.modules.items() if _is_hosts(name)}
    path, ids = list(sys.path), dict(gymnasium.registry)
    for name in kept:
        del sys.modules[name]
    method = multiprocessing.get_start_method(allow_none=True)
    if "jax" in sys.modules:  # another test's; then a forked worker would wait for ever
        multiprocessing.set_start_method("spawn", force=True)
    host = epymarl.load(epymarl_home)
    registration.register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    yield host
    multiprocessing.set_start_method(method, force=True)
    for name in [name for name in sys.modules if _is_hosts(name)]:
        del sys.modules[name]
    sys.modules.update(kept)
    sys.path[:] = path
    gymnasium.registry.clear()
    gymnasium.registry.update(ids)


def _is_hosts(name: str) -> bool:
    return name.split(".")[0] in {*epymarl.HOST_MODULES, "smaclite"}


@pytest.fixture(params=["lite", pytest.param("epymarl", marks=pytest.mark.integration)])
def make_gymma(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes the faulty environment behind a host's `gymma`."""
    make = GymmaEnv if request.param == "lite" else request.getfixturevalue("of_epymarl").environments["gymma"]

    def make_faulty(common_reward: bool = True, scalarisation: str = "sum", **kwargs: Any):
        run = {"seed": 0, "common_reward": common_reward, "reward_scalarisation": scalarisation}
        return make(**{"key": KEY, "time_limit": 9, "pretrained_wrapper": None, **run, **kwargs})

    return make_faulty
