"""Into a host's registries: ours beside its own, its runners wrapped once, and every check before anything is built."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import re
import types

import gymnasium
import pytest
import torch
import yaml
from epymarl_trust_region.environments.mamujoco import MaMuJoCoEnv
from epymarl_trust_region.environments.smax import SMAXEnv
from epymarl_trust_region.errors import (
    CapabilityError,
    CheckpointError,
    ConfigError,
    EnvironmentMissingError,
    SuiteError,
)
from epymarl_trust_region.suite import epymarl, registration, worker_watch
from support import CONTROLLERS, LEARNERS, ROOT, algorithm

KEY = "trust-region-climbing-v0"
RESOLVED = f"epymarl_trust_region.environments.games:{KEY}"
HOST_DEFAULTS = yaml.safe_load((ROOT / "configs/lite/default.yaml").read_text()) | {"device": "cpu"}


class HostRunner:
    """Takes notes; its rollout pays 1 and 2 in one episode of two steps, and 5 in another of one."""

    def __init__(self, args, logger) -> None:
        self.seen, self.logger, self.t_env, self.test_modes = dict(args.env_args), logger, 0, []

    def run(self, test_mode: bool = False):
        self.test_modes.append(test_mode)
        if not test_mode:
            self.t_env += 3
        return {"reward": torch.tensor([[[1.0], [2.0]], [[5.0], [0.0]]])}


def VECTOR(args, logger):
    """In the place of this plugin's own runner."""
    return HostRunner(args, logger)


class NoteProgress:
    def __init__(self) -> None:
        self.started, self.updates = [], []

    def start(self, t_max) -> None:
        self.started.append(t_max)

    def begin(self, t_env) -> None: ...

    def update(self, t_env, episode_return) -> None:
        self.updates.append((t_env, episode_return))


def test_a_runner_of_our_name_that_is_not_ours_is_refused():
    with pytest.raises(SuiteError, match="the runner name `vector` is taken"):
        registration.register_into({}, {}, {"vector": HostRunner}, {}, VECTOR)
    runners: dict = {}
    for _ in range(2):  # ours twice, wrapped the second time, is fine
        registration.register_into({}, {}, runners, {}, VECTOR)
    assert runners["vector"].without_plugin is VECTOR


def make_args():
    return types.SimpleNamespace(env_args={"key": KEY, "time_limit": 1}, t_max=77)


def test_ours_stand_beside_the_hosts_own():
    learners, controllers, runners = {"q": 1}, {"basic_mac": 2}, {"parallel": HostRunner}
    environments = {"gymma": dict, "other": 3}
    for _ in range(2):
        registration.register_into(learners, controllers, runners, environments, VECTOR)
    assert environments.pop("gymma").args == (dict,)  # wrapped once
    assert environments == {"other": 3, "smax": SMAXEnv, "mamujoco": MaMuJoCoEnv}
    assert runners["vector"].without_plugin is VECTOR
    assert learners == {"q": 1, **LEARNERS}
    assert controllers == {"basic_mac": 2, **CONTROLLERS}
    assert list(runners) == ["parallel", "vector"]
    assert runners["parallel"].without_plugin is HostRunner and runners["parallel"].__name__ == "HostRunner"


def test_twice_is_once_and_the_last_progress_is_shown():
    learners, controllers, runners = {}, {}, {"parallel": HostRunner}
    first, second = NoteProgress(), NoteProgress()
    for progress in (first, second):
        registration.register_into(learners, controllers, runners, {}, VECTOR, progress)
    assert (learners, controllers) == (LEARNERS, CONTROLLERS)
    assert runners["parallel"].without_plugin is HostRunner
    runners["parallel"](args=make_args(), logger=None).run()
    assert (first.started, first.updates) == ([], [])
    assert (second.started, second.updates) == ([77], [(3, 4.0)])


@pytest.mark.parametrize(
    "kind, registries",
    [("learner", ({"happo_learner": "Else"}, {}, {})), ("controller", ({}, {"trust_region_mac": "Else"}, {}))],
)
def test_a_name_that_is_taken_is_refused_by_name(kind, registries):
    before = [dict(registry) for registry in registries]
    name = next(iter({**registries[0], **registries[1]}))
    with pytest.raises(SuiteError, match=rf"the {kind} name `{name}` is taken by 'Else'.*uninstall one"):
        registration.register_into(*registries, {}, VECTOR)
    assert registries["learner controller".split().index(kind)] == before["learner controller".split().index(kind)]


def wrapped(progress=None):
    runners = {"parallel": HostRunner}
    registration.register_into({}, {}, runners, {}, VECTOR, progress)
    return runners["parallel"]


