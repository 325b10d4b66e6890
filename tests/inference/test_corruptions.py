"""The corruptions of CIFAR-C, each held against its published definition.

The definitions are written here once more, for one image, in numpy, scipy and Pillow; they take the
random values that the batched version drew.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from residua.data import Shapes100
from residua.inference.corruptions import BLOCK, KINDS, SEVERITIES, corrupt, corrupted_blocks
from residua.inference.corruptions.random import CorruptionRandom
from residua.seeding import derive_seed

Pixels = NDArray[np.float64]
"""(H, W, 3) in [0, 1]."""
SIZE = 32


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Shapes, noise, black and white: (5, 3, 32, 32) uint8."""
    shapes = Shapes100(train=1, test=10).load(0).test.images[:2]
    noise = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(5))
    extremes = torch.tensor([0, 255]).view(2, 1, 1, 1).expand(2, 3, 32, 32)
    return torch.cat([shapes, noise.byte(), extremes.byte()])


def draws(kind: str, severity: int) -> CorruptionRandom:
    """What the batched version draws from for its first block."""
    return CorruptionRandom(derive_seed(0, kind, severity, 0))


def check(
    images: torch.Tensor, kind: str, severity: int, one: Callable[[Pixels, int], Pixels],
    tolerance: int = 1,
) -> None:  # fmt: skip
    """Compare with the definition of one image; rounding may give the level below."""
    found = corrupt(images, kind, severity).int()  # type: ignore[arg-type]
    for index, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy() / 255.0
        with_definition = np.clip(one(pixels, index), 0, 1) * 255
        expected = torch.from_numpy(np.uint8(with_definition + 1e-9)).permute(2, 0, 1).int()
        difference = (found[index] - expected).abs()
        assert difference.max() <= tolerance, (kind, severity, index)
        assert (difference > 0).float().mean() < 0.002, (kind, severity, index)


each_severity = pytest.mark.parametrize("severity", SEVERITIES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seeded_and_leaves_its_input(kind: str, images: torch.Tensor) -> None:
    before = images.clone()
    first = corrupt(images, kind, 3, seed=1)  # type: ignore[arg-type]
    assert first.dtype == torch.uint8
    assert first.shape == images.shape
    assert torch.equal(first, corrupt(images, kind, 3, seed=1))  # type: ignore[arg-type]
    assert torch.equal(images, before)
    assert not torch.equal(first, images)
    random = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    changed = not torch.equal(first, corrupt(images, kind, 3, seed=2))  # type: ignore[arg-type]
    assert changed == (kind not in random)


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_are_corrupted_too(kind: str) -> None:
    for height, width in ((48, 48), (64, 40), (16, 16)):
        image = torch.randint(256, (1, 3, height, width), dtype=torch.uint8)
        assert corrupt(image, kind, 5).shape == image.shape  # type: ignore[arg-type]


def test_images_are_corrupted_in_blocks(images: torch.Tensor) -> None:
    many = images[:1].expand(2 * BLOCK + 1, -1, -1, -1)
    blocks = list(corrupted_blocks(many, "gaussian_noise", 1))
    assert [(start, len(block)) for start, block in blocks] == [
        (0, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, 1),
    ]  # fmt: skip
    assert not torch.equal(blocks[0][1][0], blocks[1][1][0])


@each_severity
def test_noise(images: torch.Tensor, severity: int) -> None:
    shape = images.shape
    std = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    normal = draws("gaussian_noise", severity).normal(*shape).double().permute(0, 2, 3, 1).numpy()
    check(images, "gaussian_noise", severity, lambda x, i: x + std * normal[i])

    photons = (500, 250, 100, 75, 50)[severity - 1]
    rates = images.double() / 255 * photons
    counts = draws("shot_noise", severity).poisson(rates).double().permute(0, 2, 3, 1).numpy()
    check(images, "shot_noise", severity, lambda x, i: counts[i] / photons)
    assert counts[2].mean() == pytest.approx(float(rates[2].mean()), rel=0.05)

    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    random = draws("impulse_noise", severity)
    hit, salt = (random.uniform(*shape).permute(0, 2, 3, 1).numpy() for _ in range(2))

    def impulse(x: Pixels, i: int) -> Pixels:
        x = x.copy()
        x[(hit[i] < share) & (salt[i] < 0.5)] = 1
        x[(hit[i] < share) & (salt[i] >= 0.5)] = 0
        return x

    check(images, "impulse_noise", severity, impulse)


@each_severity
def test_contrast_brightness_pixelate_and_jpeg(images: torch.Tensor, severity: int) -> None:
    c = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    check(images, "contrast", severity, lambda x, _: (x - x.mean((0, 1))) * c + x.mean((0, 1)))

    import colorsys

    added = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]

    def brighten(x: Pixels, _: int) -> Pixels:
        hsv = [colorsys.rgb_to_hsv(*rgb) for rgb in x.reshape(-1, 3)]
        rgb = [colorsys.hsv_to_rgb(h, s, min(1, v + added)) for h, s, v in hsv]
        return np.array(rgb).reshape(x.shape)

    check(images, "brightness", severity, brighten)

    side = int(SIZE * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def pillow(x: Pixels) -> Image.Image:
        return Image.fromarray(np.uint8(np.round(255 * x)))

    def pixelate(x: Pixels, _: int) -> Pixels:
        small = pillow(x).resize((side, side), Image.Resampling.BOX)
        return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BOX)) / 255

    def jpeg(x: Pixels, _: int) -> Pixels:
        file = io.BytesIO()
        pillow(x).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)) / 255

    check(images, "pixelate", severity, pixelate, tolerance=0)
    check(images, "jpeg_compression", severity, jpeg, tolerance=0)


