"""shapes100: a data set that needs no download, the same bytes on every machine.

Twenty shapes, each in five textures, in random colours at random places, sizes and angles, among
clutter and noise. Only PCG64's raw numbers and single IEEE operations (+ - * / sqrt, floor and
comparisons of float32 arrays) go into a pixel: numpy keeps the first for ever, the standard fixes
the rounding of the second. Sines, sums along axes and matrix products differ between machines, so
there are none; an angle is a point of the circle's rational parametrisation.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from residua.data.dataset import Dataset
from residua.data.outlines import OUTLINES, Array
from residua.data.split import Split, Splits

Planes = Sequence[Array]
"""Red, green and blue of n images, each (n, SIZE, SIZE) or of a shape that widens to it."""

SIZE = 32
SUPERCLASSES = tuple(OUTLINES)
TEXTURES = ("plain", "striped", "checked", "dotted", "ringed")
CLASSES = tuple(f"{texture} {shape}" for shape in SUPERCLASSES for texture in TEXTURES)

_CHUNK = 2000
_NOISE = SIZE * SIZE * 3 // 8
"""Raw numbers an image's noise takes, a byte a value."""
_DRAWS = 96
"""Raw numbers kept for everything else."""


class Shapes100(Dataset):
    """100 procedural classes, 32 x 32, in 20 superclasses: "striped star" is a star."""

    kind: Literal["shapes100"] = "shapes100"
    train: int = Field(default=10_000, ge=1, le=1_000_000)
    """Training images."""
    test: int = Field(default=2_000, ge=1, le=1_000_000)
    """Test images."""

    @property
    def class_count(self) -> int:
        """100."""
        return len(CLASSES)

    def read(self) -> Splits:
        """Draw both splits, from streams of their own: 0.1 ms an image."""
        return Splits(generate(self.train, stream=0), None, generate(self.test, stream=1))


