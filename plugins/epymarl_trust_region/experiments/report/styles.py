"""What an algorithm is called and drawn in: one table, so that it is the same in every picture for ever.

Colours are middle tones, which stand out from white and from black; marker and line style say the same without colour.
"""

from __future__ import annotations

import colorsys
import re
import zlib
from typing import Any, NamedTuple


class Style(NamedTuple):
    """How a curve is drawn."""

    colour: str
    marker: str
    line: Any  # as Matplotlib has it


# Name in a yaml -> name in a picture, colour, marker. The order is that of tables.
_KNOWN = {
    "happo": ("HAPPO", "#2f7fd0", "o"),
    "hatrpo": ("HATRPO", "#d9541e", "s"),
    "matrl": ("MATRL", "#12966e", "^"),
    "matrl_no_br": ("MATRL, no best response", "#5bb04f", "v"),
    "il_pp": ("IL-PP", "#8aa31d", "<"),
    "il": ("IL", "#b39c1f", ">"),
    "jr_ppo": ("JR-PPO", "#c765a6", "D"),
    "ir_mappo": ("IR-MAPPO", "#8d7ae6", "P"),
    "ir_ippo": ("IR-IPPO", "#b57be0", "X"),
    "inpg": ("INPG", "#1fa5b8", "p"),
    "ipg": ("IPG", "#6d8fa3", "8"),
    "wolf": ("WoLF", "#8a7f5c", "*"),
    "log_linear_ppo": ("Log-linear PPO", "#e0699a", "d"),
    "log_linear_ppo_offline": ("Log-linear PPO, offline", "#b2768f", "H"),
    "qmix": ("QMIX", "#e39a13", "h"),
    "vdn": ("VDN", "#a8742f", "^"),
    "qtran": ("QTRAN", "#c95a5a", "D"),
    "iql": ("IQL", "#9b8a5c", "v"),
    "mappo": ("MAPPO", "#858a91", "s"),
    "ippo": ("IPPO", "#6f7d68", "D"),
    "maa2c": ("MAA2C", "#4f9d9a", "P"),
    "ia2c": ("IA2C", "#7aa874", "X"),
    "coma": ("COMA", "#d84a6b", "o"),
    "maddpg": ("MADDPG", "#c8433c", "<"),
    "pac": ("Pareto-AC", "#9a5bb5", ">"),
    "pac_dcg": ("Pareto-AC (DCG)", "#b98ad0", "p"),
}
_VARIANTS = {  # ends of the suite's and our names, the longer ones first
    "_ns": "NS",
    "_mamujoco_paper": "paper's MuJoCo settings",
    "_smac_paper": "paper's SMAC settings",
    "_grid_paper": "paper's settings for grid games",
    "_pong_paper": "paper's Pong settings",
    "_paper": "its paper's settings",
}
_FALLBACK = (
    "#3c8fb0",
    "#c2703d",
    "#4f9a56",
    "#b1578a",
    "#7f7fc4",
    "#a58b2b",
    "#cf5f5a",
    "#5c9c8d",
    "#9a7350",
    "#7d8f3f",
)
_MARKERS = "osD^vPX*<>"
_LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))


def readable(algorithm: str) -> str:
    """`qmix_ns` is QMIX-NS; an unknown name stays as it is."""
    base, variant = _parts(algorithm)
    if base not in _KNOWN:
        return algorithm
    return _KNOWN[base][0] + ("" if variant is None else "-NS" if variant == "_ns" else f", {_VARIANTS[variant]}")


def rank(algorithm: str) -> tuple[int, str]:
    """Where it stands in a table."""
    base, _ = _parts(algorithm)
    return (list(_KNOWN).index(base) if base in _KNOWN else len(_KNOWN), algorithm)


def style(algorithm: str, variant: int = 0) -> Style:
    """That of an algorithm's experiment number `variant` in a picture: further ones are shades with other marks."""
    base, end = _parts(algorithm)
    number = variant + (end is not None)
    if base in _KNOWN:
        _, colour, marker = _KNOWN[base]
    else:
        code = zlib.crc32(algorithm.encode())  # the same on every machine
        colour, marker = _FALLBACK[code % len(_FALLBACK)], _MARKERS[code // 16 % len(_MARKERS)]
    if number:
        marker = _MARKERS[(_MARKERS.find(marker) + number) % len(_MARKERS)]
    return Style(_shade(colour, number), marker, _LINES[number % len(_LINES)])


def readable_task(task: str) -> str:
    """`pz-mpe-simple-spread-v3` is MPE simple-spread, `lbforaging:Foraging-8x8-2p-3f-v3` LBF 8x8-2p-3f."""
    name, *more = task.split(" ")
    name = re.sub(r"^.*:", "", name)
    for start, short in (
        ("pz-mpe-", "MPE "),
        ("lbforaging-Foraging-", "LBF "),
        ("Foraging-", "LBF "),
        ("trust-region-", ""),
    ):
        if name.startswith(start):
            name = short + re.sub(r"-v\d+$", "", name[len(start) :])
            break
    return " ".join([name, *more])


def _parts(algorithm: str) -> tuple[str, str | None]:
    end = next((end for end in _VARIANTS if algorithm.endswith(end)), None)
    return (algorithm.removesuffix(end), end) if end else (algorithm, None)


def _shade(colour: str, number: int) -> str:
    """The colour itself, then its neighbours: darker and lighter by turns, a little to the side, never faint."""
    if not number:
        return colour
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    hue, light, strength = colorsys.rgb_to_hls(red, green, blue)
    side = -1 if number % 2 else 1
    lightest = 0.66 if number // 2 % 2 else 0.58
    light = min(lightest, max(0.32, light + side * 0.11 * (1 + number // 2 % 2)))
    further = 1 + number // 4 % 3  # of many, so that no two of twelve are alike
    shaded = colorsys.hls_to_rgb((hue + side * 0.035 * further) % 1, light, strength)
    return "#" + "".join(f"{round(255 * part):02x}" for part in shaded)
