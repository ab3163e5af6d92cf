"""What a sweep shows, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from epymarl_trust_region.experiments import board as module
from epymarl_trust_region.experiments.board import Board, duration, read_state
from epymarl_trust_region.experiments.jobs import Job, Outcome
from rich.console import Console

JOBS = [Job(f"good seed {seed}", ("run",), Path(f"seed{seed}")) for seed in (1, 2, 3, 4)]


@pytest.fixture(autouse=True)
def folders(own_folder):
    for job in JOBS:
        job.folder.mkdir()


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def make(terminal=False, total=4, before=0) -> Board:
    return Board(total, before, Console(file=io.StringIO(), force_terminal=terminal, width=110, highlight=False))


def text(board: Board) -> list[str]:
    return [line.rstrip() for line in board._console.file.getvalue().splitlines()]


def write(job: Job, **state) -> None:
    job.progress.write_text(json.dumps(state))


def test_off_a_terminal_there_is_a_line_for_each_run_and_nothing_else():
    board = make(total=5, before=1)
    with board.shown():
        board.update(JOBS)
        board.done(JOBS[0], Outcome(True, 61.6))
        write(JOBS[1], t_env=500, t_max=1000, per_s=50.0)
        board.update(JOBS[1:])
        board.done(JOBS[1], Outcome(False, 3.0))
    assert text(board) == ["2 of 5: good seed 1: 62 s", "3 of 5: good seed 2: FAILED, see seed2/log.txt"]


def test_a_completed_run_has_its_last_test(own_folder):
    run = JOBS[0].folder / "sacred/happo/t/1"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"status": "COMPLETED"}')
    (run / "config.json").write_text('{"test_interval": 10}')
    (run / "info.json").write_text('{"test_return_mean": [1.0, 2.5], "test_return_mean_T": [0, 12]}')
    board = make()
    board.done(JOBS[0], Outcome(True, 5.0))
    assert text(board) == ["1 of 4: good seed 1: 5 s, test return 2.50"]


def test_failures_come_once_more_at_the_end_with_the_last_line_of_their_logs():
    board = make()
    JOBS[0].log.write_text("much\nerror: eps_clip is out of range\n\n")
    for job, outcome in (
        (JOBS[0], Outcome(False)),
        (JOBS[1], Outcome(True)),
        (JOBS[2], Outcome(False, why="Ray: [lost]")),
    ):
        board.done(job, outcome)
    board.summary()
    assert text(board)[3:] == [
        "2 of 4 runs failed:",
        "  good seed 1: seed1/log.txt",
        "    error: eps_clip is out of range",
        "  good seed 3: seed3/log.txt",
        "    Ray: [lost]",
    ]


def test_without_failures_there_is_no_list_of_them():
    board = make()
    board.done(JOBS[0], Outcome(True))
    board.summary()
    assert len(text(board)) == 1


def test_the_table_has_the_runs_that_have_begun(clock):
    """Of 4: one is done, one half done at 50 steps a second, one has begun, one waits. 150 s for 1.5 of 4 runs."""
    board = make()
    board.done(JOBS[0], Outcome(True, 100.0))
    write(JOBS[1], t_env=50_000, t_max=100_000, per_s=50.0, **{"return": -12.345, "host": "m1"})
    write(JOBS[2])
    clock.now = 150.0
    running = [(job, state) for job in JOBS[1:] if (state := read_state(job.progress))]
    board._console.print(board.table(running))
    lines = text(board)[1:]
    assert lines[0].split() == ["run", "steps", "steps/s", "return", "left"]
    words = lines[1].split()
    assert words[:3] == ["good", "seed", "2"] and words[4:] == ["50,000", "50", "-12.35", "17", "min"]
    assert lines[2].split() == ["good", "seed", "3", "starting"] and len(lines) == 4
    assert lines[3] == "1 of 4 runs, about 4 min left"


def test_the_table_says_where_runs_are_if_that_is_not_one_machine(clock):
    for job, host in zip(JOBS, ("m1", "m2"), strict=False):
        write(job, t_env=1, t_max=10, per_s=1.0, host=host)
    board = make()
    board._console.print(board.table([(job, read_state(job.progress)) for job in JOBS[:2]]))
    lines = text(board)
    assert lines[0].split()[-1] == "on" and [line.split()[-1] for line in lines[1:3]] == ["m1", "m2"]


def test_on_a_terminal_the_table_is_drawn_and_lines_stay_above_it():
    board = make(terminal=True)
    write(JOBS[1], t_env=500, t_max=1000, per_s=50.0)
    with board.shown():
        board.done(JOBS[0], Outcome(True, 1.0))
        board.update(JOBS[1:])
        board._live.refresh()
    drawn = board._console.file.getvalue()
    assert "1 of 4: good seed 1: 1 s" in drawn and "good seed 2" in drawn and "1 of 4 runs" in drawn


@pytest.mark.parametrize("state", ['{"t_env": 5', "", "[1]", "null"])
def test_what_cannot_be_read_of_a_run_has_only_just_begun(state):
    JOBS[0].progress.write_text(state)
    assert read_state(JOBS[0].progress) in ({}, {"t_env": 0, "t_max": 0})


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5100, "85 min"), (11100, "3 h 05 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
