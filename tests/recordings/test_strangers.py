"""A recording that anyone may have made: reading it writes nothing, follows nothing, and takes in nothing that has not
been weighed. One line says what is wrong with it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from epymarl_trust_region import memory
from epymarl_trust_region.errors import ConfigError, DataError
from epymarl_trust_region.offline import command as train_offline
from epymarl_trust_region.recordings import journal
from epymarl_trust_region.recordings.episodes import EpisodeWriter, read_episodes
from epymarl_trust_region.recordings.layout import data_file, metadata_file
from epymarl_trust_region.recordings.summary import main, summary
from recorded import ABOUT, A, N, O, S, change_metadata, made, write

h5py = pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path) -> Path:
    write(tmp_path / "x", [made(2), made(3)])
    return tmp_path / "x"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def refused(path: Path, message: str, *readers) -> None:
    for read in readers or (read_episodes, summary):
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def undo(path: Path, size: int, *pieces: tuple[int, int, bytes], mark: int = 2) -> None:
    text = struct.pack("<qq", size, mark) + b"".join(struct.pack("<qq", at, n) + data for at, n, data in pieces)
    journal.undo_file(data_file(path)).write_bytes(text)


# The journal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["data", "folder", "metadata", "undo"])
def test_no_link_is_followed_and_nothing_behind_one_is_written(what, path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    if what == "folder":
        (path / "data").rename(tmp_path / "elsewhere")
        (path / "data").symlink_to(tmp_path / "elsewhere")
    else:
        file = {"data": data_file, "metadata": metadata_file}.get(what, lambda p: journal.undo_file(data_file(p)))(path)
        file.unlink(missing_ok=True)
        file.symlink_to(victim)
    if what == "data":
        undo(path, 20, (0, 9, b"PWNED!!!!"))
    refused(path, "is a link")
    assert victim.read_bytes() == b"precious"


def test_the_writer_follows_no_link_either(path, tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    data_file(path).unlink()
    data_file(path).symlink_to(tmp_path / "victim")
    undo(path, 20, (0, 9, b"PWNED!!!!"))
    for attempt in (
        lambda: journal.put_back(data_file(path), lambda: 2),
        lambda: EpisodeWriter(path, ABOUT, overwrite=True).append([made(2)]),
    ):
        try:
            attempt()
        except DataError as error:
            assert "is a link" in str(error)
        assert (tmp_path / "victim").read_bytes() == b"precious"


def test_reading_shows_what_was_before_and_writes_nothing(path):
    """A change that was never finished: the reader sees through it, as often as it likes."""
    whole = data_file(path).read_bytes()
    expected = read_episodes(path)
    with pytest.raises(RuntimeError), journal.change(data_file(path), mark=2) as raw:
        raw.write(b"\0" * 200)
        raw.truncate(len(whole) // 2)
        raw.seek(len(whole) - 50)
        raw.write(b"garbage" * 20)
        raise RuntimeError
    before = snapshot(path)
    assert before["data/main_data.hdf5"] != whole
    for _ in range(2):
        read = read_episodes(path)
        assert all((read[key] == expected[key]).all() for key in expected)
        assert summary(path)[0] == "episodes     2, 5 steps, 2 to 3 in an episode"
    assert snapshot(path) == before
    assert main([str(path), "--mend"]) == 0
    assert data_file(path).read_bytes() == whole and not journal.undo_file(data_file(path)).exists()


@pytest.mark.parametrize(
    "size, piece, message",
    [
        (2**60, (0, 1, b"x"), "main_data.hdf5.undo is damaged: the size 1152921504606846976 is more than there is"),
        (-1, (0, 0, b""), r"undo is damaged: (the size -1|a piece)"),
        (100, (2**50, 1, b"x"), "undo is damaged: a piece of 1 bytes at 1125899906842624 is outside the 100"),
        (100, (0, 2**62, b"x"), "undo is damaged: a piece of 4611686018427387904 bytes at 0 is outside"),
        (100, (-5, 1, b"x"), "a piece of 1 bytes at -5 is outside"),
        (100, (0, -5, b"x"), "a piece of -5 bytes at 0 is outside"),
    ],
)
def test_the_journal_cannot_ask_for_more_than_the_file(size, piece, message, path):
    undo(path, size, piece)
    before = snapshot(path)
    refused(path, message)
    with pytest.raises(DataError, match=message):
        journal.put_back(data_file(path), lambda: 2)
    assert snapshot(path) == before


def test_pipes_are_not_waited_for(path):
    metadata_file(path).unlink()
    os.mkfifo(metadata_file(path))
    refused(path, "metadata.json is no plain file")


# metadata.json --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_agents_": 0}, "metadata.json is damaged: n_agents is 0, and no number from 1"),
        ({"obs_dim_": -1}, "obs_dim is -1, and no number from 0"),
        ({"state_dim_": 10**30}, "state_dim is 10000000000.*no number from 0 to 2147483647"),
        ({"n_agents_": True}, "does not say n_agents"),
        ({"total_episodes": -1}, "total_episodes is -1"),
        ({"total_episodes": 10**15}, r"damaged or truncated .*episode"),
        ({"total_steps": 1.5}, "does not say total_steps"),
        ({"format_version_": {"a": ["\x1b[2J"] * 1000}}, "has the format version dict, and"),
        ({"env_args_": [1]}, "does not say env_args"),
        ({"env_": None, "gamma_": "x", "ends_": 3}, "does not say env, ends, gamma"),
        ({"action_low_": [[0.0] * A] * N, "action_high_": [[float("nan")] * A] * N, "action_dtype_": "float32"},
         "does not say action_high"),
    ],
)  # fmt: skip
def test_metadata_is_checked(changes, message, path):
    change_metadata(path, **changes)
    refused(path, message)


def test_metadata_without_a_fact_deep_or_long(path, monkeypatch):
    metadata = json.loads(metadata_file(path).read_text())
    del metadata["epymarl_trust_region"]["plugin_version"]
    metadata_file(path).write_text(json.dumps(metadata))
    refused(path, "does not say plugin_version")
    metadata_file(path).write_text("[" * 200_000)
    refused(path, "metadata.json is damaged: ")
    with open(metadata_file(path), "wb") as file:
        file.truncate(2**40)  # of holes
    refused(path, "metadata.json has 1099511627776 bytes, more than any")


def test_a_terminal_gets_no_control_characters(path):
    change_metadata(path, algorithm_="\x1b[2Jhappo\n", env_args_={"key": "\x07"})
    assert all(line.isprintable() for line in summary(path))


# The HDF5 file --------------------------------------------------------------------------------------------------


def replace(path: Path, name: str, make) -> None:
    with h5py.File(data_file(path), "r+") as file:
        parent, _, leaf = f"episode_1/{name}".rpartition("/")
        del file[parent][leaf]
        make(file[parent], leaf)


def external_storage(group, name) -> None:
    shape = {"obs": (4, N, O), "rewards": (3,)}[name]
    group.create_dataset(name, shape, np.float32, external=[("/etc/hostname", 0, 2**20)])


def virtual(group, name) -> None:
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("/tmp/other.hdf5", "a", (3,))
    group.create_virtual_dataset(name, layout)


def link(target):
    return lambda group, name: group.__setitem__(name, target)


@pytest.mark.parametrize(
    "name, make, message",
    [
        ("rewards", external_storage, "x, episode 1: rewards lies in other files, which are not read"),
        ("rewards", virtual, "rewards lies in other files"),
        ("rewards", link(h5py.SoftLink("/episode_0/rewards")), "rewards is a link to elsewhere, which is not followed"),
        ("rewards", link(h5py.ExternalLink("/etc/x.hdf5", "/a")), "rewards is a link to elsewhere"),
        ("rewards", lambda g, n: g.create_group(n), "rewards is no array"),
        ("rewards", link(np.array(["a", "b", "c"], object)), "rewards has the type object, which is none of"),
        ("rewards", link(np.zeros(3, "c8")), "rewards has the type complex64"),
        ("rewards", link(np.array([1, np.nan, 2], np.float32)), "rewards has numbers that are not finite"),
        ("rewards", lambda g, n: g.create_dataset(n, (2**40,), "f4"), r"rewards has the shape \[1099511627776\] and"),
        ("rewards", lambda g, n: g.create_dataset(n, (3,), "f4"), "rewards declares 12 bytes, which the file does not"),
        ("rewards", lambda g, n: g.create_dataset(n, (3,), "f4", chunks=(2**28,), maxshape=(None,)), "rewards declare"),
        ("rewards", lambda g, n: g.create_dataset(n, data=h5py.Empty("f4")), r"rewards has the shape none and not"),
        ("truncations", link(np.zeros(3, np.int8)), "truncations has the type int8"),
    ],
)
def test_what_summary_and_learner_read_is_checked(name, make, message, path):
    replace(path, name, make)
    refused(path, message)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("observations/obs", np.full((4, N, O), np.inf, np.float32), "episode 1: obs has numbers that are not finite"),
        ("observations/state", np.full((4, S), np.nan, np.float32), "state has numbers that are not finite"),
        ("observations/avail_actions", np.zeros((4, N, A), np.float32), "avail_actions has the type float32"),
        ("infos/log_probs", np.full((3, N), np.nan, np.float32), "log_probs has numbers that are not finite"),
        ("actions", np.zeros((3, N), np.float64), "actions has the type float64"),
        ("observations", h5py.SoftLink("/episode_0/observations"), "observations is a link to elsewhere"),
        ("infos", h5py.ExternalLink("/etc/x", "/"), "infos is a link to elsewhere"),
    ],
)
def test_what_only_the_learner_reads_is_checked_too(name, value, message, path):
    replace(path, name, link(value))
    refused(path, message, read_episodes)


def set_attribute(path: Path, name: str, value) -> None:
    with h5py.File(data_file(path), "r+") as file:
        del file["episode_1"].attrs[name]
        file["episode_1"].attrs[name] = value


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("total_steps", 0, "x, episode 1: total_steps is 0, and no number from 1"),
        ("total_steps", -(2**60), "total_steps is -1152921504606846976"),
        ("total_steps", np.zeros(1000, int), "total_steps is no whole number"),
        ("total_steps", "three", "total_steps is no whole number"),
        ("total_steps", 2.5, "total_steps is no whole number"),
    ],
)
def test_numbers_are_numbers(name, value, message, path):
    set_attribute(path, name, value)
    refused(path, message)


def test_an_episode_that_is_a_link(path):
    with h5py.File(data_file(path), "r+") as file:
        del file["episode_1"]
        file["episode_1"] = h5py.ExternalLink("/etc/x.hdf5", "/")
    refused(path, "episode 1: episode_1 is a link to elsewhere")


def test_more_than_the_memory_is_refused_before_it_is_taken(path, monkeypatch):
    """A gibibyte-long episode by its own word; and a machine that has less than this small recording needs."""
    set_attribute(path, "total_steps", 2**31 - 1)
    change_metadata(path, total_steps=2**31 + 1)
    refused(path, r"x: 2 episodes of 2147483647 steps needs about [\d,.]+ GiB of memory, and this", read_episodes)
    set_attribute(path, "total_steps", 3)
    change_metadata(path, total_steps=5)
    # 2 episodes of 4 places: obs 24, state 20, available 32, actions 16, onehot 32, reward 4, ends 2, filled 8, log 8
    monkeypatch.setattr(memory, "available", lambda: 2 * 4 * 146)
    assert read_episodes(path).batch_size == 2
    monkeypatch.setattr(memory, "available", lambda: 2 * 4 * 146 - 1)
    refused(path, "2 episodes of 3 steps needs about 0.0 GiB of memory", read_episodes)


def test_a_compressed_recording_is_read(path):
    """As h5repack makes one."""
    expected = read_episodes(path)
    with h5py.File(data_file(path), "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            values = file[name][()]
            del file[name]
            file.create_dataset(name, data=values, compression="gzip", chunks=values.shape)
    read = read_episodes(path)
    assert all((read[key] == expected[key]).all() for key in expected)


# What is made of one --------------------------------------------------------------------------------------------


def test_no_module_is_imported_because_a_recording_says_so(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("open('owned', 'w')\n")
    change_metadata(path, env_args_={"key": "evil:Env-v0", "time_limit": 9})
    command = ["--config=log_linear_ppo_offline", f"--data={path}", "--evaluate=1"]
    with pytest.raises(ConfigError, match="name code to import, env_args.key=evil:Env-v0; if you trust it, name it"):
        train_offline.main(command)
    assert not Path("owned").exists()
    for known in ("lbforaging:Foraging-8x8-2p-3f-v3", "pz-mpe-simple-spread-v3", None):
        train_offline.check_named({"env_args": {"key": known}}, {})
    train_offline.check_named({"env_args": {"key": "mine:Env-v0"}}, {"key": "mine:Env-v0"})
