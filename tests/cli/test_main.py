"""The parts of `epymarl-tr run` that need no training: exit codes, seeds, the order of the yaml files, folders."""

from __future__ import annotations

import logging
import random
import re
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from epymarl_trust_region import configuration as module
from epymarl_trust_region import main as command
from epymarl_trust_region import provenance
from epymarl_trust_region.configuration import config_files, read
from epymarl_trust_region.environments.games.matrix_env import MatrixGameEnv
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.normal_form import climbing_game
from epymarl_trust_region.main import main
from epymarl_trust_region.seeding import seed_everything
from epymarl_trust_region.suite.selection import lite_host
from sacred.utils import SacredError
from support import ROOT

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def host(tmp_path):
    """A host whose yaml files the test writes."""
    for folder in ("algs", "envs"):
        (tmp_path / "config" / folder).mkdir(parents=True)
    (tmp_path / "config/default.yaml").write_text("a: 1\nb: 1\nc: 1\nenv_args: {x: 1, y: 1}\n")
    (tmp_path / "config/envs/gymma.yaml").write_text("b: 2\nc: 2\nenv_args: {y: 2, z: 2}\n")
    (tmp_path / "config/algs/own.yaml").write_text("c: 3\nname: own\nenv_args: {z: 3}\n")
    return SimpleNamespace(name="fake", commit="123", modified=(), config_dir=tmp_path / "config")


@pytest.mark.parametrize(
    "error, code, said",
    [
        (ConfigError("mend it"), 2, "error: mend it\n"),
        (SacredError("sacred's own"), 2, "error: sacred's own\n"),
        (KeyboardInterrupt(), 130, "interrupted; what was saved so far is kept\n"),
        (
            ZeroDivisionError("by hand"),
            1,
            "error: ZeroDivisionError: by hand (test_main.py, line N; with --debug ...)\n",
        ),
    ],
)
def test_exit_codes(error, code, said, monkeypatch, capsys):
    def fail(options, params):
        raise error

    monkeypatch.setattr(command, "run_experiment", fail)
    assert main(["--config=happo"]) == code
    assert _shortened(capsys.readouterr().err) == said
    for flag in ("--debug", "-d"):
        assert main(["--config=happo", flag]) == code
        assert _shortened(capsys.readouterr().err).endswith(said.replace("; with --debug ...", ""))


def _shortened(text: str) -> str:
    """Without what depends on the place of the file."""
    text = re.sub(r"\(/.*/(\w+\.py), line \d+", r"(\1, line N", text)
    return text.replace("add --debug for the traceback)", "with --debug ...)")


@pytest.mark.parametrize("progress, shown", [("auto", True), ("off", False)])
@pytest.mark.parametrize("fails", [True, False])
def test_progress_is_shown_unless_switched_off_and_always_closed(progress, shown, fails, monkeypatch):
    events = []

    class Note:
        def __init__(self, enabled):
            events.append(enabled)

        def start(self, t_max):
            events.append(t_max)

        def begin(self, t_env):
            pass

        def update(self, t_env, episode_return):
            pass

        def close(self):
            events.append("closed")

    monkeypatch.setattr(command, "Progress", Note)
    params = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "t_max=5", "test_nepisode=10"]
    flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", f"--progress={progress}"]
    assert main([*flags, "with", *params, *(["eps_clip=2"] if fails else [])]) == (2 if fails else 0)
    assert events == [shown, *([] if fails else [5]), "closed"]


def test_a_run_uses_one_thread_and_seeds_every_environment_apart(capsys):
    seeds = []

    class Note(MatrixGameEnv):
        def reset(self, *, seed=None, options=None):
            seeds.append(seed)
            return super().reset(seed=seed)

    gymnasium.register("SeedNote-v0", lambda: Note(climbing_game()))
    params = ["env_args.key=SeedNote-v0", "env_args.time_limit=1", "t_max=5", "test_nepisode=10", "seed=70"]
    params.append("env_processes=1")  # to be seen from here
    torch.set_num_threads(2)
    try:
        flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off"]
        assert main([*flags, "with", *params]) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)
    assert {seed for seed in seeds if seed is not None} == set(range(70, 80))


def test_every_generator_is_seeded():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_everything(5)
    first, second = draw(), draw()
    assert not set(first) & set(second)
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert not set(draw()) & set(first)


def test_defaults_then_environment_then_algorithm(host):
    config, defaults = read(host, "own", "gymma")
    expected = {"a": 1, "b": 2, "c": 3, "name": "own", "env_args": {"x": 1, "y": 2, "z": 3}}
    ours = {"save_episodes": None, "save_episodes_overwrite": False, "env_processes": None, "batched_envs": "exact"}
    ours |= {"env_timeout": 600, "learner_device": None, "torch_threads": 1}
    assert {key: value for key, value in config.items() if key != "plugin"} == expected | ours
    assert config["plugin"]["host"] == "fake" and config["plugin"]["host_commit"] == "123"
    assert "host_modified" not in config["plugin"]
    assert defaults == {"a": 1, "b": 1, "c": 1, "env_args": {"x": 1, "y": 1}}


