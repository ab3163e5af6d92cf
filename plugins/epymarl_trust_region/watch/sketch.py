"""Simple pictures of what an environment's state says: shapes in the environment's own units, painted by Pillow.

Coordinates are (x, y), y pointing up. Colours are red, green, blue and, where a shape is to be seen through, alpha.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, ...]
Point = tuple[float, float]
#: Left, bottom, right, top.
View = tuple[float, float, float, float]

WHITE, LINE, GREY, INK, PAPER = (255, 255, 255), (210, 210, 210), (110, 110, 110), (30, 30, 30), (244, 244, 244)
GREEN, RED, YELLOW = (60, 160, 60), (200, 40, 40), (255, 236, 150)
#: Of agents, in their order; the first four as in pictures of Checkers and Switch.
AGENTS: tuple[Colour, ...] = (
    (214, 39, 40), (31, 119, 180), (148, 103, 189), (23, 190, 207), (255, 127, 14), (44, 160, 44), (140, 86, 75),
    (227, 119, 194), (127, 127, 127), (188, 189, 34),
)  # fmt: skip
_SMOOTH = 2  # painted so many times larger and reduced, which smooths edges


def agent_colour(index: int) -> Colour:
    return AGENTS[index % len(AGENTS)]


class Disc(NamedTuple):
    """A disc, with a word in its middle."""

    x: float
    y: float
    radius: float
    fill: Colour
    label: str = ""
    outline: Colour | None = None


class Polygon(NamedTuple):
    points: Sequence[Point]
    fill: Colour | None
    outline: Colour | None = None


class Line(NamedTuple):
    points: Sequence[Point]
    colour: Colour
    width: float = 1.0  # pixels


class Text(NamedTuple):
    """A word around its middle, `size` units high."""

    x: float
    y: float
    text: str
    size: float
    colour: Colour = INK


class Sketch(NamedTuple):
    """Shapes, later ones over earlier ones; of what to show: `view`, or without one all of them in all pictures."""

    shapes: list[Any]
    view: View | None = None


def box(x: float, y: float, width: float, height: float, fill: Colour | None, outline: Colour | None = None) -> Polygon:
    """A rectangle around (x, y)."""
    right, top = width / 2, height / 2
    corners = [(x - right, y - top), (x + right, y - top), (x + right, y + top), (x - right, y + top)]
    return Polygon(corners, fill, outline)


def common_view(sketches: Sequence[Sketch]) -> View:
    """What all of them show, so that nothing in a film changes its scale."""
    views = [sketch.view or extent(sketch.shapes) for sketch in sketches]
    left, bottom, right, top = zip(*views, strict=True)
    return min(left), min(bottom), max(right), max(top)


def extent(shapes: Iterable[Any], margin: float = 0.04) -> View:
    """What is needed to see these shapes, texts apart, with a margin, as a share of the longer side."""
    points: list[Point] = []
    for shape in shapes:
        if isinstance(shape, Disc):
            r = shape.radius
            points += [(shape.x - r, shape.y - r), (shape.x + r, shape.y + r)]
        elif isinstance(shape, Polygon | Line):
            points += shape.points
    xs, ys = zip(*points, strict=True)
    more = margin * max(max(xs) - min(xs), max(ys) - min(ys))
    return min(xs) - more, min(ys) - more, max(xs) + more, max(ys) + more


@functools.lru_cache(maxsize=64)
def font(pixels: int, bold: bool = False) -> Any:
    """DejaVu Sans, which Matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", max(pixels, 4))


def paint(sketch: Sketch, view: View, width: int, highest: int) -> Image.Image:
    """The sketch as a picture that is `width` pixels wide and at most `highest` high, without distortion."""
    left, bottom, right, top = view
    scale = min(width / (right - left), highest / (top - bottom)) * _SMOOTH
    size = (width * _SMOOTH, max(math.ceil((top - bottom) * scale), _SMOOTH))
    image = Image.new("RGB", size, WHITE)
    brush = _Brush(ImageDraw.Draw(image, "RGBA"), scale, size[0] / 2 - (left + right) / 2 * scale, top * scale)
    for shape in sketch.shapes:
        brush.draw(shape)
    return image.resize((width, max(size[1] // _SMOOTH, 1)), Image.Resampling.LANCZOS)


class _Brush(NamedTuple):
    on: Any
    scale: float  # pixels per unit
    x0: float
    y0: float

    def at(self, point: Point) -> Point:
        return self.x0 + point[0] * self.scale, self.y0 - point[1] * self.scale

    def draw(self, shape: Any) -> None:
        if isinstance(shape, Disc):
            self._disc(shape)
        elif isinstance(shape, Polygon):
            self.on.polygon([self.at(p) for p in shape.points], shape.fill, shape.outline, _SMOOTH)
        elif isinstance(shape, Line):
            self.on.line([self.at(p) for p in shape.points], shape.colour, round(shape.width * _SMOOTH))
        else:
            written = font(round(shape.size * self.scale))
            self.on.text(self.at((shape.x, shape.y)), shape.text, shape.colour, written, anchor="mm")

    def _disc(self, disc: Disc) -> None:
        least = 6.5 if disc.label else 2  # pixels, to be seen, and to be read
        (x, y), r = self.at((disc.x, disc.y)), max(disc.radius * self.scale, least * _SMOOTH)
        around, thick = disc.outline or disc.fill[:3], (3 if disc.outline else 1) * _SMOOTH
        self.on.ellipse([x - r, y - r, x + r, y + r], disc.fill, around, thick)
        if disc.label:
            size = min(max(round(r * 1.1), 9 * _SMOOTH), 20 * _SMOOTH)
            self.on.text((x, y), disc.label, WHITE, font(size, bold=True), anchor="mm")
