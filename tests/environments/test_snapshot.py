"""Environments written down in the midst of an episode, and others that go on from there."""

from __future__ import annotations

import ctypes
import enum
import itertools
import random
from collections import deque

import numpy as np
import pytest
import torch
from epymarl_trust_region.environments import snapshot
from epymarl_trust_region.environments.snapshot import DoesNotFit
from epymarl_trust_region.modules.plain import packed, unpacked
from epymarl_trust_region.suite.environments import resolved
from epymarl_trust_region.suite.lite.gymma import GymmaEnv


def make(key: str, seed: int, **env_args) -> GymmaEnv:
    arguments = resolved({"key": key, "time_limit": 12, "seed": seed, **env_args})
    env = GymmaEnv(common_reward=False, reward_scalarisation="sum", **arguments)
    env.reset()
    return env


def played(env: GymmaEnv, steps: int, seed: int) -> list:
    rng, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        avail = np.array(env.get_avail_actions())
        chosen = rng.normal(size=avail.shape).astype(np.float32)
        came = env.step(chosen if env._actions.continuous else (chosen - 99 * (1 - avail)).argmax(-1))
        seen.append((came[0].tolist(), list(came[1]), came[2:4], env.get_state().tolist()))
        if came[2] or came[3]:
            env.reset()
            seen.append(env.get_obs().tolist())
    return seen


@pytest.mark.parametrize(
    "key, env_args",
    [
        ("trust-region-checkers-v0", {"clock": 9}),
        ("trust-region-congestion-v0", {"observe": "configuration"}),
        ("pz-mpe-simple-spread-v3", {}),
        ("pz-mpe-simple-spread-v3", {"continuous_actions": True}),
        ("pz-mpe-simple-tag-v3", {}),
        ("lbforaging:Foraging-8x8-2p-3f-v3", {}),
    ],
)
def test_an_episode_goes_on_in_another_environment(key, env_args):
    env, other = make(key, 1, **env_args), make(key, 2, **env_args)
    played(env, 17, seed=0)
    played(other, 3, seed=9)
    tree, generators, unknown = snapshot.take(env)
    assert generators == 1 and not unknown
    tree = unpacked(packed(tree))
    ahead = played(env, 40, seed=5)
    snapshot.put(other, tree)
    assert played(other, 40, seed=5) == ahead


# By hand ------------------------------------------------------------------------------------------------------------


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a) -> None:
        self.a = a


class Piece:
    def __init__(self, name) -> None:
        self.name = name


class Thing:
    shared = "of the class"

    def __init__(self, **attributes) -> None:
        vars(self).update(attributes)

    def double(self) -> None: ...


def same(saved: Thing, live: Thing) -> Thing:
    snapshot.put(live, unpacked(packed(snapshot.take(saved).tree)))
    return live


def test_values_of_all_kinds():
    x = {
        "none": None, "flag": True, "whole": 2**90, "real": 0.1, "nan": float("nan"), "text": "ü", "data": b"\0x",
        "array": np.arange(6.0).reshape(2, 3), "float32": np.float32(0.1), "empty": np.zeros((0, 3)),
        "booleans": np.array([True]), "tensor": torch.arange(3), "scalar": np.array(4), "enum": Side.LEFT,
        "list": [1, [2, "x"]], "tuple": (1, (np.ones(2),)), "dict": {1: "a", "b": {Side.LEFT: 2.0}}, "set": {1, 2},
        "deque": deque([1, 2], maxlen=3), "frozen": frozenset({"x"}), "slots": Slotted([1]),
    }  # fmt: skip
    y = {
        "none": 3, "flag": None, "whole": 0, "real": None, "nan": 0.0, "text": "", "data": None,
        "array": np.zeros((2, 3)), "float32": 0, "empty": np.zeros(1), "booleans": None,
        "tensor": torch.zeros(3).long(), "scalar": 0, "enum": Side.RIGHT, "list": [3], "tuple": (), "dict": {5: 5},
        "set": set(), "deque": deque([9], maxlen=3), "frozen": None, "slots": Slotted([]), "more": 1,
    }  # fmt: skip
    live = same(Thing(**x), Thing(**y))
    assert set(vars(live)) == set(x) and live.slots.a == [1] and live.deque.maxlen == 3
    assert live.enum is Side.LEFT and live.dict == x["dict"] and live.set == x["set"] and live.whole == 2**90
    assert type(live.float32) is np.float32 and live.empty.shape == (0, 3) and live.data == b"\0x"
    assert np.array_equal(live.array, x["array"]) and torch.equal(live.tensor, x["tensor"])


