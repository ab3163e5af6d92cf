"""What `checkpoint_path` must hold, before anything is built."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from epymarl_trust_region.errors import CheckpointError, StorageError
from epymarl_trust_region.modules import files
from epymarl_trust_region.suite import resume
from epymarl_trust_region.suite.checkpoints import check_folder, with_chosen_step
from epymarl_trust_region.suite.last_policy import saving_last
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
        (tmp_path / step / "model").touch()
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
    (tmp_path / "10").mkdir()  # without checksums, as older versions have left it
    make_learner(make_batch()).save_models(str(tmp_path / "10"))
    learner, file = LEARNERS["happo_learner"].load(), tmp_path / "10" / name
    check_folder(str(tmp_path), 0, learner)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
        check_folder(str(tmp_path), 0, learner)
    file.write_bytes(b"")  # of which torch says nothing
    with pytest.raises(CheckpointError, match=rf"{name} is damaged \(.+\); there is no other one"):
        check_folder(str(tmp_path), 0, learner)
    file.unlink()
    with pytest.raises(CheckpointError, match=rf"10 is incomplete \(it lacks {name}\); there is no other"):
        check_folder(str(tmp_path), 0, learner)


def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "agent.th"
    files.write(file, {"x": 1})

    def cut_short(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", cut_short)
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


# Whole or not there ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run's folder with the steps 10, 20 and 30, as the hosts leave them."""
    run, learner = tmp_path_factory.mktemp("run"), make_learner(make_batch(), hidden_dim=4, critic_hidden_dim=4)
    for step in (10, 20, 30):
        with files.whole(run / str(step)) as unfinished:
            learner.save_models(str(unfinished))
    return run


@pytest.fixture
def run_folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "models"))


HAPPO = LEARNERS["happo_learner"].load()


@pytest.mark.parametrize("name", ["agent.th", "learner.th", files.CHECKSUMS_FILE])
def test_every_flipped_bit_is_noticed_and_the_remedy_works(run_folder, name):
    file = run_folder / "30" / name
    whole = file.read_bytes()
    places = range(len(whole)) if name == files.CHECKSUMS_FILE else range(0, len(whole), len(whole) // 40)
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"30.* is (damaged|incomplete) .*; set load_step=20, which"):
            check_folder(str(run_folder), 30, HAPPO)
            HAPPO.check_files(str(run_folder / "30"))
    check_folder(str(run_folder), 20, HAPPO)


@pytest.mark.parametrize("leftover", ["the host's empty folder", "one file less", "no learner.th, without checksums"])
def test_the_newest_complete_one_is_taken(run_folder, leftover, capsys):
    newest = run_folder / "30"
    if leftover == "the host's empty folder":
        shutil.rmtree(newest)
        newest.mkdir()
    else:
        (newest / "learner.th").unlink()
    if "without" in leftover:
        (newest / files.CHECKSUMS_FILE).unlink()
    check_folder(str(run_folder), 0, HAPPO)
    assert f"warning: the checkpoint in {newest} is incomplete (it lacks" in capsys.readouterr().err
    assert with_chosen_step({"checkpoint_path": str(run_folder), "load_step": 0}, HAPPO)["load_step"] == 20
    with pytest.raises(CheckpointError, match=r"30 is incomplete \(it lacks .*\); set load_step=20, which is whole$"):
        check_folder(str(run_folder), 30, HAPPO)


def test_what_a_killed_process_has_begun_is_no_checkpoint(run_folder):
    shutil.copytree(run_folder / "30", run_folder / "40.unfinished")
    assert files.steps(run_folder) == [10, 20, 30]
    with files.whole(run_folder / "40") as unfinished:  # and is in nobody's way
        assert not list(unfinished.iterdir())
        (unfinished / "model").touch()
    assert not (run_folder / "40.unfinished").exists()


