"""`epymarl-tr run` on the built-in suite: what a user types, what comes out, and what is refused.

Training runs here are a few updates of the one-step climbing game, about a second each.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import gymnasium
import pytest
from epymarl_trust_region.configuration import overrides
from epymarl_trust_region.environments.games.matrix_env import MatrixGameEnv
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.games.normal_form import climbing_game
from epymarl_trust_region.main import main, make_parser

GAME = ("env_args.key=trust-region-climbing-v0", "env_args.time_limit=1")
SHORT = ("t_max=60", "test_interval=20", "test_nepisode=10", "log_interval=20", "learner_log_interval=0")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run in an empty folder, and put the root logger back."""
    monkeypatch.chdir(tmp_path)
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield tmp_path
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


def run(*params, config="happo", env="gymma", flags=("--quiet", "--progress=off")) -> int:
    return main(["--suite=lite", f"--config={config}", f"--env-config={env}", *flags, "with", *params])


def refused(capsys, *params, **kwargs) -> str:
    """The one-line error of a run that must be refused before anything is built."""
    assert run(*params, **kwargs) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, captured.err
    assert not Path("results").exists()
    return errors[0]


def test_a_run_lands_where_the_suites_users_look(capsys, empty_folder):
    assert run(*GAME, *SHORT, "seed=3", "save_model=True", "save_model_interval=20") == 0
    out = capsys.readouterr().out
    folder = empty_folder / "results/sacred/happo/trust-region-climbing-v0/1"
    config, info = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "info"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert config["seed"] == 3 and config["eps_clip"] == 0.2 and config["env_args"]["time_limit"] == 1
    assert config["plugin"]["host"] == "lite" and re.match(r"\d+\.\d+", config["plugin"]["epymarl_trust_region"])
    assert {"host_commit", "plugin_commit"} <= set(config["plugin"])
    assert len(info["test_return_mean"]) == len(info["test_return_mean_T"]) == 4  # at 10, 30, 50 and 70 steps
    assert metrics["test_return_mean"]["steps"] == info["test_return_mean_T"]
    for key in ("kl_mean", "agent_1_tv_max", "joint_tv", "factor_ess", "explained_variance", "clip_fraction"):
        assert key in info
    assert (folder / "learning_curve.png").stat().st_size > 5000
    assert re.search(r"test return +-?[\d.]+ \(at 10 steps\) -> -?[\d.]+ \(at \d+ steps\)", out)
    assert "results/sacred/happo/trust-region-climbing-v0/1/learning_curve.png" in out
    (model,) = (empty_folder / "results/models").iterdir()
    assert {file.name for file in model.glob("*/*")} == {"agent.th", "learner.th", "run.th", "SHA256SUMS"}


def test_same_seed_same_run_and_another_seed_another():
    for seed in (1, 1, 2):
        assert run(*GAME, *SHORT, f"seed={seed}") == 0
    runs = Path("results/sacred/happo/trust-region-climbing-v0")
    infos = [json.loads((runs / n / "info.json").read_text()) for n in ("1", "2", "3")]
    assert infos[0] == infos[1]
    assert infos[0]["kl_mean"] != infos[2]["kl_mean"]


def test_the_environments_own_arguments_reach_it():
    assert run("env_args.key=trust-region-penalty-v0", "env_args.time_limit=3", "env_args.max_steps=3", *SHORT) == 0
    config = json.loads(Path("results/sacred/happo/trust-region-penalty-v0/1/config.json").read_text())
    info = json.loads(Path("results/sacred/happo/trust-region-penalty-v0/1/info.json").read_text())
    assert config["env_args"]["max_steps"] == 3
    assert set(info["test_ep_length_mean"]) == {3.0}


def test_local_results_path_moves_the_results():
    assert run(*GAME, *SHORT, "local_results_path=elsewhere") == 0
    assert Path("elsewhere/sacred/happo/trust-region-climbing-v0/1/config.json").exists()
    assert not Path("results").exists()


