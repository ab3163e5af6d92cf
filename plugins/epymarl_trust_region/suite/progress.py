"""A live line on the terminal: steps, steps per second, time left, return. And the same in a file, for a sweep."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_PLAIN_INTERVAL_S = 15.0  # between lines where there is no terminal
_FILE_INTERVAL_S = 2.0


class Progress:
    """Follows a runner's `t_env`. On a terminal a bar, elsewhere a line now and then; `enabled=False` shows nothing.

    Attributes:
        file: is written every few seconds, whether or not anything is shown: one JSON object with `t_env`, `t_max`,
            `per_s` (steps), `return` and `host`, for a process that watches from outside.
    """

    file: Path | None = None

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._written = -_FILE_INTERVAL_S
        # Sacred replaces sys.stderr while a run lasts; the bar belongs on the real one.
        self.stream: Any = sys.__stderr__
        self.bar: tqdm | None = None
        self._return: float | None = None
        self._began_at: int | None = None  # steps that an earlier run has taken
        self._last_line = self._start = time.monotonic()
        self._redirect: AbstractContextManager | None = None

    def start(self, t_max: int) -> None:
        """Begin, with the number of environment steps to come."""
        self._start = self._last_line = time.monotonic()
        self.t_max = t_max
        self._written = self._start - _FILE_INTERVAL_S
        if self.enabled and self.stream.isatty():
            self.bar = tqdm(total=t_max, unit=" steps", file=self.stream, dynamic_ncols=True, smoothing=0.05)
            self._redirect = logging_redirect_tqdm([logging.getLogger()])
            self._redirect.__enter__()

    def begin(self, t_env: int) -> None:
        """Count from so many steps, of a run that goes on; of all calls but the first nothing comes."""
        if self._began_at is None and self.bar is not None:
            self.bar.initial = self.bar.n = min(t_env, self.t_max)
        self._began_at = t_env if self._began_at is None else self._began_at

    def update(self, t_env: int, episode_return: float | None) -> None:
        """Show the state after one training rollout, whose mean return (summed over agents) is `episode_return`.

        Where none of its episodes has ended (None), the return is what it was.
        """
        if not self.enabled and self.file is None:
            return
        if episode_return is not None:
            old = episode_return if self._return is None else self._return
            self._return = old + 0.1 * (episode_return - old)  # a rollout's return is noisy
        if self.file is not None and time.monotonic() - self._written >= _FILE_INTERVAL_S:
            self._written = time.monotonic()
            self._write(self.file, min(t_env, self.t_max))
        if not self.enabled:
            return
        if self.bar is not None:
            self.bar.set_postfix_str(self._postfix(), refresh=False)
            self.bar.update(min(t_env, self.t_max) - self.bar.n)
        elif time.monotonic() - self._last_line > _PLAIN_INTERVAL_S:
            self._last_line = time.monotonic()
            done, elapsed = min(t_env, self.t_max), time.monotonic() - self._start
            shown: dict[str, Any] = {"unit": " steps", "postfix": self._postfix()}
            shown["initial"] = self._began_at or 0
            meter = tqdm.format_meter(done, self.t_max, elapsed, ncols=100, ascii=True, **shown)
            print(meter, file=self.stream, flush=True)

    def _postfix(self) -> str:
        return "" if self._return is None else f"return {self._return:.2f}"

    def _write(self, file: Path, done: int) -> None:
        elapsed = time.monotonic() - self._start
        per_s = (done - (self._began_at or 0)) / elapsed if elapsed > 0 else 0.0
        state = {"t_env": done, "t_max": self.t_max, "per_s": per_s, "return": self._return, "host": platform.node()}
        unfinished = file.with_name(file.name + ".unfinished")
        with contextlib.suppress(OSError):  # nobody's numbers depend on it
            unfinished.write_text(json.dumps(state))
            os.replace(unfinished, file)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._redirect is not None:
            self._redirect.__exit__(None, None, None)
        if self.bar is not None:
            self.bar.close()


def follow(runner: Any, progress: Progress, t_max: int) -> Any:
    """Let `progress` see every training rollout of `runner`; returns the runner."""
    run = runner.run

    def run_and_show(test_mode: bool = False) -> Any:
        progress.begin(runner.t_env)
        batch = run(test_mode=test_mode)
        if not test_mode:
            progress.update(runner.t_env, _return_of(runner, batch))
        return batch

    runner.run = run_and_show
    progress.start(t_max)
    return runner


def _return_of(runner: Any, batch: Any) -> float | None:
    """The mean return of the episodes that ended in a rollout. The suite's own runners play each to its end."""
    if hasattr(runner, "rollout_return"):
        return runner.rollout_return
    return batch["reward"].sum((1, 2)).mean().item()  # steps after an episode's end hold reward 0
