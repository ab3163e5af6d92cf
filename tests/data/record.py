"""Plays scripted rollouts on a suite and writes down all that comes of them.

With the real EPyMARL this makes the recordings that the built-in suite is tested against:

    python tests/data/record.py --epymarl <checkout>

The tests import `CASES`, `LONG_CASES` and `drive` from here, so that both suites play exactly the same.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import multiprocessing
import platform
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.spaces import Box, Discrete, Tuple

RECORDING = Path(__file__).with_name("epymarl_rollouts.npz")
ROLLOUTS = (False, True, True, False, False)  # test_mode of each
SPREAD, SPEAKER = "pz-mpe-simple-spread-v3", "pz-mpe-simple-speaker-listener-v4"
LBF = "lbforaging:Foraging-8x8-2p-3f-v3"
SMALL_LBF = {"key": LBF, "time_limit": 50, "field_size": (5, 5), "max_num_food": 1}  # random players often finish early

# name: (env_args, common_reward, reward_scalarisation)
CASES = {
    "spread-team": ({"key": SPREAD, "time_limit": 7, "max_cycles": 7}, True, "sum"),
    "spread-each": ({"key": SPREAD, "time_limit": 6}, False, "sum"),
    "speaker-team": ({"key": SPEAKER, "time_limit": 9, "max_cycles": 8}, True, "mean"),
    "speaker-each": ({"key": SPEAKER, "time_limit": 8, "max_cycles": 8}, False, "sum"),
    "lbf-team": (SMALL_LBF, True, "sum"),
    "lbf-each": (SMALL_LBF, False, "sum"),
    "toy-team": ({"key": "ConformanceToy-v0", "time_limit": 12, "team_reward": True}, True, "sum"),
    "toy-each": ({"key": "ConformanceToy-v0", "time_limit": 12}, False, "sum"),
}
LONG_CASES = {
    f"{name}-{'team' if team else 'each'}": ({"key": key, "time_limit": limit}, team, "sum")
    for name, key, limit in (("spread", SPREAD, 25), ("speaker", SPEAKER, 25), ("lbf", LBF, 50))
    for team in (True, False)
}


class ConformanceToy(gym.Env):
    """Unequal observations and actions, random ends, some of them marked as a time limit, and info to be counted."""

    n_agents = 3
    action_space = Tuple([Discrete(2), Discrete(4), Discrete(3)])
    observation_space = Tuple([Box(-9, 9, (2,)), Discrete(3), Box(-9, 9, (2, 2))])

    def __init__(self, team_reward: bool = False) -> None:
        self.team_reward = team_reward

    def _observe(self):
        normal = self.np_random.normal
        return normal(size=2), int(self.np_random.integers(3)), normal(size=(2, 2))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, actions):
        draw = self.np_random.random()
        rewards = [float(action) + draw for action in actions]
        info = {"battle_won": draw < 0.1, "score": 100 * draw}
        if draw < 0.05:
            info["episode_limit"] = True
        return self._observe(), sum(rewards) if self.team_reward else rewards, draw < 0.2, False, info


gym.register("ConformanceToy-v0", entry_point=ConformanceToy)


class ScriptedMAC:
    """Picks available actions by arithmetic on (rollout, episode, step, agent, last action); notes what it is shown."""

    def __init__(self) -> None:
        self.action_selector = SimpleNamespace(epsilon=0.5)
        self.rollout = -1
        self.calls: list = []
        self.seen: dict[str, th.Tensor] = {}

    def init_hidden(self, batch_size: int) -> None:
        self.rollout += 1
        self.seen = {}

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        self.calls.append([self.rollout, t_ep, t_env, list(bs), test_mode])
        for key in ("obs", "state", "avail_actions", "filled"):
            self.seen.setdefault(key, th.zeros_like(ep_batch[key]))[:, t_ep] = ep_batch[key][:, t_ep]
        avail = ep_batch["avail_actions"][:, t_ep]
        last = ep_batch["actions_onehot"][:, t_ep - 1].argmax(-1) if t_ep else th.zeros(avail.shape[:2])
        chosen = []
        for b in bs:
            for agent, row in enumerate(avail[b]):
                options = row.nonzero().flatten().tolist()
                number = 7919 * self.rollout + 104729 * b + 1299709 * t_ep + 15485863 * agent + int(last[b, agent])
                chosen.append(options[number % 65537 % len(options)])
        return th.tensor(chosen).reshape(len(bs), -1)


class ListLogger:
    """Keeps each statistic as [rollout, key, value, t]."""

    def __init__(self, mac: ScriptedMAC) -> None:
        self.mac = mac
        self.logged: list = []
        self.console_logger = logging.getLogger("conformance")

    def log_stat(self, key, value, t, to_sacred=True) -> None:
        self.logged.append([self.mac.rollout, key, float(value), int(t)])


def drive(make_runner, one_hot, case: tuple, n_envs: int = 3, **changes) -> tuple[dict[str, np.ndarray], dict]:
    """Play ROLLOUTS with a suite's runner class and its one-hot preprocessing.

    Returns:
        Every field of every batch, by "<rollout>/<field>"; and what was logged, asked of the MAC and counted.
    """
    env_args, common_reward, scalarisation = case
    args = SimpleNamespace(
        env="gymma",
        env_args={**env_args, "seed": 11, "pretrained_wrapper": None},
        common_reward=common_reward,
        reward_scalarisation=scalarisation,
        batch_size_run=n_envs,
        device="cpu",
        render=False,
        test_nepisode=2 * n_envs,
        runner_log_interval=30,
    )
    vars(args).update(changes)
    mac = ScriptedMAC()
    logger = ListLogger(mac)
    runner = make_runner(args, logger)
    info = runner.get_env_info()
    args.n_agents = info["n_agents"]
    runner.setup(_scheme(info, common_reward), {"agents": info["n_agents"]}, _preprocess(info, one_hot), mac)
    fields, t_env, shown = {}, [], []
    for rollout, test_mode in enumerate(ROLLOUTS):
        batch = runner.run(test_mode=test_mode)
        fields |= {f"{rollout}/{key}": value.cpu().numpy() for key, value in batch.data.transition_data.items()}
        t_env.append(runner.t_env)
        shown.append(all(th.equal(value, batch[key]) for key, value in mac.seen.items()))
    runner.close_env()
    info = {key: int(value) for key, value in info.items()}
    notes = {"info": info, "t_env": t_env, "shown": shown, "calls": mac.calls, "logged": sorted(logger.logged)}
    return fields, notes


def _scheme(info: dict, common_reward: bool) -> dict:
    return {
        "state": {"vshape": info["state_shape"]},
        "obs": {"vshape": info["obs_shape"], "group": "agents"},
        "actions": {"vshape": (1,), "group": "agents", "dtype": th.long},
        "avail_actions": {"vshape": (info["n_actions"],), "group": "agents", "dtype": th.int},
        "terminated": {"vshape": (1,), "dtype": th.uint8},
        "reward": {"vshape": (1 if common_reward else info["n_agents"],)},
    }


def _preprocess(info: dict, one_hot) -> dict:
    return {"actions": ("actions_onehot", [one_hot(out_dim=info["n_actions"])])}


def versions() -> dict[str, str]:
    """Of all packages that have a hand in the numbers."""
    packages = ("numpy", "torch", "gymnasium", "mpe2", "pettingzoo", "lbforaging")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def save(path: Path, results: dict, made_by: dict) -> None:
    """Write the results of several cases, and what made them, to one npz file."""
    arrays = {f"{name}/{key}": value for name, (fields, _) in results.items() for key, value in fields.items()}
    notes = {name: note for name, (_, note) in results.items()}
    np.savez_compressed(path, notes=json.dumps(notes), made_by=json.dumps(made_by), **arrays)


def load(path: Path) -> tuple[dict, dict]:
    """Gives what `save` was given: results per case, and what made them."""
    with np.load(path) as file:
        notes, made_by = json.loads(str(file["notes"])), json.loads(str(file["made_by"]))
        arrays = {key: file[key] for key in file.files if key not in ("notes", "made_by")}
    results = {}
    for name, note in notes.items():
        fields = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
        results[name] = fields, note
    return results, made_by


def _load_epymarl(home: Path):
    """EPyMARL's runner and one-hot; its import of smaclite is satisfied with an empty module where that is missing."""
    multiprocessing.set_start_method("fork")  # the workers inherit the environment ids registered here
    sys.path.insert(0, str(home / "src"))
    try:
        import smaclite  # noqa: F401
    except ImportError:
        sys.modules["smaclite"] = types.ModuleType("smaclite")
    from components.transforms import OneHot
    from runners.parallel_runner import ParallelRunner

    for key in (SPREAD, SPEAKER):
        _register_with_epymarl_wrapper(key)
    return ParallelRunner, OneHot


