"""Weather: functions of (N, 3, H, W) in [0, 1], a severity from 1 to 5, and random values."""

import torch
from torch import Tensor

from residua.inference.corruptions.blur import blur_along
from residua.inference.corruptions.geometry import clipped_zoom, to_levels
from residua.inference.corruptions.random import CorruptionRandom

SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
"""Mean and deviation of flakes, their zoom and threshold, radius and sigma of blur, image share."""
FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
"""Factors of the image and of the frost."""
FROST_TINT = (0.86, 0.94, 1.0)
"""Red, green and blue of the brightest frost."""
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
"""Amount of fog, decay of its roughness."""
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def snow(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Whiten the image, and add flakes that fall from a random direction."""
    mean, std, zoom, threshold, radius, sigma, share = SNOW[severity - 1]
    count, _, height, width = images.shape
    flakes = clipped_zoom(mean + std * random.normal(count, 1, height, width), zoom)
    flakes = to_levels(torch.where(flakes < threshold, 0.0, flakes)) / 255
    angles = random.uniform(count, low=-135, high=-45)
    flakes = (255 * blur_along(flakes, radius, sigma, angles)).round() / 255
    gray = (images * images.new_tensor(GRAY)[:, None, None]).sum(1, keepdim=True)
    whitened = share * images + (1 - share) * torch.maximum(images, 1.5 * gray + 0.5)
    return whitened + flakes + flakes.flip(2, 3)


def frost(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Blend with procedural crystals of ice, in the shares of CIFAR-C.

    CIFAR-C blends with five photographs of frost. They are not part of this package, so the
    texture is made, and figures of this kind cannot be compared with those on CIFAR-C's files.
    """
    image_share, frost_share = FROST[severity - 1]
    return image_share * images + frost_share * frost_texture(images, random)


def frost_texture(images: Tensor, random: CorruptionRandom) -> Tensor:
    """Crystals (N, 3, H, W) in [0, 1]: the ridges of fractals, sharpened, on a bright ground."""
    count, _, height, width = images.shape
    ridges = [
        1 - (2 * plasma_fractal(count, max(height, width), decay, random) - 1).abs()
        for decay in (2.0, 1.5)
    ]
    crystals = (ridges[0] ** 4 + ridges[1] ** 2) / 2
    texture = 0.35 + 0.65 * crystals[:, None, :height, :width]
    return texture * images.new_tensor(FROST_TINT)[:, None, None]


def fog(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Add a plasma fractal, and scale back to the brightest value of the image."""
    amount, decay = FOG[severity - 1]
    height, width = images.shape[-2:]
    plasma = plasma_fractal(len(images), max(height, width), decay, random)
    haze = plasma[:, None, :height, :width]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + amount * haze) * brightest / (brightest + amount)


def plasma_fractal(count: int, size: int, decay: float, random: CorruptionRandom) -> Tensor:
    """Height maps by the diamond-square algorithm, which wrap around at their borders.

    Args:
        count: N.
        size: pixels that are needed; the side is the next power of two.
        decay: what the roughness is divided by at each step.
        random: draws the heights.

    Returns:
        (N, side, side) float64 in [0, 1].
    """
    side = max(2, 1 << (size - 1).bit_length())
    heights = torch.zeros(count, side, side, dtype=torch.float64)
    step, wobble = side, 100.0
    while step >= 2:
        half, n = step // 2, side // step

        def wobbled(total: Tensor, wobble: float = wobble, n: int = n) -> Tensor:
            return total / 4 + wobble * random.uniform(count, n, n, low=-wobble, high=wobble)

        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = wobbled(pairs + pairs.roll(-1, 2))
        centres = heights[:, half::step, half::step]
        horizontal = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        heights[:, ::step, half::step] = wobbled(horizontal)
        vertical = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        heights[:, half::step, ::step] = wobbled(vertical)
        step, wobble = half, wobble / decay
    heights -= heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)


def brightness(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:  # noqa: ARG001
    """Raise the value of HSV, at most to 1, which leaves hue and saturation."""
    value = images.amax(1, keepdim=True)
    raised = (value + BRIGHTNESS[severity - 1]).clamp(max=1)
    return torch.where(value > 0, images * raised / value.clamp(min=1e-9), raised)
