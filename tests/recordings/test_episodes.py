"""The recording's format: what is written is read back bit for bit, a kill costs at most a rollout, and bad files are
refused in one line that says what is wrong with them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from epymarl_trust_region.errors import DataError
from epymarl_trust_region.recordings import episodes as module
from epymarl_trust_region.recordings import hdf5, journal
from epymarl_trust_region.recordings.episodes import EpisodeWriter, read_episodes
from epymarl_trust_region.recordings.layout import OURS, check_free, data_file, metadata_file, read_metadata
from epymarl_trust_region.recordings.summary import summary
from recorded import ABOUT, A, N, O, S, change_metadata, made, write

h5py = pytest.importorskip("h5py")

DTYPES = {
    "obs": torch.float32, "state": torch.float32, "avail_actions": torch.int32, "actions": torch.int64,
    "actions_onehot": torch.float32, "reward": torch.float32, "terminated": torch.uint8, "truncated": torch.uint8,
    "filled": torch.int64, "log_probs": torch.float32,
}  # fmt: skip


def padded(episodes, T: int) -> dict[str, np.ndarray]:
    """The fields, one number at a time."""
    B, K = len(episodes), episodes[0].rewards[0].size
    shapes = {"obs": (N, O), "state": (S,), "avail_actions": (N, A), "actions": (N, 1), "actions_onehot": (N, A)}
    shapes |= {"reward": (K,), "terminated": (1,), "truncated": (1,), "filled": (1,), "log_probs": (N,)}
    fields = {key: np.zeros((B, T + 1, *shape)) for key, shape in shapes.items()}
    for b, episode in enumerate(episodes):
        for t in range(episode.length + 1):
            fields["filled"][b, t] = 1
            for key in ("obs", "state", "avail_actions"):
                fields[key][b, t] = getattr(episode, key)[t]
        for t in range(episode.length):
            fields["reward"][b, t] = episode.rewards[t]
            fields["log_probs"][b, t] = episode.log_probs[t]
            for i, action in enumerate(episode.actions[t]):
                fields["actions"][b, t, i, 0] = action
                fields["actions_onehot"][b, t, i, action] = 1
        fields["terminated"][b, episode.length - 1] = episode.marked
        fields["truncated"][b, episode.length - 1] = episode.truncated
    return fields


@pytest.mark.parametrize("common", [True, False])
def test_what_is_written_is_read_back(common, tmp_path):
    """Four lengths (one of a single step), all three ways to end, three rollouts."""
    episodes = [
        made(3, 1, common),
        made(5, 2, common, truncated=True),
        made(1, 3, common, truncated=True, marked=False),
        made(4, 4, common),
    ]
    write(tmp_path / "x", episodes[:2], episodes[2:3], episodes[3:], common_reward=common)
    read = read_episodes(tmp_path / "x")
    expected = padded(episodes, T=5)
    assert read.keys() == expected.keys()
    for key, value in expected.items():
        assert read[key].dtype == DTYPES[key], key
        assert np.array_equal(read[key].numpy(), value), key
    assert (read.batch_size, read.max_seq_length, read.lengths.tolist()) == (4, 6, [3, 5, 1, 4])
    assert read.about == {"format_version": 1, **ABOUT, "common_reward": common}


def test_the_file_is_as_documented(tmp_path):
    """docs/offline.md's table, read with h5py alone."""
    episode = made(3, 7, truncated=True, marked=False)
    write(tmp_path / "my run.v1", [made(2)], [episode])
    metadata = json.loads(metadata_file(tmp_path / "my run.v1").read_text())
    assert (metadata["total_episodes"], metadata["total_steps"], metadata["dataset_id"]) == (2, 5, "my_run_v1-v0")
    with h5py.File(data_file(tmp_path / "my run.v1")) as file:
        assert set(file) == {"episode_0", "episode_1"}
        group = file["episode_1"]
        assert dict(group.attrs) == {"id": 1, "total_steps": 3, "t_env": 70, "marked_terminated": 0}
        found = {}
        group.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    expected = {f"observations/{key}": getattr(episode, key) for key in ("obs", "state", "avail_actions")}
    expected |= {"actions": episode.actions, "rewards": episode.rewards, "infos/log_probs": episode.log_probs}
    expected |= {"terminations": np.array([False] * 3), "truncations": np.array([False, False, True])}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and np.array_equal(found[key], value), key