@pytest.mark.parametrize(
    "params, message",
    [
        (["epss_clip=0.2"], r"unknown key `epss_clip` in the command line \(did you mean eps_clip\?\)"),
        (["qqq=1"], "unknown key `qqq`.*nothing reads it"),
        (["env_args.time_limt=50"], r"env_args.time_limt.*did you mean env_args.time_limit\?"),
        (["eps_clip=-1"], "eps_clip=-1.*out of range.*eps_clip > 0 and eps_clip < 1"),
        (["lr=fast"], "lr='fast' is not of type float"),
        (["share_parameters=True"], "HAPPO does not support share_parameters=True.*set share_parameters=False"),
        (["common_reward=False"], "HAPPO does not support common_reward=False.*set common_reward=True"),
        (["env_args.time_limit=None"], "env_args.time_limit=None is missing"),
        (["env_args.time_limit=0"], "env_args.time_limit=0 is missing or not a positive"),
        (["env_args.key=None"], "env_args.key is missing"),
        (["env_args.key=trust-region-climbin-v0"], "climbin-v0 does not exist.*climbing"),
        (["env_args.key=pz-mpe-simple-sprad-v3"], "simple-sprad-v3 does not exist.*simple-spread"),
        (["env_args.key=nosuchpackage:Thing-v0"], "there is no module nosuchpackage in the current folder"),
        (["env=sc2"], "sc2"),
        (["env=smaclite", "env_args.map_name=2s3z"], "smaclite"),
        (["checkpoint_path=nowhere"], "checkpoint_path=nowhere is not a folder"),
        (["runner=paralel"], "runner"),
        (["batch_size_run=20"], "must be equal"),
        (["seed=-1"], "seed=-1 is out of range; it must be seed >= 0 and seed <= 4294967295"),
        (["seed=99999999999"], "seed=99999999999 is out of range"),
        (["seed=abc"], "seed='abc' is not of type int"),
        (["test_nepisode=abc"], "test_nepisode='abc' is not of type int"),
        (["test_interval=nan"], "test_interval='nan' is not of type int"),
        (["name="], "name is empty"),
        (["common_reward=%s"], "common_reward='%s' is not of type bool"),
        (["agent=nonsense"], "key `agent` .* has no meaning for HAPPO"),
        (["optim_alpha=0.5"], "key `optim_alpha` .* has no meaning for HAPPO"),
        (
            ["value_norm_beta=0.5"],
            "value_norm_beta=0.5 in --config=happo or the command line does nothing: value_norm=none",
        ),
        (["actor_network=null"], "actor_network=null is text on the command line; write actor_network=None"),
        (["huber_delta=none"], "huber_delta=none is text on the command line; write huber_delta=None"),
        (
            ["actor_network=torch.nn:Linear", "hidden_dim=9"],
            "hidden_dim=9 in .* does nothing: actor_network=torch.nn:L",
        ),
        (
            ["actor_network=torch.nn:Linear", "critic_network=torch.nn:Linear", "activation=tanh"],
            "activation=tanh in .* does nothing: actor_network and critic_network bring their own",
        ),
        (["evaluate=True"], "evaluate=True needs a model: add checkpoint_path"),
        (["save_replay=True"], "save_replay=True needs a model: add checkpoint_path"),
        (["load_step=5"], "load_step=5 in .* does nothing: there is no checkpoint_path"),
        (["save_model_interval=5"], "save_model_interval=5 in .* does nothing: save_model=False"),
        (["render=True"], "render=True: trust-region-climbing-v0 cannot be drawn on a screen"),
        (["use_wandb=True"], "use_wandb=True needs wandb_team and wandb_project"),
        (["env_args=3"], "env_args=3 is no group of keys"),
        (["env_args.key.more=3"], "`env_args.key.more=3` in the command line is no key=value"),
        (["env_args.seed=3"], "env_args.seed=3 does nothing: every environment's seed follows from seed"),
    ],
)
def test_bad_input_is_one_clear_error(capsys, params, message):
    assert re.search(message, refused(capsys, *GAME, *SHORT, *params), re.DOTALL)


def test_bad_names_of_configurations(capsys):
    assert "unknown --config=hapo (did you mean happo?)" in refused(capsys, *GAME, config="hapo")
    assert "epymarl-tr suite fetch" in refused(capsys, *GAME, config="qmix")
    assert "unknown --env-config=gyma (did you mean gymma?)" in refused(capsys, *GAME, env="gyma")
    assert main(["--suite=lite", "--env-config=gymma"]) == 2
    assert "--config=NAME is missing; known names: happo" in capsys.readouterr().err
    assert main(["--suite=light", "--config=happo", "--env-config=gymma"]) == 2
    assert "choose one of auto, epymarl, lite" in capsys.readouterr().err