def test_a_folder_that_is_written_again_holds_the_new_files_alone(run_folder):
    with files.whole(run_folder / "30") as unfinished:
        (unfinished / "model").write_text("new")
    assert {file.name for file in (run_folder / "30").iterdir()} == {"model", files.CHECKSUMS_FILE}
    assert sorted(entry.name for entry in run_folder.iterdir()) == ["10", "20", "30"]


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
@pytest.mark.parametrize("by_the_host", [False, True])
def test_a_save_that_fails_leaves_nothing(run_folder, moment, by_the_host, monkeypatch):
    """At each of its calls, one after the other, the disk is full; the host may have made the folder."""
    usual = {"write": torch.save, "fsync": files.os.fsync, "rename": files.os.rename}[moment]
    place = files.torch if moment == "write" else files.os

    class Learner:
        def __init__(self, *_) -> None: ...
        def save_models(self, path) -> None:
            files.write(Path(path) / "agent.th", {"x": 1})
            files.write(Path(path) / "learner.th", {"x": 1})

    args = type("Args", (), {"unique_token": "x", "save_model": False})
    learner = saving_last(Learner)(None, None, None, args)
    calls = []

    def full(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(*arguments, **keywords)

    for count in range(9):
        fails_at = count
        calls.clear()
        monkeypatch.setattr(place, "save" if moment == "write" else moment, full)
        with contextlib.suppress(StorageError):
            if by_the_host:
                (run_folder / "40").mkdir()
            learner.save_models(str(run_folder / "40"))
            break
        names = sorted(entry.name for entry in run_folder.iterdir())
        assert names == ["10", "20", "30"]
    assert fails_at and fails_at < 8  # it has failed, and succeeded in the end
    assert files.lacks(run_folder / "40") == "" and files.checksums(run_folder / "40")


def test_a_full_disk_is_named_where_torch_hides_it(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StorageError, match=r"^no space left on /.*, where .*/40 is to be written; free some there, or"):
        with files.whole(tmp_path / "40"):
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
    with pytest.raises(RuntimeError, match="mine"), files.whole(tmp_path / "40"):
        raise RuntimeError("mine")


@pytest.mark.parametrize("name", ["007", "²", "٣"])
def test_a_folder_whose_name_is_no_number_as_it_is_written(run_folder, name):
    (run_folder / name).mkdir()
    with pytest.raises(CheckpointError, match=rf"^the name of the folder .*/{name} is no number of steps"):
        check_folder(str(run_folder), 0, HAPPO)


@pytest.mark.parametrize(
    "name, content",
    [
        ("agent.th", [1, 2]),
        ("agent.th", {"x": 1}),
        ("agent.th", {1: torch.zeros(1)}),
        ("learner.th", torch.zeros(3)),
        ("learner.th", {"algorithm": "HAPPO"}),  # of an older version, say
        ("learner.th", {"algorithm": "HAPPO", "critic": 5}),
        ("random", 5),
        ("random", {}),
        ("optimisers", [5, 5, 5]),
        ("carried", None),
        ("carried", {"log_stats_t": "abc"}),
    ],
)
def test_files_with_other_things_in_them(tmp_path, name, content):
    """Every one is one line that names the checkpoint, when it is checked or when it is loaded."""
    learner = make_learner(make_batch(), hidden_dim=4, critic_hidden_dim=4)
    learner.save_models(str(tmp_path))
    if name in ("agent.th", "learner.th"):
        torch.save(content, tmp_path / name)
    else:
        state = torch.load(tmp_path / "learner.th", weights_only=True)
        state[name] = content
        if content is None:
            del state[name]
        torch.save(state, tmp_path / "learner.th")
    with pytest.raises(CheckpointError, match=str(tmp_path)) as caught:
        learner.load_models(str(tmp_path))
    assert "\n" not in str(caught.value)


# Formats ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_format(tmp_path):
    """Makes a run's folder of one step whose `name` has this format version; None: none, as the oldest have."""
    learner = make_learner(make_batch(), hidden_dim=4, critic_hidden_dim=4)

    def make(version: object, name: str = "learner.th") -> Path:
        folder = tmp_path / "run/10"
        folder.mkdir(parents=True, exist_ok=True)
        learner.save_models(str(folder))
        resume.write(folder, {"seed": 1}, {})
        state = torch.load(folder / name, weights_only=True)
        assert state.pop("format_version") == 1
        torch.save(state if version is None else {**state, "format_version": version}, folder / name)
        return folder.parent

    make.learner = learner
    return make


@pytest.mark.parametrize("name", ["learner.th", "run.th"])
@pytest.mark.parametrize("version", [None, 0, 1])
def test_a_checkpoint_of_a_known_format_is_read(of_format, version, name):
    run = of_format(version, name)
    check_folder(str(run), 0, HAPPO)
    other = make_learner(make_batch(seed=1), hidden_dim=4, critic_hidden_dim=4, seed=1)
    with torch.no_grad():
        next(other.mac.parameters()).add_(1)
    other.load_models(str(run / "10"))
    for ours, theirs in ((other.mac.agent, of_format.learner.mac.agent), (other.critic, of_format.learner.critic)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert resume.read(run / "10")["configuration"] == {"seed": 1}


@pytest.mark.parametrize("name", ["learner.th", "run.th"])
@pytest.mark.parametrize("version, shown", [(2, "2"), (-1, "-1"), (True, "of type bool"), ("1", "of type str")])
def test_a_checkpoint_of_another_format_is_refused_in_one_line(of_format, version, shown, name):
    run = of_format(version, name)
    said = (
        rf"^checkpoint file {run / '10' / name} has the format version {shown}, and this plugin, \d\S+, reads 0 to 1; "
        r"use the version of this plugin that wrote it$"
    )
    with pytest.raises(CheckpointError, match=said):
        check_folder(str(run), 0, HAPPO)
    with pytest.raises(CheckpointError, match=said):
        of_format.learner.load_models(str(run / "10")) if name == "learner.th" else resume.read(run / "10")


def test_the_first_checkpoints_hold_less_and_are_read(of_format):
    """Without checksums, without run.th, and with one counter where the learner now carries several."""
    file = of_format(None) / "10/learner.th"
    (file.parent / resume.RUN_FILE).unlink()
    state = torch.load(file, weights_only=True)
    state["log_stats_t"] = 70
    del state["carried"], state["grad_norms"]
    torch.save(state, file)
    check_folder(str(file.parents[1]), 0, HAPPO)
    of_format.learner.load_models(str(file.parent))
    assert of_format.learner.log_stats_t == 70 and resume.read(file.parent) is None


@pytest.mark.parametrize(
    "suite, algorithm",
    [
        ("lite", "happo"),
        pytest.param("epymarl", "happo", marks=pytest.mark.integration),
        pytest.param("epymarl", "qmix", marks=pytest.mark.integration),
    ],
)
def test_both_hosts_refuse_a_newer_checkpoint_before_a_run_has_a_folder(of_format, suite, algorithm, tmp_path):
    name = "learner.th" if algorithm == "happo" else "run.th"  # of the host's own learners the rest is its affair
    run = of_format(2, name)
    task = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "use_cuda=False"]
    words = [f"--config={algorithm}", "--env-config=gymma", f"--suite={suite}", "with", *task, f"checkpoint_path={run}"]
    command = [sys.executable, "-m", "epymarl_trust_region", "run", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and not (tmp_path / "results").exists()
    assert done.stderr.splitlines()[-1].startswith(f"error: checkpoint file {run / '10' / name} has the format version")
