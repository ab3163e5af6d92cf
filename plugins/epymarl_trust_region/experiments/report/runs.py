"""Sacred's folders of runs, ours and EPyMARL's own: which there are, which are of use, and why the others are not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_ASIDE = re.compile(r"\.before\d+$")  # `epymarl-tr sweep --anew` has put it aside


@dataclass(frozen=True, eq=False)
class Run:
    """A completed run: `config.json`, `info.json` and `run.json` of its folder."""

    folder: Path
    config: Mapping[str, Any]
    info: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def made_by(self) -> Mapping[str, Any]:
        """What `epymarl-tr run` recorded of the code; empty for `src/main.py`, which records nothing."""
        return self.config.get("plugin") or {}

    @property
    def algorithm(self) -> str:
        return str(self.config.get("name", "unknown"))

    @property
    def seconds(self) -> float | None:
        """From start to end, or to the last sign of life where no end was written."""
        ends = [self.record.get(key) for key in ("stop_time", "heartbeat")]
        try:
            first, last = (
                datetime.fromisoformat(str(t)) for t in (self.record["start_time"], next(filter(None, ends)))
            )
        except (KeyError, ValueError, StopIteration):
            return None
        return (last - first).total_seconds()

    @property
    def last_step(self) -> int:
        """The last step at which anything was logged."""
        logged = [steps for key, steps in self.info.items() if key.endswith("_T") and isinstance(steps, list)]
        return max((steps[-1] for steps in logged if steps and isinstance(steps[-1], int)), default=0)

    def series(self, key: str) -> list[tuple[int, float]]:
        """(environment step, value) of a logged key; none if it was not logged."""
        steps = self.info.get(f"{key}_T") or []
        return [(int(step), number(v)) for step, v in zip(steps, self.info.get(key) or [], strict=True)]


def number(value: Any) -> float:
    """A logged number; numpy's reach Sacred's json as tagged objects."""
    return float(value["value"] if isinstance(value, dict) else value)


def read_run(folder: Path) -> Run:
    """Read one folder.

    Raises:
        ValueError: it is none of a completed run; the message says why.
    """
    record = _read(folder, "run")
    if (status := record.get("status")) != "COMPLETED":
        raise ValueError(f"it is {status}" + (", or was killed" if status == "RUNNING" else ""))
    return Run(folder, _read(folder, "config"), _read(folder, "info"), record)


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"it has no {name}.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}.json cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}.json is no group of keys")
    return content


def find(path: Path) -> tuple[list[Run], list[str]]:
    """Completed runs in a folder and below it, and a line for each of the others."""
    runs, left_out = [], []
    for folder in sorted({record.parent for record in path.rglob("run.json")}, key=_in_order):
        put_aside = any(_ASIDE.search(part) for part in folder.relative_to(path).parts)
        try:
            if put_aside:
                raise ValueError("`epymarl-tr sweep --anew` put it aside")
            runs.append(read_run(folder))
        except ValueError as error:
            left_out.append(f"{folder}: {error}")
    return runs, left_out


def _in_order(folder: Path) -> list[tuple[int, str]]:
    """Run 2 before run 10."""
    return [(int(word or -1), rest) for word, rest in re.findall(r"(\d*)(\D*)", str(folder))]
