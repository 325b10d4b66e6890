"""shapes100: a generated data set, the same bytes on every machine.

Twenty shapes, each with five textures, at random positions, sizes, angles and colours, with clutter
and noise. A pixel is computed only from raw numbers of PCG64, which are the same in all versions of
numpy, and from single IEEE operations on float32 arrays (+ - * / sqrt floor and comparisons), whose
rounding is standardised. Sines, sums along axes and matrix products differ between machines and are
not used; angles come from the rational parametrisation of the circle.
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

Channels = Sequence[Array]
"""Red, green and blue of n images, each broadcastable to (n, SIZE, SIZE)."""

SIZE = 32
SUPERCLASSES = tuple(OUTLINES)
TEXTURES = ("plain", "striped", "checked", "dotted", "ringed")
CLASSES = tuple(f"{texture} {shape}" for shape in SUPERCLASSES for texture in TEXTURES)

_CHUNK_SIZE = 2000
_NOISE_NUMBERS = SIZE * SIZE * 3 // 8
"""Raw 64-bit numbers for the noise of an image, one byte per value."""
_SCENE_NUMBERS = 96
"""Raw numbers for everything else in an image."""


class Shapes100(Dataset):
    """100 generated classes, 32 x 32, in 20 superclasses: "striped star" is a star."""

    kind: Literal["shapes100"] = "shapes100"
    train: int = Field(default=10_000, ge=1, le=1_000_000)
    """Training images."""
    test: int = Field(default=2_000, ge=1, le=1_000_000)
    """Test images."""

    @property
    def num_classes(self) -> int:
        """100."""
        return len(CLASSES)

    def read(self) -> Splits:
        """Generate both splits from separate random streams (0.1 ms per image)."""
        return Splits(generate(self.train, stream=0), None, generate(self.test, stream=1))


def generate(n: int, stream: int) -> Split:
    """Generate the first `n` images of a random stream; image i has class i % 100."""
    bits = np.random.PCG64([100, stream])
    images = np.empty((n, 3, SIZE, SIZE), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int64) % len(CLASSES)
    for start in range(0, n, _CHUNK_SIZE):
        rows = np.arange(start, min(n, start + _CHUNK_SIZE))
        raw = bits.random_raw((len(rows), _SCENE_NUMBERS + _NOISE_NUMBERS))
        for shape in range(len(SUPERCLASSES)):
            mask = labels[rows] // 5 == shape
            images[rows[mask]] = _render(raw[mask], shape, labels[rows[mask]] % 5)
    return Split(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        classes=CLASSES,
        coarse_labels=torch.from_numpy(labels // 5),
        superclasses=SUPERCLASSES,
    )


class _Random:
    """Random numbers for n images, each (n, 1, 1), from successive columns of raw numbers."""

    def __init__(self, raw: NDArray[np.uint64]) -> None:
        self._columns: Iterator[NDArray[np.uint64]] = iter(raw.T)

    def integer(self, low: int, high: int) -> NDArray[np.int64]:
        """Draw integers, low <= x < high."""
        bits = (next(self._columns) >> np.uint64(40)).astype(np.int64)
        return (low + (bits * (high - low) >> 24))[:, None, None]

    def uniform(self, low: float, high: float) -> Array:
        """Draw float32 numbers, low <= x < high."""
        return self.integer(0, 1 << 24).astype(np.float32) * (2.0**-24 * (high - low)) + low

    def rotation(self, max_t: float) -> tuple[Array, Array]:
        """Draw a cosine and a sine: (1 - t^2, 2 t) / (1 + t^2) with |t| up to `max_t`."""
        t = self.uniform(-max_t, max_t)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    def any_rotation(self) -> tuple[Array, Array]:
        """Draw a cosine and a sine of any angle: up to 45 degrees, and a quadrant."""
        (x, y), quadrant = self.rotation(0.41421354), self.integer(0, 4)
        x, y = np.where(quadrant & 1, -y, x), np.where(quadrant & 1, x, y)
        return np.where(quadrant & 2, -x, x), np.where(quadrant & 2, -y, y)

    def color(self) -> list[NDArray[np.int64]]:
        """Draw red, green and blue, 0 to 255."""
        return [self.integer(0, 256) for _ in range(3)]


def _render(raw: NDArray[np.uint64], shape: int, textures: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Render n images of one shape, uint8 (n, 3, SIZE, SIZE)."""
    random = _Random(raw[:, :_SCENE_NUMBERS])
    pixel = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    x, y = pixel[None, None, :], pixel[None, :, None]
    first, second, background = _palette(random)
    image = _background(random, x, y, background)

    radius = random.uniform(8.5, 13)
    # Up to 33 degrees: small networks learn too slowly for quick trials if any angle occurs.
    u, v = _rotate(random.rotation(0.3), x - random.uniform(-4, 4), y - random.uniform(-4, 4))
    inside = _coverage(OUTLINES[SUPERCLASSES[shape]](u / radius, v / radius) * radius)
    texture = _texture(random, u, v, textures[:, None, None])
    image = [
        behind + (one + (two - one) * texture - behind) * inside
        for behind, one, two in zip(image, first, second, strict=True)
    ]
    image = _add_clutter(random, x, y, image, count=1)

    noise = raw[:, _SCENE_NUMBERS:].astype("<u8").view(np.uint8).astype(np.float32) - 127.5
    noise = noise.reshape(-1, 3, SIZE, SIZE) * random.uniform(0.03, 0.3)[:, None]
    return np.floor(np.stack(image, axis=1) + noise + 0.5).clip(0, 255).astype(np.uint8)