def test_log_probs_are_given_where_every_episode_has_them(tmp_path):
    write(tmp_path / "x", [made(2), made(3, log_probs=None), made(3)])
    assert "log_probs" not in read_episodes(tmp_path / "x")
    assert "log_probs" in read_episodes(tmp_path / "x", first=2)


def test_a_part_of_a_recording(tmp_path):
    episodes = [made(L, L) for L in (3, 5, 1, 4)]
    write(tmp_path / "x", episodes)
    whole = read_episodes(tmp_path / "x")
    for part in (read_episodes(tmp_path / "x", first=2, count=9), whole.part([2, 3]), whole.part(torch.tensor([2, 3]))):
        assert (part.batch_size, part.max_seq_length, part.about) == (2, 5, whole.about)
        for key, value in padded(episodes[2:], T=4).items():
            assert np.array_equal(part[key].numpy(), value), key
    assert read_episodes(tmp_path / "x", count=2).lengths.tolist() == [3, 5]
    with pytest.raises(DataError, match="holds 4 complete episodes, and none from number 4 on"):
        read_episodes(tmp_path / "x", first=4)


def test_a_task_of_other_sizes_is_refused(tmp_path):
    write(tmp_path / "x", [made(2)])
    read = read_episodes(tmp_path / "x")
    read.check_matches(n_agents=N, n_actions=A, obs_dim=O)
    with pytest.raises(DataError, match="another task: they have n_actions 4, not 5; obs_dim 3, not 9; record"):
        read.check_matches(n_agents=N, n_actions=5, obs_dim=9)
    with pytest.raises(DataError, match="they have n_agents 2, not 3; record"):
        read.check_matches(n_agents=3, n_actions=A, obs_dim=O)


# A run that is killed -------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from epymarl_trust_region.recordings import episodes
from recorded import made, write
writer = write(sys.argv[1], [made(3, 1), made(2, 2)], [made(4, 3)])
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
original, calls = getattr(episodes, sys.argv[2]), []
def last(*arguments):
    calls.append(original(*arguments) if sys.argv[2] == "_write" else None)
    if len(calls) == int(sys.argv[3]): die()
