"""The progress line, off a terminal and on one. The clock is the test's own."""

from __future__ import annotations

import io
import json
import logging
import types

import pytest
from epymarl_trust_region.suite import progress as module
from epymarl_trust_region.suite.progress import Progress


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def make(terminal: bool = False, enabled: bool = True) -> Progress:
    progress = Progress(enabled)
    progress.stream = Stream(terminal)
    return progress


def shown(progress: Progress) -> list[str]:
    return progress.stream.getvalue().splitlines()


def test_a_plain_line_has_steps_speed_time_left_and_return(clock):
    progress = make()
    progress.start(1000)
    clock.now += 20
    progress.update(250, -40.0)
    progress.close()
    (line,) = shown(progress)
    assert line.startswith(" 25%|##")
    assert "| 250/1000 [00:20<01:00, 12.50 steps/s, return -40.00]" in line


@pytest.mark.parametrize("terminal", [False, True])
def test_before_an_episode_has_ended_there_is_no_return_and_then_it_stays(terminal, clock, tmp_path):
    progress = make(terminal)
    progress.file = tmp_path / "progress.json"
    progress.start(1000)
    seen = []
    for step, value in enumerate((None, -40.0, None), start=1):
        clock.now += 20
        progress.update(250 * step, value)
        seen.append(json.loads(progress.file.read_text())["return"])
    progress.close()
    assert seen == [None, -40.0, -40.0]
    if not terminal:
        first, *others = shown(progress)
        assert "return" not in first and all("return -40.00" in line for line in others)


def test_a_run_that_goes_on_is_not_taken_for_a_fast_one(clock):
    """250 steps in 20 seconds after 500 that another process has taken."""
    for terminal in (False, True):
        progress = make(terminal)
        progress.start(1000)
        progress.begin(500)
        progress.begin(600)  # of every rollout
        clock.now += 20
        progress.update(750, -40.0)
        if terminal:
            assert (progress.bar.initial, progress.bar.n) == (500, 750)
        else:
            assert "| 750/1000 [00:20<00:20, 12.50 steps/s" in shown(progress)[0]
        progress.close()


def test_plain_lines_come_every_fifteen_seconds_and_the_return_is_smoothed(clock):
    progress = make()
    progress.start(1000)
    for seconds, value in ((10, -40.0), (5, -30.0), (1, -20.0), (15, 0.0), (0.5, 0.0), (15, 0.0)):
        clock.now += seconds
        progress.update(100, value)
    # Running mean with weight 0.1: -40, -39, -37.1, -33.39, -30.051, -27.0459; at 10, 15, 16, 31, 31.5, 46.5 seconds.
    # More than 15 seconds after the start or the line before: at 16 and 31.5.
    assert [line.split("return ")[1].rstrip("]") for line in shown(progress)] == ["-37.10", "-30.05"]


def test_the_last_rollout_may_overshoot_the_last_step(clock):
    progress = make()
    progress.start(1000)
    clock.now += 20
    progress.update(1010, 1.0)
    assert "1000/1000" in shown(progress)[0] and shown(progress)[0].startswith("100%")


def test_the_clock_starts_with_the_training(clock):
    progress = make()
    clock.now += 500  # imports, environments
    progress.start(1000)
    progress.update(10, 1.0)
    assert shown(progress) == []
    clock.now += 16
    progress.update(160, 1.0)
    assert "10.00 steps/s" in shown(progress)[0]


@pytest.mark.parametrize("terminal", [False, True])
def test_switched_off_it_shows_nothing(clock, terminal):
    progress = make(terminal, enabled=False)
    progress.start(1000)
    clock.now += 100
    progress.update(500, 1.0)
    progress.close()
    assert progress.stream.getvalue() == ""


def test_a_terminal_gets_one_bar_and_log_messages_above_it(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(io.StringIO())])
    handlers = list(logging.getLogger().handlers)
    progress = make(terminal=True)
    progress.start(1000)
    assert logging.getLogger().handlers != handlers  # written above the bar, not into it
    progress.update(250, -40.0)
    progress.update(600, -30.0)
    assert progress.bar.n == 600 and progress.bar.total == 1000
    progress.update(1010, -30.0)
    assert progress.bar.n == 1000
    progress.close()
    assert logging.getLogger().handlers == handlers
    text = progress.stream.getvalue()
    assert "1000/1000" in text and "return -38.10" in text and "steps/s" in text


def test_closing_what_was_never_started_is_fine():
    make().close()


def test_another_process_can_read_how_far_a_run_is(clock, tmp_path):
    progress = make(enabled=False)
    progress.file = tmp_path / "progress.json"
    progress.start(1000)
    progress.begin(400)
    clock.now += 10
    progress.update(500, -40.0)
    first = json.loads(progress.file.read_text())
    assert {key: first[key] for key in ("t_env", "t_max", "per_s", "return")} == {
        "t_env": 500, "t_max": 1000, "per_s": 10.0, "return": -40.0
    }  # fmt: skip
    clock.now += 1
    progress.update(600, -30.0)  # too soon to be written
    assert json.loads(progress.file.read_text()) == first
    clock.now += 1
    progress.update(1100, -30.0)
    last = json.loads(progress.file.read_text())
    assert (last["t_env"], last["per_s"], round(last["return"], 2)) == (1000, 50.0, -38.1)
    assert shown(progress) == [] and [file.name for file in tmp_path.iterdir()] == ["progress.json"]


def test_a_progress_file_that_cannot_be_written_stops_no_run(clock, tmp_path):
    progress = make(enabled=False)
    progress.file = tmp_path / "nowhere/progress.json"
    progress.start(1000)
    progress.update(500, -40.0)
