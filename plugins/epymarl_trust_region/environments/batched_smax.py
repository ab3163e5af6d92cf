"""JaxMARL's SMAX, the JAX re-implementation of SMAC's micromanagement, with all battles of a rollout stepped as one.

Reset and step are each one compiled call over all copies, on JAX's default device. Importing this module loads no JAX.
Shape letters: B environments, N agents (allies), E enemies, A actions, O observation, S state.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple, cast

import numpy as np

from ..errors import ConfigError, EnvironmentMissingError
from .batched import Played, Seen

# The package's arguments that may be set: what a value must be, and how to say so. The others either follow from the
# map and the time limit or would make another game of it (continuous actions, self-play rewards).
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "attack_mode": (lambda value: value in ("closest", "random"), "closest or random"),
    "enemy_shoots": (lambda value: isinstance(value, bool), "True or False"),
    "see_enemy_actions": (lambda value: isinstance(value, bool), "True or False"),
    "walls_cause_death": (lambda value: isinstance(value, bool), "True or False"),
    "won_battle_bonus": (lambda value: isinstance(value, Real) and math.isfinite(value), "a number"),
    "world_steps_per_env_step": (lambda value: type(value) is int and value > 0, "a positive whole number"),
}


class _Game(NamedTuple):
    """A map, and its compiled functions over all copies."""

    env: Any  # HeuristicEnemySMAX
    reset: Callable  # (keys [B], episodes [B]) -> (battles, Seen)
    restart: Callable  # (battles, keys [B], episodes [B], which [B]) -> (battles, Seen)
    step: Callable  # (battles, actions [B, N]) -> (battles, _Came)


class _Came(NamedTuple):
    """What a compiled step gives, over all copies."""

    seen: Seen
    reward: Any  # [B], float32
    dead_allies: Any  # [B], int32
    dead_enemies: Any  # [B], int32


class BatchedSMAX:
    """B battles on one map against the package's scripted enemy (`HeuristicEnemySMAX`); a `BatchedEnv`.

    The reward is the team's: the enemies' health lost in the step, as a share of the health they began with (mean over
    enemies), and `won_battle_bonus` for the step that ends in victory. `terminated` means that a side is dead,
    `truncated` that both live on at the time limit. The observations of an episode's last step are those of its own
    last state, and the infos of ended copies hold `battle_won` (all enemies dead and an ally alive), `dead_allies` and
    `dead_enemies`.

    Copy i depends on seeds[i], on the number of resets before, and on its own actions only. Random numbers: with
    `k = fold_in(key(seed), e)` in the e-th episode (from 0), `split(k)` gives the key of the reset and the key that
    step t (from 0) is folded into.

    Args:
        seeds: one per copy, [B].
        map_name: a map of the package, such as "3m".
        time_limit: steps after which an episode is cut.
        options: of the package: attack_mode, enemy_shoots, see_enemy_actions, walls_cause_death, won_battle_bonus,
            world_steps_per_env_step.

    Raises:
        ConfigError: an unknown map or option, or a value out of range.
        EnvironmentMissingError: `jax` or `jaxmarl` is not installed.
    """

    def __init__(self, seeds: Sequence[int], map_name: str, time_limit: int, **options: Any) -> None:
        _check(time_limit, options)
        if "won_battle_bonus" in options:
            options["won_battle_bonus"] = float(options["won_battle_bonus"])  # the package fails on whole numbers
        self._game = _game(str(map_name), tuple(sorted(options.items())))
        import jax

        self._keys = jax.numpy.stack([jax.random.key(int(seed)) for seed in seeds])
        self._time_limit = time_limit
        # Per copy: episodes begun, and steps of the present one.
        self._episodes, self._steps = np.zeros(len(seeds), np.int32), np.zeros(len(seeds), np.int32)
        self._battles: Any = None

    @property
    def env_info(self) -> dict[str, int]:
        """The sizes that a runner, a MAC and a learner are built from, by the suite's names."""
        env = self._game.env
        return {
            "state_shape": env.state_size,
            "obs_shape": env.obs_size,
            "n_actions": env.num_ally_actions,
            "n_agents": env.num_allies,
            "episode_limit": self._time_limit,
        }

    def reset(self) -> Seen:
        """Start a new episode in every copy."""
        self._battles, seen = self._game.reset(self._keys, self._episodes)
        self._begun(np.ones(len(self._steps), bool))
        return _numpy(seen)

    def restart(self, which: np.ndarray) -> Seen:
        """Start a new episode in the copies `which`, [B], bool; the others stay as they are."""
        self._battles, seen = self._game.restart(self._battles, self._keys, self._episodes, which)
        self._begun(which)
        return _numpy(seen)

    def _begun(self, which: np.ndarray) -> None:
        # New arrays: a call that is still under way may read the old ones.
        self._episodes, self._steps = self._episodes + which, np.where(which, 0, self._steps)

    def step(self, actions: np.ndarray) -> Played:
        """Take one step in every copy.

        Args:
            actions: [B, N], below A. An attack out of range, and any action of the dead, does nothing.
        """
        self._battles, came = self._game.step(self._battles, np.asarray(actions, np.int32))
        self._steps = self._steps + 1
        dead_allies, dead_enemies = np.asarray(came.dead_allies), np.asarray(came.dead_enemies)
        lost = dead_allies == self._game.env.num_allies
        killed = dead_enemies == self._game.env.num_enemies
        terminated = lost | killed
        truncated = ~terminated & (self._steps >= self._time_limit)
        infos = _infos(terminated | truncated, killed & ~lost, dead_allies, dead_enemies)
        return Played(_numpy(came.seen), np.asarray(came.reward), terminated, truncated, infos)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps and episodes depend on."""
        import jax

        leaves: list[Any] = [] if self._battles is None else jax.tree.leaves(self._battles)
        return {"episodes": self._episodes, "steps": self._steps, "battles": [_plain(leaf) for leaf in leaves]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` of battles on the same map with the same seeds."""
        import jax

        self._battles, _ = self._game.reset(self._keys, np.zeros_like(self._episodes))
        leaves, structure = jax.tree.flatten(self._battles)
        if state["battles"]:
            leaves = [_like(leaf, saved) for leaf, saved in zip(leaves, state["battles"], strict=True)]
        self._battles = jax.tree.unflatten(structure, leaves) if state["battles"] else None
        for name in ("episodes", "steps"):
            value = np.array(state[name], np.int32)
            if value.shape != self._steps.shape:
                raise ValueError(f"{name} of {value.shape} battles, not {self._steps.shape}")
            setattr(self, f"_{name}", value)

    def close(self) -> None:
        """Let go of the battles."""
        self._battles = None


