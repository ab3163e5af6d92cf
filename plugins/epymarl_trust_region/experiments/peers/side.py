"""A peer as one side of a row of the bench: its script in a process of its own, in its own Python."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bench_work import Sample

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class PeerWork:
    """What a peer does: `script` is the file beside this one, `given` what it is told."""

    algorithm: str  # for the table
    script: str
    given: dict[str, Any]


class PeerSide:
    """The interface of `bench_work.Side`, of a peer."""

    def __init__(self, work: PeerWork, home: Path, python: str) -> None:
        """
        Args:
            home: the peer's checkout.
            python: the interpreter that has what the peer needs.

        Raises:
            RuntimeError: from `ready`, if the side cannot be built; its text is the reason.
        """
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        # One thread each for libraries that are not told otherwise, as for the suite's sweeps and this bench.
        threads = {"OMP_NUM_THREADS": str(work.given.get("torch_threads", 1))}
        self.process = subprocess.Popen(
            [python, str(_HERE / work.script), str(home), json.dumps(work.given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, encoding="utf-8",
            env={**os.environ, **threads}, cwd=tempfile.gettempdir(),
        )  # fmt: skip

    def ready(self) -> None:
        """Wait until it is built."""
        reply = self._receive()
        if "failed" in reply:
            raise RuntimeError(reply["failed"])

    def once(self) -> Sample:
        """Do the work once."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("once\n")
            self.process.stdin.flush()
        except OSError:
            raise RuntimeError(self._last_words()) from None
        reply = self._receive()
        return Sample(reply["wall"], reply["cpu"], {}, reply["steps"])

    def end(self) -> float:
        """End the process; NaN: the memory of a peer is not measured."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        return float("nan")

    def _receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        return f"its process has died: {lines[-1]}" if lines else "its process has died without a word"
