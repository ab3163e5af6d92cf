"""SMAClite's searches as we make them: against a loop by hand, and battles against its own where it is installed."""

from __future__ import annotations

import importlib
import math
import random
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
from epymarl_trust_region.environments import smaclite_search
from epymarl_trust_region.environments.smaclite_search import UnitSearch, obstacle_query


class Plane(Enum):
    GROUND = 1
    AIR = 2
    COLOSSUS = 3


class Finder:
    """As much of theirs as is used: the units, and two methods that say when they are asked."""

    def __init__(self, units):
        self.all_units, self.updates = dict(enumerate(units)), 0

    def update(self):
        self.updates += 1

    def query_radius(self, *arguments):
        return "theirs", arguments


def army(rng, size, planes=(Plane.GROUND, Plane.AIR)):
    """On a lattice of quarters, so that many are at exactly a radius."""
    places = rng.integers(0, 24, (size, 2)) / 4
    targets = ([Plane.GROUND], [Plane.GROUND, Plane.AIR])
    return [
        SimpleNamespace(
            pos=place.astype(np.float32),
            plane=planes[rng.integers(len(planes))],
            valid_targets=targets[rng.integers(2)],
        )
        for place in places
    ]


def by_hand(units, everybody, radii, same_plane, targetting, planes):
    found = []
    for unit, radius in zip(units, radii, strict=True):
        near = []
        for plane in planes:
            asks = (not same_plane or unit.plane == plane) and (not targetting or plane in unit.valid_targets)
            for other in everybody if asks else ():
                if other.plane == plane:
                    dx, dy = (float(b) - float(a) for a, b in zip(unit.pos, other.pos, strict=True))
                    if dx * dx + dy * dy <= radius * radius:
                        near.append((other, math.sqrt(dx * dx + dy * dy)))
        found.append(near)
    return found


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("mode", [{}, {"same_plane_only": True}, {"targetting_mode": True}])
def test_who_is_near_in_which_order_and_how_far_away(seed, mode):
    rng = np.random.default_rng(seed)
    everybody = army(rng, rng.integers(1, 60))
    search = UnitSearch(Finder(everybody), list(Plane))
    search.update()
    units = everybody[: rng.integers(len(everybody)) + 1]
    radii = (rng.integers(1, 12, len(units)) / 4).tolist()
    arguments = mode.get("same_plane_only", False), mode.get("targetting_mode", False), list(Plane)
    expected = by_hand(units, everybody, radii, *arguments)
    found = search.query_radius(units, radii, return_distance=True, **mode)
    assert [[(id(u), d) for u, d in near] for near in found] == [[(id(u), d) for u, d in near] for near in expected]
    assert all(isinstance(d, np.float64) for near in found for _, d in near)
    assert any(d in radii for near in found for _, d in near) or len(units) < 9
    of_one = by_hand(units, everybody, [1.5] * len(units), *arguments)
    found = search.query_radius(units, 1.5, **mode)
    assert [list(map(id, near)) for near in found] == [[id(u) for u, _ in near] for near in of_one]


def test_answers_are_of_where_units_were_at_the_last_update():
    units = army(np.random.default_rng(0), 2, [Plane.GROUND])
    units[0].pos[:], units[1].pos[:] = 0.0, 1.0
    search = UnitSearch(Finder(units), list(Plane))
    search.update()
    units[1].pos += 10
    assert search.query_radius(units[:1], 2.0) == [units]
    search.update()
    assert search.query_radius(units[:1], 2.0) == [units[:1]]


def test_the_last_of_a_side_are_kept_as_in_the_trees():
    finder = Finder(army(np.random.default_rng(0), 3, [Plane.GROUND]))
    search, gone = UnitSearch(finder, list(Plane)), list(finder.all_units.values())
    search.update()
    finder.all_units.clear()
    search.update()
    assert search.query_radius(gone[:1], 100.0) == [gone] and search.query_radius([], 1.0) == []