def test_debug_brings_the_traceback_back(capsys):
    assert run(*GAME, "eps_clip=-1", flags=("--quiet", "--debug")) == 2
    assert "Traceback" in capsys.readouterr().err


def trained(steps="t_max=60") -> Path:
    assert run(*GAME, *SHORT, steps, "save_model=True", "save_model_interval=20") == 0
    return next(Path("results/models").iterdir())


def test_a_checkpoint_is_evaluated_and_trained_on(capsys):
    folder = trained()
    assert run(*GAME, *SHORT, f"checkpoint_path={folder}", "evaluate=True") == 0
    assert run(*GAME, *SHORT, f"checkpoint_path={folder}", "t_max=200") == 0
    info = json.loads(Path("results/sacred/happo/trust-region-climbing-v0/3/info.json").read_text())
    assert info["test_return_mean_T"][0] > 60  # it went on from where the checkpoint was


def test_the_last_policy_is_saved_and_evaluated_and_the_summary_names_its_folder(capsys):
    assert run(*GAME, *SHORT, "seed=1", "save_model=True") == 0  # by itself once, after the first rollout
    (folder,) = Path("results/models").iterdir()
    assert {step.name for step in folder.iterdir()} == {"10", "70"}
    assert f"models       {folder} (for checkpoint_path)" in capsys.readouterr().out.splitlines()
    assert run(*GAME, *SHORT, f"checkpoint_path={folder}", "evaluate=True") == 0
    out = capsys.readouterr().out
    assert re.search(r"test return +-?[\d.]+ \(at 70 steps, mean of 10 tests\)", out)
    assert "models " not in out


def test_a_goal_that_the_checkpoint_has_reached_is_refused(capsys):
    folder = trained()
    capsys.readouterr()
    assert run(*GAME, *SHORT, f"checkpoint_path={folder}", "t_max=69") == 2
    assert "has 70 steps, beyond t_max=69: nothing would be trained" in capsys.readouterr().err
    assert len(list(Path("results/sacred/happo/trust-region-climbing-v0").glob("[0-9]*"))) == 1


def test_a_run_that_is_not_observed_has_a_summary(capsys):
    assert run(*GAME, *SHORT, flags=("--quiet", "--progress=off", "--unobserved")) == 0
    out = capsys.readouterr().out
    assert re.search(r"test return .*\nrun          not kept \(--unobserved\)\n$", out)
    assert not Path("results").exists()


def test_arguments_of_the_environment_may_come_as_one_group(capsys):
    group = "env_args={'key': 'trust-region-penalty-v0', 'time_limit': 3, 'max_steps': 3}"
    assert run(group, *SHORT) == 0
    config = json.loads(Path("results/sacred/happo/trust-region-penalty-v0/1/config.json").read_text())
    assert config["env_args"] == {"key": "trust-region-penalty-v0", "time_limit": 3, "max_steps": 3} | {
        "pretrained_wrapper": None
    }


def test_no_folder_has_a_name_that_windows_refuses():
    pytest.importorskip("lbforaging")
    key = ("env_args.key=lbforaging:Foraging-5x5-2p-1f-v3", "env_args.time_limit=3", "t_max=20", "env_processes=1")
    assert run(*key, "save_model=True", "test_nepisode=1") == 0
    assert Path("results/sacred/happo/lbforaging-Foraging-5x5-2p-1f-v3/1").is_dir()
    assert not [path for path in Path("results").rglob("*") if set(path.name) & set('<>:"|?* ')]


def test_steps_may_be_written_as_powers_of_ten():
    assert run(*GAME, *SHORT, "t_max=2e1", "test_interval=1e1") == 0


@pytest.mark.parametrize("common_reward, said", [("True", 1), ("False", 0)])
def test_adversaries_with_a_shared_reward_are_warned_of_once(common_reward, said, capsys):
    pytest.importorskip("mpe2")
    task = ("env_args.key=pz-mpe-simple-tag-v3", "env_args.time_limit=3", f"common_reward={common_reward}")
    assert run(*task, "t_max=1", "test_nepisode=1", "env_processes=1", config="ir_ippo") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == said and all("pz-mpe-simple-tag-v3 has two sides" in line for line in warnings)


