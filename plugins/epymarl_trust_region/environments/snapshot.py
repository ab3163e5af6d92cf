"""What an environment's next steps and episodes depend on, as plain data, and back into one that was made alike.

Environments are Python objects of anybody's making, and a checkpoint is to hold plain data alone: pickles run code. So
this goes through an environment's attributes and writes down the numbers, texts, arrays and generators that it finds,
in the order in which it finds them; to put them back it goes through a new one in the same order. Classes and functions
stay those of the new one. An object with `state_dict()` and `load_state_dict(state)` of its own is asked instead.
"""

from __future__ import annotations

import enum
import functools
import logging
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_MOST = 200_000  # things in one environment; more would take longer than to play an episode
_MOST_BYTES = 2**26
_PLAIN = {type(None), bool, int, float, str, bytes}
# They say how, and not where it stands; or they only draw.
_FIXED = (
    type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType, types.ModuleType,
    functools.partial, type(functools.cache(len)), property, logging.Logger, range, slice, type(Ellipsis), np.dtype,
    np.random.SeedSequence,
)  # fmt: skip
_BY_TYPE: dict[str, tuple[type, ...]] = {
    "g": (np.random.Generator, np.random.RandomState, random.Random),
    "a": (np.ndarray,),
    "{": (dict,),
    "[": (list, tuple, deque),
    "s": (set, frozenset),
    "?": (int, float, str, bytes),  # of a class of somebody's own, with more to it
}
_RANK = {"[": 0, "{": 1}
_DRAWING = {"pygame", "pyglet", "matplotlib", "PIL", "cv2", "imageio"}


class Snapshot(NamedTuple):
    """What `take` found."""

    tree: Any  # plain data and NumPy's arrays
    generators: int  # how many were found
    unknown: list[str]  # types of things that could not be written down


class DoesNotFit(ValueError):
    """The environment is not made as the one that was written down."""


def take(env: Any) -> Snapshot:
    """Write down an environment, whatever wrappers there are around it."""
    taker = _Taker()
    try:
        tree = taker.node(env)
    except RecursionError:
        return Snapshot(None, 0, [type(env).__name__])
    return Snapshot(tree, taker.generators, sorted(taker.unknown))


def put(env: Any, tree: Any, generators_only: bool = False) -> None:
    """Let `env` go on as the one that `take` has written down.

    Args:
        generators_only: leave all else as it is.

    Raises:
        DoesNotFit: it is another one. It is half changed then, and of no use.
    """
    found = _Taker()
    found.node(env)
    try:
        _Putter(found.enums, generators_only).put(env, tree)
        # Some things have no order of their own, such as sets: what was taken for another is noticed here.
        if not generators_only and not _same(take(env).tree, tree):
            raise DoesNotFit("what was put back is not what was written down")
    except DoesNotFit:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise DoesNotFit(f"{type(error).__name__}: {error}") from error


