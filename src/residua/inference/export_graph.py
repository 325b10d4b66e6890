"""A network as one graph, from uint8 images of any size to probabilities."""

import torch
from torch import Tensor, nn

from residua.augment.tta import TTA, tta_views
from residua.data.decoding import BACKGROUND, Preparation
from residua.models.network import NormalizedNetwork

LUMA_WEIGHTS = (19595.0, 38470.0, 7471.0)
"""Pillow's weights of red, green and blue, of 2**16 (ITU-R 601-2)."""
PRECISION_BITS = 22
"""Bits after the point of Pillow's filter coefficients (`Resample.c`)."""


class ExportGraph(nn.Module):
    """Resizing, normalization, network, test-time augmentation and softmax, in float32.

    Resizing has the pixels of `residua.data.decoding.prepare_image`, which uses Pillow.

    Args:
        network: from uint8 (N, 3, size, size) to logits.
        preparation: how images become those that the network takes.
        tta: the test-time augmentation.
    """

    def __init__(self, network: NormalizedNetwork, preparation: Preparation, tta: TTA) -> None:
        super().__init__()
        self.normalize, self.network = network.normalize, network.network
        self.preparation, self.tta = preparation, tta

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 (N, 3, H, W) to probabilities (N, K) float32."""
        weights, views = zip(
            *tta_views(self.normalize(prepare(images, self.preparation)), self.tta), strict=True
        )
        logits = self.network(torch.cat(views)).unflatten(0, (len(views), -1))
        probabilities: Tensor = (logits * torch.tensor(weights)[:, None, None]).sum(0).softmax(1)
        return probabilities


def prepare(images: Tensor, preparation: Preparation) -> Tensor:
    """Convert images to the squares of a data set, with the pixels of `prepare_image`.

    Args:
        images: uint8 (N, 3, H, W).
        preparation: size, fit and channels of the result.

    Returns:
        (N, channels, size, size) float32 with integers in [0, 255].
    """
    if preparation.channels == 1:
        images = luma_levels(images)
    if preparation.fit == "crop":
        return crop_and_resize(images, preparation.size)
    return pad_or_stretch(images, preparation.size, pad=preparation.fit == "pad")


def luma_levels(images: Tensor) -> Tensor:
    """Convert RGB, uint8 (N, 3, H, W), to grey, (N, 1, H, W) float64, as Pillow does to mode L."""
    weights = torch.tensor(LUMA_WEIGHTS, dtype=torch.float64, device=images.device)
    sums = (images.double() * weights[:, None, None]).sum(1, keepdim=True)
    return ((sums + 2.0**15) / 2.0**16).floor()


def pad_or_stretch(images: Tensor, size: int, *, pad: bool) -> Tensor:
    """Resize whole images to a square, with the pixels of `PIL.ImageOps.pad` or `Image.resize`.

    Args:
        images: (N, C, H, W), integers in [0, 255].
        size: pixels of each side of the result.
        pad: whether the aspect ratio is kept, and the rest of the square is grey.

    Returns:
        (N, C, size, size) float32 with integers in [0, 255].
    """
    rows, columns = (
        torch.arange(images.shape[axis], dtype=torch.float64, device=images.device)
        for axis in (2, 3)
    )
    height, width = rows[-1] + 1, columns[-1] + 1
    longest = torch.maximum(height, width) if pad else None
    horizontal, inside_columns = _whole_axis(columns, width, longest, size)
    vertical, inside_rows = _whole_axis(rows, height, longest, size)
    narrow = _fixed_point(images.double() @ horizontal.T)
    resized = _fixed_point(vertical @ narrow).float()
    return torch.where(inside_rows[:, None] & inside_columns, resized, float(BACKGROUND[0]))


def _whole_axis(
    index: Tensor, length: Tensor, longest: Tensor | None, size: int
) -> tuple[Tensor, Tensor]:
    """The coefficients (size, len(index)) of an axis, and which of the results are in the image."""
    whole = torch.full_like(length, float(size))
    count = whole if longest is None else (length / longest * size).round()
    start = ((whole - count) * 0.5).round()
    position = torch.arange(size, dtype=torch.float64, device=index.device) - start
    matrix = _bicubic_matrix(index, torch.zeros_like(length), length / count, position)
    return matrix, (position >= 0) & (position < count)


def crop_and_resize(images: Tensor, size: int) -> Tensor:
    """Crop the centre to a square and resize it, with the pixels of `data.decoding.prepare_image`.

    Both passes of Pillow's bicubic filter, horizontal and vertical, are products with the matrix of
    its fixed-point coefficients. float64 holds their sums exactly, so the pixels are those of
    Pillow's integer arithmetic. Only operations on tensors are used, so that a traced graph takes
    any height and width.

    Args:
        images: uint8 (N, C, H, W).
        size: pixels of each side of the result.

    Returns:
        (N, C, size, size) float32 with integers in [0, 255].
    """
    rows, columns = (
        torch.arange(images.shape[axis], dtype=torch.float64, device=images.device)
        for axis in (2, 3)
    )
    height, width = rows[-1] + 1, columns[-1] + 1
    side = torch.minimum(height, width)
    position = torch.arange(size, dtype=torch.float64, device=images.device)
    horizontal = _bicubic_matrix(columns, (width - side) / 2, side / size, position)
    vertical = _bicubic_matrix(rows, (height - side) / 2, side / size, position)
    narrow = _fixed_point(images.double() @ horizontal.T)
    return _fixed_point(vertical @ narrow).float()


def _bicubic_matrix(index: Tensor, offset: Tensor, scale: Tensor, position: Tensor) -> Tensor:
    """Pillow's coefficients float64, integers, as `precompute_coeffs` has them.

    Args:
        index: 0, 1, ... of the pixels of a line, float64.
        offset: where the part that is resized begins.
        scale: pixels of that part for each pixel of the result.
        position: 0, 1, ... of the pixels of the result; others get coefficients without a meaning.

    Returns:
        (len(position), len(index)).
    """
    filter_scale = scale.clamp(min=1.0)
    support = 2 * filter_scale
    center = (offset + (position + 0.5) * scale)[:, None]
    distance = ((index - center + 0.5) / filter_scale).abs()
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * -0.5
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    first, end = (center - support + 0.5).floor(), (center + support + 0.5).floor()
    weights = torch.where((index >= first) & (index < end), weights, 0.0)
    total = weights.sum(1, keepdim=True)
    weights = weights / torch.where(total == 0, 1.0, total) * 2.0**PRECISION_BITS
    # Rounded half away from zero, as a C cast of w - 0.5 or w + 0.5 does.
    return torch.where(weights < 0, (weights - 0.5).ceil(), (weights + 0.5).floor())


def _fixed_point(sums: Tensor) -> Tensor:
    """Pillow's `clip8`: rounded to integers in [0, 255]."""
    return ((sums + 2.0 ** (PRECISION_BITS - 1)) / 2.0**PRECISION_BITS).floor().clamp(0, 255)