def test_all_kinds_of_generators_go_on():
    def some(seed):
        return Thing(
            a=np.random.default_rng(seed), b=[np.random.RandomState(seed)], c={"x": random.Random(seed)},
            d=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    def drawn(x):
        return x.a.normal(), x.b[0].normal(), x.c["x"].gauss(0, 1), torch.rand(1, generator=x.d).item()

    saved, others = some(1), [some(2), some(3)]
    drawn(saved)  # half of a pair of normal numbers is kept
    tree = unpacked(packed(snapshot.take(saved).tree))
    snapshot.put(others[0], tree)
    others[1].e = 5
    snapshot.put(others[1], tree, generators_only=True)
    assert others[1].e == 5
    assert drawn(saved) == drawn(others[0]) == drawn(others[1])


def test_what_is_one_stays_one_and_what_are_two_stay_two():
    array, pieces = np.zeros(3), [Piece("a"), Piece("b")]
    saved = Thing(x=array, y=array, u=np.ones(2), v=np.ones(2), pieces=pieces, by={pieces[1]: 7}, best=pieces[1])
    twice = np.zeros(2)
    live = Thing(x=np.ones(3), y=np.ones(3), u=twice, v=twice, pieces=[Piece(0), Piece(0)], by={}, best=None)
    saved.v[0] = 5
    same(saved, live)
    assert live.x is live.y and live.u.tolist() == [1, 1] and live.v.tolist() == [5, 1]
    assert live.best is live.pieces[1] and live.by == {live.pieces[1]: 7} and live.best.name == "b"


def test_who_looks_at_a_part_of_an_array_still_does():
    whole = np.arange(9)
    live = Thing(a_whole=np.zeros(9, int))
    live.part = live.a_whole[3:6]
    same(Thing(a_whole=whole, part=whole[3:6]), live)
    live.a_whole[4] = 99
    assert live.part.tolist() == [3, 99, 5]


def test_methods_classes_and_drawings_stay_those_that_are_there():
    saved, live = Thing(f=len, of=Piece, h=lambda: 1), Thing(f=max, of=Side, h=min)
    saved.m, live.m = saved.double, live.double
    assert same(saved, live).f is max and live.of is Side and live.h is min and live.m == live.double


@pytest.mark.parametrize(
    "x",
    [
        iter([1]),
        (i for i in "ab"),
        itertools.count(),
        np.array([Piece(1)]),
        object(),
        type("Text", (str,), {})("x"),
        ctypes.c_void_p(8),
        type("Handle", (), {"_as_parameter_": 8})(),
    ],
)
def test_what_cannot_be_written_down_is_named(x):
    assert snapshot.take(Thing(x=x)).unknown and not snapshot.take(Thing(x=1)).unknown


class Own:
    def __init__(self, at) -> None:
        self.at, self.hidden = at, iter([1])

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def test_who_has_methods_for_it_is_asked():
    saved = Thing(x=Own(np.arange(3)))
    assert not snapshot.take(saved).unknown
    assert same(saved, Thing(x=Own(None))).x.at.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "saved, live",
    [
        (Thing(x=Piece(1)), Thing(x=None)),
        (Thing(x=Piece(1)), Thing(x=Thing())),
        (Thing(x=np.random.default_rng(1)), Thing(x=None)),
        (Thing(x=np.random.default_rng(1)), Thing(x=np.random.RandomState(1))),
        (Thing(x=Own(1)), Thing(x=3)),
        (Thing(x=[Piece(1)]), Thing(x=[])),
        (Thing(x=Side.LEFT), Thing(x=0)),
        (Thing(x=len), Thing(x=None)),
        (Piece(1), Thing()),
    ],
)
def test_another_environment_is_refused(saved, live):
    with pytest.raises(DoesNotFit):
        snapshot.put(live, snapshot.take(saved).tree)


def test_things_without_an_order_are_not_taken_for_one_another():
    """Which of the two is met first depends on where they lie in memory."""
    pieces = [Piece("a"), Piece("b")]
    others = [Piece("a"), Piece("b")]
    saved, live = Thing(a_set=pieces, pieces=pieces), Thing(a_set=others[::-1], pieces=others)
    snapshot.put(live, snapshot.take(saved).tree)  # lists have one
    assert live.a_set == live.pieces
    saved, live = Thing(a_set=set(pieces), b=1), Thing(a_set=set(others), b=1)
    with pytest.raises(DoesNotFit):
        snapshot.put(live, snapshot.take(saved).tree)


@pytest.mark.parametrize(
    "tree",
    [None, 5, (), ("x",), ("=",), ("o",), ("o", "x", {}), ("@", 5), ("g", 1), ("a", 1), ("{", [1]), ("e", "os", "x")],
)
def test_trees_of_strangers_are_refused(tree):
    with pytest.raises(DoesNotFit):
        snapshot.put(Thing(x=1), tree)


def test_nothing_of_pythons_own_is_set():
    name = snapshot.take(Thing()).tree[1]
    live = Thing(x=1)
    with pytest.raises(DoesNotFit, match="__class__"):
        snapshot.put(live, ("o", name, {"__class__": ("=", 1)}))
    assert type(live) is Thing
