"""Fields' types are read as types: with `from __future__ import annotations` (tests/config/test_config.py) or without.

This module has none on purpose.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Optional, Union

import pytest
from epymarl_trust_region.config import PPOConfig, key, kinds
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.learners.happo import HAPPOConfig
from support import algorithm


@dataclass(frozen=True, kw_only=True)
class EagerConfig(PPOConfig):
    """Types of this class are types, those that it inherits are text."""

    whole: int = key(ge=1)
    maybe: int | None = key(ge=1, optional=True)
    old_maybe: Optional[float] = key(gt=0, optional=True)  # noqa: UP045
    old_either: Union[float, str] = key(gt=0, auto=True)  # noqa: UP007
    words: dict[str, Any] = key()
    plain: bool  # without a range


GOOD = {"whole": 2, "maybe": None, "old_maybe": 3, "old_either": "auto", "words": {"a": 1}, "plain": True}


def config(**changes) -> dict:
    return algorithm("happo", **{**GOOD, **changes})


def test_types_that_are_types_are_read_like_those_that_are_text():
    fields = {f.name: f.type for f in dataclasses.fields(EagerConfig)}
    assert fields["whole"] is int and fields["lr"] == "float"  # both forms are here
    found = kinds(EagerConfig)
    assert [found[name] for name in GOOD] == [int, int, float, float, dict, bool]
    assert (found["lr"], found["huber_delta"], found["use_rnn"], found["critic_args"]) == (float, float, bool, dict)
    values = EagerConfig.from_mapping(config())
    assert (values.whole, values.maybe, values.old_maybe, values.old_either) == (2, None, 3.0, "auto")
    assert isinstance(values.old_maybe, float) and values.plain is True


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"whole": 0}, "whole=0 is out of range; it must be whole >= 1"),
        ({"whole": 2.5}, "whole=2.5 is not of type int; give whole a whole number"),
        ({"maybe": "3"}, "maybe='3' is not of type int"),
        ({"old_maybe": "1e-3"}, r"old_maybe='1e-3' is not of type float.*1\.0e-3"),
        ({"old_maybe": 0}, "old_maybe=0.0 is out of range"),
        ({"old_either": "much"}, "old_either='much' is not of type float"),
        ({"words": 3}, "words=3 is not of type dict; give words keys and values"),
        ({"plain": 1}, "plain=1 is not of type bool; give plain True or False"),
        ({"lr": "fast"}, "lr='fast' is not of type float"),
    ],
)
def test_wrong_values_are_refused_alike(changes, message):
    with pytest.raises(ConfigError, match=message):
        EagerConfig.from_mapping(config(**changes))


def test_a_type_that_no_key_has_is_named():
    @dataclass(frozen=True, kw_only=True)
    class Odd(HAPPOConfig):
        pair: tuple[int, int] = key()

    with pytest.raises(ConfigError, match=r"Odd.pair has the type tuple\[int, int\].* one of int, float, bool, str"):
        Odd.from_mapping(config(pair=(1, 2)))


def test_a_type_that_its_module_does_not_know_is_named():
    @dataclass(frozen=True, kw_only=True)
    class Unknown(HAPPOConfig):
        size: "Nowhere" = key()  # noqa: F821

    with pytest.raises(ConfigError, match="a type in Unknown cannot be read: name 'Nowhere' is not defined"):
        Unknown.from_mapping(config(size=1))
