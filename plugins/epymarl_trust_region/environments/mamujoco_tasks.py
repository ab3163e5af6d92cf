"""Which multi-agent MuJoCo tasks there are, and the package's description of one: whose joint is which, who sees what.

Nothing here imports `mujoco` or `gymnasium_robotics` before a task is checked or made.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import io
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, EnvironmentMissingError

_JOINTS = {  # robots, and how many joints each has to share out
    "Ant": 8,
    "HalfCheetah": 6,
    "Hopper": 3,
    "Humanoid": 17,
    "HumanoidStandup": 17,
    "Pusher": 7,
    "Reacher": 2,
    "Swimmer": 2,
    "Walker2d": 6,
}
_NAMED = {  # the package's own partitions of them; whatever else divides the joints is made here
    "Ant": ("2x4", "2x4d", "4x2"),
    "HalfCheetah": ("2x3", "6x1"),
    "Hopper": ("3x1",),
    "Humanoid": ("9|8",),
    "HumanoidStandup": ("9|8",),
    "Pusher": ("3p",),
    "Reacher": ("2x1",),
    "Swimmer": ("2x1",),
    "Walker2d": ("2x3",),
}
_CHAINS = {"ManySegmentAnt": "Ant", "ManySegmentSwimmer": "Swimmer"}  # robots of any length: agents x segments each
_BROKEN = {"CoupledHalfCheetah": "the package's own code for it fails with mujoco 4"}
_DRAWING = ("width", "height", "camera_id", "camera_name")
# Arguments of the simulators that keep their values, which are the only ones that the package fits.
_FIXED = re.compile(r"xml_file|default_camera_config|.*_observation")
_MOST_FRAMES = 1000  # a step with more takes seconds, which nothing can interrupt
_LONGEST = 500  # segments of a chain: the work of a step grows with their square
_INSTALL = "pip install -c constraints.txt -e '.[mujoco]'"


def check(
    scenario: Any = None,
    partition: Any = None,
    time_limit: Any = None,
    obs: Any = "full",
    obsk: Any = 1,
    render_mode: Any = None,
    **options: Any,
) -> None:
    """Refuse arguments that name no task.

    Args:
        options: of the robot's simulator; the names key, map_name and seed, which are the suite's, are let through.

    Raises:
        ConfigError: which argument, and what there is.
        EnvironmentMissingError: a package is not installed.
    """
    _check_partition(*as_in_the_package(scenario, partition))
    if type(time_limit) is not int or time_limit < 1:
        raise ConfigError(f"env_args.time_limit={time_limit}: give steps per episode, such as env_args.time_limit=1000")
    if obs not in ("full", "local"):
        raise ConfigError(f"env_args.obs={obs}: choose full (every agent sees the whole state) or local")
    if type(obsk) is not int or obsk < 0:
        raise ConfigError(f"env_args.obsk={obsk}: give how many joints away an agent sees, 0 or more (for obs=local)")
    if render_mode not in (None, "human", "rgb_array"):
        raise ConfigError(f"env_args.render_mode={render_mode}: choose null, human (a window) or rgb_array (frames)")
    _check_options(scenario, {key: value for key, value in options.items() if key not in ("key", "map_name", "seed")})


def as_in_the_package(scenario: Any, partition: Any) -> tuple[Any, Any]:
    """The package's name of the papers' Swimmer 10x2, a chain of 20 joints; every other name is the package's too."""
    return ("ManySegmentSwimmer", partition) if (scenario, partition) == ("Swimmer", "10x2") else (scenario, partition)


def make(scenario: str, partition: str, obsk: int, options: Mapping[str, Any]) -> Any:
    """The package's multi-agent environment over a simulator without Gymnasium's wrappers.

    It is never stepped. It knows which joints are whose (`agent_action_partitions`) and what is near them (`k_dicts`).
    """
    scenario, partition = as_in_the_package(scenario, partition)
    with _without_noise():
        package = _package()
        simulator = _simulator(package, scenario, partition, options)
        factorization = None
        if scenario in _JOINTS and partition not in _NAMED[scenario]:
            factorization = _consecutive(package, scenario, partition)
        # A factorization counts only beside a name of the partition; without one the package forgets it silently.
        described = package.mamujoco_v1.parallel_env(
            scenario, partition, agent_obsk=obsk, agent_factorization=factorization, gym_env=simulator
        )
    for depths in described.k_dicts:
        for joints in depths.values():  # two joints of Pusher share a label, by which alone the package sorts sets
            joints.sort(key=lambda joint: (joint.label, joint.act_ids))
    return described