def test_where_a_tree_would_have_branches_it_is_asked():
    """Its order is another then."""
    finder = Finder(army(np.random.default_rng(0), 81, [Plane.GROUND]))
    search = UnitSearch(finder, list(Plane))
    search.update()
    units = list(finder.all_units.values())
    assert finder.updates == 1 and search.query_radius(units, 2.0, True)[0] == "theirs"
    del finder.all_units[0]
    search.update()
    assert finder.updates == 1 and len(search.query_radius(units[:1], 2.0)) == 1


def test_targets_that_are_colossi_are_theirs_to_find():
    finder = Finder(army(np.random.default_rng(0), 9, list(Plane)))
    search = UnitSearch(finder, list(Plane))
    search.update()
    units = list(finder.all_units.values())
    found, arguments = search.query_radius(units, [1.0] * 9, targetting_mode=True)
    assert found == "theirs" and arguments == (units, [1.0] * 9, False, False, True, list(Plane))
    assert finder.updates == 1 and isinstance(search.query_radius(units, 1.0), list)


def test_obstacles_are_those_in_range_in_the_order_of_the_index():
    class Obstacle(SimpleNamespace):
        def is_within_range(self, unit, radius, squared):
            assert squared == radius**2
            return abs(unit.pos[0] - self.x) <= radius

    asked = []
    finder = SimpleNamespace(
        index_mapping={i: Obstacle(x=float(i)) for i in range(5)},
        index=SimpleNamespace(intersection=lambda box: asked.append(box) or iter([3, 1, 4, 0, 2])),
    )
    query = obstacle_query(finder)
    unit = SimpleNamespace(pos=np.zeros(2), radius=0.5, max_velocity=2.0)
    assert [obstacle.x for obstacle in query(unit)] == [1.0, 0.0, 2.0]
    assert [obstacle.x for obstacle in query(unit)] == [1.0, 0.0, 2.0] and len(asked) == 1


class SMACliteWrapper:
    """As EPyMARL's: what is hastened."""

    def __init__(self, env):
        self.env = env


def test_other_environments_and_other_versions_are_left_as_they_are(monkeypatch):
    class Never:
        @property
        def unwrapped(self):
            raise AssertionError("looked at")

    smaclite_search.hasten(SimpleNamespace(env=Never()))
    for module in ("random", "of_another_version"):
        monkeypatch.setattr(smaclite_search, "_KNOWN", {module: "another digest"})
        smaclite_search.hasten(SMACliteWrapper(Never()))
    monkeypatch.setattr(smaclite_search, "_KNOWN", {})
    for env in (None, SimpleNamespace(unwrapped=SimpleNamespace())):  # somebody's own class of that name
        smaclite_search.hasten(SMACliteWrapper(env))


# With SMAClite, where it is installed -----------------------------------------------------------------------------


def battle(name, steps, hasten):
    import gymnasium

    importlib.import_module("smaclite")
    env, rng, seen = gymnasium.make(f"smaclite/{name}-v0", seed=3), random.Random(3), []
    if hasten:
        smaclite_search.hasten(SMACliteWrapper(env))
        assert "query_radius" in vars(env.unwrapped.neighbour_finder_all), "another version of SMAClite?"
    env.reset(seed=3)
    for _ in range(steps):
        available = env.unwrapped.get_avail_actions()
        actions = [rng.choice([a for a, may in enumerate(row) if may]) for row in available]
        obs, reward, over, cut, _ = env.step(actions)
        seen.append((np.concatenate(obs).tobytes(), reward, env.unwrapped.get_state().tobytes(), over, cut))
        if over or cut:
            env.reset()
    return seen


@pytest.mark.parametrize("name", ["2s3z", "3s5z", "MMM", "10m_vs_11m", "bane_vs_bane", "2c_vs_64zg", "27m_vs_30m"])
def test_battles_are_the_same_to_the_last_bit(name):
    pytest.importorskip("smaclite.env.rvo2.neighbour_finder")
    assert battle(name, 60, hasten=True) == battle(name, 60, hasten=False)