def generate(n: int, stream: int) -> Split:
    """Draw the first `n` images of a stream; image i is of class i % 100."""
    bits = np.random.PCG64([100, stream])
    images = np.empty((n, 3, SIZE, SIZE), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int64) % len(CLASSES)
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(n, start + _CHUNK))
        raw = bits.random_raw((len(rows), _DRAWS + _NOISE))
        for shape in range(len(SUPERCLASSES)):
            mine = labels[rows] // 5 == shape
            images[rows[mine]] = _draw(raw[mine], shape, labels[rows[mine]] % 5)
    return Split(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        classes=CLASSES,
        coarse_labels=torch.from_numpy(labels // 5),
        superclasses=SUPERCLASSES,
    )


class _Draws:
    """Random numbers of n images, each (n, 1, 1), taken column by column."""

    def __init__(self, raw: NDArray[np.uint64]) -> None:
        self._columns: Iterator[NDArray[np.uint64]] = iter(raw.T)

    def integer(self, low: int, high: int) -> NDArray[np.int64]:
        """Draw whole numbers, low <= x < high."""
        bits = (next(self._columns) >> np.uint64(40)).astype(np.int64)
        return (low + (bits * (high - low) >> 24))[:, None, None]

    def uniform(self, low: float, high: float) -> Array:
        """Draw numbers, low <= x < high."""
        return self.integer(0, 1 << 24).astype(np.float32) * (2.0**-24 * (high - low)) + low

    def tilt(self, steepest: float) -> tuple[Array, Array]:
        """Draw a cosine and a sine: (1 - t^2, 2 t) / (1 + t^2) for a t up to `steepest`."""
        t = self.uniform(-steepest, steepest)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    def direction(self) -> tuple[Array, Array]:
        """Draw a cosine and a sine from the whole circle: a tilt by an eighth, and a quadrant."""
        (x, y), quadrant = self.tilt(0.41421354), self.integer(0, 4)
        x, y = np.where(quadrant & 1, -y, x), np.where(quadrant & 1, x, y)
        return np.where(quadrant & 2, -x, x), np.where(quadrant & 2, -y, y)

    def color(self) -> list[NDArray[np.int64]]:
        """Draw red, green and blue in 0 .. 255."""
        return [self.integer(0, 256) for _ in range(3)]


def _draw(raw: NDArray[np.uint64], shape: int, textures: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw n images of one shape: uint8 (n, 3, SIZE, SIZE)."""
    draws = _Draws(raw[:, :_DRAWS])
    pixel = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    x, y = pixel[None, None, :], pixel[None, :, None]
    first, second, ground = _palette(draws)
    picture = _background(draws, x, y, ground)

    radius = draws.uniform(8.5, 13)
    # Tilted by up to 33 degrees: with every angle, small networks learn too slowly for trials.
    u, v = _turned(draws.tilt(0.3), x - draws.uniform(-4, 4), y - draws.uniform(-4, 4))
    inside = _cover(OUTLINES[SUPERCLASSES[shape]](u / radius, v / radius) * radius)
    ink = _texture(draws, u, v, textures[:, None, None])
    picture = [
        back + (one + (two - one) * ink - back) * inside
        for back, one, two in zip(picture, first, second, strict=True)
    ]
    picture = _clutter(draws, x, y, picture, pieces=1)

    hiss = raw[:, _DRAWS:].astype("<u8").view(np.uint8).astype(np.float32) - 127.5
    noise = hiss.reshape(-1, 3, SIZE, SIZE) * draws.uniform(0.03, 0.3)[:, None]
    return np.floor(np.stack(picture, axis=1) + noise + 0.5).clip(0, 255).astype(np.uint8)


def _palette(draws: _Draws) -> tuple[Planes, Planes, Planes]:
    """Draw three colours that differ in every channel: thirds of the way around 0 .. 255."""
    first, second, third = [], [], []
    for channel in draws.color():
        turn = np.where(draws.integer(0, 2), 85, 171)
        first.append(channel)
        second.append((channel + turn + draws.integer(-25, 26)) % 256)
        third.append((channel - turn + draws.integer(-25, 26)) % 256)
    return _floats(first), _floats(second), _floats(third)


def _floats(channels: list[NDArray[np.int64]]) -> Planes:
    return [channel.astype(np.float32) for channel in channels]


def _background(draws: _Draws, x: Array, y: Array, ground: Planes) -> Planes:
    """Draw a gradient, half the time with a faint texture, and clutter before it."""
    u, v = _turned(draws.direction(), x, y)
    slope = [draws.uniform(-2.0, 2.0) for _ in range(3)]
    strength = draws.uniform(-60, 60) * draws.integer(0, 2).astype(np.float32)
    faint = _texture(draws, u, v, draws.integer(1, len(TEXTURES))) * strength
    picture = [color + u * tilt + faint for color, tilt in zip(ground, slope, strict=True)]
    return _clutter(draws, x, y, picture, pieces=3)


def _clutter(draws: _Draws, x: Array, y: Array, picture: Planes, pieces: int) -> Planes:
    """Lay small bars and discs of any colour over the picture."""
    for _ in range(pieces):
        u, v = _turned(draws.direction(), x - draws.uniform(-16, 16), y - draws.uniform(-16, 16))
        length, width = draws.uniform(0, 5), draws.uniform(1, 2.2)
        along = np.maximum(np.abs(u) - length, 0)
        there = _cover(np.sqrt(along * along + v * v) - width)
        color = _floats(draws.color())
        picture = [back + (c - back) * there for back, c in zip(picture, color, strict=True)]
    return picture


def _turned(towards: tuple[Array, Array], x: Array, y: Array) -> tuple[Array, Array]:
    cosine, sine = towards
    return x * cosine + y * sine, y * cosine - x * sine


def _cover(distance: Array) -> Array:
    """Return how much of a pixel lies inside an edge at this signed distance in pixels."""
    covered: Array = (0.5 - distance).clip(0, 1)
    return covered


def _texture(draws: _Draws, x: Array, y: Array, which: NDArray[np.int64]) -> Array:
    """Return how much of the second colour each pixel takes, by textures (n, 1, 1)."""
    period = draws.uniform(4.5, 6.5)
    u, v = _turned(draws.direction(), x, y)
    u, v = u + draws.uniform(0, 8), v + draws.uniform(0, 8)
    across, down = _wave(u, period), _wave(v, period)
    stripes = _cover(across)
    other = _cover(down)
    checks = stripes + other - 2 * stripes * other
    a, b = across + period / 4, down + period / 4
    dots = _cover(np.sqrt(a * a + b * b) - period * 0.32)
    rings = _cover(_wave(np.sqrt(x * x + y * y) + draws.uniform(0, 8), period))
    return np.select(
        [which == 1, which == 2, which == 3, which == 4], [stripes, checks, dots, rings], 0
    ).astype(np.float32)


def _wave(x: Array, period: Array) -> Array:
    """Return the signed distance to the nearest edge of stripes half a period wide."""
    turns = x / period
    distance: Array = (np.abs(turns - np.floor(turns) - 0.5) - 0.25) * period
    return distance
