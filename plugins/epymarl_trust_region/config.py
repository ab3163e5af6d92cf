"""What a configuration may contain: names, types, ranges, and what an algorithm can do.

Here is what algorithms have in common; what one of them adds stands with its learner. Defaults live in
`configs/algs/*.yaml` alone; the dataclasses have none. A key that a learner reads is a field of its dataclass, so that
a key nobody reads cannot be set.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from .errors import CapabilityError, ConfigError
from .extensions import load_class


def key(*, gt: float | None = None, ge: float | None = None, lt: float | None = None, le: float | None = None,
        choices: tuple[str, ...] | None = None, optional: bool = False, auto: bool = False,
        empty: bool = False, steps: bool = False, why: str = "") -> Any:  # fmt: skip
    """A field without a default, with its range and the reason for it.

    `optional` lets the value be null, `auto` lets it be the word "auto", and `empty` a word without letters. `steps`
    are whole numbers that may be written as 1e6.
    """
    bounds = {">": gt, ">=": ge, "<": lt, "<=": le}
    allowed = {"optional": optional, "auto": auto, "empty": empty, "steps": steps}
    return field(metadata={"bounds": bounds, "choices": choices, "why": why, **allowed})


#: Keys of every run, whosever algorithm it is: those of configs/run.yaml.
RUN_KEYS = (
    "save_episodes",
    "save_episodes_overwrite",
    "env_processes",
    "batched_envs",
    "env_timeout",
    "learner_device",
    "torch_threads",
)

# What a key's value may be, and what a message calls it.
_ARTICLES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a word",
    dict: "keys and values, as in {width: 64}",
}

_COMPARE = {
    ">": lambda x, b: x > b,
    ">=": lambda x, b: x >= b,
    "<": lambda x, b: x < b,
    "<=": lambda x, b: x <= b,
}


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean X?)` for the closest known word; empty if none is as similar as `cutoff`, in [0, 1]."""
    match = difflib.get_close_matches(str(word), list(map(str, known)), n=1, cutoff=cutoff)
    return f" (did you mean {match[0]}?)" if match else ""


