"""Pictures of grid games as arrays: squares, discs and frames of one colour each, in NumPy alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

#: Pixels per cell, of which the last row and column are the line between cells.
CELL = 40
WHITE, LINE, WALL = (255, 255, 255), (200, 200, 200), (60, 60, 60)
APPLE, LEMON = (60, 160, 60), (250, 210, 40)
#: Of agents 0 to 3 and of their targets.
AGENTS = ((214, 39, 40), (31, 119, 180), (148, 103, 189), (23, 190, 207))

_OFFSET = np.arange(CELL) - (CELL - 2) / 2
_FROM_CENTRE = np.maximum(abs(_OFFSET[:, None]), abs(_OFFSET))
#: The pixels that a mark covers, [CELL, CELL].
FULL = _FROM_CENTRE <= (CELL - 2) / 2
SQUARE = _FROM_CENTRE <= CELL / 4
FRAME = FULL & (_FROM_CENTRE > CELL * 0.38)
DISC = np.hypot(_OFFSET[:, None], _OFFSET) <= CELL * 0.36

Mark = tuple[Iterable[int], np.ndarray, tuple[int, int, int]]


def draw(shape: tuple[int, int], marks: Sequence[Mark]) -> np.ndarray:
    """White cells with `marks` on them, later ones over earlier ones.

    Args:
        shape: height and width in cells.
        marks: cells, one of FULL, SQUARE, FRAME and DISC, and a colour.

    Returns:
        red, green and blue, uint8 [CELL * height, CELL * width, 3].
    """
    height, width = shape
    picture = np.full((height * CELL, width * CELL, 3), LINE, dtype=np.uint8)
    for cells, mask, colour in [(range(height * width), FULL, WHITE), *marks]:
        for row, column in (divmod(int(cell), width) for cell in cells):
            picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL][mask] = colour
    return picture
