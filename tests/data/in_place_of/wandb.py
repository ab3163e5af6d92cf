"""In place of Weights & Biases: writes down, in the current folder, what a run sends."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def login(prompt: bool = True) -> bool:
    return False


def init(**asked: Any) -> SimpleNamespace:
    rows: list = []

    def log(row: dict, step: int) -> None:
        rows.append((step, {key: float(value) for key, value in row.items()}))

    def finish() -> None:
        asked["config"] = {key: asked["config"][key] for key in ("name", "seed", "wandb_mode")}
        Path("wandb.json").write_text(json.dumps({"asked": asked, "rows": rows}))

    return SimpleNamespace(id="1", dir="wandb", log=log, finish=finish)
