"""Where recorded episodes lie, and the JSON file beside them: Minari's layout, with a part of our own in it.

    PATH/data/metadata.json     what the episodes are of, and how many are complete
    PATH/data/main_data.hdf5    the groups episode_0, episode_1, ...

An episode counts once `metadata.json` counts it: that file is replaced as a whole after the episodes are in the other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..errors import DataError

FORMAT_VERSION = 1
OURS = "epymarl_trust_region"  # the key in metadata.json under which ours stands
MINARI_VERSION = "0.5.4"  # whose layout this is
#: What every recording says of itself, of these types.
_FACTS = {"n_agents": int, "n_actions": int, "obs_dim": int, "state_dim": int, "common_reward": bool}


def is_continuous(about: dict[str, Any]) -> bool:
    """Whether the recorded actions are real-valued."""
    return "action_low" in about


def metadata_file(path: str | Path) -> Path:
    return Path(path) / "data" / "metadata.json"


def data_file(path: str | Path) -> Path:
    return Path(path) / "data" / "main_data.hdf5"


def check_free(path: str | Path, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Raises:
        DataError: something is there; with `overwrite`, something that is no recording of ours.
    """
    place = Path(path)
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not overwrite:
        raise DataError(f"save_episodes={path} exists; name another folder, or add save_episodes_overwrite=True")
    try:
        read_metadata(path)
    except DataError as error:
        raise DataError(
            f"save_episodes_overwrite=True replaces recorded episodes only, and {error}; remove {path} by hand, or "
            "name another folder"
        ) from None


def make_place(path: str | Path, overwrite: bool) -> None:
    """An empty `PATH/data`; an older recording goes if `overwrite`.

    Raises:
        DataError: see `check_free`; or the folder cannot be made.
    """
    check_free(path, overwrite)
    folder = data_file(path).parent
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"save_episodes={path} cannot be made: {error.strerror}; name another folder") from error


def new_metadata(path: str | Path, about: dict[str, Any]) -> dict[str, Any]:
    """The contents of metadata.json for no episodes yet.

    Args:
        about: the facts of the run (see docs/offline.md); n_agents, n_actions, obs_dim, state_dim among them, and
            action_low and action_high, [N, A], with action_dtype where actions are real-valued.
    """
    N, A, O, S = (about[key] for key in ("n_agents", "n_actions", "obs_dim", "state_dim"))  # noqa: E741
    observations = {
        "obs": _box([N, O]),
        "state": _box([S]),
        "avail_actions": {"type": "MultiBinary", "n": [N, A]},
    }
    actions: dict[str, Any] = {"type": "MultiDiscrete", "dtype": "int64", "nvec": [A] * N, "start": [0] * N}
    if is_continuous(about):
        actions = {**_box([N, A]), "low": about["action_low"], "high": about["action_high"]}
    return {
        "total_episodes": 0,
        "total_steps": 0,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": json.dumps({"type": "Dict", "subspaces": observations}),
        "action_space": json.dumps(actions),
        "dataset_id": _dataset_id(Path(path).resolve().name),
        "minari_version": MINARI_VERSION,
        "algorithm_name": str(about.get("algorithm")),
        OURS: {"format_version": FORMAT_VERSION, **about},
    }


def _box(shape: list[int]) -> dict[str, Any]:
    low: Any = float("-inf")
    high: Any = float("inf")
    for size in reversed(shape):
        low, high = [low] * size, [high] * size
    return {"type": "Box", "dtype": "float32", "shape": shape, "low": low, "high": high}


def _dataset_id(name: str) -> str:
    """Minari wants letters, digits, - and _, and a version."""
    name = re.sub(r"[^-\w]", "_", name)
    return name if re.fullmatch(r"[-\w]+-v\d+", name) else f"{name}-v0"


def write_metadata(path: str | Path, metadata: dict[str, Any]) -> None:
    """Replace metadata.json as a whole."""
    file = metadata_file(path)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(metadata), encoding="utf-8")
    os.replace(fresh, file)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The contents of metadata.json.

    Raises:
        DataError: nothing is there, or no recording, or a damaged one, or one of another tool or version.
    """
    file = metadata_file(path)
    if not Path(path).exists():
        raise DataError(f"{path} does not exist; give the folder that a run's save_episodes named")
    if not file.is_file():
        raise DataError(f"{path} holds no recorded episodes: it has no data/metadata.json")
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}; record the episodes again") from None
    ours = metadata.get(OURS) if isinstance(metadata, dict) else None
    if not isinstance(ours, dict):
        raise DataError(f"{path} was written by another tool; only what save_episodes has written can be read here")
    if ours.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has the format version {ours.get('format_version')}, and this plugin reads {FORMAT_VERSION}; "
            "record the episodes again, or read them with the plugin that wrote them"
        )
    missing = [key for key, kind in _FACTS.items() if type(ours.get(key)) is not kind]
    missing += [key for key in ("action_low", "action_high") if is_continuous(ours) and not _fits(ours, key)]
    missing += ["action_dtype"] * (is_continuous(ours) and ours.get("action_dtype") not in ("float32", "float64"))
    missing += [key for key in ("total_episodes", "total_steps") if type(metadata.get(key)) is not int]
    if missing:
        raise DataError(f"{file} is damaged: it does not say {', '.join(missing)}; record the episodes again")
    return metadata


def _fits(about: dict[str, Any], key: str) -> bool:
    """Whether it is a list of N lists of A numbers."""
    rows = about.get(key)
    if not isinstance(rows, list) or len(rows) != about.get("n_agents"):
        return False
    return all(isinstance(row, list) and len(row) == about.get("n_actions") for row in rows)
