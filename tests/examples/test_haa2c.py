"""examples/haa2c, installed as a user installs it: exact, on both hosts, in every command, and refused like ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from epymarl_trust_region import cli
from epymarl_trust_region.experiments import bench
from epymarl_trust_region.suite import epymarl, patching
from extensions import HAA2C, installed, pip_install
from support import ROOT, SPAWN, clone_suite, continuous, make_batch, make_learner

TASK = "env_args.key=trust-region-climbing-v0 env_args.time_limit=1 t_max=40 test_interval=20 test_nepisode=10".split()
SEEDED = ["seed=3", "learner_log_interval=0", "runner_log_interval=10", "env_processes=1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return pip_install(HAA2C, tmp_path_factory.mktemp("haa2c"))


@pytest.fixture
def haa2c(site, monkeypatch):
    with installed(site, monkeypatch):
        yield


def run(*words: str, suite: str = "lite", config: str = "haa2c") -> int:
    flags = [f"--suite={suite}", f"--config={config}", "--env-config=gymma", "--quiet", "--progress=off"]
    return cli.main(["run", *flags, "with", *TASK, *SEEDED, *words])


def in_a_process(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "epymarl_trust_region", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def logged(folder: Path = Path()) -> dict[str, list]:
    (file,) = folder.rglob("info.json")
    return {k: [getattr(v, "get", lambda *_: v)("value") for v in vs] for k, vs in json.loads(file.read_text()).items()}  # noqa: B023


# The oracle: with one step per update every ratio is 1 when its gradient is taken, so no clip range clips -----------


def parameters(learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in (*learner.mac.parameters(), *learner.critic.parameters())])


def trained(learner, batches) -> list[torch.Tensor]:
    """All parameters after each update."""
    torch.manual_seed(1)  # the order of the agents
    after = []
    for t_env, batch in enumerate(batches):
        learner.train(batch, t_env, 0)
        after.append(parameters(learner))
    return after


@pytest.mark.parametrize(
    "settings, make",
    [
        ({}, lambda batch: batch),
        ({"use_rnn": True, "entropy_coef": 0.3}, lambda batch: batch),
        ({"factor_clip": 0.01, "lr": 0.05, "agent_order": "fixed"}, lambda batch: batch),
        ({"lr": 0.01, "grad_norm_clip": 0.001}, continuous),
    ],
    ids=["mlp", "gru", "factor-clip", "continuous"],
)
@pytest.mark.parametrize("eps_clip", [0.999, 0.001])
def test_it_is_happo_with_one_step_whatever_its_clip_range(settings, make, eps_clip, haa2c, double_precision):
    batches = [make(make_batch(seed=seed, lengths=[6, 2, 4, 6], avail=0.7)) for seed in range(3)]
    for batch in batches:
        batch.update({k: v.double() for k, v in batch.items() if v.is_floating_point()})
    one, many = {"epochs": 1, "eps_clip": eps_clip}, {"epochs": 2, "eps_clip": eps_clip}
    ours = trained(make_learner(batches[0], "happo", **settings, **one), batches)
    theirs = trained(make_learner(batches[0], "haa2c", **settings), batches)
    for expected, found in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    others = trained(make_learner(batches[0], "happo", **settings, **many), batches)
    assert (others[0] - theirs[0]).abs().max() > 1e-4  # of other steps it is not


# Runs ---------------------------------------------------------------------------------------------------------------


def test_it_runs_logs_what_ours_log_and_can_be_loaded(haa2c, own_folder, capsys):
    assert run("save_model=True") == 0
    assert {"pg_loss", "kl_mean", "factor_ess", "test_return_mean"} <= set(logged())
    (models,) = Path("results/models").iterdir()
    assert run(f"checkpoint_path={models}", "evaluate=True") == 0
    assert run(f"checkpoint_path={models}", "evaluate=True", "agent_order=fixed", config="happo") != 0
    assert "written by HAA2C, not HAPPO" in capsys.readouterr().err


@pytest.mark.integration
def test_a_run_is_the_same_on_both_hosts_and_happos_with_one_step(haa2c, own_folder, epymarl_home):
    for folder in ("lite", "epymarl", "happo"):
        Path(folder).mkdir()
    os.chdir("lite")
    assert run() == 0
    os.chdir("../happo")
    assert run("epochs=1", config="happo") == 0
    os.chdir("..")
    words = ["run", "--suite=epymarl", "--config=haa2c", "--env-config=gymma", "--quiet", "with", *TASK, *SEEDED]
    words.append(f"local_results_path={Path('epymarl/results').resolve()}")
    done = in_a_process(*words, EPYMARL_HOME=str(epymarl_home))
    assert done.returncode == 0, done.stdout + done.stderr
    lite, real, happo = (logged(Path(folder)) for folder in ("lite", "epymarl", "happo"))
    assert len(lite["kl_mean"]) >= 3 and lite == real
    assert lite["test_return_mean"] == happo["test_return_mean"]
    assert lite["kl_mean"] == pytest.approx(happo["kl_mean"], rel=1e-4)


def test_a_sweep_runs_it(haa2c, own_folder, capfd):
    Path("mine.yaml").write_text(
        "experiments:\n  - {name: x, task: climbing, config: haa2c, suite: lite, seeds: [1], with: {t_max: 20, "
        "env_args.key: trust-region-climbing-v0, env_args.time_limit: 1, test_nepisode: 10}}\n"
    )
    assert cli.main(["sweep", "mine.yaml"]) == 0, Path("results/sweeps/mine/x/seed1/log.txt").read_text()
    assert "x seed 1: " in capfd.readouterr().out and list(Path("results").rglob("haa2c/*/1/run.json"))


def test_bench_measures_its_update_in_a_process_of_its_own(haa2c, own_folder, monkeypatch):
    (row,) = bench._rows(["haa2c"])
    assert row.name == "train-haa2c-mlp-n3-10x25" and row.theirs.algorithm == "mappo_ns"
    monkeypatch.setattr(bench, "_WARM_UP", 1)
    assert bench.measure(row, None, 2).ours["wall_s"] > 0


@pytest.mark.parametrize("suite", ["lite", pytest.param("epymarl", marks=pytest.mark.integration)])
def test_what_is_wrong_is_refused_as_in_ours(suite, haa2c, own_folder, site):
    """On both hosts, in one line, before anything is made."""
    of = "in --config=haa2c of the package haa2c 0.1.0 or the command line"
    cases = {
        "lr=-1.0": "lr=-1.0 is out of range; it must be lr > 0",
        "lr=fast": "lr='fast' is not of type float; give lr a number",
        "entropy_coeff=0.1": "unknown key `entropy_coeff` in the command line (did you mean entropy_coef?)",
        "epochs=5": "unknown key `epochs` in the command line",
        "share_parameters=True": "HAA2C does not support share_parameters=True: ",
        "factor_clip=2.0": "factor_clip=2.0 is out of range; it must be factor_clip > 0 and factor_clip < 1",
        "value_norm_beta=0.5": f"value_norm_beta=0.5 {of} does nothing: value_norm=none keeps no moments",
    }
    script = (
        "import sys; from epymarl_trust_region import cli\nfor case in sys.argv[2:]:\n"
        "    words = ['run', f'--suite={sys.argv[1]}', '--config=haa2c', '--env-config=gymma', 'with']\n"
        f"    assert cli.main([*words, *{TASK!r}, case]) == 2, case\n"
    )
    environment = os.environ | {"EPYMARL_HOME": str(epymarl.find()[0]) if suite == "epymarl" else ""}
    done = subprocess.run(
        [sys.executable, "-c", script, suite, *cases], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == len(cases) and not Path("results").exists()
    for line, message in zip(said, cases.values(), strict=True):
        assert message in line


def test_a_name_that_is_almost_its_is_guessed(haa2c, own_folder, capsys):
    assert run(config="haa2") == 2
    assert "unknown --config=haa2 (did you mean haa2c?)" in capsys.readouterr().err


def test_doctor_names_it(haa2c, capsys):
    cli.doctor()
    assert "algorithms   OK       haa2c 0.1.0: haa2c\n" in capsys.readouterr().out


def test_without_it_there_is_nothing_of_it(own_folder, capsys):
    assert run() == 2
    assert "unknown --config=haa2c" in capsys.readouterr().err


# The suite's own main script, with workers that share nothing with it ------------------------------------------------


@pytest.mark.integration
def test_the_patched_suites_own_main_runs_it_with_spawned_workers(haa2c, own_folder, epymarl_home):
    clone = own_folder / "epymarl"
    clone_suite(epymarl_home, clone)
    patching.apply(clone)
    (own_folder / "driver.py").write_text(SPAWN)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] += os.pathsep + os.pathsep.join([str(epymarl._STUBS), str(ROOT / "plugins")])
    words = ["--config=haa2c", "--env-config=gymma", "with", *TASK, "use_cuda=False", "runner=parallel", *SEEDED[:2]]
    words += ["batch_size=2", "batch_size_run=2", "buffer_size=2", "test_nepisode=2"]

    def main(*changes: str):
        command = [sys.executable, "-W", "ignore", "driver.py", str(clone / "src/main.py"), *words, *changes]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)

    done = main()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(clone.glob("results/sacred/haa2c/*/1/run.json"))) == 1
    refused = main("lr=-1.0")
    assert refused.returncode == 1 and "lr=-1.0 is out of range" in refused.stdout + refused.stderr
    unread = main("value_norm_beta=0.5")
    assert "in the configuration of the package haa2c 0.1.0 does nothing" in unread.stdout + unread.stderr