def _numpy(seen: Seen) -> Seen:
    return Seen(*map(np.asarray, seen))  # on the CPU these share JAX's memory, and are read-only


def _plain(leaf: Any) -> np.ndarray:
    import jax

    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _like(leaf: Any, saved: np.ndarray) -> Any:
    """What was saved, as the kind of JAX's array that stands in its place."""
    import jax

    return jax.random.wrap_key_data(jax.numpy.asarray(saved)) if _is_key(leaf) else jax.numpy.asarray(saved)


def _is_key(leaf: Any) -> bool:
    import jax

    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _infos(ended: np.ndarray, won: np.ndarray, allies: np.ndarray, enemies: np.ndarray) -> list[dict[str, Any]]:
    """SMAC's keys for the copies that have ended, nothing for the others."""
    rows = zip(ended.tolist(), won.tolist(), allies.tolist(), enemies.tolist(), strict=True)
    return [{"battle_won": w, "dead_allies": a, "dead_enemies": e} if over else {} for over, w, a, e in rows]


def _check(time_limit: int, options: dict[str, Any]) -> None:
    if type(time_limit) is not int or time_limit < 1:
        raise ConfigError(f"env_args.time_limit={time_limit}: give steps per episode, such as env_args.time_limit=100")
    for name, value in options.items():
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise ConfigError(f"unknown key `env_args.{name}` for SMAX{_near(name, _OPTIONS)}; it knows {known}")
        fits, wanted = _OPTIONS[name]
        if not fits(value):
            raise ConfigError(f"env_args.{name}={value}: SMAX needs {wanted}")


def _near(word: Any, known: Iterable[str]) -> str:
    return f" (did you mean {difflib.get_close_matches(str(word), list(known), n=1, cutoff=0)[0]}?)"


@functools.cache
def _game(map_name: str, options: tuple[tuple[str, Any], ...]) -> _Game:
    """Kept, so that environments of one process share what was compiled."""
    smax = _package()
    maps = smax.smax_env.MAP_NAME_TO_SCENARIO
    if map_name not in maps:
        raise ConfigError(
            f"env_args.map_name={map_name}: SMAX has no such map{_near(map_name, maps)}; it has {', '.join(maps)}"
        )
    env = smax.HeuristicEnemySMAX(scenario=maps[map_name], **dict(options))
    return _Game(env, *_compiled(env))


def _package() -> Any:
    try:
        with _streams_kept():
            from jaxmarl.environments import smax
    except ModuleNotFoundError as error:
        raise EnvironmentMissingError(
            f"SMAX needs the package jaxmarl ({error}); install it: pip install jaxmarl"
        ) from error
    return smax


@contextlib.contextmanager
def _streams_kept() -> Iterator[None]:
    """Importing jaxmarl prints two lines, and its mabrax part sets sys.stdout and sys.stderr to the process's own."""
    streams, system = (sys.stdout, sys.stderr, sys.__stdout__), cast(Any, sys)
    sys.stdout = system.__stdout__ = io.StringIO()
    try:
        yield
    finally:
        sys.stdout, sys.stderr, system.__stdout__ = streams


def _compiled(env: Any) -> tuple[Callable, Callable, Callable]:
    """The package's `reset`, of all copies and of some, and `step_env`; its `step` would replace last observations."""
    import jax
    import jax.numpy as jnp

    def see(obs: Any, battle: Any) -> Seen:
        avail = env.get_avail_actions(battle)
        rows: list[Any] = [jnp.stack([of[agent] for agent in env.agents]) for of in (obs, avail)]
        return Seen(rows[0], obs["world_state"], rows[1])

    def reset(key: Any, episode: Any) -> Any:
        reset_key, steps_key = jax.random.split(jax.random.fold_in(key, episode))
        obs, battle = env.reset(reset_key)
        # The package leaves a weakly typed number, which a step makes a strong one: `step` would be compiled twice.
        battle = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), battle)
        return (battle, steps_key), see(obs, battle)

    def restart(old: Any, key: Any, episode: Any, this: Any) -> Any:
        fresh, seen = reset(key, episode)
        return jax.tree.map(lambda new, kept: jnp.where(this, new, kept), fresh, old), seen

    def step(battle_and_key: Any, actions: Any) -> Any:
        battle, steps_key = battle_and_key
        key = jax.random.fold_in(steps_key, battle.state.step)
        obs, battle, rewards, _, _ = env.step_env(key, battle, dict(zip(env.agents, actions, strict=True)))
        dead = ~battle.state.unit_alive
        allies, enemies = dead[: env.num_allies].sum(), dead[env.num_allies :].sum()
        came = _Came(see(obs, battle), rewards[env.agents[0]], allies, enemies)
        return (battle, steps_key), came

    return jax.jit(jax.vmap(reset)), jax.jit(jax.vmap(restart)), jax.jit(jax.vmap(step))
