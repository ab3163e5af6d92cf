"""What `checkpoint_path` must hold, before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from epymarl_trust_region.errors import CheckpointError
from epymarl_trust_region.modules import files
from epymarl_trust_region.suite.checkpoints import check_folder
from support import LEARNERS, make_batch, make_learner


class NoteLearner:
    checked: list[str]

    @classmethod
    def check_files(cls, path: str) -> None:
        cls.checked.append(path)


@pytest.fixture
def folder(tmp_path):
    for step in ("9", "100", "250", "best"):
        (tmp_path / step).mkdir()
    (tmp_path / "400").touch()  # a file is no step folder
    NoteLearner.checked = []
    return tmp_path


@pytest.mark.parametrize("load_step, step", [(0, 250), (1, 9), (90, 100), (174, 100), (176, 250), (10**9, 250)])
def test_the_step_that_the_host_will_load_is_checked(folder, load_step, step):
    check_folder(str(folder), load_step, NoteLearner)
    assert NoteLearner.checked == [str(folder / str(step))]


def test_a_goal_behind_the_checkpoint_is_refused(folder):
    check_folder(str(folder), 0, None, t_max=250)  # one more rollout
    check_folder(str(folder), 90, None, t_max=120)  # from an earlier one
    check_folder(str(folder), 0, None, t_max=None)  # to be evaluated
    with pytest.raises(CheckpointError, match=r"250 has 250 steps, beyond t_max=249: nothing would be trained.*larger"):
        check_folder(str(folder), 0, None, t_max=249)


def test_another_algorithms_files_are_the_hosts_affair(folder):
    check_folder(str(folder), 0, None)


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(CheckpointError, match=rf"^checkpoint_path=.*{name} is not a folder; give the folder that"):
            check_folder(str(tmp_path / name), 0, NoteLearner)


def test_a_folder_without_steps(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "400").touch()
    with pytest.raises(CheckpointError, match=r"holds no step folders \(such as 50000/\); give the run's folder"):
        check_folder(str(tmp_path), 0, None)


def test_the_folder_of_one_step_is_told_from_the_runs(folder):
    for path in (f"{folder}/250", f"{folder}/250/"):
        with pytest.raises(CheckpointError, match=rf"is one step's folder; .* checkpoint_path={folder} load_step=250$"):
            check_folder(path, 0, None)


@pytest.mark.parametrize("name", ["agent.th", "learner.th"])
def test_our_own_files_are_read_through(tmp_path, name):
    (tmp_path / "10").mkdir()
    make_learner(make_batch()).save_models(str(tmp_path / "10"))
    learner, file = LEARNERS["happo_learner"].load(), tmp_path / "10" / name
    check_folder(str(tmp_path), 0, learner)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
        check_folder(str(tmp_path), 0, learner)
    file.write_bytes(b"")  # of which torch says nothing
    with pytest.raises(CheckpointError, match=rf"{name} is damaged \(.+\); use an earlier one with load_step"):
        check_folder(str(tmp_path), 0, learner)
    file.unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        check_folder(str(tmp_path), 0, learner)


def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "agent.th"
    files.write(file, {"x": 1})

    def cut_short(state, target):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files.torch, "save", cut_short)
    with pytest.raises(KeyboardInterrupt):
        files.write(file, {"x": 2})
    assert files.read(file) == {"x": 1}


def test_a_file_that_would_run_code_is_not_read(tmp_path):
    torch.save({"x": Path("anything")}, tmp_path / "agent.th")
    with pytest.raises(CheckpointError, match="is damaged"):
        files.read(tmp_path / "agent.th")


def test_a_file_written_on_a_gpu_is_read_onto_the_cpu(tmp_path, monkeypatch):
    read, seen = torch.load, []
    monkeypatch.setattr(files.torch, "load", lambda *args, **kwargs: seen.append(kwargs) or read(*args, **kwargs))
    files.write(tmp_path / "agent.th", {"x": 1})
    files.read(tmp_path / "agent.th")
    assert seen[0]["map_location"] == "cpu"
