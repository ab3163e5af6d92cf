"""What `epymarl-tr tune` reads: algorithms, the ranges of their keys, trials of each, and seeds that nobody reports.

    task: simple-spread             # folder and title
    env_config: gymma
    trials: 20                      # of each algorithm: equal effort
    seeds: [1001, 1002]             # of each trial; from 1000 on, so that they are not those of a report
    with: {env_args.key: pz-mpe-simple-spread-v3, env_args.time_limit: 25, t_max: 100000, test_interval: 25000}
    algorithms:
      - {config: happo, ranges: {lr: auto, eps_clip: [0.1, 0.2, 0.3], entropy_coef: {from: 0.001, to: 0.1, log: True}}}
      - {config: qmix, suite: epymarl, ranges: {lr: auto}}

A range is a list of values, two ends, or `auto`: all values of a key that has few, else from a tenth of its default to
ten times that, by its logarithm, within what the algorithm allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..config import OnPolicyConfig, check_known_keys, check_name, checked, kinds
from ..config_files import name_of
from ..errors import ConfigError, TrustRegionError
from ..run_config import RunConfig
from ..suite import algorithms
from .planned import Planned
from .yaml_file import read_yaml

LEAST_SEED = 1000


@dataclass(frozen=True)
class Range:
    """The values that one key may have: a list of them, or all from `low` to `high`."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Any, key: str) -> Any:
        """A value, by Optuna."""
        if self.choices:
            return trial.suggest_categorical(key, list(self.choices))
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Algorithm:
    """One algorithm, and what of it is tried."""

    name: str  # of its folder and study
    config: str
    suite: str
    ranges: Mapping[str, Range]
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Tuning:
    """A whole file."""

    task: str
    env_config: str
    trials: int
    seeds: tuple[int, ...]
    algorithms: tuple[Algorithm, ...]


def read_tuning(file: Path) -> Tuning:
    """Read and check a file, so that no trial fails for what stands in it.

    Raises:
        ConfigError: names what is missing, unknown, out of range, or equal for two algorithms.
    """
    data = _group(read_yaml(file, "tuning file"), str(file))
    check_known_keys(data, ["task", "env_config", "suite", "trials", "seeds", "with", "algorithms"], str(file))
    for key in ("task", "trials", "seeds", "with", "algorithms"):
        if key not in data:
            raise ConfigError(f"{file} has no key `{key}`; add it")
    check_name(f"the task in {file},", data["task"])
    if type(data["trials"]) is not int or data["trials"] < 1:
        raise ConfigError(f"trials in {file} is {data['trials']!r}; give a whole number of at least 1")
    if not isinstance(data["algorithms"], list) or not data["algorithms"]:
        raise ConfigError(f"algorithms in {file} is no list; write `algorithms: [{{config: happo, ranges: ...}}]`")
    env_config = str(data.get("env_config", "gymma"))
    found = tuple(_algorithm(entry, data, env_config, file) for entry in data["algorithms"])
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{twice[0]} stands more than once in {file}; give each a `name` of its own")
    return Tuning(data["task"], env_config, data["trials"], _seeds(data["seeds"], file), found)


def _seeds(seeds: Any, file: Path) -> tuple[int, ...]:
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise ConfigError(f"seeds in {file} is no list of whole numbers; write `seeds: [1001, 1002]`")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"a seed stands more than once in {file}; remove it")
    for seed in seeds:
        if not LEAST_SEED <= seed < 2**32:
            raise ConfigError(
                f"seed {seed} in {file}: settings are tuned on seeds from {LEAST_SEED} on, so that no report is of "
                "runs that chose them"
            )
    return tuple(seeds)