setattr(episodes, sys.argv[2], last)
writer.append([made(3, 4), made(3, 5)])
"""


@pytest.mark.parametrize("where", [("_write", "1"), ("_write", "2"), ("write_metadata", "1")])
def test_a_killed_run_leaves_all_rollouts_before(where, tmp_path):
    """Killed after the first or second episode of its third rollout, or before that rollout is counted."""
    paths = "import sys; sys.path[:0] = " + repr(sys.path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", f"{paths}\n{KILLED}", tmp_path / "x", *where])
    assert done.returncode == -9
    read = read_episodes(tmp_path / "x")
    for key, value in padded([made(3, 1), made(2, 2), made(4, 3)], T=4).items():
        assert np.array_equal(read[key].numpy(), value), key
    assert "3, 9 steps" in summary(tmp_path / "x")[0]


def appended_until(path, k: int) -> bool:
    """In a process of its own, append two rollouts and be killed at the k-th write (or shortening) of the HDF5 file.

    Returns:
        Whether it was killed.
    """
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1] != 0
    calls = itertools.count(1)

    def dying(original):
        def wrapped(self, *arguments):
            if next(calls) == k:
                if arguments and not isinstance(arguments[0], int):  # half of it gets there
                    original(self, memoryview(arguments[0]).cast("B")[: len(arguments[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *arguments)

        return wrapped

    for name in ("write", "truncate"):
        setattr(journal._Recorded, name, dying(getattr(journal._Recorded, name)))
    writer = EpisodeWriter.__new__(EpisodeWriter)
    writer.path, writer.metadata = path, read_metadata(path)
    try:
        writer.append([made(3, 4), made(3, 5)])
        writer.append([made(2, 6)])
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kill_at_any_write_leaves_all_rollouts_before(tmp_path):
    before, rollouts = [made(3, 1), made(2, 2), made(4, 3)], [[made(3, 4), made(3, 5)], [made(2, 6)]]
    write(tmp_path / "whole", before)
    seen, damaged, k, killed = set(), 0, 0, True
    while killed:
        k += 1
        shutil.copytree(tmp_path / "whole", tmp_path / "x")
        killed = appended_until(tmp_path / "x", k)
        shutil.copytree(tmp_path / "x", tmp_path / "y", ignore=shutil.ignore_patterns("*.undo"))
        try:
            read_episodes(tmp_path / "y")
        except DataError:
            damaged += 1
        read = read_episodes(tmp_path / "x")
        complete = read.batch_size - len(before)
        expected = before + sum(rollouts[: {0: 0, 2: 1, 3: 2}[complete]], [])
        for key, value in padded(expected, T=4).items():
            assert np.array_equal(read[key].numpy(), value), (k, key)
        seen.add(complete)
        for name in "xy":
            shutil.rmtree(tmp_path / name)
    assert seen == {0, 2, 3} and damaged > 2  # without what was kept these could not be read


READER = """
import sys, h5py
with h5py.File(sys.argv[1], "r") as file:
    print(len(file), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def reader(tmp_path):
    """Another process with the recording open, once it has said how many episodes it sees."""
    write(tmp_path / "x", [made(2)])
    command = [sys.executable, "-c", READER, data_file(tmp_path / "x")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


def test_a_run_waits_for_those_who_look_at_its_episodes(reader, tmp_path, monkeypatch, caplog):
    writer = write(tmp_path / "y", [made(2)], [made(3)])
    writer.path = tmp_path / "x"  # where the reader looks
    assert reader.stdout.readline() == "1\n"  # nothing is held open between rollouts

    def wait(seconds) -> None:
        reader.stdin.close()
        reader.wait()

    monkeypatch.setattr(module.time, "sleep", wait)
    writer.append([made(4)])
    with h5py.File(data_file(tmp_path / "x")) as file:
        assert set(file) == {"episode_0", "episode_2"}
    assert caplog.text.count("is open in another process: waiting") == 1


def test_it_does_not_wait_for_ever(reader, tmp_path, monkeypatch):
    writer = write(tmp_path / "y", [made(2)])
    writer.path = tmp_path / "x"
    reader.stdout.readline()
    monkeypatch.setattr(module, "_WAIT_S", 1)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with pytest.raises(DataError, match="cannot write to save_episodes=.*open in another process for 1 s; make room"):
        writer.append([made(2)])


# A place that is taken ------------------------------------------------------------------------------------------


def test_an_existing_recording_is_replaced_only_when_asked(tmp_path):
    write(tmp_path / "x", [made(2)])
    (tmp_path / "x/notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"save_episodes=.*x exists; name another folder, or add save_episodes_overwr"):
        EpisodeWriter(tmp_path / "x", ABOUT)
    assert read_episodes(tmp_path / "x").batch_size == 1
    EpisodeWriter(tmp_path / "x", ABOUT, overwrite=True).append([made(3), made(3)])
    assert read_episodes(tmp_path / "x").lengths.tolist() == [3, 3]
    assert (tmp_path / "x/notes.txt").read_text() == "mine"


def test_what_is_no_recording_is_never_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    check_free(tmp_path / "x", overwrite=False)  # an empty folder
    (tmp_path / "x/thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("x", "file"):
        with pytest.raises(DataError, match="replaces recorded episodes only.*remove .* by hand, or name another"):
            EpisodeWriter(tmp_path / name, ABOUT, overwrite=True)
    assert (tmp_path / "x/thesis.tex").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_place_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="save_episodes=.*file/x cannot be made: Not a directory; name another folder"):
        EpisodeWriter(tmp_path / "file/x", ABOUT)


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    writer = write(tmp_path / "x", [made(2)])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "add_array", full)
        with pytest.raises(DataError, match="cannot write to save_episodes=.*No space left.*make room, or name"):
            writer.append([made(2)])
    writer.append([made(3, 1)])  # there is room again
    assert read_episodes(tmp_path / "x").lengths.tolist() == [2, 3]


def test_without_h5py_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    write(tmp_path / "x", [made(2)])
    hdf5.library.cache_clear()
    monkeypatch.setitem(sys.modules, "h5py", None)
    for job in (lambda: EpisodeWriter(tmp_path / "y", ABOUT), lambda: read_episodes(tmp_path / "x")):
        with pytest.raises(DataError, match=r"need the package h5py.*pip install -c constraints.txt -e '.\[offline\]'"):
            job()
    assert not (tmp_path / "y").exists()
    hdf5.library.cache_clear()


# Files that are not what they should be -------------------------------------------------------------------------


def edit(name: str, value=None, episode: int = 1):
    """Replace a dataset of an episode by `value`, or take it away."""

    def change(path) -> None:
        with h5py.File(data_file(path), "r+") as file:
            group = file[f"episode_{episode}"]
            del group[name]
            if value is not None:
                group[name] = value

    return change


def cut_short(path) -> None:
    whole = data_file(path).read_bytes()
    data_file(path).write_bytes(whole[: len(whole) // 2])


def other_hdf5(path) -> None:
    with h5py.File(data_file(path), "w") as file:
        file["weights"] = np.zeros(3)


BAD = {
    "missing": (shutil.rmtree, "x does not exist; give the folder that a run's save_episodes named"),
    "no recording": (lambda p: metadata_file(p).unlink(), "x holds no recorded episodes: it has no data/metadata.json"),
    "no json": (lambda p: metadata_file(p).write_text('{"total'), "metadata.json is damaged: .*record the episodes"),
    "foreign json": (lambda p: metadata_file(p).write_text("{}"), "x was written by another tool"),
    "foreign list": (lambda p: metadata_file(p).write_text("[]"), "x was written by another tool"),
    "version": (lambda p: change_metadata(p, format_version_=2), "format version 2, and this plugin reads 1; record"),
    "older version": (lambda p: change_metadata(p, format_version_=0), "version 0, and this plugin reads 1; record"),
    "no version": (lambda p: change_metadata(p, format_version_=None), "version None, and this plugin reads 1; record"),
    "version as a truth": (lambda p: change_metadata(p, format_version_=True), "version True, and this plugin reads 1"),
    "facts": (
        lambda p: change_metadata(p, n_agents_="2"),
        "metadata.json is damaged: it does not say n_agents; record",
    ),
    "count": (lambda p: change_metadata(p, total_steps=None), "is damaged: it does not say total_steps"),
    "empty": (lambda p: change_metadata(p, total_episodes=0), "x holds (0|no) complete episode"),
    "too many": (lambda p: change_metadata(p, total_episodes=3), "damaged or truncated .*episode.*episode_2"),
    "steps": (lambda p: change_metadata(p, total_steps=9), "at odds with itself: it holds 5 steps, .* says 9; record"),
    "no data": (lambda p: data_file(p).unlink(), "main_data.hdf5 is missing; record the episodes again"),
    "no hdf5": (lambda p: data_file(p).write_text("text"), r"damaged or truncated \(it cannot be opened: .*signature"),
    "nothing": (lambda p: data_file(p).write_text(""), r"damaged or truncated \(it cannot be opened"),
    "truncated": (cut_short, r"damaged or truncated \(it cannot be opened: .*truncated file"),
    "other hdf5": (other_hdf5, "damaged or truncated .*episode.* cannot be read"),
    "obs": (edit("observations/obs", np.zeros((4, N, O + 1))), r"x, episode 1: obs has the shape \[4, 2, 4\] and not "),
    "state": (
        edit("observations/state", np.zeros((3, S))),
        r"episode 1: state has the shape \[3, 5\] and not \[4, 5\]",
    ),
    "avail": (edit("observations/avail_actions", np.zeros((4, N))), "avail_actions has the shape"),
    "actions": (edit("actions", np.zeros((2, N), int)), r"actions has the shape \[2, 2\] and not \[3, 2\]; record"),
    "action": (edit("actions", np.full((3, N), A)), "it has no actions, or some outside 0 to 3"),
    "negative": (edit("actions", np.full((3, N), -1)), "it has no actions, or some outside 0 to 3"),
    "rewards": (edit("rewards", np.zeros((3, N))), r"rewards has the shape \[3, 2\] and not \[3\]"),
    "log_probs": (edit("infos/log_probs", np.zeros(3)), "log_probs has the shape"),
    "gone": (edit("rewards"), "damaged or truncated .*episode 1 cannot be read"),
    "no end": (edit("terminations", np.zeros(3, bool)), "do not mark one end, at its last step"),
    "two ends": (edit("truncations", np.array([False, False, True])), "do not mark one end, at its last step"),
    "early": (edit("terminations", np.array([True, False, True])), "do not mark one end, at its last step"),
}
UNREAD = {"steps", "obs", "state", "avail", "actions", "action", "negative", "rewards", "log_probs", "no end",
          "two ends", "early"}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recording_is_refused_in_one_line(name, tmp_path):
    spoil, message = BAD[name]
    write(tmp_path / "x", [made(2), made(3)])
    read_episodes(tmp_path / "x")
    spoil(tmp_path / "x")
    with pytest.raises(DataError, match=message) as caught:
        read_episodes(tmp_path / "x")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    if name not in UNREAD:  # the summary reads rewards and ends only
        with pytest.raises(DataError, match=message.replace(" from number 0 on", "")):
            summary(tmp_path / "x")


def test_a_recording_that_is_being_written_says_so(tmp_path):
    write(tmp_path / "x", [made(2)])
    with h5py.File(data_file(tmp_path / "x"), "r+"):
        code = (
            "import sys\nfrom epymarl_trust_region.recordings.episodes import read_episodes\nread_episodes(sys.argv[1])"
        )
        paths = "import sys; sys.path[:0] = " + repr(sys.path)
        command = [sys.executable, "-W", "ignore", "-c", f"{paths}\n{code}", tmp_path / "x"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert "is being written just now; try again in a moment" in done.stderr


def test_the_summary(tmp_path):
    ones = np.ones(3, np.float32)
    episodes = [made(3, 1, rewards=ones), made(1, 2, rewards=-ones[:1], truncated=True), made(2, 4, rewards=ones[:2])]
    write(tmp_path / "x", episodes)
    lines = dict(line.split(None, 1) for line in summary(tmp_path / "x"))
    assert lines["episodes"] == "3, 6 steps, 1 to 3 in an episode"
    assert lines["return"] == "mean 1.333, min -1, max 3 (undiscounted)"
    assert lines["ends"] == "2 terminated, 1 cut by a time limit (reported)"
    assert lines["environment"] == "gymma, key=A-v0, seed=3"
    assert lines["algorithm"] == "happo, seed 3, training steps 10 to 40 of t_max=99"
    assert lines["sizes"] == "2 agents, 4 actions, observations of 3, states of 5"
    assert lines["reward"] == "common, gamma 0.9"
    write(tmp_path / "y", [made(2, common=False, rewards=np.ones((2, N), np.float32))], common_reward=False,
          evaluation=True, checkpoint_path="models/9")  # fmt: skip
    lines = dict(line.split(None, 1) for line in summary(tmp_path / "y"))
    assert lines["return"] == "mean 4, min 4, max 4 (undiscounted, summed over agents)"
    assert lines["algorithm"] == "happo, seed 3, test episodes of models/9"
    assert lines["reward"] == "one per agent, gamma 0.9"


def test_metadata_says_all_about_the_run(tmp_path):
    write(tmp_path / "x")
    assert read_metadata(tmp_path / "x")[OURS] == {"format_version": 1, **ABOUT}