def shorten(simulator: Any) -> None:
    """Let a single-agent environment hand its steps to MuJoCo without looking up each part of itself first.

    What MuJoCo is asked is the same, so the numbers are. A class with ways of its own is left as it is.
    """
    from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

    mujoco: Any = importlib.import_module("mujoco")
    kind, model, data = type(simulator), simulator.model, simulator.data
    names = ("do_simulation", "_step_mujoco_simulation")
    if any(getattr(kind, name) is not getattr(MujocoEnv, name) for name in names):
        return
    control, step, forces = data.ctrl, mujoco.mj_step, mujoco.mj_rnePostConstraint

    def do_simulation(ctrl: np.ndarray, n_frames: int) -> None:
        control[:] = ctrl
        step(model, data, n_frames)
        forces(model, data)

    simulator.do_simulation = do_simulation


# Names ---------------------------------------------------------------------------------------------------------------


def _shares(partition: Any) -> tuple[int, int] | None:
    """(agents, joints or segments of each) of a partition such as "6x1"."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(partition))
    return (int(match[1]), int(match[2])) if match else None


def _shared(partition: str) -> tuple[int, int]:
    """`_shares` of a partition that was checked to have them."""
    found = _shares(partition)
    assert found is not None
    return found


def _check_partition(scenario: Any, partition: Any) -> None:
    if broken := _BROKEN.get(str(scenario)):
        raise ConfigError(f"env_args.scenario={scenario} cannot be played: {broken}; choose another")
    known = sorted({*_JOINTS, *_CHAINS})
    if not isinstance(scenario, str) or scenario not in known:
        near = difflib.get_close_matches(str(scenario).partition("-")[0], known, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"env_args.scenario={scenario} is unknown{meant}; there are {', '.join(known)}")
    shares = _shares(partition)
    if scenario in _CHAINS:
        if shares is None:
            raise ConfigError(
                f"env_args.partition={partition}: {scenario} needs AGENTSxSEGMENTS, such as env_args.partition=10x2"
            )
        if not 2 <= (segments := shares[0] * shares[1]) <= _LONGEST:
            raise ConfigError(
                f"env_args.partition={partition}: {segments} segments in all; give {scenario} 2 to {_LONGEST}"
            )
        return
    joints = _JOINTS[scenario]
    if partition in _NAMED[scenario] or (shares and shares[0] * shares[1] == joints):
        return
    divisors = [n for n in range(1, joints + 1) if joints % n == 0]
    there_are = sorted({*_NAMED[scenario], *(f"{n}x{joints // n}" for n in divisors)})
    longer = ", 10x2 (a chain; more with scenario=ManySegmentSwimmer)" if scenario == "Swimmer" else ""
    raise ConfigError(
        f"env_args.partition={partition} is unknown for {scenario}; there are {', '.join(there_are)}{longer}"
    )


def _check_options(scenario: str, options: Mapping[str, Any]) -> None:
    with _without_noise():
        _package()
        own = inspect.signature(_simulator_class(_CHAINS.get(scenario, scenario))).parameters
    known = [name for name, it in own.items() if it.kind is not it.VAR_KEYWORD and not _FIXED.fullmatch(name)]
    for name, value in options.items():
        if name in known and not _like(own[name], value):
            raise ConfigError(f"env_args.{name}={value} cannot be used: give it a value like {own[name].default}")
        if name == "frame_skip" and not 1 <= value <= _MOST_FRAMES:
            raise ConfigError(f"env_args.frame_skip={value}: give simulated steps per action, 1 to {_MOST_FRAMES}")
        if name in ("width", "height") and not (type(value) is int and value > 0):
            raise ConfigError(f"env_args.{name}={value}: give the pixels of a frame, such as 480")
        if name not in (*known, *_DRAWING):
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" (did you mean env_args.{near[0]}?)" if near else ""
            raise ConfigError(f"env_args.{name} is unknown for {scenario}{meant}; there are {', '.join(known)}")


def _like(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether a value is of the kind of the parameter's own: a truth value, a number, or as many numbers."""
    default = parameter.default
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        pair = isinstance(value, Sequence) and len(value) == len(default)
        numbers = pair and all(isinstance(one, Real) and not isinstance(one, bool) for one in value)
        return numbers and (not parameter.name.endswith("_range") or value[0] < value[1])
    if isinstance(default, int | float):
        fits = int if parameter.annotation is int else Real
        return isinstance(value, fits) and not isinstance(value, bool) and math.isfinite(value)
    return True