def diamond_square(uniform: CorruptionRandom, count: int, decay: float, size: int) -> Pixels:
    """Height maps (N, size, size) by loops over single points."""
    maps = np.zeros((count, size, size))
    step, wobble = size, 100.0
    while step >= 2:
        half, n = step // 2, size // step
        squares, horizontal, vertical = (
            uniform.uniform(count, n, n, low=-wobble, high=wobble).double().numpy()
            for _ in range(3)
        )
        for m in range(count):
            at = lambda y, x: maps[m, y % size, x % size]  # noqa: B023, E731
            cells = [(i, j, i * step, j * step) for i in range(n) for j in range(n)]
            for i, j, y, x in cells:
                total = at(y, x) + at(y + step, x) + at(y, x + step) + at(y + step, x + step)
                maps[m, y + half, x + half] = total / 4 + wobble * squares[m, i, j]
            for i, j, y, x in cells:
                middle = at(y + half, x + half)
                total = middle + at(y - half, x + half) + at(y, x) + at(y, x + step)
                maps[m, y, x + half] = total / 4 + wobble * horizontal[m, i, j]
                total = middle + at(y + half, x - half) + at(y, x) + at(y + step, x)
                maps[m, y + half, x] = total / 4 + wobble * vertical[m, i, j]
        step, wobble = half, wobble / decay
    maps -= maps.min((1, 2), keepdims=True)
    return maps / maps.max((1, 2), keepdims=True)


@each_severity
def test_fog(images: torch.Tensor, severity: int) -> None:
    amount, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    plasma = diamond_square(draws("fog", severity), len(images), decay, SIZE)

    def foggy(x: Pixels, i: int) -> Pixels:
        return (x + amount * plasma[i][..., None]) * x.max() / (x.max() + amount)

    check(images, "fog", severity, foggy)


@each_severity
def test_frost_blends_in_the_published_shares(images: torch.Tensor, severity: int) -> None:
    """The texture is procedural; only its shares are CIFAR-C's."""
    from residua.inference.corruptions.weather import frost_texture

    c = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    texture = frost_texture(images.double(), draws("frost", severity))
    assert 0 <= float(texture.min()) < float(texture.max()) <= 1
    ice = texture.permute(0, 2, 3, 1).double().numpy()
    check(images, "frost", severity, lambda x, i: c[0] * x + c[1] * ice[i])


def imagemagick_motion(x: Pixels, radius: int, sigma: float, angle: float) -> Pixels:
    """Its motion blur of one image, values in [0, 1], by a loop over the kernel."""
    width = 2 * radius + 1
    kernel = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    kernel /= kernel.sum()
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    rows, columns = np.indices(x.shape[:2])
    total = np.zeros_like(x)
    for i, weight in enumerate(kernel):
        dx, dy = math.ceil(i * cosine - 0.5), math.ceil(i * sine - 0.5)
        y = np.clip(rows + dy, 0, x.shape[0] - 1)
        total += weight * x[y, np.clip(columns + dx, 0, x.shape[1] - 1)]
    return np.round(255 * total) / 255


@each_severity
def test_motion_blur(images: torch.Tensor, severity: int) -> None:
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    angles = draws("motion_blur", severity).uniform(len(images), low=-45, high=45).tolist()
    check(
        images, "motion_blur", severity,
        lambda x, i: imagemagick_motion(x, radius, sigma, angles[i]),
    )  # fmt: skip


def scipy_zoom(x: Pixels, factor: float) -> Pixels:
    """The centre of an image enlarged to its size."""
    from scipy import ndimage

    crop = math.ceil(SIZE / factor)
    top = (SIZE - crop) // 2
    part = x[top : top + crop, top : top + crop]
    zoomed = ndimage.zoom(part, (factor, factor, 1), order=1)
    trim = (zoomed.shape[0] - SIZE) // 2
    return zoomed[trim : trim + SIZE, trim : trim + SIZE]