def _vector_runner():
    """This plugin's runner on the EPyMARL that is on the path."""
    from epymarl_trust_region.suite import epymarl

    return epymarl.vector_runner


def _register_with_epymarl_wrapper(key: str) -> None:
    """The id `key` on EPyMARL's own PettingZoo wrapper, with mpe2 where PettingZoo had its MPE."""
    module = key.removeprefix("pz-mpe-").replace("-", "_")
    sys.modules[f"pettingzoo.mpe.{module}"] = importlib.import_module(f"mpe2.{module}")
    sys.modules["pettingzoo.mpe"] = sys.modules["mpe2"]
    gym.registry.pop(key, None)
    gym.register(key, entry_point="envs.pz_wrapper:PettingZooWrapper", kwargs={"lib_name": "mpe", "env_name": module})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epymarl", type=Path, required=True, help="root of an EPyMARL checkout")
    parser.add_argument("--out", type=Path, default=RECORDING, help="npz file to write")
    parser.add_argument("--long", action="store_true", help="play LONG_CASES as well")
    parser.add_argument("--vector", type=int, metavar="N", help="with this plugin's runner, in N processes")
    options = parser.parse_args()
    th.set_num_threads(1)
    runner, one_hot = _load_epymarl(options.epymarl)
    changes = {}
    if options.vector:
        runner, changes = _vector_runner(), {"env_processes": options.vector, "batched_envs": "none"}
    cases = CASES | ({f"long-{name}": case for name, case in LONG_CASES.items()} if options.long else {})
    results = {name: drive(runner, one_hot, case, **changes) for name, case in cases.items()}
    command = ["git", "-C", str(options.epymarl), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    save(options.out, results, {"epymarl": commit, **versions()})


if __name__ == "__main__":
    main()