# The package ---------------------------------------------------------------------------------------------------------


def _package() -> Any:
    """`gymnasium_robotics`, with everything that is needed of it.

    Raises:
        EnvironmentMissingError: it, or what it needs, is not installed.
    """
    try:
        for name in ("mujoco", "jinja2", "gymnasium_robotics.envs.multiagent_mujoco.mamujoco_v1"):
            importlib.import_module(name)
    except Exception as error:  # MuJoCo's graphics fail in many ways
        reason, graphics = f"{type(error).__name__}: {error}".splitlines()[0], os.environ.get("MUJOCO_GL")
        remedy = f"unset MUJOCO_GL (it is {graphics}), or {_INSTALL}" if graphics else _INSTALL
        raise EnvironmentMissingError(f"multi-agent MuJoCo cannot be imported ({reason}); {remedy}") from None
    return sys.modules["gymnasium_robotics"]


def _simulator_class(robot: str) -> Any:
    from gymnasium.envs import registration

    return registration.load_env_creator(str(registration.spec(f"{robot}-v5").entry_point))


def _simulator(package: Any, scenario: str, partition: str, options: Mapping[str, Any]) -> Any:
    """The single-agent environment; a chain's model is written, for a moment, where no other process writes."""
    if scenario not in _CHAINS:
        return _made(_simulator_class(scenario), options)
    agents, segments = _shared(partition)
    snake = {"ManySegmentAnt": "many_segment_ant", "ManySegmentSwimmer": "many_segment_swimmer"}[scenario]
    writer = importlib.import_module(f"{package.__name__}.envs.multiagent_mujoco.{snake}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.xml")
        writer.gen_asset(n_segs=agents * segments, asset_path=path)
        return _made(_simulator_class(_CHAINS[scenario]), {**options, "xml_file": path})


def _made(simulator: Any, options: Mapping[str, Any]) -> Any:
    try:
        return simulator(**options)
    except (TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"env_args.{name}={value}" for name, value in options.items() if name != "xml_file")
        if not given:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{given} cannot be used: {reason}") from error


def _consecutive(package: Any, scenario: str, partition: str) -> dict[str, Any]:
    """The package's joints of a robot, shared out in the order of the simulator's actuators."""
    parts, edges, globals_ = package.mamujoco_v1.get_parts_and_edges(scenario, _NAMED[scenario][0])
    joints = sorted((joint for part in parts for joint in part), key=lambda joint: joint.act_ids)
    agents, each = _shared(partition)
    shared_out = [tuple(joints[i * each : (i + 1) * each]) for i in range(agents)]
    return {"partition": shared_out, "edges": edges, "globals": globals_}


# Noise ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Leave out two messages that nobody can act on, about other environments and about the package's own model file.

    Everything else that is said inside is passed on.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _without_model_warning():
            yield
    finally:
        lines = said.getvalue().splitlines(keepends=True)
        sys.stderr.write("".join(line for line in lines if not line.startswith("AdroitHand")))


@contextlib.contextmanager
def _without_model_warning() -> Iterator[None]:
    """MuJoCo would also write it to a file in the current folder."""
    try:
        mujoco = importlib.import_module("mujoco")
    except Exception:  # `_package` says so
        yield
        return
    before = mujoco.get_mju_user_warning()
    others = before or (lambda message: print(f"WARNING: {message}", file=sys.stderr))
    mujoco.set_mju_user_warning(lambda message: None if "settotalmass" in message else others(message))
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
