"""What environments put into `info`: numbers are averaged, the rest is left alone, and nothing ends a run."""

from __future__ import annotations

import logging
import pickle
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from data import record
from data.faulty import KEY
from epymarl_trust_region.environments.scene import Scene
from epymarl_trust_region.environments.values import check_info
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner

NUMBERS = [1, 2.5, True, np.True_, np.float32(0.1), np.int64(3), Fraction(1, 2), float("nan"), float("inf")]
OTHERS = [
    "red",
    b"x",
    None,
    [True, False],
    (1, 2),
    {"r": 1.0, "l": 3},
    np.zeros(3),
    np.zeros((1,)),
    1j,
    np.str_("x"),
    object(),
]


def keep(info: dict) -> dict:
    return check_info(info, Scene("Toy-v0"))


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_stay_as_they_are(number: Any) -> None:
    kept = keep({"won": number, "who": "red"})
    assert list(kept) == ["won"] and type(kept["won"]) is type(number)
    assert kept["won"] == number or number != number


@pytest.mark.parametrize("number", [np.array(0.1, np.float32), np.array(3), torch.tensor(0.1)])
def test_arrays_without_axes_are_numbers_of_their_own_type(number: Any) -> None:
    kept = keep({"won": number})["won"]
    assert isinstance(kept, np.generic) and kept.dtype == np.asarray(number).dtype and kept == np.asarray(number)


@pytest.mark.parametrize("other", [*OTHERS, object(), lambda: 0, torch.zeros(2)])
def test_the_rest_is_left_out(other: Any) -> None:
    assert keep({"won": 1, "other": other}) == {"won": 1}
    assert keep({"won": 1, 7: 2}) == {"won": 1}


@pytest.mark.parametrize("key", ["ep_length", "n_episodes", "return", "total_return", "agent_12_return", "test_return"])
def test_what_the_runner_counts_itself_is_not_added_to(key: str, caplog) -> None:
    scenes = Scene("Toy-v0", 0), Scene("Toy-v0", 3)
    with caplog.at_level(logging.WARNING):
        for scene in scenes * 2:
            assert check_info({"won": 1, key: 1000, "returns": 2}, scene) == {"won": 1, "returns": 2}
    (message,) = caplog.messages  # once
    assert message.startswith(f"environment 0 (Toy-v0) gives `{key}` in info, which the runner counts itself")


def logged(make_runner, one_hot, info: dict, **changes) -> dict[str, float]:
    """The means of the training episodes of one rollout of three environments that give `info` at their last step."""
    env_args = {"key": KEY, "time_limit": 9, "field": "info", "value": info, "at": 4}
    case = (env_args, True, "sum")
    changes = {"t_max": 100, "n_agents": 2, "batched_envs": "none", **changes}
    notes = record.drive(make_runner, one_hot, case, **changes)[1]
    first = min(t for *_, t in notes["logged"])
    return {key: value for _, key, value, t in notes["logged"] if t == first and not key.startswith("test_")}


CLEAN = {"return_mean": 12, "return_std": 0, "ep_length_mean": 4, "epsilon": 0.5}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    "info, more",
    [
        ({"winner": "red", "dead": [True], "goal": None, "f": lambda: 0}, {}),  # a lambda cannot go to another process
        ({"episode": {"r": 1.0, "l": 3, "t": 0.1}}, {}),
        ({"won": True, "score": np.float32(0.5)}, {"won_mean": 1, "score_mean": 0.5}),
        ({"ep_length": 1000, "n_episodes": 7, "return": 5}, {}),
    ],
)
def test_the_log_has_the_means_of_the_numbers(info: dict, more: dict, processes: int) -> None:
    assert logged(vector_runner, OneHot, info, env_processes=processes) == CLEAN | more


def test_a_mean_over_a_nan_is_nan() -> None:
    assert np.isnan(logged(vector_runner, OneHot, {"won": float("nan")}, env_processes=1)["won_mean"])


@pytest.mark.integration
@pytest.mark.parametrize("runner", ["parallel", "vector"])
def test_epymarls_log_has_them_too(runner: str, of_epymarl) -> None:
    one_hot = of_epymarl.batch_parts().one_hot
    info = {"winner": "red", "f": lambda: 0, "ep_length": 1000, "n_episodes": 7, "won": True, "episode": {"r": 1.0}}
    assert logged(of_epymarl.runners[runner], one_hot, info) == CLEAN | {"won_mean": 1}


def test_what_is_kept_can_be_pickled() -> None:
    kept = keep({"f": lambda: 0, "won": np.array(1.0), "o": SimpleNamespace()})
    assert pickle.loads(pickle.dumps(kept)) == {"won": 1.0}
