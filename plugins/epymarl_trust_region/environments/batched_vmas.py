"""VMAS with its own batching: all copies of a scenario in one call per step.

VMAS takes about as long for one environment as for a hundred together, and EPyMARL steps them one at a time. Shape
letters: B environments, N agents, A actions, O observation (padded to the longest), S = N*O.
"""

from __future__ import annotations

import functools
import importlib.util
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium.spaces import Box, Discrete

from ..environments.actions import BoxActions, actions_of
from ..errors import ConfigError, EnvironmentMissingError
from .batched import Played, Seen

INSTALL = "pip install 'vmas[gymnasium]>=1.5.1'"

# A single environment is reset by its index, and then these keep for ever the goals that they drew when they were made.
# All copies together would get new ones in each episode, the same for all.
_OTHER_TASKS = {"simple_adversary", "simple_push", "simple_reference", "simple_speaker_listener"}
# It starts some of the copies anew in the midst of an episode; the two forms have not been compared.
_NOT_COMPARED = {"road_traffic"}
# VMAS can start one copy anew, but in these that touches the others: joints find their angles anew in all copies; a
# mass, or which passages are open, is one for all. Football's players have not been compared.
_TOUCHED_BY_A_RESTART = {
    "asym_joint",
    "ball_passage",
    "ball_trajectory",
    "buzz_wire",
    "football",
    "het_mass",
    "joint_passage",
    "joint_passage_size",
    "waterfall",
}
# What this form sets itself, and a form of observation that it does not know.
_NOT_TO_BE_SET = {
    "dict_obs",
    "dict_spaces",
    "multidiscrete_actions",
    "num_envs",
    "seed",
    "terminated_truncated",
    "wrapper",
    "wrapper_kwargs",
}


