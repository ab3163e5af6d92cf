"""Frames: a picture with what there is to say about it, and files of many."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ..errors import ConfigError, StorageError
from .play import Shot
from .sketch import GREY, INK, WHITE, Sketch, agent_colour, common_view, font, paint

_MARGIN, _LINE, _HEAD = 8, 20, 62  # pixels
_HOLD_S = 1.5  # seconds for which an episode's last frame stays
FORMATS = (".gif", ".mp4")


class Title(NamedTuple):
    """What stands above every frame."""

    text: str
    below: str
    episodes: int


def frames(shots: Sequence[Shot], title: Title, width: int = 360) -> list[Image.Image]:
    """One per shot, all of one size."""
    sketches = [shot.picture for shot in shots if isinstance(shot.picture, Sketch)]
    view = common_view(sketches) if sketches else None
    columns = _columns(shots, width)
    n_agents = max(len(shot.words) for shot in shots)
    foot = -(-n_agents // columns) * _LINE + _MARGIN if n_agents else 0
    return [_frame(shot, _picture(shot.picture, view, width), title, columns, foot) for shot in shots]


def _picture(picture: Any, view: Any, width: int) -> Image.Image:
    if isinstance(picture, Sketch):
        return paint(picture, view, width, highest=width)
    image = Image.fromarray(picture)
    size = (width, max(round(image.height * width / image.width), 1))
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _columns(shots: Sequence[Shot], width: int) -> int:
    """Of the agents' actions, so that the longest fits."""
    longest = max((font(12).getlength(word) for shot in shots for word in shot.words), default=0)
    n_agents = max(len(shot.words) for shot in shots)
    return int(min(max((width - _MARGIN) // (longest + 20 + 2 * _MARGIN), 1), max(n_agents, 1)))


def _frame(shot: Shot, picture: Image.Image, title: Title, columns: int, foot: int) -> Image.Image:
    frame = Image.new("RGB", (picture.width, _HEAD + picture.height + foot), WHITE)
    frame.paste(picture, (0, _HEAD))
    on, width = ImageDraw.Draw(frame), picture.width
    _fitting(on, (_MARGIN, 4), title.text, width - 2 * _MARGIN, 14, INK, bold=True)
    _fitting(on, (_MARGIN, 23), title.below, width - 2 * _MARGIN, 11, GREY)
    _fitting(on, (_MARGIN, 41), said_of(shot, title.episodes), width - 2 * _MARGIN, 13, INK)
    for i, word in enumerate(shot.words):
        x = _MARGIN + (i % columns) * (width - _MARGIN) // columns
        y = _HEAD + picture.height + _MARGIN // 2 + (i // columns) * _LINE
        on.rectangle([x, y + 1, x + 15, y + 16], agent_colour(i))
        on.text((x + 8, y + 9), str(i), WHITE, font(10, bold=True), anchor="mm")
        on.text((x + 20, y + 2), word, INK, font(12))
    return frame


def said_of(shot: Shot, episodes: int) -> str:
    """Episode, step, and return so far."""
    return f"episode {shot.episode} of {episodes}   step {shot.step}   return {as_text(shot.total)}"


def as_text(total: Any) -> str:
    """A return; of agents with rewards of their own one each, if they are few, and their sum."""
    if np.ndim(total) == 0:
        return f"{float(total):.2f}"
    each = f" ({', '.join(f'{one:.2f}' for one in total)})" if len(total) <= 4 else ""
    return f"{float(np.sum(total)):.2f}{each}"


def _fitting(on: Any, at: tuple[int, int], text: str, width: int, size: int, colour: Any, bold: bool = False) -> None:
    """Smaller where it would be too long, and cut where it would be too small."""
    while size > 9 and font(size, bold).getlength(text) > width:
        size -= 1
    while text and font(size, bold).getlength(text) > width:
        text = text[:-2] + "…" if not text.endswith("…") else text[:-2] + "…"
    on.text(at, text, colour, font(size, bold))


def check_file(file: Path) -> None:
    """Refuse a file that could not be written, before anything is played.

    Raises:
        ConfigError: its folder is missing, its kind unknown, or the package for it is not installed.
    """
    if file.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out={file}: give it one of the endings {' and '.join(FORMATS)}")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"--out={file}: there is no folder {file.parent}; make it first")
    if file.suffix.lower() == ".mp4":
        try:
            importlib.import_module("imageio_ffmpeg")  # with which imageio writes them
        except ImportError:
            raise ConfigError(
                f"--out={file} needs the package imageio-ffmpeg: pip install imageio imageio-ffmpeg; or name a .gif"
            ) from None


def write(file: Path, images: Sequence[Image.Image], last: Sequence[bool], fps: float) -> None:
    """Write a GIF that begins anew at its end, or a video.

    Args:
        last: which frames are the last of an episode, and stay for a moment.

    Raises:
        StorageError: it cannot be written there.
    """
    try:
        if file.suffix.lower() == ".mp4":
            _write_video(file, images, last, fps)
        else:
            _write_gif(file, images, last, fps)
    except OSError as error:
        raise StorageError.of(file, error, "--out") from error


def _write_gif(file: Path, images: Sequence[Image.Image], last: Sequence[bool], fps: float) -> None:
    """With one palette for all frames: what stays the same from frame to frame then takes no space."""
    sample = images[:: max(len(images) // 12, 1)]
    strip = Image.new("RGB", (sample[0].width, sum(image.height for image in sample)))
    for i, image in enumerate(sample):
        strip.paste(image, (0, i * image.height))
    palette = strip.quantize(128, dither=Image.Dither.NONE)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    shown = [round(1000 * (_HOLD_S if end else 1 / fps)) for end in last]
    first.save(file, "GIF", save_all=True, append_images=others, duration=shown, loop=0, optimize=True)


def _write_video(file: Path, images: Sequence[Image.Image], last: Sequence[bool], fps: float) -> None:
    import imageio

    writer: Any
    with imageio.get_writer(file, fps=fps, macro_block_size=2) as writer:
        for image, end in zip(images, last, strict=True):
            for _ in range(max(round(_HOLD_S * fps), 1) if end else 1):
                writer.append_data(np.asarray(image))