@pytest.mark.extra("scipy")
@each_severity
def test_zoom_blur(images: torch.Tensor, severity: int) -> None:
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)

    def blurred(x: Pixels, _: int) -> Pixels:
        return (x + sum(scipy_zoom(x, factor) for factor in factors)) / (len(factors) + 1)

    check(images, "zoom_blur", severity, blurred)


@pytest.mark.extra("scipy")
@each_severity
def test_defocus_blur(images: torch.Tensor, severity: int) -> None:
    """The border of OpenCV's filter2D, BORDER_REFLECT_101, is scipy's `mirror`."""
    from scipy import ndimage

    radius, alias = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    line = np.arange(-8, 9)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    taps /= taps.sum()
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(taps, taps), mode="mirror")

    def blurred(x: Pixels, _: int) -> Pixels:
        channels = [ndimage.correlate(x[..., c], kernel, mode="mirror") for c in range(3)]
        return np.stack(channels, axis=-1)

    check(images, "defocus_blur", severity, blurred)


@pytest.mark.extra("scipy")
@each_severity
def test_glass_blur(images: torch.Tensor, severity: int) -> None:
    """By the loop of the authors, in which an assignment of views copies instead of swapping."""
    from scipy import ndimage

    sigma, shuffles = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity - 1]
    random = draws("glass_blur", severity)
    steps = [
        [(random.uniform(len(images), SIZE, SIZE) < 0.5).int().numpy() for _ in range(2)]
        for _ in range(shuffles)
    ]

    def gaussian(x: Pixels) -> Pixels:
        return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", truncate=4)

    def glass(x: Pixels, i: int) -> Pixels:
        pixels = np.uint8(gaussian(x) * 255 + 1e-9)
        for up, left in steps:
            for h in range(SIZE - 1, 1, -1):
                for w in range(SIZE - 1, 1, -1):
                    y, z = h - up[i, h, w], w - left[i, h, w]
                    pixels[h, w], pixels[y, z] = pixels[y, z], pixels[h, w]
        return gaussian(pixels / 255.0)

    check(images, "glass_blur", severity, glass)


@pytest.mark.extra("scipy")
@each_severity
def test_snow(images: torch.Tensor, severity: int) -> None:
    c = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]  # fmt: skip
    random = draws("snow", severity)
    normal = random.normal(len(images), 1, SIZE, SIZE)[:, 0, :, :, None].double().numpy()
    angles = random.uniform(len(images), low=-135, high=-45).tolist()

    def snowy(x: Pixels, i: int) -> Pixels:
        layer = scipy_zoom(c[0] + c[1] * normal[i], c[2])
        layer[layer < c[3]] = 0
        layer = np.uint8(np.clip(layer, 0, 1) * 255 + 1e-9) / 255
        layer = imagemagick_motion(layer, c[4], c[5], angles[i])
        gray = (x @ (0.299, 0.587, 0.114))[..., None]
        x = c[6] * x + (1 - c[6]) * np.maximum(x, gray * 1.5 + 0.5)
        return x + layer + np.rot90(layer, k=2)

    check(images, "snow", severity, snowy)


@pytest.mark.extra("scipy")
@each_severity
def test_elastic_transform(images: torch.Tensor, severity: int) -> None:
    from scipy import ndimage

    amount, smoothness, affine = (
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
    )[severity - 1]  # fmt: skip
    random = draws("elastic_transform", severity)
    count, reach = len(images), SIZE * affine
    corners = random.uniform(count, 3, 2, low=-reach, high=reach).double().numpy()
    fields = [random.uniform(count, SIZE, SIZE, low=-1).double().numpy() for _ in range(2)]
    rows, columns = np.indices((SIZE, SIZE)).astype(float)
    before = 16 + 10 * np.array([[1.0, 1], [1, -1], [-1, -1]])

    def elastic(x: Pixels, i: int) -> Pixels:
        after = before + corners[i]
        # The map from the three moved points back to where they were: columns, then rows.
        back = np.linalg.solve(np.column_stack([after, np.ones(3)]), before)
        target = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ back
        where = [target[..., 1], target[..., 0]]
        channels = [
            ndimage.map_coordinates(x[..., c], where, order=1, mode="mirror") for c in range(3)
        ]
        dx, dy = (
            amount * SIZE * ndimage.gaussian_filter(
                field[i], smoothness * SIZE, mode="reflect", truncate=3
            )
            for field in fields
        )  # fmt: skip
        where = [rows + dy, columns + dx]
        moved = [ndimage.map_coordinates(c, where, order=1, mode="reflect") for c in channels]
        return np.stack(moved, axis=-1)

    check(images, "elastic_transform", severity, elastic)