class OwnRandomness:
    """Random numbers of one environment's own: `with` it, VMAS draws from them, and from nobody else's.

    VMAS keeps one state of the generators of PyTorch, NumPy and Python for all environments of a process, so that each
    of them would disturb the others. On a GPU it draws from the generator that networks draw from, too. This one begins
    as the process's generators are, as VMAS's state does when VMAS is imported.

    Args:
        device: where VMAS computes.

    Raises:
        EnvironmentMissingError: VMAS, or a package that it needs, is missing or too old.
    """

    def __init__(self, device: str | th.device = "cpu") -> None:
        device = th.device(device)
        self._cuda = device if device.type == "cuda" else None
        self._of_vmas = _states_of_vmas()
        self._own = _global_states()
        self._own_cuda: Any = th.cuda.get_rng_state(device) if self._cuda else None

    def seed(self, seed: int) -> None:
        """Begin anew as `Environment.seed` does, in [0, 2**32), but without a touch of the process's generators."""
        generators = th.Generator().manual_seed(seed), np.random.RandomState(seed), random.Random(seed)
        self._own = [generators[0].get_state(), generators[1].get_state(), generators[2].getstate()]
        if self._cuda:
            self._own_cuda = th.Generator(self._cuda).manual_seed(seed).get_state()

    def state_dict(self) -> dict[str, Any]:
        """What is drawn next depends on it."""
        numpy = np.random.RandomState()
        numpy.set_state(self._own[1])
        cuda = None if self._own_cuda is None else self._own_cuda.clone()
        own = {"torch": self._own[0].clone(), "python": self._own[2], "cuda": cuda}
        return {**own, "numpy": numpy.get_state(legacy=False)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        numpy = np.random.RandomState()
        numpy.set_state(state["numpy"])
        self._own = [state["torch"].clone(), numpy.get_state(), state["python"]]
        if self._cuda:
            self._own_cuda = state["cuda"]

    def __enter__(self) -> None:
        self._outside = _global_states()
        self._mode = th.inference_mode(False)  # what VMAS makes in inference mode it could not change outside of it
        self._mode.__enter__()
        self._swap()

    def __exit__(self, kind: type | None, *rest: Any) -> None:
        self._swap()
        self._mode.__exit__(kind, *rest)
        if kind is not None:  # VMAS puts the process's generators back, but not when it fails
            th.set_rng_state(self._outside[0])
            np.random.set_state(self._outside[1])
            random.setstate(self._outside[2])

    def _swap(self) -> None:
        self._own, self._of_vmas[:] = list(self._of_vmas), self._own
        if self._cuda:
            own, self._own_cuda = self._own_cuda, th.cuda.get_rng_state(self._cuda)
            th.cuda.set_rng_state(own, self._cuda)


def _global_states() -> list:
    """Of PyTorch, NumPy and Python, in the order in which VMAS keeps them."""
    return [th.get_rng_state(), np.random.get_state(), random.getstate()]


def _states_of_vmas() -> list:
    try:
        from vmas.simulator.environment import Environment
    except ImportError as error:
        raise EnvironmentMissingError(f"VMAS environments need the package vmas ({error}); {INSTALL}") from error
    if not hasattr(Environment, "vmas_random_state"):
        raise EnvironmentMissingError(f"the installed vmas seeds and draws from everybody's random numbers; {INSTALL}")
    return Environment.vmas_random_state


def make(scenario: str, n_envs: int, continuous_actions: bool = False, **kwargs: Any) -> Any:
    """A VMAS environment, or a wrapper of VMAS around it.

    Raises:
        EnvironmentMissingError: VMAS, or a package that it needs, is missing.
    """
    fixed = {"continuous_actions": continuous_actions, "dict_spaces": False, "terminated_truncated": True}
    try:
        import vmas

        return vmas.make_env(scenario, num_envs=n_envs, **fixed, **kwargs)
    except ImportError as error:  # its Gymnasium wrapper needs shimmy
        raise EnvironmentMissingError(f"the environment vmas-{scenario}: {error}; {INSTALL}") from error


class BatchedVMAS:
    """B copies of a scenario; a `BatchedEnv`.

    Each copy moves, is paid and is seen as an environment by itself, but for one thing. VMAS looks at a pair of bodies
    only if they are within reach of each other in some copy, and the reach of a line or box lacks the 0.0067 at which
    it begins to push: a body that far beyond a line's end is pushed if, and only if, another copy has the two nearer.

    Where the copies start is drawn from one stream for all, so only B=1 starts as the environment with that seed does;
    where a scenario shuffles agents or gives them a random mass, it does so alike in all copies. `restart` draws for
    one copy after the other, in their order, from that same stream. `truncated` is VMAS's own `max_steps`.

    Args:
        seeds: one per copy, [B]; the first seeds the stream, the others only say how many copies there are.
        scenario: name of a scenario of VMAS, such as "balance".
        max_steps: steps after which VMAS cuts an episode.
        device: where VMAS computes; what comes back is in the host's memory.
        kwargs: handed to the scenario.

    Raises:
        ConfigError: the scenario's observations are not plain vectors.
        EnvironmentMissingError: VMAS, or a package that it needs, is missing or too old.
    """

    resumes_episodes = False

    def __init__(
        self,
        seeds: Sequence[int],
        scenario: str,
        max_steps: int | None = None,
        device: str | th.device = "cpu",
        **kwargs: Any,
    ) -> None:
        self._randomness = OwnRandomness(device)
        with self._randomness:
            self._env = make(scenario, len(seeds), max_steps=max_steps, device=device, **kwargs)
        shapes = [space.shape for space in self._env.observation_space]
        if None in shapes:
            raise ConfigError(f"vmas-{scenario} gives dictionaries as observations; step its environments one by one")
        self._obs_dim = max(int(np.prod(shape)) for shape in shapes)
        self._names = [agent.name for agent in self._env.agents]
        self.n_agents = len(self._names)
        self._actions = actions_of(_of_gymnasium(space) for space in self._env.action_space)
        n_actions = np.array(self._actions.sizes)
        avail = (np.arange(n_actions.max()) < n_actions[:, None]).astype(np.int64)
        self._avail = np.broadcast_to(avail, (len(seeds), *avail.shape))
        self._randomness.seed(seeds[0])
        self.reset()  # the suite seeds an environment by a first reset

    def reset(self) -> Seen:
        """Start a new episode in every copy."""
        with self._randomness:
            return self._seen(self._env.reset())

    def restart(self, which: np.ndarray) -> Seen:
        """Start a new episode in the copies `which`, [B], bool, one after the other; the others stay as they are."""
        with self._randomness:
            for copy in np.flatnonzero(which).tolist():
                self._env.reset_at(copy, return_observations=False)
            wanted = dict(get_rewards=False, get_infos=False, get_dones=False)
            return self._seen(self._env.get_from_scenario(get_observations=True, **wanted)[0])

    def step(self, actions: np.ndarray) -> Played:
        """Take one step in every copy: actions [B, N], int64, or [B, N, A], float32.

        Infos are made when they are asked for: `"<agent>/<key>"` -> array, as the environment by itself gives them.

        Raises:
            AssertionError: an action does not exist.
        """
        columns: Sequence[th.Tensor]
        if isinstance(self._actions, BoxActions):
            clipped = np.clip(actions, self._actions.low, self._actions.high).swapaxes(0, 1)
            parts = [one[:, :size] for one, size in zip(clipped, self._actions.sizes, strict=True)]
            columns = [th.as_tensor(one, device=self._env.device) for one in parts]
        else:
            columns = th.as_tensor(actions, device=self._env.device).unsqueeze(-1).unbind(1)
        with self._randomness:
            obs, rewards, terminated, truncated, infos = self._env.step(list(columns))
            # In float64, as Python's floats, so that a sum over agents rounds as it does for an environment by itself.
            paid = th.stack(rewards, dim=1).double().cpu().numpy()
            ended, cut = (flags.bool().cpu().numpy() for flags in (terminated, truncated))
            return Played(self._seen(obs), paid, ended, cut, _Infos(self._names, infos, len(paid)))

    def state_dict(self) -> dict[str, Any]:
        """What the next episodes depend on; not the present ones, which VMAS cannot write down."""
        return self._randomness.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, with a reset."""
        self._randomness.load_state_dict(state)

    def close(self) -> None:
        """VMAS holds nothing that would have to be given back."""

    def _seen(self, obs: list[th.Tensor]) -> Seen:
        flat = [one.reshape(len(one), -1).float() for one in obs]
        padded = [th.nn.functional.pad(one, (0, self._obs_dim - one.shape[1])) for one in flat]
        joint = th.stack(padded, dim=1).cpu().numpy()
        return Seen(joint, joint.reshape(len(joint), -1), self._avail)


def _of_gymnasium(space: Any) -> Box | Discrete:
    """Without its wrappers VMAS has spaces of the older package gym."""
    if hasattr(space, "low"):
        return Box(space.low, space.high, dtype=space.dtype.type)
    return Discrete(int(space.n))


class _Infos(Sequence):
    """The infos of one step, [B]: each copy's is flattened when it is read, which few are."""

    def __init__(self, names: list[str], infos: list[dict[str, th.Tensor]], size: int) -> None:
        self._named, self._size = list(zip(names, infos, strict=True)), size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if not -self._size <= index < self._size:
            raise IndexError(index)
        named = [(f"{name}/{key}", values) for name, info in self._named for key, values in info.items()]
        return {key: values[index].cpu().numpy() for key, values in named}


def find(key: str, arguments: Mapping[str, Any], streams: bool = False) -> Callable[..., BatchedVMAS] | None:
    """What makes the batched form of a Gymnasium id (with or without its module) from seeds and these arguments.

    None where the id or an argument is unknown, for scenarios that are another task when all copies start together, and
    for road_traffic; with `streams`, where copies begin anew while others go on, also where that touches the others.
    """
    prefix, _, scenario = key.rpartition(":")[2].removeprefix("epymarl_trust_region/").partition("vmas-")
    unfit = _OTHER_TASKS | _NOT_COMPARED | (_TOUCHED_BY_A_RESTART if streams else set())
    if prefix or scenario in unfit or not _NOT_TO_BE_SET.isdisjoint(arguments):
        return None
    return functools.partial(BatchedVMAS, scenario=scenario) if scenario in _scenarios() else None


def _scenarios() -> Iterator[str]:
    spec = importlib.util.find_spec("vmas")  # finds the folder without importing the package
    folders = (spec and spec.submodule_search_locations) or []
    return (path.stem for folder in folders for path in Path(folder).glob("scenarios/**/*.py"))
