"""Blur: each function takes (N, 3, H, W) in [0, 1], a severity from 1 to 5, and random values."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from residua.inference.corruptions.geometry import (
    clipped_zoom,
    gather_pixels,
    gaussian_blur,
    pixel_grid,
    to_levels,
)
from residua.inference.corruptions.random import CorruptionRandom

DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
"""Radius of the disk, standard deviation of the filter that smooths its edge; in pixels."""
GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))
"""Standard deviation of the blur in pixels, number of shuffles."""
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
"""Radius and standard deviation of the kernel, in pixels."""
ZOOM_ENDS = (1.06, 1.11, 1.16, 1.21, 1.26)


def defocus_blur(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:  # noqa: ARG001
    """Convolve with a disk whose edge is smoothed; the border is reflected."""
    kernel = disk_kernel(*DEFOCUS[severity - 1])
    radius = len(kernel) // 2
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    channels = images.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def disk_kernel(radius: float, smoothing: float) -> Tensor:
    """A disk of this radius, smoothed by a 3 x 3 Gaussian filter; (k, k), its sum is 1."""
    reach = math.floor(radius) + 1
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).double()
    taps = torch.exp(-0.5 * (torch.tensor([-1.0, 0.0, 1.0]).double() / smoothing) ** 2)
    taps = taps / taps.sum()
    edge = taps[:, None] * taps
    smoothed = F.conv2d((disk / disk.sum())[None, None], edge[None, None], padding=1)
    return smoothed[0, 0]


def glass_blur(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Blur, move pixels by one at random, blur again.

    The authors' program means to swap neighbouring pixels; what it does, and the published sets
    were made so, is to copy one over the other, from the last pixel to the first. No copied pixel
    was overwritten before, so all are read at once. The first two rows and columns stay.
    """
    sigma, shuffles = GLASS[severity - 1]
    count, _, height, width = images.shape
    blurred = to_levels(gaussian_blur(images, sigma, 4.0, "nearest")) / 255
    y, x = pixel_grid(height, width)
    moving = (y >= 2) & (x >= 2)
    for _ in range(shuffles):
        up, left = (random.uniform(count, height, width) < 0.5 for _ in range(2))
        source = y - (up & moving).long(), x - (left & moving).long()
        blurred = gather_pixels(blurred, *source, "nearest")
    return gaussian_blur(blurred, sigma, 4.0, "nearest")


def motion_blur(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Blur along a direction between -45 and 45 degrees, another one for each image."""
    radius, sigma = MOTION[severity - 1]
    angles = random.uniform(len(images), low=-45, high=45)
    return (255 * blur_along(images, radius, sigma, angles)).round() / 255


def blur_along(images: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    """ImageMagick's motion blur: half of a Gaussian, along a line of whole pixels.

    Args:
        images: (N, C, H, W); beyond the border its pixels repeat.
        radius: the kernel has 2 radius + 1 taps.
        sigma: standard deviation of the Gaussian, in pixels.
        angles: (N,), in degrees; 0 is along the rows.
    """
    y, x = pixel_grid(*images.shape[-2:])
    taps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    radians = angles * math.pi / 180
    total = torch.zeros_like(images)
    for tap, weight in enumerate(weights.tolist()):
        dx, dy = (
            (tap * part - 0.5).ceil().long()[:, None, None]
            for part in (radians.cos(), radians.sin())
        )
        total += weight * gather_pixels(images, y + dy, x + dx, "nearest")
    return total


def zoom_blur(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:  # noqa: ARG001
    """Average the image with enlargements of its centre."""
    factors = np.arange(1, ZOOM_ENDS[severity - 1], 0.01)
    total = images.clone()
    for factor in factors:
        total += clipped_zoom(images, float(factor))
    return total / (len(factors) + 1)