def test_the_runner_is_made_with_the_resolved_key_and_the_learner_sees_the_users():
    args = make_args()
    original = args.env_args
    runner = wrapped()(args=args, logger="log")
    assert isinstance(runner, HostRunner) and runner.logger == "log"
    assert runner.seen == {"key": RESOLVED, "time_limit": 1}
    assert args.env_args is original and original == {"key": KEY, "time_limit": 1}


def test_the_host_is_told_of_every_runner_that_is_made():
    """As it is made: before it records or shows its progress, which replaces its `run`."""
    made, progress = [], NoteProgress()
    runners = {"parallel": HostRunner}
    note = lambda runner: made.append((runner, "run" in vars(runner)))  # noqa: E731
    registration.register_into({}, {}, runners, {}, VECTOR, progress, note)
    both = [runners[name](args=make_args(), logger=None) for name in ("parallel", "vector")]
    assert made == [(runner, False) for runner in both]


class Truthful(HostRunner):
    def extend_scheme(self, scheme, preprocess) -> None: ...


@pytest.mark.parametrize(
    "runner, learner, env_args, warned",
    [
        (
            HostRunner,
            "happo_learner",
            {"key": "Short-v0", "time_limit": 6},
            "limit of 5 steps .*time_limit=6.*limit=5, or",
        ),
        (HostRunner, "happo_learner", {"key": "Short-v0", "time_limit": 5}, None),
        (HostRunner, "happo_learner", {"key": "Short-v0", "time_limit": 4}, None),
        (HostRunner, "q_learner", {"key": "Short-v0", "time_limit": 6}, None),  # the suite's own: not ours to say
        (Truthful, "happo_learner", {"key": "Short-v0", "time_limit": 6}, None),
        (HostRunner, "happo_learner", {"key": "Short-v0", "time_limit": 6, "max_episode_steps": 9}, None),
    ],
)
def test_a_limit_that_the_runner_hides_is_warned_of_once(runner, learner, env_args, warned, caplog, monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Short-v0", entry_point="x:y", max_episode_steps=5)
    monkeypatch.setitem(gymnasium.registry, "Short-v0", spec)
    runners, args = {"parallel": runner}, make_args()
    vars(args).update(learner=learner, env="gymma", env_args=env_args, runner="parallel")
    registration.register_into({}, {}, runners, {}, VECTOR)
    made = runners["parallel"](args=args, logger=None)
    made.run()
    said = [record.getMessage() for record in caplog.records if "own limit" in record.getMessage()]
    assert len(said) == (warned is not None)
    assert warned is None or re.search(warned, said[0])


def test_the_key_is_put_back_when_the_runner_cannot_be_made():
    def broken(args, logger):
        assert args.env_args["key"] == RESOLVED
        raise ZeroDivisionError

    runners, args = {"parallel": broken}, make_args()
    original = args.env_args
    registration.register_into({}, {}, runners, {}, VECTOR)
    with pytest.raises(ZeroDivisionError):
        runners["parallel"](args=args, logger=None)
    assert args.env_args is original


def test_progress_sees_training_rollouts_and_no_others():
    progress = NoteProgress()
    runner = wrapped(progress)(args=make_args(), logger=None)
    assert progress.started == [77]
    batch = runner.run(test_mode=False)
    assert batch["reward"].shape == (2, 2, 1)  # the host gets its batch
    runner.run(test_mode=True)
    runner.run()
    assert progress.updates == [(3, 4.0), (6, 4.0)]  # mean of 1 + 2 and 5
    assert runner.test_modes == [False, True, False]


def test_without_progress_the_runner_is_left_alone():
    runner = wrapped()(args=make_args(), logger=None)
    assert "run" not in vars(runner)


@pytest.mark.parametrize("path, recorded", [(None, []), ("there", ["there"])])
def test_episodes_are_recorded_where_asked_and_progress_sees_them_too(path, recorded, monkeypatch):
    made = []

    def record(runner, args):
        made.append(args.save_episodes)
        assert runner.seen["key"] == RESOLVED and args.env_args["key"] == KEY
        return runner

    monkeypatch.setattr(registration, "record", record)
    progress, args = NoteProgress(), make_args()
    args.save_episodes = path
    wrapped(progress)(args=args, logger=None).run()
    assert made == recorded and progress.updates == [(3, 4.0)]


def test_the_patched_suites_hook_registers_and_watches_over_workers(monkeypatch):
    host = {name: types.SimpleNamespace(REGISTRY={}) for name in epymarl.REGISTRIES}
    host["runners"].REGISTRY["parallel"] = HostRunner
    monkeypatch.setattr(registration, "importlib", types.SimpleNamespace(import_module=host.__getitem__))
    watching = []

    @contextlib.contextmanager
    def watch(timeout_s):
        watching.append(timeout_s)
        try:
            yield
        finally:
            watching.append(False)

    monkeypatch.setattr(worker_watch, "watch_workers", watch)
    with monkeypatch.context() as of_this_test, contextlib.ExitStack() as stack:
        of_this_test.setattr(registration, "_for_good", stack)
        registration.register()
        assert callable(importlib.import_module("tensorboard_logger").configure)  # whose own package fails
    learners = {name: make.__wrapped__ for name, make in host["learners"].REGISTRY.items()}  # the last policy is saved
    assert learners == LEARNERS and host["controllers"].REGISTRY == CONTROLLERS
    assert host["runners"].REGISTRY["parallel"].without_plugin is HostRunner
    assert watching == [600]  # and for good
    del registration._watch
    assert watching == [600, False]


def complete(**overrides) -> dict:
    return algorithm(env="gymma", env_args={"key": KEY, "time_limit": 1}, **overrides)


def test_a_good_configuration_passes_all_checks():
    registration.check_all(complete(), HOST_DEFAULTS)
    registration.check_all({"learner": "q_learner", "anything": 1, "env": "sc2"}, HOST_DEFAULTS)


@pytest.mark.parametrize(
    "override, error, message",
    [
        ({"epss_clip": 1}, ConfigError, "unknown key `epss_clip` in there.yaml"),
        ({"gamma": 2.0}, ConfigError, "gamma=2.0"),
        ({"share_parameters": True}, CapabilityError, "share_parameters=True"),
        ({"checkpoint_path": "nowhere"}, CheckpointError, "checkpoint_path=nowhere is not a folder"),
        ({"save_episodes": 3}, ConfigError, "save_episodes=3 is no path"),
    ],
)
def test_each_check_is_made(override, error, message):
    with pytest.raises(error, match=message):
        registration.check_all(complete(**override), HOST_DEFAULTS, "there.yaml")


def test_the_environment_is_checked_whosever_algorithm_it_is():
    config = {"learner": "q_learner", "env": "gymma", "env_args": {"key": "no:Thing-v0", "time_limit": 1}}
    with pytest.raises(EnvironmentMissingError):
        registration.check_all(config, HOST_DEFAULTS)


def test_the_checkpoint_that_will_be_loaded_is_checked_if_it_is_ours(tmp_path):
    for step in ("10", "20"):
        (tmp_path / step).mkdir()
    with pytest.raises(CheckpointError, match=r"10 is incomplete \(it lacks agent\.th and learner\.th\)"):
        registration.check_all(complete(checkpoint_path=str(tmp_path), load_step=11), HOST_DEFAULTS)
    with pytest.raises(CheckpointError, match=r"20 is incomplete \(it lacks agent\.th and learner\.th\)"):
        registration.check_all(complete(checkpoint_path=str(tmp_path)), HOST_DEFAULTS)
    (tmp_path / "20/agent.th").touch()
    registration.check_all({"learner": "q_learner", "checkpoint_path": str(tmp_path)}, HOST_DEFAULTS)


def test_the_patched_suites_check_knows_the_keys_of_its_default_yaml(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/default.yaml").write_text(yaml.safe_dump(HOST_DEFAULTS | {"brand_new": 1}))
    host_run = types.SimpleNamespace(__file__=str(tmp_path / "run.py"))
    monkeypatch.setattr(registration, "importlib", types.SimpleNamespace(import_module={"run": host_run}.__getitem__))
    checked = []
    monkeypatch.setattr(epymarl, "check_parts", checked.append)
    registration.check_config(complete(brand_new=2))
    with pytest.raises(ConfigError, match="unknown key `brand_old` in the configuration .did you mean brand_new"):
        registration.check_config(complete(brand_old=2))
    assert checked == [complete(brand_new=2), complete(brand_old=2)]  # names and packages, as through our own command


def test_the_config_folder_has_the_algorithms():
    assert (registration.config_dir / "algs/happo.yaml").is_file()


class HostGymma:
    """As EPyMARL's wrapper: the environment in `_env`, availability by the number of actions alone."""

    def __init__(self, env) -> None:
        self._env = types.SimpleNamespace(unwrapped=env)

    def get_avail_actions(self):
        return "the host's"


def test_an_environment_that_knows_its_available_actions_is_asked():
    make = registration.with_own_availability(HostGymma)
    assert make(env=types.SimpleNamespace()).get_avail_actions() == "the host's"
    assert make(env=types.SimpleNamespace(get_avail_actions=lambda: "its own")).get_avail_actions() == "its own"
    assert registration.with_own_availability(make) is make
    assert pickle.loads(pickle.dumps(make))(env=types.SimpleNamespace()).get_avail_actions() == "the host's"
