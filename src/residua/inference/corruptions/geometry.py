"""Filters and interpolation that several corruptions share."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Border = Literal["nearest", "symmetric", "reflect"]
"""What lies beyond row 0 of rows a, b, c: `nearest` a a, `symmetric` a b, `reflect` b c."""


def border_index(index: Tensor, size: int, border: Border) -> Tensor:
    """Map indices, any int64, into [0, size)."""
    if border == "nearest":
        return index.clamp(0, size - 1)
    if border == "symmetric":
        folded = index.remainder(2 * size)
        return torch.minimum(folded, 2 * size - 1 - folded)
    if size == 1:
        return torch.zeros_like(index)
    folded = index.remainder(2 * size - 2)
    return torch.minimum(folded, 2 * size - 2 - folded)


def gaussian_matrix(size: int, sigma: float, truncate: float, border: Border) -> Tensor:
    """The matrix (size, size) of a Gaussian filter of a row, as scipy.ndimage defines it.

    Args:
        size: of the row.
        sigma: standard deviation, in pixels; 0 leaves the row as it is.
        truncate: the radius of the filter in standard deviations.
        border: what lies beyond the row.
    """
    radius = int(truncate * sigma + 0.5)
    if sigma == 0 or radius == 0:
        return torch.eye(size, dtype=torch.float64)
    taps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (taps.double() / sigma) ** 2)
    weights /= weights.sum()
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for tap, weight in zip(taps, weights, strict=True):
        rows = torch.arange(size)
        matrix.index_put_((rows, border_index(rows + tap, size, border)), weight, accumulate=True)
    return matrix


def gaussian_blur(images: Tensor, sigma: float, truncate: float, border: Border) -> Tensor:
    """Blur (..., H, W) by a Gaussian filter of rows and of columns."""
    height, width = images.shape[-2:]
    rows = gaussian_matrix(height, sigma, truncate, border)
    columns = gaussian_matrix(width, sigma, truncate, border)
    return rows @ images @ columns.T


def clipped_zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the centre of images (N, C, H, W) to their size.

    The corners of the enlarged part stay corners (scipy.ndimage.zoom, order 1).
    """
    sizes = images.shape[-2:]
    crops = [math.ceil(size / factor) for size in sizes]
    starts = [(size - crop) // 2 for size, crop in zip(sizes, crops, strict=True)]
    part = images[..., starts[0] : starts[0] + crops[0], starts[1] : starts[1] + crops[1]]
    zoomed = [round(crop * factor) for crop in crops]
    large = F.interpolate(part, size=zoomed, mode="bilinear", align_corners=True)
    trims = [(big - size) // 2 for big, size in zip(zoomed, sizes, strict=True)]
    return large[..., trims[0] : trims[0] + sizes[0], trims[1] : trims[1] + sizes[1]]


def sample(images: Tensor, y: Tensor, x: Tensor, border: Border) -> Tensor:
    """Bilinear interpolation.

    Args:
        images: (N, C, H, W).
        y: (N, H, W), the row that each output pixel is read from, in pixels.
        x: (N, H, W), the column.
        border: what lies beyond the image.

    Returns:
        (N, C, H, W).
    """
    top, left = y.floor(), x.floor()
    total = torch.zeros_like(images)
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            weight = (row_weight * column_weight)[:, None]
            total += weight * gather_pixels(images, row.long(), column.long(), border)
    return total


def gather_pixels(images: Tensor, y: Tensor, x: Tensor, border: Border) -> Tensor:
    """Pixels (N, C, H, W) at the rows y and columns x, int64 (N, H, W)."""
    count, channels, height, width = images.shape
    index = border_index(y, height, border) * width + border_index(x, width, border)
    index = index.reshape(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).reshape(images.shape)


def pixel_grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The row and the column of each pixel, int64 (H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return y, x


def to_levels(images: Tensor) -> Tensor:
    """Values in [0, 1] as whole numbers from 0 to 255, truncated; still float64."""
    # A whole number may have come out a rounding error below itself.
    return (255 * images.clamp(0, 1) + 1e-9).floor()