def test_a_broken_checkpoint_is_one_clear_error(capsys):
    folder = trained()
    newest = max(folder.iterdir(), key=lambda f: int(f.name))
    whole = (newest / "learner.th").read_bytes()
    for damage, message in (
        (lambda: (newest / "learner.th").write_bytes(whole[:1000]), "learner.th is damaged"),
        (lambda: (newest / "learner.th").unlink(), "is incomplete (it lacks learner.th)"),
        (lambda: [f.unlink() for f in newest.iterdir()], "(it lacks agent.th and learner.th)"),
    ):
        damage()
        capsys.readouterr()
        assert run(*GAME, *SHORT, f"checkpoint_path={folder}", f"load_step={newest.name}") == 2
        assert message in capsys.readouterr().err
    empty = Path("empty")
    empty.mkdir()
    assert run(*GAME, *SHORT, "checkpoint_path=empty") == 2
    assert "holds no step folders" in capsys.readouterr().err


def test_a_checkpoint_of_another_task_is_one_clear_error(capsys):
    folder = trained()
    assert run(*GAME, *SHORT, f"checkpoint_path={folder}", "t_max=200", "hidden_dim=32") == 2
    assert "made for another task or network" in capsys.readouterr().err


def test_a_nan_reward_stops_the_run_and_keeps_what_was_saved(capsys):
    class Poisoned(MatrixGameEnv):
        plays = 0

        def step(self, actions):
            result = super().step(actions)
            Poisoned.plays += 1
            return (result[0], [float("nan")] * 2, *result[2:]) if Poisoned.plays > 45 else result

    gymnasium.register("Poisoned-v0", lambda **kw: Poisoned(climbing_game(), **kw))
    params = ("env_args.key=Poisoned-v0", "env_args.time_limit=1", *SHORT, "test_nepisode=1", "test_interval=1000")
    params = (*params, "env_processes=1")  # it counts its plays
    assert run(*params, "save_model=True", "save_model_interval=1") == 2
    error = capsys.readouterr().err
    assert re.search(r"error: .*reward.*nan", error) and "Traceback" not in error
    saved = next(Path("results/models").iterdir())
    assert run(*GAME, *SHORT, f"checkpoint_path={saved}", "evaluate=True") == 0


def test_an_unforeseen_failure_names_itself_and_its_place_and_exits_with_one(capsys, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("epymarl_trust_region.learners.happo.HAPPOLearner.update_policies", fail)
    assert run("env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "env_processes=1", *SHORT) == 1
    assert re.search(r"error: ZeroDivisionError: by hand \(.*test_run\.py, line \d+; add", capsys.readouterr().err)


def test_an_error_of_an_environment_is_said_of_it(capsys):
    def fail(action):
        raise ZeroDivisionError("by hand")

    def broken(**kwargs):
        env = gymnasium.make("trust-region-climbing-v0").unwrapped
        env.step = fail
        return env

    gymnasium.register("Broken-v0", broken)
    assert run("env_args.key=Broken-v0", "env_args.time_limit=1", "env_processes=1", *SHORT) == 2
    assert "error: environment 0 (Broken-v0) failed in step() at step 0 of its" in capsys.readouterr().err


def test_options_are_separated_and_the_rest_is_the_suites():
    words = ["--suite=lite", "--config", "a", "--quiet", "-F", "x", "with", "k=v", "lr=-1", "--progress=off"]
    options, params = make_parser().parse_known_args(words)
    assert (options.suite, options.progress, options.quiet, options.debug) == ("lite", "off", True, False)
    assert (options.config, options.env_config, params) == ("a", None, ["-F", "x", "with", "k=v", "lr=-1"])
    assert overrides(["--x", "a=b", "with", "k=v", "env_args.key=m:i=j"]) == {"k": "v", "env_args.key": "m:i=j"}


def test_errors_are_sacreds_own_kind():
    from sacred.utils import SacredError

    assert issubclass(ConfigError, SacredError) and not ConfigError("x").print_traceback
