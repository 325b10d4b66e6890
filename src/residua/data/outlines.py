"""The outlines of the twenty shapes of shapes100.

Each function takes x (rightwards) and y (downwards) from the centre, in units of the shape's size,
and returns an approximate signed distance to the outline, negative inside. Negation gives the
complement. Constants are written out because a computed sine may differ in its last bit between
machines.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32. numpy's type stubs widen it in arithmetic with Python numbers; numpy does not."""
Outline = Callable[[Array, Array], Array]

_PENTAGON_NORMALS = (
    (0.0, 1.0),
    (0.9510565, 0.3090170),
    (0.5877853, -0.8090170),
    (-0.5877853, -0.8090170),
    (-0.9510565, 0.3090170),
)
"""The normals of a regular pentagon's sides; the first points downwards."""


def _intersection(a: Array, b: Array) -> Array:
    intersection: Array = np.maximum(a, b)
    return intersection


def _union(a: Array, b: Array) -> Array:
    union: Array = np.minimum(a, b)
    return union


def _circle(x: Array, y: Array, radius: float) -> Array:
    return np.sqrt(x * x + y * y) - radius


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    return _intersection(np.abs(x) - half_width, np.abs(y) - half_height)


def _disc(x: Array, y: Array) -> Array:
    return _circle(x, y, 0.9)


def _ring(x: Array, y: Array) -> Array:
    return np.abs(_circle(x, y, 0.7)) - 0.25


def _dome(x: Array, y: Array) -> Array:
    return _intersection(_circle(x, y - 0.45, 1.0), y - 0.45)


def _crescent(x: Array, y: Array) -> Array:
    return _intersection(_circle(x, y, 1.0), -_circle(x - 0.5, y, 0.8))


def _drop(x: Array, y: Array) -> Array:
    flank = _intersection(np.abs(x) * 0.906 - (y + 1.1) * 0.423, y - 0.07)
    return _union(_circle(x, y - 0.32, 0.6), flank)


def _pill(x: Array, y: Array) -> Array:
    beyond_centre_line = (np.abs(x) - 0.75).clip(0)
    return _circle(beyond_centre_line, y, 0.38)


def _flower(x: Array, y: Array) -> Array:
    shape = _circle(x, y, 0.35)
    for normal_x, normal_y in _PENTAGON_NORMALS:
        shape = _union(shape, _circle(x - 0.62 * normal_x, y - 0.62 * normal_y, 0.36))
    return shape


def _heart(x: Array, y: Array) -> Array:
    y = y - 0.2
    x, y = (
        (x - y) * 0.7071068,
        (-x - y) * 0.7071068,
    )  # Rotated by 45 degrees; the tip points downwards.
    lobes = _union(_circle(x - 0.55, y, 0.55), _circle(x, y - 0.55, 0.55))
    return _union(_box(x, y, 0.55, 0.55), lobes)


def _square(x: Array, y: Array) -> Array:
    return _box(x, y, 0.75, 0.75)


def _frame(x: Array, y: Array) -> Array:
    return _intersection(_box(x, y, 0.82, 0.82), -_box(x, y, 0.42, 0.42))


def _lozenge(x: Array, y: Array) -> Array:
    return np.abs(x) * 0.8944272 + np.abs(y) * 0.4472136 - 0.53


def _triangle(x: Array, y: Array) -> Array:
    return _intersection(y - 0.5, np.abs(x) * 0.8660254 - y * 0.5 - 0.5)


def _pentagon(x: Array, y: Array) -> Array:
    normal_x, normal_y = _PENTAGON_NORMALS[0]
    farthest = x * normal_x + y * normal_y
    for normal_x, normal_y in _PENTAGON_NORMALS[1:]:
        farthest = _intersection(farthest, x * normal_x + y * normal_y)
    return farthest - 0.75


def _star(x: Array, y: Array) -> Array:
    """Return the second largest distance to a side: a star is outside of at most one side."""
    largest: Array = np.full_like(x + y, -9)
    second = largest
    for normal_x, normal_y in _PENTAGON_NORMALS:
        side = x * normal_x + y * normal_y
        second = _intersection(second, _union(largest, side))
        largest = _intersection(largest, side)
    return second - 0.38


def _cross(x: Array, y: Array) -> Array:
    return _union(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95))


def _tee(x: Array, y: Array) -> Array:
    return _union(_box(x, y + 0.55, 0.9, 0.28), _box(x, y - 0.15, 0.28, 0.8))


def _corner(x: Array, y: Array) -> Array:
    return _intersection(_box(x, y, 0.85, 0.85), -_intersection(-0.25 - x, -0.25 - y))


def _zed(x: Array, y: Array) -> Array:
    bars = _box(x, np.abs(y) - 0.65, 0.8, 0.22)
    diagonal = _intersection(np.abs(x * 0.66 + y * 0.75) - 0.22, _box(x, y, 0.8, 0.8))
    return _union(bars, diagonal)


def _arrow(x: Array, y: Array) -> Array:
    head = _intersection(0.05 - x, (x + np.abs(y)) * 0.7071068 - 0.67)
    return _union(_box(x + 0.4, y, 0.55, 0.24), head)


def _hourglass(x: Array, y: Array) -> Array:
    return _intersection(np.abs(y) - 0.9, np.abs(x) * 0.8 - np.abs(y) * 0.6 - 0.08)


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
