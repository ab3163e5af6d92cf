"""A file that was being changed is put back to the byte, unless the change counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from epymarl_trust_region.recordings import journal
from epymarl_trust_region.recordings.journal import change, put_back, undo_file

OLD = bytes(range(40))


@pytest.fixture
def broken(tmp_path):
    """A file whose change ended in the middle: one piece overwritten twice, the end cut and written anew."""
    file = tmp_path / "file"
    file.write_bytes(OLD)
    with pytest.raises(RuntimeError), change(file, mark=3) as raw:
        raw.seek(4)
        raw.write(b"aaaaaaaa")
        raw.seek(6)
        raw.write(b"bb")
        raw.truncate(30)
        raw.seek(25)
        raw.write(b"c" * 50)
        raise RuntimeError
    assert file.read_bytes() == OLD[:4] + b"aabbaaaa" + OLD[12:25] + b"c" * 50
    return file


def test_what_was_not_finished_is_put_back_to_the_byte(broken):
    put_back(broken, lambda: 3)
    assert broken.read_bytes() == OLD and not undo_file(broken).exists()


def test_what_counts_stays(broken):
    changed = broken.read_bytes()
    put_back(broken, lambda: 4)
    assert broken.read_bytes() == changed and not undo_file(broken).exists()


def test_a_change_that_was_finished_leaves_nothing_to_put_back(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    with change(tmp_path / "file", mark=0) as raw:
        raw.write(b"new")
    put_back(tmp_path / "file", lambda: 0)
    assert (tmp_path / "file").read_bytes() == b"new" + OLD[3:] and not undo_file(tmp_path / "file").exists()


@pytest.mark.parametrize("left", range(0, 60, 7))
def test_a_torn_record_is_of_bytes_that_are_still_there(left, tmp_path):
    """Killed while it kept the first piece, before it overwrote anything."""
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(RuntimeError), change(tmp_path / "file", mark=3) as raw:
        raw._keep(5, 35)
        raise RuntimeError
    undo = undo_file(tmp_path / "file")
    undo.write_bytes(undo.read_bytes()[:left])
    put_back(tmp_path / "file", lambda: 3)
    assert (tmp_path / "file").read_bytes() == OLD and not undo.exists()


@pytest.mark.parametrize("locks", ["no module", "no file system"])
def test_where_there_are_no_locks_it_works_all_the_same(locks, broken, monkeypatch):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    without = SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4) if locks == "no file system" else None
    monkeypatch.setattr(journal, "fcntl", without)
    put_back(broken, lambda: 3)
    assert broken.read_bytes() == OLD
    with change(broken, mark=3) as raw:
        raw.write(b"new")
    assert broken.read_bytes() == b"new" + OLD[3:]


def test_a_change_that_is_being_made_is_left_alone(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    with change(tmp_path / "file", mark=0) as raw:
        raw.write(b"new")
        for attempt in (
            lambda: put_back(tmp_path / "file", lambda: 0),
            lambda: change(tmp_path / "file", 0).__enter__(),
        ):
            with pytest.raises(BlockingIOError):
                attempt()
    assert (tmp_path / "file").read_bytes() == b"new" + OLD[3:]


def test_a_change_that_ends_while_one_looks_at_it_stays(broken, monkeypatch):
    """It was finished, and its record written, between the look and the lock."""
    changed, mark = broken.read_bytes(), [3]
    lock = journal._lock

    def late(file) -> None:
        lock(file)
        mark[0] = 4
        if gone:
            undo_file(broken).unlink()

    monkeypatch.setattr(journal, "_lock", late)
    for gone in (False, True):
        undo_file(broken).write_bytes(undo_file(broken).read_bytes() if not gone else b"torn")
        put_back(broken, lambda: mark[0])
        assert broken.read_bytes() == changed and not undo_file(broken).exists()