def _group(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{what} holds no group of keys; see the format in docs/tune.md")
    return dict(value)


def _algorithm(entry: Any, data: Mapping[str, Any], env_config: str, file: Path) -> Algorithm:
    entry = _group(entry, f"an algorithm in {file}")
    check_known_keys(entry, ["name", "config", "suite", "ranges", "with"], str(file))
    if not isinstance(entry.get("config"), str):
        raise ConfigError(f"an algorithm in {file} has no `config`; name one, such as happo")
    config, suite = entry["config"], str(entry.get("suite", data.get("suite", "auto")))
    name = entry.get("name", name_of(config))
    check_name(f"the name of an algorithm in {file},", name)
    where = f"{name} in {file}"
    overrides = {**_group(data["with"], f"`with` in {file}"), **_group(entry.get("with", {}), f"`with` of {where}")}
    for key in ("seed", "local_results_path"):
        if key in overrides:
            raise ConfigError(f"{key} of {where} is set by the search itself; remove it")
    asked = _group(entry.get("ranges"), f"`ranges` of {where}")
    try:
        planned = Planned(suite, config, env_config, ["with", *(f"{k}={v}" for k, v in overrides.items())])
        check_known_keys(asked, planned.values, where)
        fields = _fields(planned.values.get("learner"))
        ranges = {key: _range(key, value, planned.values[key], fields, where) for key, value in asked.items()}
    except TrustRegionError as error:
        text = str(error)
        raise ConfigError(text if str(file) in text else f"{where}: {text}") from None
    return Algorithm(name, config, suite, ranges, overrides)


def _fields(learner: Any) -> dict[str, tuple[dataclasses.Field, type]]:
    """Key -> its field and kind, of those whose range is known."""
    schemas: list[Any] = [RunConfig, algorithms.schema_of(learner) or OnPolicyConfig]
    if algorithms.schema_of(learner) is None:  # the suite's own
        schemas = schemas[:1]
    return {f.name: (f, kinds(schema)[f.name]) for schema in schemas for f in dataclasses.fields(cast(Any, schema))}


def _range(key: str, value: Any, default: Any, fields: Mapping[str, Any], where: str) -> Range:
    f, kind = fields.get(key, (None, type(default)))
    if value == "auto":
        return _auto(key, default, f, kind, where)
    if isinstance(value, list):
        if len(value) < 2:
            raise ConfigError(f"the range of {key} of {where} has one value; put it into `with`, or give more")
        return Range(choices=tuple(_checked(f, kind, one) for one in value))
    group = _group(value, f"the range of {key} of {where}")
    check_known_keys(group, ["from", "to", "log"], f"the range of {key} of {where}")
    ends = [group.get("from"), group.get("to")]
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(numbers) < 2 or numbers[0] >= numbers[1]:
        raise ConfigError(f"the range of {key} of {where} is {value}; write {{from: LOW, to: HIGH, log: True}}")
    low, high = (_checked(f, kind, end) for end in numbers)
    if group.get("log") and low <= 0:
        raise ConfigError(f"the range of {key} of {where} begins at {low}, which has no logarithm; begin above 0")
    return Range((), low, high, bool(group.get("log")), kind is int)


def _auto(key: str, default: Any, f: dataclasses.Field | None, kind: type, where: str) -> Range:
    if f is not None and f.metadata.get("choices"):
        return Range(choices=f.metadata["choices"])
    if kind is bool:
        return Range(choices=(False, True))
    if kind not in (int, float) or not isinstance(default, int | float) or default <= 0:
        raise ConfigError(f"the range of {key} of {where} cannot be `auto` (its default is {default}); give values")
    bounds = (f.metadata.get("bounds") or {}) if f is not None else {}
    low, high = max(default / 10, bounds.get(">=") or 0), default * 10
    for sign, part in (("<", 0.99), ("<=", 1.0)):
        if bounds.get(sign) is not None:
            high = min(high, bounds[sign] * part)
    return Range((), max(round(low), 1), round(high), True, True) if kind is int else Range((), low, high, True)


def _checked(f: dataclasses.Field | None, kind: type, value: Any) -> Any:
    return value if f is None else checked(f, kind, value)
