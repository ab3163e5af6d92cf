"""`epymarl-tr offline --config=NAME --data PATH [with KEY=VALUE ...]`: learn from recorded episodes alone.

    epymarl-tr offline --config=log_linear_ppo_offline --data data/spread-v0 --evaluate 100 with iterations=50

PATH is what `save_episodes` named in `epymarl-tr run`. The result is a checkpoint of the algorithm that plays what was
learnt (its learner's `plays_as`; `log_linear_ppo` of the one above) under
`results/offline/<name>/<n>/`; `--evaluate N` plays N test episodes with it in the environment of the data, or in the
one that `with env_args.KEY=VALUE` makes of it.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml

from ..command_line import Parser
from ..config import nearest
from ..errors import CapabilityError, ConfigError, DataError
from ..main import main as run
from ..modules import files
from ..provenance import own_version
from ..recordings.episodes import Episodes, read_episodes
from ..recordings.guarded import plain
from ..recordings.layout import is_continuous
from ..run_config import check_run
from ..seeding import seed_everything
from ..suite import algorithms
from ..suite.environment_code import INSTALL
from ..suite.environments import check_environment, resolved
from ..suite.host import config_root
from ..suite.lite.registries import ENVIRONMENTS

_FIXED = {"learner", "mac"}


class _Silence:
    console_logger = logging.getLogger("offline")

    def log_stat(self, *_: Any, **__: Any) -> None:
        pass


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError, CapabilityError, DataError.
    """
    parser = Parser(prog="epymarl-tr offline", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="algorithm, such as log_linear_ppo_offline")
    parser.add_argument("--data", type=Path, required=True, help="recorded episodes (save_episodes)")
    parser.add_argument("--out", type=Path, default=Path("results/offline"), help="folder for results")
    parser.add_argument("--evaluate", type=int, default=0, metavar="N", help="test episodes to play afterwards")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="with KEY=VALUE ...")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = configuration(options.config, options.rest)
    seed_everything(config["seed"])
    episodes = read_episodes(options.data, count=config["max_episodes"])
    check_actions(episodes, config["learner"])
    args, mac = build(config, episodes)
    if options.evaluate or config["env_args"]:
        check_named(episodes.about, config["env_args"])
        check_task(episodes, args)
    make = algorithms.offline_learners()[config["learner"]]
    learner = make(mac, episodes, make.schema.from_mapping(config))
    folder = _new_folder(options.out / config["name"])
    history = train(learner, config["iterations"])
    models = save(folder, args, mac, scheme(episodes.about), history, options.data)
    print(f"model        {models}")
    return _evaluate(options.config, options.evaluate, models, args, config) if options.evaluate else 0


def configuration(name: str, rest: list[str]) -> dict[str, Any]:
    """The algorithm's yaml and what follows `with`, checked, over the keys of the online learner that it is made into.

    Raises:
        ConfigError: an unknown algorithm, a key that is not in its yaml, or a value that is wrong.
    """
    own = _own_keys(name)
    defaults = yaml.safe_load((config_root() / "lite" / "default.yaml").read_text())
    before = {**defaults, **algorithms.read_algorithm(_plays_as(own["learner"])), "seed": 0, **own}
    config = dict(before)
    for word in rest[1:] if rest[:1] == ["with"] else rest:
        key, is_set, value = word.partition("=")
        group, _, argument = key.rpartition(".")
        if is_set and group == "env_args" and argument:
            config["env_args"] = {**config["env_args"], argument: yaml.safe_load(value)}
        elif is_set and key in (own.keys() | {"seed"}) - _FIXED:
            config[key] = yaml.safe_load(value)
        else:
            raise _not_taken(key, name, before, own)
    where = f"--config={name}{algorithms.of_package(algorithms.package_of(before))} or the command line"
    check_run(config, before, where)
    algorithms.check_learner(config, defaults, where, before)
    return config


def _own_keys(name: str) -> dict[str, Any]:
    """The yaml of an algorithm that learns from recorded episodes."""
    offline = algorithms.offline_algorithms()
    if name in offline:
        return offline[name]
    if why := algorithms.listing().refused.get(("algorithm", name)):
        raise ConfigError(f"--config={name} is not to be had: {why}")
    if name in algorithms.algorithm_files():
        algorithms.check_offered(algorithms.read_algorithm(name))
    raise ConfigError(
        f"--config={name} does not learn from recorded episodes{nearest(name, offline)}; use {', '.join(offline)}"
    )


def _plays_as(learner: str) -> str:
    """The algorithm that plays, and trains on, what a learner has learnt from recorded episodes."""
    part = algorithms.offline_learners()[learner]
    name = getattr(part.load(), "plays_as", None)
    if not isinstance(name, str) or name not in algorithms.algorithm_files():
        raise ConfigError(f"{part}: plays_as={name} is no algorithm; name the one that plays what it learns")
    return name


def _not_taken(key: str, name: str, known: Mapping[str, Any], own: Mapping[str, Any]) -> ConfigError:
    if key in known and key != "env_args":
        return ConfigError(
            f"key `{key}` in the command line does nothing: {name} learns from recorded episodes and reads the keys of "
            f"configs/algs/{name}.yaml alone; remove it"
        )
    return ConfigError(f"unknown key `{key}` in the command line{nearest(key, own)}; remove or rename it")


