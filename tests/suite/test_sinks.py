"""TensorBoard and Weights & Biases are given what stands in metrics.json, on both hosts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.main import main
from epymarl_trust_region.suite.feasible import check_feasible
from support import ROOT

IN_PLACE = ROOT / "tests/data/in_place_of"
GAME = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "seed=5", "use_cuda=False"]
SHORT = ["t_max=60", "test_interval=20", "test_nepisode=10", "learner_log_interval=5", "runner_log_interval=10"]
SINKS = ["use_tensorboard=True", "use_wandb=True", "wandb_team=us", "wandb_project=games"]
WANDB = {"use_wandb": True, "wandb_team": "us", "wandb_project": "games", "wandb_mode": "offline"}


def command(suite: str, config: str) -> list[str]:
    flags = [f"--suite={suite}", f"--config={config}", "--env-config=gymma", "--quiet", "--progress=off"]
    return [*flags, "with", *GAME, *SHORT, *SINKS]


def metrics(config: str) -> dict[str, list]:
    """Of Sacred's only run here, in single precision, which event files have."""
    (file,) = Path(f"results/sacred/{config}/trust-region-climbing-v0").glob("*/metrics.json")
    found = {}
    for key, series in json.loads(file.read_text()).items():
        values = [value["value"] if isinstance(value, dict) else value for value in series["values"]]
        found[key] = list(zip(series["steps"], map(single, values), strict=True))
    return found


def single(value: float) -> float:
    return float(np.float32(value))


def of_tensorboard() -> dict[str, list]:
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    (folder,) = Path("results/tb_logs").iterdir()
    events = reader.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {key: [(e.step, e.value) for e in events.Scalars(key)] for key in events.Tags()["scalars"]}


def of_wandb(config: str) -> dict[str, list]:
    sent = json.loads(Path("wandb.json").read_text())
    asked = dict(sent["asked"])
    assert asked.pop("group").startswith(f"{config}_gymma_trust-region-climbing-v0")
    told = {"name": config, "seed": 5, "wandb_mode": "offline"}
    assert asked == {"entity": "us", "project": "games", "mode": "offline", "config": told}
    steps = [step for step, _ in sent["rows"]]
    assert steps == sorted(steps)  # wandb drops what comes late
    found: dict[str, list] = {}
    for step, row in sent["rows"]:
        for key, value in row.items():
            found.setdefault(key, []).append((step, single(value)))
    return found


def compare(config: str) -> None:
    logged = metrics(config)
    assert len(logged["test_return_mean"]) >= 3 and len(logged["grad_norm" if config == "qmix" else "kl_mean"]) >= 3
    assert of_tensorboard() == logged
    assert of_wandb(config) == logged


def test_both_are_given_the_numbers_of_metrics_json(own_folder, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.syspath_prepend(str(IN_PLACE))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert main(command("lite", "happo")) == 0
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    compare("happo")


@pytest.mark.integration
def test_both_are_given_them_of_epymarls_own_algorithms_on_epymarl(own_folder, epymarl_home):
    pytest.importorskip("tensorboard")
    path = os.pathsep.join([str(IN_PLACE), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", "epymarl_trust_region", "run", *command("epymarl", "qmix")],
        env={**os.environ, "EPYMARL_HOME": str(epymarl_home), "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    compare("qmix")


@pytest.mark.parametrize("key, name", [("use_tensorboard", "torch.utils.tensorboard"), ("use_wandb", "wandb")])
def test_a_missing_package_is_said_in_one_line_before_a_run_has_a_folder(key, name, own_folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    given = [setting for setting in SINKS if setting.startswith((key, "wandb_"))]
    given = given if key == "use_wandb" else given[:1]
    assert main(["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "with", *GAME, *given]) == 2
    package = name.rpartition(".")[2]
    assert capsys.readouterr().err == f"error: {key}=True needs the package {package}: pip install {package}\n"
    assert list(own_folder.iterdir()) == []


def test_a_folder_that_an_earlier_run_has_left_is_not_the_package(tmp_path, monkeypatch):
    """`wandb/` in the current folder imports as a package without anything in it."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError, match="^use_wandb=True needs the package wandb: pip install wandb$"):
        check_feasible(WANDB)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)


def test_sending_at_once_needs_an_account(monkeypatch):
    package: Any = ModuleType("wandb")
    package.init, package.login = None, lambda prompt: prompt
    monkeypatch.setitem(sys.modules, "wandb", package)
    check_feasible(WANDB)
    with pytest.raises(ConfigError, match="^wandb_mode=online needs an account: type `wandb login`, or set wandb_mode"):
        check_feasible(WANDB | {"wandb_mode": "online"})
    package.login = lambda prompt: True
    check_feasible(WANDB | {"wandb_mode": "online"})


def test_a_broken_package_is_said_too(tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text("raise TypeError('of another protobuf\\nsecond line')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError, match=r"^use_wandb=True: the package wandb cannot be imported \(of another proto"):
        check_feasible(WANDB)
