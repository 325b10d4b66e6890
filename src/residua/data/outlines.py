"""The twenty outlines of shapes100.

Each takes x and y in units of the shape's size, rightwards and downwards from its middle, and
returns about the signed distance to its outline, negative inside; the negative is the complement.
The constants are written out, not computed: a sine may differ in its last bit from machine to
machine.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32, which numpy's types widen at each Python number, though numpy does not."""
Outline = Callable[[Array, Array], Array]

_FIFTHS = (
    (0.0, 1.0),
    (0.9510565, 0.3090170),
    (0.5877853, -0.8090170),
    (-0.5877853, -0.8090170),
    (-0.9510565, 0.3090170),
)
"""The directions of a regular pentagon's sides, the first downwards."""


def _both(a: Array, b: Array) -> Array:
    inside: Array = np.maximum(a, b)
    return inside


def _either(a: Array, b: Array) -> Array:
    inside: Array = np.minimum(a, b)
    return inside


def _round(x: Array, y: Array, radius: float) -> Array:
    return np.sqrt(x * x + y * y) - radius


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    return _both(np.abs(x) - half_width, np.abs(y) - half_height)


def _disc(x: Array, y: Array) -> Array:
    return _round(x, y, 0.9)


def _ring(x: Array, y: Array) -> Array:
    return np.abs(_round(x, y, 0.7)) - 0.25


def _dome(x: Array, y: Array) -> Array:
    return _both(_round(x, y - 0.45, 1.0), y - 0.45)


def _crescent(x: Array, y: Array) -> Array:
    return _both(_round(x, y, 1.0), -_round(x - 0.5, y, 0.8))


def _drop(x: Array, y: Array) -> Array:
    flank = _both(np.abs(x) * 0.906 - (y + 1.1) * 0.423, y - 0.07)
    return _either(_round(x, y - 0.32, 0.6), flank)


def _pill(x: Array, y: Array) -> Array:
    padding_mode = (np.abs(x) - 0.75).clip(0)
    return _round(padding_mode, y, 0.38)


def _flower(x: Array, y: Array) -> Array:
    shape = _round(x, y, 0.35)
    for right, down in _FIFTHS:
        shape = _either(shape, _round(x - 0.62 * right, y - 0.62 * down, 0.36))
    return shape


def _heart(x: Array, y: Array) -> Array:
    y = y - 0.2
    x, y = (x - y) * 0.7071068, (-x - y) * 0.7071068  # An eighth of a turn, its point down.
    lobes = _either(_round(x - 0.55, y, 0.55), _round(x, y - 0.55, 0.55))
    return _either(_box(x, y, 0.55, 0.55), lobes)


def _square(x: Array, y: Array) -> Array:
    return _box(x, y, 0.75, 0.75)


def _frame(x: Array, y: Array) -> Array:
    return _both(_box(x, y, 0.82, 0.82), -_box(x, y, 0.42, 0.42))


def _lozenge(x: Array, y: Array) -> Array:
    return np.abs(x) * 0.8944272 + np.abs(y) * 0.4472136 - 0.53


def _triangle(x: Array, y: Array) -> Array:
    return _both(y - 0.5, np.abs(x) * 0.8660254 - y * 0.5 - 0.5)


def _pentagon(x: Array, y: Array) -> Array:
    right, down = _FIFTHS[0]
    farthest = x * right + y * down
    for right, down in _FIFTHS[1:]:
        farthest = _both(farthest, x * right + y * down)
    return farthest - 0.75


def _star(x: Array, y: Array) -> Array:
    """A pentagram is where at most one of a pentagon's sides is crossed: the second largest."""
    largest: Array = np.full_like(x + y, -9)
    second = largest
    for right, down in _FIFTHS:
        side = x * right + y * down
        second = _both(second, _either(largest, side))
        largest = _both(largest, side)
    return second - 0.38


def _cross(x: Array, y: Array) -> Array:
    return _either(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95))


def _tee(x: Array, y: Array) -> Array:
    return _either(_box(x, y + 0.55, 0.9, 0.28), _box(x, y - 0.15, 0.28, 0.8))


def _corner(x: Array, y: Array) -> Array:
    return _both(_box(x, y, 0.85, 0.85), -_both(-0.25 - x, -0.25 - y))


def _zed(x: Array, y: Array) -> Array:
    bars = _box(x, np.abs(y) - 0.65, 0.8, 0.22)
    diagonal = _both(np.abs(x * 0.66 + y * 0.75) - 0.22, _box(x, y, 0.8, 0.8))
    return _either(bars, diagonal)


def _arrow(x: Array, y: Array) -> Array:
    head = _both(0.05 - x, (x + np.abs(y)) * 0.7071068 - 0.67)
    return _either(_box(x + 0.4, y, 0.55, 0.24), head)


def _hourglass(x: Array, y: Array) -> Array:
    return _both(np.abs(y) - 0.9, np.abs(x) * 0.8 - np.abs(y) * 0.6 - 0.08)


OUTLINES: dict[str, Outline] = {
    "disc": _disc,
    "ring": _ring,
    "dome": _dome,
    "crescent": _crescent,
    "drop": _drop,
    "pill": _pill,
    "flower": _flower,
    "heart": _heart,
    "square": _square,
    "frame": _frame,
    "lozenge": _lozenge,
    "triangle": _triangle,
    "pentagon": _pentagon,
    "star": _star,
    "cross": _cross,
    "tee": _tee,
    "corner": _corner,
    "zed": _zed,
    "arrow": _arrow,
    "hourglass": _hourglass,
}
"""The superclasses of shapes100, in the order of their labels."""
