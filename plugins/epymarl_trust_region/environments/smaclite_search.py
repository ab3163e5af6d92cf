"""Who is near whom in SMAClite, by comparing everybody with everybody: the same answers as its trees', sooner.

For the few units of a battle most of SMAClite's time goes into building trees over them, three at every tick of its
clock, and into what surrounds a query. Answers are the same units in the same order at the same distances, to the last
bit, so that battles are too. Shapes: M units that ask, U units of a plane.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

# The modules whose answers are known here, by what they look like; of other versions nothing is replaced.
_KNOWN = {
    "smaclite.env.smaclite": "e44a349fcea5b5d2e405c65f44ea805be104ca39478a9dfc88cc9abccd5b6357",
    "smaclite.env.rvo2.velocity_updater": "612037c605f3b05ea09206c0f0c9a461cff3bed5de29b8ddaa4de4e92e94f7e4",
    "smaclite.env.rvo2.neighbour_finder": "0985cbc3786b1824fbd90bc2507aff7808a394186c3713d7fc1c7397a7070823",
    "smaclite.env.rvo2.obstacle_finder": "2bfefb00de9d6f64a46c988758d09316fb444d730581d8fb1e69ad515ffbf857",
}
# Up to here a tree of scikit-learn's with leaves of 40 is one leaf, and answers in the order in which units came.
_ONE_LEAF = 80
_EVERYWHERE = (-100, -100, 100, 100)  # what an obstacle finder asks its index for, whoever asks


def hasten(env: Any) -> None:
    """Let a SMAClite environment, as EPyMARL wraps it, search in this way; leave any other as it is."""
    if type(env).__name__ != "SMACliteWrapper" or not all(map(_is_known, _KNOWN)):
        return
    battle: Any = getattr(getattr(env, "env", None), "unwrapped", None)
    if type(battle).__module__ != "smaclite.env.smaclite":  # somebody's own class of that name
        return
    planes = importlib.import_module("smaclite.env.rvo2.neighbour_finder").ALL_PLANES
    for name in ("neighbour_finder_ally", "neighbour_finder_enemy", "neighbour_finder_all"):
        finder = getattr(battle, name)
        search = UnitSearch(finder, planes)
        finder.update, finder.query_radius = search.update, search.query_radius
    obstacles = getattr(battle.velocity_updater, "obstacle_finder", None)  # none with the library in C++
    if obstacles is not None:
        obstacles.query = obstacle_query(obstacles)


def _is_known(module: str) -> bool:
    try:
        file = inspect.getsourcefile(importlib.import_module(module))
    except ImportError:  # a version that has none
        return False
    if file is None:
        return False
    with open(file, "rb") as source:
        return hashlib.sha256(source.read()).hexdigest() == _KNOWN[module]


class UnitSearch:
    """`update` and `query_radius` for one of SMAClite's finders, which keeps the units.

    Args:
        finder: has `all_units`, by number, and its own two methods, for what is not done here.
        planes: all that there are, in the order in which the finder goes through them.
    """

    def __init__(self, finder: Any, planes: Iterable[Any]) -> None:
        self.finder, self.planes = finder, planes
        self._their_update, self._their_query = finder.update, finder.query_radius
        self._units: dict[Any, list[Any]] = {}  # plane -> its units
        self._places: dict[Any, np.ndarray] = {}  # plane -> where they were at the last update, [U, 2]
        self._is_large = False

    def update(self) -> None:
        """Note where everybody is: trees, too, answer for where units were when they were built."""
        if not self.finder.all_units:  # they keep the last ones
            return
        units = defaultdict(list)
        for unit in self.finder.all_units.values():
            units[unit.plane].append(unit)
        self._is_large = max(map(len, units.values())) > _ONE_LEAF
        if self._is_large:
            self._their_update()
        self._units = units
        self._places = {plane: _places(of_it) for plane, of_it in units.items()}

    def query_radius(
        self,
        units: Sequence[Any],
        radius: list[float] | float,
        return_distance: bool = False,
        same_plane_only: bool = False,
        targetting_mode: bool = False,
        planes: Iterable[Any] | None = None,
    ) -> list[list[Any]]:
        """Of each of M units those within its radius: M lists of units, or of pairs of unit and distance."""
        everywhere = self.planes if planes is None else planes
        given = units, radius, return_distance, same_plane_only, targetting_mode, everywhere
        if self._is_large:
            return self._their_query(*given)
        found: list[list[Any]] = [[] for _ in units]
        for plane in everywhere if units else ():
            others = self._units.get(plane)
            if not others:
                continue
            if targetting_mode and plane.name == "COLOSSUS":  # whose rows and radii they choose by two rules
                self._their_update()
                return self._their_query(*given)
            asking = [
                i
                for i, unit in enumerate(units)
                if (not same_plane_only or unit.plane == plane) and (not targetting_mode or plane in unit.valid_targets)
            ]
            if asking:
                radii = [radius[i] for i in asking] if isinstance(radius, list) else radius
                near = self._near(_places([units[i] for i in asking]), radii, plane)
                _tell(found, asking, others, near, return_distance)
        return found

    # They take a whole tree where its furthest corner is within the radius, by the distance and not its square; the two
    # could part by a rounding, but not of positions in single precision, whose squares are exact in double.
    def _near(self, places: np.ndarray, radii: Any, plane: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of `places`, [M, 2], and units of a plane within their radii, and how far apart they are."""
        apart = places[:, None] - self._places[plane]
        squares = apart[..., 0] ** 2 + apart[..., 1] ** 2  # [M, U]
        rows, columns = (squares <= np.square(radii)[..., None]).nonzero()
        return rows, columns, np.sqrt(squares[rows, columns])


def _places(units: Sequence[Any]) -> np.ndarray:
    """[U, 2], in double precision like the trees."""
    return np.array([unit.pos for unit in units], dtype=np.float64)


def _tell(found: list, asking: Sequence[int], others: Sequence[Any], near: tuple, with_distance: bool) -> None:
    rows, columns, distances = near
    if with_distance:
        for row, column, distance in zip(rows.tolist(), columns.tolist(), distances, strict=True):
            found[asking[row]].append((others[column], distance))
    else:
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            found[asking[row]].append(others[column])


def obstacle_query(finder: Any) -> Callable[[Any], list[Any]]:
    """An obstacle finder's `query`: its index gives it all obstacles, always the same, and it keeps those in range."""
    everything = [finder.index_mapping[i] for i in finder.index.intersection(_EVERYWHERE)]

    def query(unit: Any) -> list[Any]:
        radius = unit.radius + unit.max_velocity  # a second ahead
        return [obstacle for obstacle in everything if obstacle.is_within_range(unit, radius, radius**2)]

    return query