def build(config: dict[str, Any], episodes: Episodes) -> tuple[SimpleNamespace, Any]:
    """Arguments and a controller for the task that the episodes are of.

    Raises:
        DataError: rewards are individual.
    """
    about = episodes.about
    if not about["common_reward"]:
        raise DataError("the episodes have a reward for each agent, and this learner needs a common one; record others")
    facts = {key: about[key] for key in ("n_agents", "n_actions", "env", "common_reward")}
    env_args = {**about["env_args"], **config["env_args"]}
    facts["env_args"] = {key: value for key, value in env_args.items() if value is not None and key != "seed"}
    args = SimpleNamespace(**{**config, **facts, "use_cuda": False, "device": "cpu", "state_shape": about["state_dim"]})
    return args, algorithms.controllers()[args.mac](scheme(about), {"agents": about["n_agents"]}, args)


def check_actions(episodes: Episodes, learner: str) -> None:
    """Refuse recorded actions of a kind that the learner has not.

    Raises:
        CapabilityError: they are real-valued.
    """
    schema = algorithms.schema_of(learner)
    if is_continuous(episodes.about) and schema and schema.continuous_actions:
        raise CapabilityError(
            f"the recorded actions are continuous, and {schema.algorithm} does not support them: its policies are "
            "softmaxes over the features of each action; record episodes with discrete actions"
        )


def check_named(about: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to import a module because a recording, which may be anyone's, says so.

    Args:
        given: `env_args` of the command line.

    Raises:
        ConfigError: the environment's id has a module in front that is no known package's, and the user has not named.
    """
    key = about["env_args"].get("key")
    module = str(key).rpartition(":")[0].partition(".")[0]
    if module and module not in (*INSTALL, __package__.partition(".")[0]) and given.get("key") is None:
        raise ConfigError(
            f"the recorded episodes name code to import, env_args.key={plain(key)}; if you trust it, name it yourself: "
            f"add `with env_args.key={plain(key)}`"
        )


def check_task(episodes: Episodes, args: SimpleNamespace) -> None:
    """Before anything is learnt: the environment in which it will play must be there and have the sizes of the data.

    Raises:
        ConfigError, EnvironmentMissingError: there is no such environment.
        DataError: its sizes differ.
    """
    check_environment({"env": args.env, "env_args": args.env_args})
    if args.env not in ENVIRONMENTS:  # of the host alone, which checks the checkpoint's sizes when it loads it
        return
    own = {key: getattr(args, key) for key in ("common_reward", "reward_scalarisation", "seed")}
    env = ENVIRONMENTS[args.env](**resolved(args.env_args), **own)
    info = env.get_env_info()
    env.close()
    episodes.check_matches(n_agents=info["n_agents"], n_actions=info["n_actions"], obs_dim=info["obs_shape"])


def scheme(about: dict[str, Any]) -> dict[str, Any]:
    """The suite's, as far as networks need it."""
    return {
        "state": {"vshape": about["state_dim"]},
        "obs": {"vshape": about["obs_dim"], "group": "agents"},
        "actions_onehot": {"vshape": (about["n_actions"],), "group": "agents"},
    }


def train(learner: Any, iterations: int) -> list[dict[str, float]]:
    """Run them all, with a line for about every tenth."""
    history = []
    for k in range(iterations):
        history.append(learner.iterate())
        if k % max(iterations // 10, 1) == 0 or k == iterations - 1:
            print(f"iteration {k + 1:>5} of {iterations}: " + _line(history[-1]), flush=True)
    return history


def _line(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


def save(
    folder: Path, args: SimpleNamespace, mac: Any, sizes: dict, history: list[dict[str, float]], data: Path
) -> Path:
    """The policies as a checkpoint of the online learner, with a critic that is as it began, and how they came about.

    Args:
        sizes: `scheme(...)` of the episodes.

    Returns:
        What `checkpoint_path` takes.
    """
    models = folder / "models"
    online = algorithms.read_algorithm(_plays_as(args.learner))
    args = SimpleNamespace(**{**vars(args), "learner": online["learner"]})
    learner = algorithms.learners()[args.learner](mac, sizes, _Silence(), args)
    with files.whole(models / str(len(history))) as unfinished:
        learner.save_models(str(unfinished))
    record = {"data": str(data), **own_version(), "config": vars(args), "iterations": history}
    (folder / "offline.json").write_text(json.dumps(record, indent=1, default=str) + "\n")
    return models


def _new_folder(parent: Path) -> Path:
    numbers = [int(path.name) for path in parent.glob("*") if path.name.isdigit()]
    folder = parent / str(max(numbers, default=0) + 1)
    folder.mkdir(parents=True)
    return folder


def _evaluate(name: str, count: int, models: Path, args: SimpleNamespace, config: dict[str, Any]) -> int:
    """Play test episodes in the environment of the data."""
    online = _plays_as(config["learner"])
    both = _own_keys(name).keys() & algorithms.read_algorithm(online).keys()
    given = {key: config[key] for key in sorted(both - {"name", *_FIXED} | {"seed"})}
    given |= {f"env_args.{key}": value for key, value in args.env_args.items()}
    given |= {"checkpoint_path": models, "evaluate": True, "test_nepisode": count}
    given |= dict.fromkeys(("batch_size_run", "batch_size", "buffer_size"), 1)  # a host plays `count` rollouts of these
    flags = ["--suite=auto", f"--config={online}", f"--env-config={args.env}", "--quiet", "--progress=off"]
    return run([*flags, "with", *(f"{key}={value}" for key, value in given.items())])
