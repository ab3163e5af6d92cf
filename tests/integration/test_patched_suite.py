"""The patch on a clone of the real EPyMARL: it applies, comes off byte for byte, and lets the suite find plugins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from epymarl_trust_region.git import dirty_files
from epymarl_trust_region.suite import epymarl, patching
from support import SPAWN, clone_suite

pytestmark = pytest.mark.integration

PLUGIN = """
import os

config_dir = os.path.join(os.path.dirname(__file__), "dummy_configs")


def note(text):
    with open(os.environ["DUMMY_NOTES"], "a") as notes:
        print(text, os.getpid(), file=notes)


def register():
    from learners import REGISTRY

    REGISTRY["dummy_learner"] = REGISTRY["ppo_learner"]
    note("register")


def check_config(config):
    note(f"check {config['learner']} {config['lr']} {config['seed']}")
    if config["lr"] < 0:
        raise ValueError("dummy: lr is negative")
"""
LBF = "env_args.key=lbforaging:Foraging-8x8-2p-3f-v3"
SHORT = "env_args.time_limit=10 batch_size_run=2 buffer_size=2 batch_size=2 test_nepisode=2 hidden_dim=8".split()


@pytest.fixture
def clone(epymarl_home: Path, tmp_path: Path) -> Path:
    target = tmp_path / "epymarl"
    clone_suite(epymarl_home, target)
    return target


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder that, on PYTHONPATH, is an installed distribution with one plugin and its `dummy.yaml`."""
    site = tmp_path / "site"
    info = site / "dummy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dummy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[epymarl.plugins]\ndummy = dummy_plugin\n")
    (site / "dummy_plugin.py").write_text(PLUGIN)
    algs = site / "dummy_configs/algs"
    algs.mkdir(parents=True)
    return site


def run_main(clone: Path, *arguments: str, site: Path | None = None, driver: Path | None = None):
    """Run the clone's own src/main.py, with `site` as the only folder of plugins besides the installed ones."""
    paths = [str(epymarl._STUBS), *([str(site)] if site else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["DUMMY_NOTES"] = str(clone.parent / "notes")
    script = [*([str(driver)] if driver else []), str(clone / "src/main.py")]
    command = [sys.executable, "-W", "ignore", *script, *arguments]
    return subprocess.run(command, cwd=clone.parent, env=environment, capture_output=True, text=True, timeout=600)


def mappo(*overrides: str, config: str = "mappo") -> list[str]:
    return [f"--config={config}", "--env-config=gymma", "with", LBF, *SHORT, "t_max=40", "use_cuda=False", *overrides]


def notes(clone: Path) -> list[str]:
    path = clone.parent / "notes"
    return path.read_text().splitlines() if path.exists() else []


def test_apply_and_undo_give_the_files_back_byte_for_byte(clone: Path) -> None:
    before = {path: path.read_bytes() for path in (clone / "src").rglob("*.py")}
    assert patching.apply(clone) is True
    status = epymarl.check(clone)
    assert (status.patched, status.tested, status.dirty, status.warning) == (True, True, (), None)
    changed = [path for path in before if path.read_bytes() != before[path]]
    assert sorted(changed) == [clone / "src/main.py", clone / "src/run.py"]
    assert patching.undo(clone) is True
    assert {path: path.read_bytes() for path in (clone / "src").rglob("*.py")} == before
    assert not epymarl.check(clone).patched


def test_git_am_takes_it_and_says_the_same(clone: Path) -> None:
    files = [clone / "src/main.py", clone / "src/run.py"]
    patching.apply(clone)
    ours = [file.read_bytes() for file in files]
    patching.undo(clone)
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for patch in patching.for_plugins():
        subprocess.run(["git", *identity, "am", "-q", str(patch)], cwd=clone, check=True)
    assert [file.read_bytes() for file in files] == ours
    assert patching.apply(clone) is False
    assert patching.undo(clone) is True
    assert epymarl.check(clone).dirty == ("src/main.py", "src/run.py")


def test_the_second_patch_fits_by_itself(clone: Path) -> None:
    subprocess.run(["git", "apply", str(patching.series()[1])], cwd=clone, check=True)
    assert dirty_files(clone) == ("src/run.py",)


def test_a_checkout_that_was_patched_by_an_older_version_is_no_other(clone: Path) -> None:
    """Its first patch alone: still the tested code, and what is missing can be added."""
    subprocess.run(["git", "apply", str(patching.series()[0])], cwd=clone, check=True)
    status = epymarl.check(clone)
    assert (status.patched, status.dirty, status.warning) == (False, (), None)
    assert patching.apply(clone) is True and epymarl.check(clone).patched


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_patched_suite_uses_a_plugin(clone: Path, plugin: Path, tmp_path: Path, start: str) -> None:
    patching.apply(clone)
    own = (clone / "src/config/algs/mappo.yaml").read_text()
    (plugin / "dummy_configs/algs/dummy.yaml").write_text(own.replace('"ppo_learner"', '"dummy_learner"'))
    driver = tmp_path / "driver.py"
    driver.write_text(SPAWN)
    arguments = mappo("seed=5", "lr=0.125", config="dummy")
    done = run_main(clone, *arguments, site=plugin, driver=driver if start == "spawn" else None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Exiting script" in done.stdout + done.stderr
    said = [line.rsplit(" ", 1) for line in notes(clone)]
    assert [text for text, _ in said].count("check dummy_learner 0.125 5") == 1
    registered = [pid for text, pid in said if text == "register"]
    # Once in each process that imports src/main.py: the parent, and with spawn its two workers.
    assert len(registered) == len(set(registered)) == (3 if start == "spawn" else 1)


def test_a_plugin_can_stop_a_bad_configuration(clone: Path, plugin: Path) -> None:
    patching.apply(clone)
    done = run_main(clone, *mappo("lr=-1.0"), site=plugin)
    assert done.returncode == 1
    assert "ValueError: dummy: lr is negative" in done.stdout + done.stderr
    assert "Experiment Parameters" not in done.stdout + done.stderr  # before anything is built


def test_a_plugin_cannot_replace_the_suites_own_yaml(clone: Path, plugin: Path) -> None:
    patching.apply(clone)
    (plugin / "dummy_configs/algs/mappo.yaml").write_text("learner: 'no_such_learner'\n")
    run_main(clone, *mappo("lr=-1.0"), site=plugin)
    assert notes(clone)[-1].startswith("check ppo_learner -1.0")


@pytest.mark.parametrize("patched", [False, True])
def test_a_yaml_that_is_nowhere_is_the_same_error_as_before(clone: Path, plugin: Path, patched: bool) -> None:
    if patched:
        patching.apply(clone)
    done = run_main(clone, "--config=nosuch", "--env-config=gymma", site=plugin if patched else None)
    assert done.returncode == 1
    missing = clone / "src/config/algs/nosuch.yaml"
    assert done.stderr.splitlines()[-1] == f"FileNotFoundError: [Errno 2] No such file or directory: '{missing}'"


@pytest.mark.parametrize("runner", ["parallel", "episode"])
def test_without_plugins_the_patched_suite_trains_as_before(clone: Path, runner: str) -> None:
    patching.apply(clone)
    sizes = ("batch_size_run=1", "buffer_size=1", "batch_size=1") if runner == "episode" else ()
    done = run_main(clone, *mappo(f"runner={runner}", *sizes))
    assert done.returncode == 0, done.stdout + done.stderr
    assert notes(clone) == []
    runs = list((clone / "results/sacred/mappo").glob("*/1/run.json"))
    assert len(runs) == 1
    assert '"status": "COMPLETED"' in runs[0].read_text()
