"""Geometric augmentations, all of which are applied by one gather or one resampling.

Each operation samples one 2 x 3 matrix for each image, which maps an output pixel (x, y) to the
position in the input. The matrices of several operations are multiplied, so the batch is read only
once and nothing is interpolated twice.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from residua.augment.base import BatchRandom, Operation, cached_tensor
from residua.errors import UserError
from residua.schedules import NonNegative, Probability, Scheduled

Padding = Literal["zero", "reflect"]


class Geometric(Operation):
    """The base class of geometric augmentations."""

    pixel_exact: ClassVar[bool] = True
    """Whether every output pixel equals an input pixel, so that nothing is interpolated."""

    @abstractmethod
    def matrices(self, random: BatchRandom) -> Tensor:
        """Sample matrices (N, 2, 3) float32 from output (x, y, 1) to input pixels (x, y)."""

    @property
    def padding_mode(self) -> Padding | None:
        """The padding; None if no pixel outside the image is read."""
        return None


class Flip(Geometric):
    """Flip each image horizontally with probability p."""

    kind: Literal["flip"] = "flip"
    p: Probability = 0.5

    def matrices(self, random: BatchRandom) -> Tensor:
        """Sample which images are flipped."""
        return _flip(random.bernoulli(self.p), random.width)


class AlternatingFlip(Geometric):
    """Flip each image in every second epoch (Jordan, arXiv:2404.00498).

    A hash of the index selects the half of the images that is flipped in odd epochs; the other half
    is flipped in even epochs. Two successive epochs show each image both ways.
    """

    kind: Literal["alternating_flip"] = "alternating_flip"

    def matrices(self, random: BatchRandom) -> Tensor:
        """Flip half of the images, by epoch."""
        hashed = (random.indices * 2654435761) % 4294967296 >> 15
        return _flip((hashed + random.progress.epoch) % 2 == 1, random.width)


class Crop(Geometric):
    """Pad all sides, then crop a window of the original size at a uniform random position."""

    kind: Literal["crop"] = "crop"
    padding: int = Field(default=4, ge=0)
    """Pixels; below the image size."""
    mode: Padding = "zero"

    @property
    def padding_mode(self) -> Padding | None:
        """The padding of the recipe."""
        return self.mode

    def matrices(self, random: BatchRandom) -> Tensor:
        """Sample translations by whole pixels.

        Raises:
            UserError: the padding is not below the image size.
        """
        if self.padding >= min(random.width, random.height):
            raise UserError(
                f"a crop's padding of {self.padding} needs images larger than "
                f"{random.width} x {random.height} pixels"
            )
        shift_x, shift_y = (random.integers(2 * self.padding + 1) - self.padding for _ in range(2))
        return _translation(shift_x, shift_y)


class Affine(Geometric):
    """Scale, shear, rotate (about the centre) and translate each image with probability p.

    The transforms are applied in this order, with bilinear interpolation.
    """

    kind: Literal["affine"] = "affine"
    pixel_exact: ClassVar[bool] = False
    degrees: NonNegative = 0.0
    """The rotation is uniform in [-degrees, degrees]."""
    translate: NonNegative = 0.0
    """The translation along each axis is uniform in [-translate, translate] times the side."""
    scale: tuple[Scheduled, Scheduled] = (1.0, 1.0)
    """The range of the scale (uniform)."""
    shear: NonNegative = 0.0
    """The shear along x is uniform in [-shear, shear] degrees."""
    p: Probability = 1.0
    mode: Padding = "zero"

    @property
    def padding_mode(self) -> Padding | None:
        """The padding of the recipe."""
        return self.mode

    def matrices(self, random: BatchRandom) -> Tensor:
        """Sample the inverse of scale, shear, rotation and translation."""
        degrees, translate, shear = map(random.value, (self.degrees, self.translate, self.shear))
        low, high = map(random.value, self.scale)
        angle = random.uniform(-degrees, degrees) * (math.pi / 180)
        shear_x = torch.tan(random.uniform(-shear, shear) * (math.pi / 180))
        scale = random.uniform(low, high)
        offsets = [
            random.uniform(-translate, translate) * side for side in (random.width, random.height)
        ]
        apply = random.bernoulli(self.p)
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        first_row = torch.stack([cos - shear_x * sin, -sin - shear_x * cos], 1)
        linear = torch.stack([first_row, torch.stack([sin, cos], 1)], 1)
        centre = cached_tensor(((random.width - 1) / 2, (random.height - 1) / 2), linear.device)
        origin = centre - (linear @ (centre + torch.stack(offsets, 1))[..., None])[..., 0]
        return torch.where(
            apply[:, None, None],
            torch.cat([linear, origin[..., None]], 2),
            identity_matrices(random.count, linear.device),
        )


def identity_matrices(count: int, device: torch.device) -> Tensor:
    """Identity transforms, (count, 2, 3)."""
    return cached_tensor((1, 0, 0, 0, 1, 0), device).view(1, 2, 3).repeat(count, 1, 1)


def _translation(x: Tensor, y: Tensor) -> Tensor:
    """Translations (N, 2, 3) by x and y pixels, (N,) each."""
    matrices = identity_matrices(len(x), x.device)
    matrices[:, 0, 2] = x
    matrices[:, 1, 2] = y
    return matrices


def _flip(flipped: Tensor, width: int) -> Tensor:
    """Horizontal flips (N, 2, 3) of the images where `flipped`, (N,) bool, is true."""
    matrices, flips = identity_matrices(len(flipped), flipped.device), flipped.float()
    matrices[:, 0, 0] = 1 - 2 * flips
    matrices[:, 0, 2] = (width - 1) * flips
    return matrices


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Compose the matrices (N, 2, 3) of `first`, then `second`, applied to images in this order."""
    linear = first[:, :, :2] @ second[:, :, :2]
    origin = first[:, :, :2] @ second[:, :, 2:] + first[:, :, 2:]
    return torch.cat([linear, origin], 2)


