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
import sys
from pathlib import Path
from typing import Any

from ..errors import DataError
from .guarded import check_plain_file, check_text_size, missing, short

FORMAT_VERSION = 1
OURS = "epymarl_trust_region"  # the key in metadata.json under which ours stands
MINARI_VERSION = "0.5.4"  # whose layout this is
_NONE = type(None)
_MOST_IN_32_BITS = 3.4028234663852886e38
#: What every recording says of itself, of these types.
_FACTS = {
    **dict.fromkeys(("n_agents", "n_actions", "obs_dim", "state_dim"), (int,)),
    **dict.fromkeys(("common_reward", "evaluation"), (bool,)),
    **dict.fromkeys(("env", "ends", "plugin_version"), (str,)),
    **dict.fromkeys(("plugin_commit", "host", "algorithm", "checkpoint_path"), (str, _NONE)),
    **dict.fromkeys(("seed", "gamma", "t_max"), (int, float, _NONE)),
    "env_args": (dict,),
}
_LEAST = {"n_agents": 1, "n_actions": 1, "obs_dim": 0, "state_dim": 0}
_MOST = 2**31 - 1  # of anything that is counted in one step


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
        DataError: nothing is there, or no recording, or a damaged one, or one of another tool or version; or it is a
            link to elsewhere.
    """
    file = metadata_file(path)
    if not Path(path).exists():
        raise DataError(f"{path} does not exist; give the folder that a run's save_episodes named")
    check_plain_file(file)
    if not file.is_file():
        raise DataError(f"{path} holds no recorded episodes: it has no data/metadata.json")
    check_text_size(file)
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}; record the episodes again") from None
    ours = metadata.get(OURS) if isinstance(metadata, dict) else None
    if not isinstance(ours, dict):
        raise DataError(f"{path} was written by another tool; only what save_episodes has written can be read here")
    version = ours.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise DataError(
            f"{path} has the format version {short(version)}, and this plugin reads "
            f"{FORMAT_VERSION}; record the episodes again, or read them with the plugin that wrote them"
        )
    _check_facts(file, metadata, ours)
    return metadata


def _check_facts(file: Path, metadata: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse what says too little of itself, or what cannot be."""
    absent = missing(ours, _FACTS)
    absent += [key for key in ("action_low", "action_high") if is_continuous(ours) and not _fits(ours, key)]
    absent += ["action_dtype"] * (is_continuous(ours) and ours.get("action_dtype") not in ("float32", "float64"))
    absent += missing(metadata, {"total_episodes": (int,), "total_steps": (int,)})
    if absent:
        raise DataError(f"{file} is damaged: it does not say {', '.join(absent)}; record the episodes again")
    counts = {key: (ours[key], least, _MOST) for key, least in _LEAST.items()}
    counts |= {key: (metadata[key], 0, 2**62) for key in ("total_episodes", "total_steps")}
    for key, (value, least, most) in counts.items():
        if not least <= value <= most:
            raise DataError(
                f"{file} is damaged: {key} is {short(value)}, and no number from {least} to {most}; record the "
                "episodes again"
            )


def _fits(about: dict[str, Any], key: str) -> bool:
    """Whether it is a list of N lists of A numbers that are finite in the actions' own type."""
    rows = about.get(key)
    if not isinstance(rows, list) or len(rows) != about.get("n_agents"):
        return False
    if not all(isinstance(row, list) and len(row) == about.get("n_actions") for row in rows):
        return False
    most = sys.float_info.max if about.get("action_dtype") == "float64" else _MOST_IN_32_BITS
    return all(type(bound) in (int, float) and abs(bound) <= most for row in rows for bound in row)