def test_modified_files_are_recorded(host, monkeypatch):
    monkeypatch.setattr(provenance, "modified_files", lambda: ("plugins/a.py",))
    host.modified = ("src/run.py",)
    plugin = read(host, "own", "gymma")[0]["plugin"]
    assert plugin["plugin_commit"].endswith("-dirty") and plugin["plugin_modified"] == ["plugins/a.py"]
    assert (plugin["host_commit"], plugin["host_modified"]) == ("123-dirty", ["src/run.py"])


def test_the_hosts_yaml_comes_before_ours_of_the_same_name(host):
    assert config_files(host, "algs")["happo"] == ROOT / "configs/algs/happo.yaml"
    own = host.config_dir / "algs/happo.yaml"
    own.write_text("name: theirs\n")
    assert config_files(host, "algs")["happo"] == own
    assert set(config_files(host, "algs")) >= {"happo", "own"}
    assert set(config_files(lite_host(), "envs")) >= {"gymma"}


def test_a_broken_yaml_is_one_clear_error(host):
    (host.config_dir / "algs/own.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"own\.yaml is not valid yaml: .*; mend it"):
        read(host, "own", "gymma")


@pytest.mark.parametrize(
    "env_args, params, folder",
    [
        ({"key": "a-v0"}, [], "results/sacred/happo/a-v0"),
        ({"key": "a-v0"}, ["with", "env_args.key='b-v0'"], "results/sacred/happo/b-v0"),
        ({"key": None, "map_name": "3m"}, ["with", "name=x"], "results/sacred/x/3m"),
        ({"map_name": "3m"}, ["with", 'env_args.map_name="2s3z"'], "results/sacred/happo/2s3z"),
        ({}, ["with", "local_results_path=there"], "there/sacred/happo/unknown"),
        ({"key": "a-v0", "scenario": "balance"}, [], "results/sacred/happo/a-v0"),
        (
            {"key": "mamujoco", "scenario": "Ant", "partition": "4x2"},
            ["with", "env=mamujoco", "env_args.partition='8x1'"],
            "results/sacred/happo/Ant-8x1",
        ),
        (
            {"key": "mamujoco", "scenario": "Ant", "partition": "4x2"},
            ["with", "env=mamujoco", "env_args.map_name=mine"],
            "results/sacred/happo/mine",
        ),
        ({"key": None}, ["with", "env_args={'key': 'a-v0', 'time_limit': 3}"], "results/sacred/happo/a-v0"),
        ({"key": "lbforaging:Foraging-5x5-2p-1f-v3"}, [], "results/sacred/happo/lbforaging-Foraging-5x5-2p-1f-v3"),
    ],
)
def test_results_land_below_name_and_task(env_args, params, folder):
    config = {"name": "happo", "local_results_path": "results", "env_args": env_args}
    assert Path(module.results_folder(config, module.overrides(params))) == Path(folder)


@pytest.mark.parametrize("flags, level", [([], logging.INFO), (["--quiet"], logging.ERROR)])
def test_quiet_leaves_errors_only(flags, level, capsys):
    assert main(["--suite=lite", *flags, "--env-config=gymma"]) == 2
    assert logging.getLogger().level == level


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--suite"], "--suite needs a value"),
        (["--progress=sometimes"], "--progress sometimes is none of auto, off"),
        (["--quiet=yes"], "--quiet takes no value, and has yes"),
    ],
)
def test_a_flag_that_is_given_wrongly_is_one_line(flags, message, capsys):
    assert main(["--config=happo", "--env-config=gymma", *flags]) == 2
    err = capsys.readouterr().err
    assert (
        err.startswith(f"error: {message}") and err.endswith("; see epymarl-tr run --help\n") and err.count("\n") == 1
    )


def test_help_says_how_a_run_is_started(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "--config=ALG --env-config=ENV" in out and "with KEY=VALUE ..." in out


def test_what_follows_with_is_read_as_sacred_reads_it():
    given = module.overrides(
        ["a=1", "with", "t_max=1e3", "name='x'", "env_args={'key': 'a-v0'}", "env_args.N=3", "word"]
    )
    assert given == {"t_max": 1000.0, "name": "x", "env_args.key": "a-v0", "env_args.N": 3}
    assert module.overrides(["a=1"]) == {}


def test_new_keys_are_the_environments_alone_unless_they_are_forced():
    config = {"t_max": 1, "env_args": {"key": None, "time_limit": 1}}
    module.check_overrides({"t_max": 2, "seed": 1, "env_args.N": 3}, config)
    module.admit_environment_arguments({"env_args.N": 3, "env_args.deep.er": 1}, config)
    assert config["env_args"] == {"key": None, "time_limit": 1, "N": None, "deep": None}
    with pytest.raises(ConfigError, match="^unknown key `new` in the command line; nothing reads it"):
        module.check_overrides({"new": 1}, config)
    module.check_overrides({"new": 1}, config, forced=True)
    for slip in ("tmax", "env_args.time_limt"):
        with pytest.raises(ConfigError, match=f"unknown key `{slip}` .*did you mean"):
            module.check_overrides({slip: 1}, config, forced=True)