def group_by_padding(operations: Sequence[Geometric]) -> list[list[Geometric]]:
    """Group successive operations with compatible padding; each group is applied at once."""
    groups: list[list[Geometric]] = []
    for operation in operations:
        modes = {other.padding_mode for other in (*(groups[-1] if groups else ()), operation)}
        if groups and len(modes - {None}) <= 1:
            groups[-1].append(operation)
        else:
            groups.append([operation])
    return groups


def resample(images: Tensor, matrices: Tensor, padding_mode: Padding, pixel_exact: bool) -> Tensor:
    """Compute each output pixel from the input position given by the image's matrix.

    Args:
        images: (N, C, H, W), uint8 or float32.
        matrices: (N, 2, 3), from output to input pixels.
        padding_mode: the values outside the image.
        pixel_exact: whether the matrices map pixels to pixels and rows to rows. If so, the result
            is one gather in the dtype of the images; otherwise one bilinear sampling in float32.

    Returns:
        (N, C, H, W).
    """
    return (_gather if pixel_exact else _grid_sample)(images, matrices, padding_mode)


def _gather(images: Tensor, matrices: Tensor, padding_mode: Padding) -> Tensor:
    count, channels, height, width = images.shape
    columns = _source_indices(matrices[:, 0, 0], matrices[:, 0, 2], width)
    rows = _source_indices(matrices[:, 1, 1], matrices[:, 1, 2], height)
    if padding_mode == "zero":
        images = F.pad(images, (1, 1, 1, 1))
        columns, rows = columns.clamp(-1, width) + 1, rows.clamp(-1, height) + 1
    else:
        columns, rows = _reflect(columns, width), _reflect(rows, height)
    # One flat index per pixel for all channels is much faster than one index per dimension.
    indices = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    indices = indices.reshape(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, indices).view(count, channels, height, width)


def _source_indices(scale: Tensor, offset: Tensor, size: int) -> Tensor:
    """(N, size) int64: the input index of each output row or column."""
    outputs = torch.arange(size, device=scale.device, dtype=scale.dtype)
    return (scale[:, None] * outputs + offset[:, None]).round().long()


def _reflect(indices: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - indices.abs()).abs()


def _grid_sample(images: Tensor, matrices: Tensor, padding_mode: Padding) -> Tensor:
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=matrices.dtype)
    y = torch.arange(height, device=images.device, dtype=matrices.dtype)
    # Scale from pixels to grid_sample's [-1, 1] in the matrices, which are smaller than the grid.
    extents = cached_tensor((max(1, width - 1), max(1, height - 1)), images.device)
    matrices = matrices * (2 / extents)[:, None]
    x_terms = matrices[:, :, 0, None] * x - 1
    y_terms = matrices[:, :, 1, None] * y + matrices[:, :, 2, None]
    grid = (y_terms[..., :, None] + x_terms[..., None, :]).permute(0, 2, 3, 1)
    mode = "zeros" if padding_mode == "zero" else "reflection"
    return F.grid_sample(images.float(), grid, "bilinear", mode, align_corners=True)
