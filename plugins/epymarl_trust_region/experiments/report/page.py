"""`report.html`: one file with everything in it, which needs no network and follows the reader's light or dark."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .canvas import GRID, INK, PAPER, Picture
from .origin import Origin
from .styles import readable_task
from .tables import Table

# In the dark, the three tones that are no algorithm's change places.
_DARK = {INK: "#e4e6e8", PAPER: "#17191b", GRID: "#33373b"}
_TONES = "".join(
    f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
    for light, dark in _DARK.items()
    for what in ("fill", "stroke")
)
_STYLE = f"<style>@media (prefers-color-scheme: dark){{{_TONES}}}</style>"


def embedded(picture: Picture) -> str:
    """The picture as a data URI of an SVG that is dark where the page is."""
    svg = picture.svg
    start = svg.index(">", svg.index("<svg")) + 1
    return "data:image/svg+xml;base64," + base64.b64encode((svg[:start] + _STYLE + svg[start:]).encode()).decode()


def render(
    title: str,
    sections: Sequence[tuple[str, Sequence[Picture | Table]]],
    origins: Sequence[Origin],
    made_by: Mapping[str, Any],
    left_out: Sequence[str],
) -> str:
    """The page's text.

    Args:
        sections: heading, and what stands below it.
        left_out: a line each.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["task"] = readable_task
    template = environment.from_string((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    shown = [(head, [_item(item) for item in items]) for head, items in sections if items]
    seen = {key: value for key, value in made_by.items() if key != "runs" and value}
    day = datetime.date.today().isoformat()
    return template.render(title=title, sections=shown, origins=origins, made_by=seen, left_out=left_out, day=day)


def _item(item: Picture | Table) -> dict[str, Any]:
    if isinstance(item, Picture):
        return {"picture": embedded(item), "title": item.title, "caption": item.caption, "width": _width(item)}
    return {"picture": None, "table": item, "title": item.title}


def _width(picture: Picture) -> int:
    """CSS pixels: as wide as it was drawn for, so that letters are of one size."""
    return round(picture.figure.get_figwidth() * 100)