def _palette(random: _Random) -> tuple[Channels, Channels, Channels]:
    """Draw three colours that differ in each channel by about a third of 256 (modulo 256)."""
    first, second, third = [], [], []
    for channel in random.color():
        offset = np.where(random.integer(0, 2), 85, 171)
        first.append(channel)
        second.append((channel + offset + random.integer(-25, 26)) % 256)
        third.append((channel - offset + random.integer(-25, 26)) % 256)
    return _to_float32(first), _to_float32(second), _to_float32(third)


def _to_float32(channels: list[NDArray[np.int64]]) -> Channels:
    return [channel.astype(np.float32) for channel in channels]


def _background(random: _Random, x: Array, y: Array, color: Channels) -> Channels:
    """Draw a gradient with clutter and, in half of the images, a faint texture."""
    u, v = _rotate(random.any_rotation(), x, y)
    slopes = [random.uniform(-2.0, 2.0) for _ in range(3)]
    strength = random.uniform(-60, 60) * random.integer(0, 2).astype(np.float32)
    faint = _texture(random, u, v, random.integer(1, len(TEXTURES))) * strength
    image = [level + u * slope + faint for level, slope in zip(color, slopes, strict=True)]
    return _add_clutter(random, x, y, image, count=3)


def _add_clutter(random: _Random, x: Array, y: Array, image: Channels, count: int) -> Channels:
    """Draw small bars and discs of any colour onto the image."""
    for _ in range(count):
        u, v = _rotate(
            random.any_rotation(), x - random.uniform(-16, 16), y - random.uniform(-16, 16)
        )
        length, width = random.uniform(0, 5), random.uniform(1, 2.2)
        along = np.maximum(np.abs(u) - length, 0)
        inside = _coverage(np.sqrt(along * along + v * v) - width)
        color = _to_float32(random.color())
        image = [behind + (c - behind) * inside for behind, c in zip(image, color, strict=True)]
    return image


def _rotate(rotation: tuple[Array, Array], x: Array, y: Array) -> tuple[Array, Array]:
    cosine, sine = rotation
    return x * cosine + y * sine, y * cosine - x * sine


def _coverage(distance: Array) -> Array:
    """Return the part of a pixel inside an edge at this signed distance in pixels."""
    coverage: Array = (0.5 - distance).clip(0, 1)
    return coverage


def _texture(random: _Random, x: Array, y: Array, texture: NDArray[np.int64]) -> Array:
    """Return the weight of the second colour in each pixel; texture (n, 1, 1)."""
    period = random.uniform(4.5, 6.5)
    u, v = _rotate(random.any_rotation(), x, y)
    u, v = u + random.uniform(0, 8), v + random.uniform(0, 8)
    across, down = _wave(u, period), _wave(v, period)
    stripes = _coverage(across)
    crosswise = _coverage(down)
    checks = stripes + crosswise - 2 * stripes * crosswise
    a, b = across + period / 4, down + period / 4
    dots = _coverage(np.sqrt(a * a + b * b) - period * 0.32)
    rings = _coverage(_wave(np.sqrt(x * x + y * y) + random.uniform(0, 8), period))
    return np.select(
        [texture == 1, texture == 2, texture == 3, texture == 4], [stripes, checks, dots, rings], 0
    ).astype(np.float32)


def _wave(x: Array, period: Array) -> Array:
    """Return the signed distance to the nearest edge of stripes half a period wide."""
    phase = x / period
    distance: Array = (np.abs(phase - np.floor(phase) - 0.5) - 0.25) * period
    return distance