class _Taker:
    """Nodes are tuples: a letter for the kind, then what it holds; "@" and a number is what was met before."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.alive: list[Any] = []  # so that nothing new gets the id of something old
        self.generators, self.size = 0, 0
        self.unknown: set[str] = set()
        self.enums: dict[str, type[enum.Enum]] = {}

    def node(self, x: Any) -> Any:
        kind = _kind(type(x))
        if kind == "=":
            return "=", x
        if kind == "-":
            return ("-",)
        if kind == "e":
            self.enums[_name(type(x))] = type(x)
            return "e", _name(type(x)), x.name
        if id(x) in self.seen:
            return "@", self.seen[id(x)]
        self.seen[id(x)] = len(self.seen)
        self.alive.append(x)
        if len(self.seen) > _MOST or self.size > _MOST_BYTES:
            self.unknown.add(f"more than {_MOST} things, or {_MOST_BYTES >> 20} MiB")
            return ("?",)
        return self._TAKE[kind](self, x)

    def _generator(self, x: Any) -> Any:
        self.generators += 1
        return "g", _state_of(x)

    def _array(self, x: np.ndarray) -> Any:
        if x.dtype.hasobject:
            return self._unknown(x)
        self.size += x.nbytes
        return "a", x.copy()

    def _tensor(self, x: Any) -> Any:
        self.size += x.nbytes
        return "t", x.detach().cpu().clone()

    def _own(self, x: Any) -> Any:
        self.generators += 1  # as far as can be known
        return "own", x.state_dict()

    def _dict(self, x: dict) -> Any:
        return "{", [(self.node(key), self.node(value)) for key, value in x.items()]

    def _sequence(self, x: Any) -> Any:
        return "[", [self.node(item) for item in x]

    def _set(self, x: Any) -> Any:
        return "s", [self.node(item) for item in x]

    def _object(self, x: Any) -> Any:
        # Whichever was set first; but what is one of many is met among these, where there is another for it.
        names = sorted(_attributes(x), key=lambda pair: (_RANK.get(_kind(type(pair[1])), 2), pair[0]))
        if not names and not hasattr(x, "__dict__"):
            return self._unknown(x)
        return "o", _name(type(x)), {name: self.node(value) for name, value in names}

    def _unknown(self, x: Any) -> Any:
        self.unknown.add(_name(type(x)))
        return ("?",)

    _TAKE: Mapping[str, Callable[..., Any]] = {
        "g": _generator, "a": _array, "t": _tensor, "own": _own, "{": _dict, "[": _sequence, "s": _set, "o": _object,
        "?": _unknown,
    }  # fmt: skip


def _kind_of(of: type) -> str:
    """Which letter a thing of the type `of` gets; "?" where nobody can write it down."""
    if issubclass(of, enum.Enum):
        return "e"
    if of in _PLAIN or issubclass(of, np.generic):
        return "="
    torch = sys.modules.get("torch")  # who has not imported it, has no tensors
    if torch is not None and issubclass(of, torch.Tensor | torch.Generator):
        return "t" if issubclass(of, torch.Tensor) else "g"
    module = str(of.__module__)  # of torch: its devices, types and modes
    if issubclass(of, _FIXED) or module in ("torch", "torch._C") or module.split(".")[0] in _DRAWING:
        return "-"
    if _has_own(of):
        return "own"
    if hasattr(of, "_as_parameter_") or any(base.__module__ == "_ctypes" for base in of.__mro__):
        return "?"  # a place in memory of a library's: another environment's is another
    return next((kind for kind, types in _BY_TYPE.items() if issubclass(of, types)), "o")


_kind: Callable[[type], str] = functools.cache(_kind_of)


class _Putter:
    """Its methods give what belongs in the place of the thing that is there, which most often is that thing."""

    def __init__(self, enums: Mapping[str, type[enum.Enum]], generators_only: bool) -> None:
        self.enums, self.generators_only = enums, generators_only
        self.met: list[Any] = []
        self.written: set[int] = set()  # arrays in use: two that were apart are not to become one

    def put(self, x: Any, node: Any) -> Any:
        kind, *content = node
        if kind == "-" or (kind in "e=" and self.generators_only):
            return x
        if kind == "=":
            return content[0]
        if kind == "e":
            return self.enums[content[0]][content[1]]
        if kind == "@":
            return self.met[content[0]]
        self.met.append(x)
        if kind == "?":
            return x
        return self._PUT[kind](self, len(self.met) - 1, x, *content)

    def _generator(self, at: int, x: Any, state: Any) -> Any:
        _set_state(x, state)
        return x

    def _array(self, at: int, x: Any, array: np.ndarray) -> Any:
        if self.generators_only:
            return x
        usable = isinstance(x, np.ndarray) and (x.shape, x.dtype) == (array.shape, array.dtype) and x.flags.writeable
        if usable and id(x) not in self.written:  # in place: others may look at parts of it
            x[...] = array
        else:
            x = self.met[at] = array.copy()
        self.written.add(id(x))
        return x

    def _tensor(self, at: int, x: Any, tensor: Any) -> Any:
        if self.generators_only:
            return x
        if _kind(type(x)) == "t" and x.shape == tensor.shape and x.dtype == tensor.dtype and id(x) not in self.written:
            x.copy_(tensor)
        else:
            x = self.met[at] = tensor.clone()
        self.written.add(id(x))
        return x

    def _own(self, at: int, x: Any, state: Any) -> Any:
        if not _has_own(type(x)):
            raise DoesNotFit(f"{_name(type(x))} has no load_state_dict")
        x.load_state_dict(state)
        return x

    def _dict(self, at: int, x: Any, items: list[Any]) -> Any:
        if not isinstance(x, dict):
            x = self.met[at] = {}
        old, keys = dict(x), list(x)
        pairs = []
        for n, (key_node, node) in enumerate(items):
            key = self.put(keys[n] if n < len(keys) else None, key_node)
            pairs.append((key, self.put(old.get(key), node)))
        if not self.generators_only:
            x.clear()
            x.update(pairs)
        return x

    def _sequence(self, at: int, x: Any, nodes: list[Any]) -> Any:
        if not isinstance(x, list | tuple | deque):
            x = self.met[at] = []
        old = list(x)
        new = [self.put(old[n] if n < len(old) else None, node) for n, node in enumerate(nodes)]
        if self.generators_only or (len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))):
            return x
        if isinstance(x, tuple):
            x = self.met[at] = type(x)(*new) if hasattr(x, "_fields") else type(x)(new)
        else:
            x.clear()
            x.extend(new)
        return x

    def _set(self, at: int, x: Any, nodes: list[Any]) -> Any:
        if self.generators_only:
            return x
        x = self.met[at] = (frozenset if isinstance(x, frozenset) else set)(self.put(None, node) for node in nodes)
        return x

    def _object(self, at: int, x: Any, name: str, nodes: dict[str, Any]) -> Any:
        if _name(type(x)) != name:
            raise DoesNotFit(f"{_name(type(x))} in the place of {name}")
        own, among = dict(_attributes(x)), getattr(x, "__dict__", {})
        for attribute, node in nodes.items():
            if attribute.startswith("__"):
                raise DoesNotFit(f"{attribute} is Python's")
            new = self.put(own.get(attribute), node)
            if self.generators_only or (attribute in own and new is own[attribute]):
                continue
            if attribute in among:  # where the class may have a property of that name
                among[attribute] = new
            else:
                object.__setattr__(x, attribute, new)
        if not self.generators_only:
            for attribute in own.keys() - nodes.keys():
                object.__delattr__(x, attribute)
        return x

    _PUT: Mapping[str, Callable[..., Any]] = {
        "g": _generator, "a": _array, "t": _tensor, "own": _own, "{": _dict, "[": _sequence, "s": _set, "o": _object,
    }  # fmt: skip


def _same(a: Any, b: Any) -> bool:
    if _kind(type(a)) in "at":
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(_bytes(a), _bytes(b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def _bytes(x: Any) -> np.ndarray:
    """Bit by bit, NaN and all."""
    return np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8)


def _attributes(x: Any) -> Iterator[tuple[str, Any]]:
    yield from list(getattr(x, "__dict__", {}).items())
    for of in type(x).__mro__:
        slots = of.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                yield name, getattr(x, name)


def _name(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _has_own(of: type) -> bool:
    """Asked of the class: wrappers hand on what their instances are asked for."""
    return all(callable(getattr(of, name, None)) for name in ("state_dict", "load_state_dict"))


def _state_of(x: Any) -> Any:
    """A generator's state, with its kind; None of anything else."""
    torch = sys.modules.get("torch")
    if isinstance(x, np.random.Generator):
        return "numpy", x.bit_generator.state
    if isinstance(x, np.random.RandomState):
        return "legacy", x.get_state(legacy=False)
    if isinstance(x, random.Random):
        return "python", x.getstate()
    if torch is not None and isinstance(x, torch.Generator):
        return "torch", x.get_state()
    return None


def _set_state(x: Any, state: Any) -> None:
    kind, value = state
    own = _state_of(x)
    if own is None or own[0] != kind:
        raise DoesNotFit(f"{_name(type(x))} is no generator of {kind}")
    if kind == "numpy":
        x.bit_generator.state = value
    elif kind == "python":
        x.setstate(value)
    else:
        x.set_state(value)
