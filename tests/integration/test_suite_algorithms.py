"""EPyMARL's own algorithms, all of them: they train, by both doors alike, and no patch changes their numbers."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from epymarl_trust_region.suite import epymarl, patching
from support import clone_suite, logged

pytestmark = [pytest.mark.integration, pytest.mark.thorough]

FAMILIES = ["coma", "ia2c", "ippo", "iql", "maa2c", "maddpg", "mappo", "pac", "pac_dcg", "qmix", "vdn"]
ONE_FORM = {"pac", "pac_dcg"}  # that of their paper, without shared parameters
OPTIONS = """env_args.key=lbforaging:Foraging-8x8-2p-3f-v3 env_args.time_limit=25 hidden_dim=16 t_max=1000
    test_interval=1000 test_nepisode=2 log_interval=500 runner_log_interval=500 learner_log_interval=500
    use_cuda=False seed=1""".split()


def job(config: str, folder: Path, home: Path, ours: bool, options: list[str]) -> dict:
    """A run of the checkout at `home`: by `epymarl-tr run`, or by its own main script."""
    argv = [f"--config={config}", "--env-config=gymma", "with", *OPTIONS, *options]
    start = ["epymarl_trust_region", "run", "--suite=epymarl"] if ours else [str(home / "src/main.py")]
    return {"argv": [*start, *argv], "cwd": str(folder), "env": {"EPYMARL_HOME": str(home)}}


def train(jobs: list[dict], folder: Path) -> list[dict]:
    """The logged numbers of each run."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("forked_runs.py")
    environment = {**os.environ, "PYTHONPATH": str(epymarl._STUBS), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "ignore", str(script), "jobs.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3000)
    for one, code in zip(jobs, done.stdout.split(), strict=True):
        said = Path(one["cwd"], "log").read_text()
        assert code == "0", f"{' '.join(one['argv'])} ended with {code}:\n{said[-3000:]}"
    return [numbers(one) for one in jobs]


def numbers(one: dict) -> dict:
    """EPyMARL's own script writes below its checkout, ours below the current folder; each folder has one such run."""
    own = one["argv"][0].endswith(".py")
    root = Path(one["argv"][0]).parents[1] if own else Path(one["cwd"])
    config = one["argv"][0 if own else 2 :][1].removeprefix("--config=")
    name = config.replace("pac_", "pac_sarsa_")
    (file,) = (root / "results/sacred").glob(f"{name}/*/*/info.json")
    return logged(file)


def checkout(source: Path, target: Path, commit: str, patches: list[Path]) -> Path:
    clone_suite(source, target)
    subprocess.run(["git", "checkout", "-q", "--detach", commit], cwd=target, check=True)
    if patches:
        patching.apply(target, patches)
    return target


def test_these_are_all_there_are(epymarl_home: Path) -> None:
    forms = {f"{name}_ns" for name in FAMILIES} | set(FAMILIES) - ONE_FORM
    assert {file.stem for file in (epymarl_home / "src/config/algs").glob("*.yaml")} == forms and len(forms) == 20


@pytest.mark.parametrize("family", FAMILIES)
def test_it_trains_by_both_doors_and_logs_the_same(epymarl_home: Path, tmp_path: Path, family: str) -> None:
    patches = patching.for_plugins()
    if family in ONE_FORM:
        pytest.importorskip("einops")
        patches += [] if importlib.util.find_spec("torch_scatter") else patching.chosen([15])
    home = checkout(epymarl_home, tmp_path / "epymarl", epymarl.PINNED_COMMIT, patches)
    forms = [f"{family}_ns", *([] if family in ONE_FORM else [family])]
    doors = [(form, ours) for form in forms for ours in (False, True)]
    found = train([job(form, tmp_path / f"{form}-{ours}", home, ours, []) for form, ours in doors], tmp_path)
    for form, theirs, ours in zip(forms, found[::2], found[1::2], strict=True):
        assert theirs == ours, form
        assert theirs["return_mean_T"][-1] >= 500 and len(theirs["test_return_mean"]) == 2
        updates = [values for key, values in theirs.items() if "loss" in key and not key.endswith("_T")]
        assert updates and all(math.isfinite(value) for values in updates for value in values), form


def test_the_series_changes_no_number_of_mappo_qmix_and_vdn(epymarl_home: Path, tmp_path: Path) -> None:
    """Nor does the other tested commit, patched or not; by the door that each has."""
    homes = []
    for commit in (epymarl.PINNED_COMMIT, *epymarl.ALSO_TESTED):
        for patches in ([], patching.series()):
            homes.append(checkout(epymarl_home, tmp_path / f"epymarl-{len(homes)}", commit, patches))
    jobs = []
    for name, options in (("mappo", []), ("qmix", ["batch_size=4"]), ("vdn", ["batch_size=4"])):
        jobs += [job(name, tmp_path / f"{name}-{home.name}", home, False, ["t_max=300", *options]) for home in homes]
    found = train(jobs, tmp_path)
    for first in range(0, len(jobs), len(homes)):
        plain, *others = found[first : first + len(homes)]
        assert any("loss" in key for key in plain) and plain["test_return_mean"]
        assert all(other == plain for other in others), jobs[first]["argv"][1]


def test_ours_train_alike_on_the_other_commit_and_on_the_patched_code(epymarl_home: Path, tmp_path: Path) -> None:
    """With EPyMARL's own runner, over whose workers this plugin has its watch."""
    other = checkout(epymarl_home, tmp_path / "other", epymarl.ALSO_TESTED[0], [])
    patched = checkout(epymarl_home, tmp_path / "patched", epymarl.PINNED_COMMIT, patching.series())
    jobs = []
    for home in (epymarl_home, other, patched):
        jobs.append(job("happo", tmp_path / f"happo-{len(jobs)}", home, True, ["runner=parallel", "t_max=300"]))
    plain, *others = train(jobs, tmp_path)
    assert others == [plain, plain] and plain["test_return_mean"]