ConfigT = TypeVar("ConfigT", bound="OnPolicyConfig")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Keys that an algorithm's yaml sets and a host's run loop reads, whosever algorithm it is."""

    name: str = key()
    runner: str = key()
    mac: str = key()
    learner: str = key()
    t_max: int = key(gt=0, steps=True)
    batch_size_run: int = key(ge=1)
    batch_size: int = key(ge=1)
    buffer_size: int = key(ge=1)
    test_greedy: bool = key()
    learner_log_interval: int = key(ge=0, steps=True)


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(LoopConfig):
    """Keys that every on-policy learner of this plugin reads. Meanings and units are in the yaml files."""

    # Capabilities, declared beside the keys and enforced by `check_capabilities`.
    algorithm: ClassVar[str] = "this algorithm"
    individual_rewards: ClassVar[str | None] = None  # None: supported; else the reason why not
    shared_actors: ClassVar[str | None] = None
    individual_critic: ClassVar[str | None] = None
    own_actors: ClassVar[str | None] = None
    continuous_actions: ClassVar[str | None] = None
    joint_advantage: ClassVar[bool] = True  # one advantage for all agents, and not one for each
    step_size_keys: ClassVar[str] = "lr or critic_lr"  # what to lower when training diverges
    # Keys of the host's defaults that do nothing here -> why. What stands in a subclass is added to it.
    no_meaning: ClassVar[Mapping[str, str]] = {
        "agent": "its networks are what hidden_dim, use_rnn and share_parameters make of them",
        "optim_alpha": "it belongs to RMSProp, which no learner of this plugin uses",
    }

    mac: str = key(choices=("trust_region_mac",))
    rollout_steps: int | None = key(ge=2, optional=True)
    add_value_last_step: bool = key()

    hidden_dim: int = key(ge=1)
    use_rnn: bool = key()
    share_parameters: bool = key()
    obs_agent_id: bool = key()
    obs_last_action: bool = key()
    obs_individual_obs: bool = key()
    activation: str = key(choices=("relu", "tanh", "leaky_relu"))
    actor_network: str | None = key(optional=True)
    actor_args: dict = key()
    critic_network: str | None = key(optional=True)
    critic_args: dict = key()
    normalise_inputs: bool = key()
    log_std_init: float = key()
    log_std_min: float = key(ge=-40, le=40)  # beyond, a variance is 0 or infinite in 32 bits
    log_std_max: float = key(ge=-40, le=40)

    grad_norm_clip: float = key(gt=0)
    optim_eps: float = key(gt=0)
    use_linear_lr_decay: bool = key()
    max_bad_updates: int = key(ge=1)

    gamma: float = key(gt=0, le=1)
    gae_lambda: float = key(ge=0, le=1)
    standardise_advantages: bool = key()

    critic: str = key(choices=("central", "individual"))
    critic_hidden_dim: int = key(ge=1)
    critic_lr: float = key(gt=0)
    critic_epochs: int = key(ge=1)
    critic_num_mini_batch: int = key(ge=1)
    value_norm: str = key(choices=("none", "popart"))
    value_norm_beta: float = key(ge=0, lt=1)
    huber_delta: float | None = key(gt=0, optional=True)

    @classmethod
    def from_mapping(cls: type[ConfigT], config: Mapping[str, Any], where: str = "the configuration") -> ConfigT:
        """Checked values of this learner's keys; other keys are ignored here (see `check_known_keys`).

        Raises:
            ConfigError: a key is missing, of the wrong type, or out of range.
        """
        values = {}
        for f in dataclasses.fields(cls):
            if f.name not in config:
                raise ConfigError(f"key `{f.name}` is missing from {where}; add it to the algorithm's yaml")
            values[f.name] = checked(f, kinds(cast(Any, cls))[f.name], config[f.name])
        made = cls(**values)
        made.check_fresh_batch()
        return made

    def check_fresh_batch(self) -> None:
        """On-policy data only: the buffer holds exactly the episodes of the last rollout."""
        if not self.batch_size == self.batch_size_run == self.buffer_size:
            raise ConfigError(
                f"batch_size={self.batch_size}, batch_size_run={self.batch_size_run} and "
                f"buffer_size={self.buffer_size} must be equal: {self.algorithm} learns from the episodes it has just "
                f"collected; set all three to {self.batch_size_run}"
            )

    def check_capabilities(self, common_reward: bool) -> None:
        """Refuse combinations in which the algorithm has no meaning.

        Raises:
            CapabilityError: names the key, the reason and what to use instead.
        """
        asked = {
            "common_reward=False": (not common_reward, self.individual_rewards),
            "share_parameters=True": (self.share_parameters, self.shared_actors),
            "critic=individual": (self.critic == "individual", self.individual_critic),
            f"actor_network={self.actor_network}": (self.actor_network is not None, self.own_actors),
        }
        if self.joint_advantage and self.individual_rewards is None:
            asked["common_reward=False"] = (
                not common_reward,
                "it has one advantage for all agents; set common_reward=True",
            )
        for setting, (on, reason) in asked.items():
            if on and reason:
                raise CapabilityError(f"{self.algorithm} does not support {setting}: {reason}")
        self._check_networks()
        self._check_streams()

    def check_continuous(self) -> None:
        """Refuse real-valued actions where the algorithm has none.

        Raises:
            CapabilityError: names the reason and what to use instead.
        """
        if self.continuous_actions:
            raise CapabilityError(f"{self.algorithm} does not support continuous actions: {self.continuous_actions}")

    def _check_streams(self) -> None:
        if self.rollout_steps is None:
            return
        if self.runner != "vector":
            raise ConfigError(f"rollout_steps={self.rollout_steps} needs runner=vector, not {self.runner}")

    def _check_networks(self) -> None:
        if not self.log_std_min <= self.log_std_init <= self.log_std_max:
            raise ConfigError(
                f"log_std_init={self.log_std_init} must lie between log_std_min={self.log_std_min} and "
                f"log_std_max={self.log_std_max}"
            )
        for name in ("actor", "critic"):
            network, arguments = getattr(self, f"{name}_network"), getattr(self, f"{name}_args")
            if network is not None:
                load_class(network, f"{name}_network")
            elif arguments:
                raise ConfigError(f"{name}_args={dict(arguments)} goes to no network; name one with {name}_network")
        if self.actor_network is not None and self.use_rnn:
            raise ConfigError(
                f"use_rnn=True does nothing with actor_network={self.actor_network}, whose method init_hidden makes it "
                "recurrent; set use_rnn=False"
            )

    def unread(self) -> dict[str, str]:
        """Keys that do nothing beside these values of the others -> which others, and why."""
        found = {}
        if self.value_norm == "none":
            found["value_norm_beta"] = "value_norm=none keeps no moments"
        if self.critic == "individual":
            found["obs_individual_obs"] = "critic=individual has no state to append observations to"
        if self.actor_network is not None:
            found["hidden_dim"] = f"actor_network={self.actor_network} has the widths that actor_args give it"
        if self.actor_network is not None and self.critic_network is not None:
            found["activation"] = "actor_network and critic_network bring their own"
        return found

    def clip_range(self, n_agents: int) -> float | None:
        """How far a ratio may move from 1 before it is clipped; None where nothing is clipped."""
        return None


@dataclass(frozen=True, kw_only=True)
class PPOConfig(OnPolicyConfig):
    """Keys of the learners that ascend a clipped surrogate with Adam."""

    lr: float = key(gt=0)
    epochs: int = key(ge=1)
    actor_num_mini_batch: int = key(ge=1)
    eps_clip: float | None = key(gt=0, lt=1, optional=True)
    entropy_coef: float = key(ge=0)

    def clip_range(self, n_agents: int) -> float | None:
        return self.eps_clip


@dataclass(frozen=True, kw_only=True)
class SequentialConfig(OnPolicyConfig):
    """Keys of the learners whose agents take turns."""

    distance_keys: ClassVar[str]  # what says how far an agent moves in its turn

    individual_rewards: ClassVar[str | None] = (
        "its sequential factor multiplies one advantage that all agents share (Lemma 1 of the paper); "
        "set common_reward=True, or use --config=ir_ippo or the suite's ippo_ns"
    )
    shared_actors: ClassVar[str | None] = (
        "updating one agent would move the agents after it before their turn, so their ratios and the factor would "
        "refer to different policies; set share_parameters=False, or use --config=ir_mappo or the suite's mappo"
    )

    agent_order: str = key(choices=("random", "fixed"))
    factor_clip: float | None = key(gt=0, lt=1, optional=True)


@dataclass(frozen=True, kw_only=True)
class LogLinearConfig(SequentialConfig):
    """Keys of the learners whose policies are linear in fixed features (`log_linear_mac`)."""

    individual_rewards: ClassVar[str | None] = (
        "its regressions are of one value that all agents share; set common_reward=True, or use --config=inpg"
    )
    shared_actors: ClassVar[str | None] = (
        "every agent's features are of its own place in the order; set share_parameters=False"
    )
    own_actors: ClassVar[str | None] = "its policies are linear in fixed features; set actor_network=None"
    continuous_actions: ClassVar[str | None] = (
        "its policies are softmaxes over the features of each action; use --config=happo"
    )
    distance_keys: ClassVar[str] = "1 / beta"
    step_size_keys: ClassVar[str] = "1 / beta or critic_lr"
    no_meaning: ClassVar[Mapping[str, str]] = {
        "lr": "its actors' steps are regressions divided by beta; critic_lr is the critic's step size"
    }

    mac: str = key(choices=("log_linear_mac",))
    conditioning: str = key(choices=("autoregressive", "product"))
    policy_input: str = key(choices=("obs", "state"))
    features: str = key(choices=("raw", "fourier"))
    fourier_features: int = key(ge=1)
    fourier_width: float = key(gt=0)
    target: str = key(choices=("advantage", "return"))
    beta: float | str = key(gt=0, auto=True, why="the step is the regression's solution divided by it")
    ridge: float = key(ge=0)

    def check_capabilities(self, common_reward: bool) -> None:
        super().check_capabilities(common_reward)
        if self.use_rnn:
            raise CapabilityError("log-linear policies have fixed features and no memory; set use_rnn=False")

    def unread(self) -> dict[str, str]:
        found = {**super().unread(), "hidden_dim": "its features are fixed"}
        if self.conditioning == "autoregressive":
            why = "conditioning=autoregressive lets agents choose in the order of their indices, without a factor"
            found |= dict.fromkeys(("agent_order", "factor_clip"), why)
        if self.policy_input == "state":
            found |= dict.fromkeys(("obs_agent_id", "obs_last_action"), "policy_input=state reads no observation")
        if self.features == "raw":
            found |= dict.fromkeys(("fourier_features", "fourier_width"), "features=raw are the input itself")
        return found


@functools.cache
def kinds(schema: type[Any]) -> dict[str, type]:
    """The type of each field's values: int of `int | None`, float of `float | str`.

    Read as types and not as text, so that a module may postpone its annotations (PEP 563) or not.

    Raises:
        ConfigError: a type that no key of a configuration has, or a name that its module does not know.
    """
    try:
        hints = typing.get_type_hints(schema)
    except NameError as error:
        raise ConfigError(f"a type in {schema.__name__} cannot be read: {error}; import it in its module") from None
    return {f.name: _kind(hints[f.name], f"{schema.__name__}.{f.name}") for f in dataclasses.fields(schema)}


def _kind(hint: Any, where: str) -> type:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    kind = typing.get_origin(hint) or hint
    if kind not in _ARTICLES:
        known = ", ".join(one.__name__ for one in _ARTICLES)
        raise ConfigError(f"{where} has the type {hint}, which no key of a configuration has; give it one of {known}")
    return kind


def checked(f: dataclasses.Field, kind: type, value: Any) -> Any:
    """The value of one field, as its type.

    Args:
        kind: of `kinds`.

    Raises:
        ConfigError: wrong type, not finite, not a choice, or out of range.
    """
    meta = f.metadata or key().metadata
    if (value is None and meta["optional"]) or (value == "auto" and meta["auto"]):
        return value
    if meta["optional"] and value in ("null", "none", "~"):  # yaml's word, read as text on the command line
        raise ConfigError(f"{f.name}={value} is text on the command line; write {f.name}=None")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if meta["steps"] and isinstance(value, float) and value.is_integer():
        value = int(value)
    wanted = Mapping if kind is dict else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        hint = " (write 1.0e-3, with a dot: yaml reads 1e-3 as text)" if kind is float and _is_number(value) else ""
        what = _ARTICLES[kind] + (", or the word auto" if meta["auto"] else "")
        raise ConfigError(f"{f.name}={value!r} is not of type {kind.__name__}; give {f.name} {what}{hint}")
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{f.name}={value!r} is unknown; choose one of {', '.join(meta['choices'])}")
    if value == "" and not meta["empty"]:
        raise ConfigError(f"{f.name} is empty; give {f.name} a word")
    _check_range(f.name, value, meta)
    return value


def _check_range(name: str, value: Any, meta: Mapping[str, Any]) -> None:
    bounds = {sign: b for sign, b in meta["bounds"].items() if b is not None}
    finite = not isinstance(value, float) or math.isfinite(value)
    if not finite or not all(_COMPARE[sign](value, b) for sign, b in bounds.items()):
        wanted_range = " and ".join(f"{name} {sign} {b}" for sign, b in bounds.items()) or "finite"
        why = f" ({meta['why']})" if meta["why"] else ""
        raise ConfigError(f"{name}={value!r} is out of range; it must be {wanted_range}{why}")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def check_name(what: str, name: Any) -> None:
    """Refuse a name under which nothing can be filed, or that leads out of its folder.

    Args:
        what: what has the name, for the message.

    Raises:
        ConfigError: it is no name of one folder.
    """
    good = isinstance(name, str) and name.isprintable() and name == name.strip() and name.strip(".")
    if not good or "/" in name or "\\" in name or len(name.encode(errors="replace")) > 100:
        shown = name if len(str(name)) <= 100 else f"{str(name)[:100]}..."
        raise ConfigError(f"{what} {shown!r} is no name of a folder; use letters, digits, - and _, at most 100")


def check_place(name: str, path: Any) -> None:
    """Refuse a folder for results that is the whole machine, or none.

    Raises:
        ConfigError: it is the root of a file system, a file, or no path.
    """
    if not isinstance(path, str) or not path.strip() or not path.isprintable():
        raise ConfigError(f"{name}={path!r} is no path; name a folder, such as results")
    place = Path(path).resolve()
    if place == Path(place.anchor):
        raise ConfigError(f"{name}={path} is the root of the file system; name a folder below, such as results")
    if place.exists() and not place.is_dir():
        raise ConfigError(f"{name}={path} is a file; name a folder, such as results")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as on the command line: {"env_args": {"key": 1}} -> {"env_args.key": 1}."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def check_known_keys(names: Iterable[str], known: Iterable[str], where: str, unlikely: Iterable[str] = ()) -> None:
    """Refuse a key that nothing reads.

    Args:
        unlikely: known keys that nobody can have meant.

    Raises:
        ConfigError: names the key, where it stands, and the nearest known key.
    """
    known = list(known)
    likely = [name for name in known if name not in set(unlikely)]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"unknown key `{name}` in {where}{nearest(name, likely)}; nothing reads it: remove or rename it"
            )


def check_read(config: Mapping[str, Any], before: Mapping[str, Any], unread: Mapping[str, str], where: str) -> None:
    """Refuse a key that was changed and that nothing reads.

    Args:
        before: the values that the keys have by themselves.
        unread: key -> why nothing reads it.

    Raises:
        ConfigError: names the key, the reason and the remedy.
    """
    for name, why in unread.items():
        if name in config and config[name] != before.get(name, config[name]):
            raise ConfigError(f"{name}={config[name]} in {where} does nothing: {why}; remove it")
