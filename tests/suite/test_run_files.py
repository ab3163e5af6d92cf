"""A run's folder where there is no room: nothing in it is half written, and no run that lost something is completed."""

from __future__ import annotations

import datetime
import errno
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from epymarl_trust_region.errors import StorageError
from epymarl_trust_region.experiments.sweep import sacred_run
from epymarl_trust_region.main import main
from epymarl_trust_region.suite import run_files
from epymarl_trust_region.suite.run_files import RunFiles

NOW = datetime.datetime(2026, 1, 2)
SPACE = r"no space left on /.*, where .*{} is to be written; free some there, or write to another disk with local_res"


def begun(folder: Path) -> RunFiles:
    observer = RunFiles(folder / "sacred")
    about = {"sources": [], "base_dir": str(folder)}
    observer.started_event(about, "train", {}, NOW, {"seed": 1}, {}, None)
    observer.log_metrics({"return": {"values": [1.0], "steps": [10], "timestamps": [NOW]}}, {})
    observer.heartbeat_event({"return": [1.0]}, "", NOW, None)
    return observer


def contents(observer: RunFiles) -> dict[str, dict]:
    return {file.name: json.loads(file.read_text()) for file in Path(observer.dir).glob("*.json")}


def fill_up(monkeypatch, number: int = errno.ENOSPC, text: str = "No space left on device") -> None:
    def dump(_, stream, **__):
        stream.write('{"half')
        raise OSError(number, text)

    monkeypatch.setattr(run_files.json, "dump", dump)


def test_without_trouble_the_files_are_sacreds(tmp_path):
    observer = begun(tmp_path)
    observer.completed_event(NOW, None)
    found = contents(observer)
    assert found["metrics.json"]["return"]["values"] == [1.0] and found["info.json"] == {"return": [1.0]}
    assert found["run.json"]["status"] == "COMPLETED" and found["config.json"] == {"seed": 1}
    observer.check()
    assert sacred_run(tmp_path) == Path(observer.dir)


def test_who_reads_meanwhile_has_the_old_file_whole(tmp_path):
    observer = begun(tmp_path)
    with open(Path(observer.dir) / "metrics.json") as stream:
        observer.log_metrics({"return": {"values": [2.0], "steps": [20], "timestamps": [NOW]}}, {})
        assert json.load(stream)["return"]["values"] == [1.0]
    assert contents(observer)["metrics.json"]["return"]["values"] == [1.0, 2.0]


@pytest.mark.parametrize("event", ["metrics", "heartbeat"])
def test_what_cannot_be_written_leaves_the_old_file_and_fails_the_run(event, tmp_path, monkeypatch):
    observer = begun(tmp_path)
    before = contents(observer)
    with monkeypatch.context() as full:
        fill_up(full)
        if event == "metrics":
            observer.log_metrics({"return": {"values": [2.0], "steps": [20], "timestamps": [NOW]}}, {})
        else:
            observer.heartbeat_event({"return": [2.0]}, "", NOW, None)
    assert contents(observer) == before and not list(Path(observer.dir).glob("*.unfinished"))
    log = observer.failing(lambda *_: pytest.fail("it went on"))
    for ask in (observer.check, log):
        with pytest.raises(StorageError, match="^" + SPACE.format(r"/sacred/1/\w+\.json")):
            ask()
    observer.completed_event(NOW, None)  # by now there may be room again
    assert contents(observer)["run.json"]["status"] == "FAILED" and sacred_run(tmp_path) is None


@pytest.mark.parametrize("end", ["completed_event", "interrupted_event", "failed_event"])
def test_an_end_that_cannot_be_written_is_no_traceback(end, tmp_path, monkeypatch):
    observer = begun(tmp_path)
    fill_up(monkeypatch)
    getattr(observer, end)(NOW, None)
    with pytest.raises(StorageError):
        observer.check()
    assert json.loads((Path(observer.dir) / "run.json").read_text())["status"] == "RUNNING"


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(run_files.os, "makedirs", refuse)
    observer = RunFiles(tmp_path / "sacred")
    text = r"^.*/sacred cannot be written \(Read-only file system, on /.*\); let this user write there, or write to"
    with pytest.raises(StorageError, match=text):
        observer.started_event({"sources": [], "base_dir": "."}, "train", {}, NOW, {}, {}, None)
    observer.failed_event(NOW, ["..."])


@pytest.fixture
def disk(own_folder, monkeypatch) -> Iterator[Path]:
    """A small disk, which is the current folder."""
    place = own_folder / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=240k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    monkeypatch.chdir(place)
    yield place
    os.chdir(own_folder)
    subprocess.run(["umount", "-l", place], check=True)


GAME = ("env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "learner_log_interval=0", "test_interval=1e6")
SMALL = ("hidden_dim=4", "critic_hidden_dim=4", "test_nepisode=10", "use_cuda=False")


@pytest.mark.parametrize(
    "room, overrides, message",
    [
        (0, ["t_max=10"], SPACE.format("results/sacred/.*")),
        (None, ["t_max=1500"], SPACE.format(r"results/sacred/.*/\w+\.json")),
        (None, ["t_max=40", "save_model=True", "hidden_dim=200"], SPACE.format(r"results/models/.*th")),
    ],
)
def test_a_disk_that_fills_up_is_one_line(room, overrides, message, disk, capsys):
    if room is not None:
        Path("filler").write_bytes(bytes(240 * 1024 - room))
    flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off", "with"]
    assert main([*flags, *GAME, *SMALL, *overrides]) in (1, 2)
    err = capsys.readouterr().err
    (error,) = [line for line in err.splitlines() if line and not line.startswith("[")]  # Sacred says when it failed
    assert re.match("error: " + message, error) and "o space left on" in error
    for file in disk.glob("results/sacred/*/*/1/*.json"):
        json.loads(file.read_text())
    assert sacred_run(disk / "results") is None
    assert not list(disk.glob("results/models/*/*"))
