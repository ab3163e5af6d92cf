"""What a sweep shows: a line for each run that has ended, a live table of others on a terminal, failures at the end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from .jobs import Job, Outcome, sacred_run
from .report.study import read_curve

_MOST_ROWS = 20


class Board:
    """Of all runs of a sweep.

    Args:
        total: runs, those that were done before among them.
        before: how many these are.
    """

    def __init__(self, total: int, before: int, console: Console | None = None) -> None:
        self.total, self.ended = total, before
        self.failed: list[tuple[Job, Outcome]] = []
        self._console = console or Console(highlight=False)
        self._before, self._began = before, time.monotonic()
        self._live: Live | None = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """While this lasts, `update` draws the table, if there is a terminal."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=2, transient=True) as self._live:
            yield

    def line(self, text: str) -> None:
        """Above the table."""
        self._console.print(text, markup=False, soft_wrap=True)

    def done(self, job: Job, outcome: Outcome) -> None:
        """A run has ended."""
        self.ended += 1
        if not outcome.good:
            self.failed.append((job, outcome))
        said = f"{outcome.seconds:.0f} s{_tested(job.folder)}" if outcome.good else f"FAILED, see {job.log}"
        self.line(f"{self.ended} of {self.total}: {job.name}: {said}")

    def update(self, jobs: Sequence[Job]) -> None:
        """Show how far those are that have begun.

        Args:
            jobs: those that have not ended.
        """
        if self._live:
            self._live.update(self.table([(job, state) for job in jobs if (state := read_state(job.progress))]))

    def table(self, running: Sequence[tuple[Job, dict[str, Any]]]) -> Table:
        """Of runs that have begun."""
        table = Table(box=None, caption=self._caption(running), caption_justify="left")
        table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=2)
        table.add_column("", width=20)
        for name in ("steps", "steps/s", "return", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        hosts = {state.get("host") for _, state in running} - {None}
        if len(hosts) > 1:
            table.add_column("on", no_wrap=True, overflow="ellipsis")
        for job, state in running[:_MOST_ROWS]:
            table.add_row(*_row(job, state), *([str(state.get("host", ""))] if len(hosts) > 1 else []))
        if len(running) > _MOST_ROWS:
            table.add_row(f"and {len(running) - _MOST_ROWS} more")
        return table

    def _caption(self, running: Sequence[tuple[Job, dict[str, Any]]]) -> str:
        made = self.ended - self._before + sum(_share(state) for _, state in running)
        text = f"{self.ended} of {self.total} runs" + (f", {len(self.failed)} failed" if self.failed else "")
        if made <= 0.01:
            return text
        left = (time.monotonic() - self._began) * (self.total - self._before - made) / made
        return f"{text}, about {duration(left)} left"

    def summary(self) -> None:
        """All that have failed, each with its log and what that ends with."""
        if not self.failed:
            return
        self.line(f"{len(self.failed)} of {self.total} runs failed:")
        for job, outcome in self.failed:
            self.line(f"  {job.name}: {job.log}")
            if why := outcome.why or _last_line(job.log):
                self.line(f"    {why}")


def read_state(file: Path) -> dict[str, Any]:
    """What a run has written of how far it is; empty before its start."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found else {"t_env": 0, "t_max": 0}


def _row(job: Job, state: dict[str, Any]) -> tuple[Any, ...]:
    if not state.get("t_max"):
        return (job.name, "starting")
    per_s, back = state.get("per_s") or 0.0, state.get("return")
    left = duration((state["t_max"] - state["t_env"]) / per_s) if per_s > 0 else ""
    bar = ProgressBar(total=1.0, completed=_share(state), width=20)
    return (job.name, bar, f"{state['t_env']:,}", f"{per_s:,.0f}", "" if back is None else f"{back:.2f}", left)


def _share(state: dict[str, Any]) -> float:
    return state.get("t_env", 0) / state["t_max"] if state.get("t_max") else 0.0


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _tested(folder: Path) -> str:
    """The last test return of a completed run, if it had a test."""
    run = sacred_run(folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        if run and (curve := read_curve(run)):
            return f", test return {curve[-1][1]:.2f}"
    return ""


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
