"""Digital corruptions: functions of (N, 3, H, W) in [0, 1], a severity and random values."""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from residua.inference.corruptions.geometry import gaussian_blur, pixel_grid, sample
from residua.inference.corruptions.random import CorruptionRandom

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
ELASTIC = (
    (0.0, 0.0, 0.08),
    (0.05, 0.2, 0.07),
    (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05),
    (0.1, 0.03, 0.03),
)
"""Amount and smoothness of the displacement, and amount of the affine map; in shares of a side."""
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
JPEG_QUALITY = (80, 65, 58, 50, 40)


def contrast(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:  # noqa: ARG001
    """Move values towards the mean of their channel in the image."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + CONTRAST[severity - 1] * (images - mean)


def elastic_transform(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Map by a random affine transform, then displace each pixel by a smooth random field."""
    count, _, height, width = images.shape
    side = min(height, width)
    amount, smoothness, affine = (side * share for share in ELASTIC[severity - 1])
    y, x = pixel_grid(height, width)
    grid = torch.stack([x, y, torch.ones_like(x)]).double()
    from_x, from_y = (
        torch.einsum("nk,khw->nhw", row, grid)
        for row in _affine_sources(count, height, width, affine, random)
    )
    mapped = sample(images, from_y, from_x, "reflect")
    dx, dy = (
        amount
        * gaussian_blur(random.uniform(count, height, width, low=-1), smoothness, 3.0, "symmetric")
        for _ in range(2)
    )
    return sample(mapped, y + dy, x + dx, "symmetric")


def _affine_sources(
    count: int, height: int, width: int, amount: float, random: CorruptionRandom
) -> tuple[Tensor, Tensor]:
    """Coefficients (N, 3) of x, y and 1 for the column and the row that a pixel is read from.

    Three points around the centre move by up to `amount` pixels in each direction.
    """
    centre = torch.tensor([height // 2, width // 2], dtype=torch.float64)
    reach = min(height, width) // 3
    points = centre + reach * torch.tensor([[1.0, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    moved = points + random.uniform(count, 3, 2, low=-amount, high=amount)
    homogeneous = torch.cat([moved, torch.ones(count, 3, 1, dtype=torch.float64)], dim=2)
    solution = torch.linalg.solve(homogeneous, points.expand(count, 3, 2))
    return solution[:, :, 0], solution[:, :, 1]


def pixelate(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:  # noqa: ARG001
    """Reduce and enlarge by box filters."""
    share = PIXELATE[severity - 1]
    height, width = images.shape[-2:]
    small = (max(1, int(width * share)), max(1, int(height * share)))

    def reduced(image: Image.Image) -> Image.Image:
        return image.resize(small, Image.Resampling.BOX).resize(
            (width, height), Image.Resampling.BOX
        )

    return _by_pillow(images, reduced)


def jpeg_compression(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:  # noqa: ARG001
    """Encode as JPEG and decode."""

    def compressed(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=JPEG_QUALITY[severity - 1])
        return Image.open(file)

    return _by_pillow(images, compressed)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply a function of Pillow images to each image."""
    pixels = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).double() / 255
