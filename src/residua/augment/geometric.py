"""Augmentations that move pixels: any number of them become one gather or one resampling.

Each draws one 2 x 3 matrix an image, from the pixel (x, y) of the output to the place in the input
that it is read from. Matrices compose by multiplication, so the batch is read once however many
augmentations there are, and nothing is interpolated twice.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from residua.augment.base import BatchRandom, Operation, constant
from residua.errors import UserError
from residua.schedules import NonNegative, Probability, Scheduled

Padding = Literal["zero", "reflect"]


class Geometric(Operation):
    """An augmentation that moves pixels."""

    pixel_exact: ClassVar[bool] = True
    """Whether every output pixel is some input pixel, so that nothing is interpolated."""

    @abstractmethod
    def matrices(self, draw: BatchRandom) -> Tensor:
        """(N, 2, 3) float32, from output pixels (x, y, 1) to input pixels (x, y)."""

    @property
    def padding_mode(self) -> Padding | None:
        """What lies beyond the image's edge; None where nothing beyond is ever read."""
        return None


class Flip(Geometric):
    """Mirror left and right, each image with probability p."""

    kind: Literal["flip"] = "flip"
    p: Probability = 0.5

    def matrices(self, draw: BatchRandom) -> Tensor:
        """Mirror the chosen images."""
        return _mirror(draw.chosen(self.p), draw.width)


class AlternatingFlip(Geometric):
    """Mirror every image in every second epoch, half of them first (Jordan, arXiv:2404.00498).

    Which half is drawn once, by each image's index: no image is seen the same way round twice
    in a row, and every pair of epochs shows all images both ways.
    """

    kind: Literal["alternating_flip"] = "alternating_flip"

    def matrices(self, draw: BatchRandom) -> Tensor:
        """Mirror the images whose turn it is."""
        hashed = (draw.indices * 2654435761) % 4294967296 >> 15
        return _mirror((hashed + draw.progress.epoch) % 2 == 1, draw.width)


class Crop(Geometric):
    """Pad every side, then take a window of the image's own size at a uniformly drawn place."""

    kind: Literal["crop"] = "crop"
    padding: int = Field(default=4, ge=0)
    """In pixels; below the image's size."""
    mode: Padding = "zero"

    @property
    def padding_mode(self) -> Padding | None:
        """Zeros or the mirrored image."""
        return self.mode

    def matrices(self, draw: BatchRandom) -> Tensor:
        """Translations by whole pixels.

        Raises:
            UserError: the padding is as large as the image.
        """
        if self.padding >= min(draw.width, draw.height):
            raise UserError(
                f"a crop's padding of {self.padding} needs images larger than "
                f"{draw.width} x {draw.height} pixels"
            )
        shift_x, shift_y = (draw.integer(2 * self.padding + 1) - self.padding for _ in range(2))
        return _shift(shift_x, shift_y)


class Affine(Geometric):
    """Rotate, scale, shear and translate about the centre, each image with probability p.

    The order is scale, shear, rotate, translate; beyond the edges lies zero; bilinear.
    """

    kind: Literal["affine"] = "affine"
    pixel_exact: ClassVar[bool] = False
    degrees: NonNegative = 0.0
    """Rotation is uniform in [-degrees, degrees]."""
    translate: NonNegative = 0.0
    """Translation is uniform within this share of the side, both ways, along each axis."""
    scale: tuple[Scheduled, Scheduled] = (1.0, 1.0)
    """The scale is uniform between these."""
    shear: NonNegative = 0.0
    """Shear along x is uniform in [-shear, shear] degrees."""
    p: Probability = 1.0
    mode: Padding = "zero"

    @property
    def padding_mode(self) -> Padding | None:
        """Zeros or the mirrored image."""
        return self.mode

    def matrices(self, draw: BatchRandom) -> Tensor:
        """The inverse of scale, shear, rotation and translation about the centre."""
        degrees, translate, shear = map(draw.number, (self.degrees, self.translate, self.shear))
        low, high = map(draw.number, self.scale)
        angle = draw.uniform(-degrees, degrees) * (math.pi / 180)
        slant = torch.tan(draw.uniform(-shear, shear) * (math.pi / 180))
        scale = draw.uniform(low, high)
        moves = [draw.uniform(-translate, translate) * side for side in (draw.width, draw.height)]
        chosen = draw.chosen(self.p)
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        across = torch.stack([cos - slant * sin, -sin - slant * cos], 1)
        linear = torch.stack([across, torch.stack([sin, cos], 1)], 1)
        centre = constant(((draw.width - 1) / 2, (draw.height - 1) / 2), linear.device)
        origin = centre - (linear @ (centre + torch.stack(moves, 1))[..., None])[..., 0]
        return torch.where(
            chosen[:, None, None],
            torch.cat([linear, origin[..., None]], 2),
            identity_matrices(draw.count, linear.device),
        )


def identity_matrices(count: int, device: torch.device) -> Tensor:
    """(count, 2, 3): nothing moves."""
    return constant((1, 0, 0, 0, 1, 0), device).view(1, 2, 3).repeat(count, 1, 1)


def _shift(x: Tensor, y: Tensor) -> Tensor:
    """(N, 2, 3): translations by x and y pixels, (N,) each."""
    matrices = identity_matrices(len(x), x.device)
    matrices[:, 0, 2] = x
    matrices[:, 1, 2] = y
    return matrices


def _mirror(chosen: Tensor, width: int) -> Tensor:
    """(N, 2, 3): left and right exchanged where chosen, (N,) bool."""
    matrices, mirrored = identity_matrices(len(chosen), chosen.device), chosen.float()
    matrices[:, 0, 0] = 1 - 2 * mirrored
    matrices[:, 0, 2] = (width - 1) * mirrored
    return matrices


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The matrices (N, 2, 3) of `first`, then `second`: read through second's, then first's."""
    linear = first[:, :, :2] @ second[:, :, :2]
    origin = first[:, :, :2] @ second[:, :, 2:] + first[:, :, 2:]
    return torch.cat([linear, origin], 2)


def groups(operations: Sequence[Geometric]) -> list[list[Geometric]]:
    """Split into runs that one reading can do: those that agree on what lies beyond the edge."""
    runs: list[list[Geometric]] = []
    for operation in operations:
        padding_mode = {other.padding_mode for other in (runs[-1] if runs else [])} | {
            operation.padding_mode
        }
        if runs and len(padding_mode - {None}) <= 1:
            runs[-1].append(operation)
        else:
            runs.append([operation])
    return runs


def resample(images: Tensor, matrices: Tensor, padding_mode: Padding, pixel_exact: bool) -> Tensor:
    """Read every output pixel of a batch from where its matrix points.

    Args:
        images: (N, C, H, W), uint8 or float32.
        matrices: (N, 2, 3), from output to input pixels.
        beyond: what is read beyond the edges.
        integral: whether the matrices map pixels onto pixels, rows onto rows: then it is one
            gather, in the images' own type; else one bilinear sampling, in float32.

    Returns:
        (N, C, H, W).
    """
    return (_gather if pixel_exact else _sample)(images, matrices, padding_mode)


def _gather(images: Tensor, matrices: Tensor, padding_mode: Padding) -> Tensor:
    count, channels, height, width = images.shape
    columns = _places(matrices[:, 0, 0], matrices[:, 0, 2], width)
    rows = _places(matrices[:, 1, 1], matrices[:, 1, 2], height)
    if padding_mode == "zero":
        images = F.pad(images, (1, 1, 1, 1))
        columns, rows = columns.clamp(-1, width) + 1, rows.clamp(-1, height) + 1
    else:
        columns, rows = _reflected(columns, width), _reflected(rows, height)
    # One place a pixel for all channels: an index for every dimension is much slower.
    places = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    shared = places.reshape(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, shared).view(count, channels, height, width)


def _places(slope: Tensor, offset: Tensor, size: int) -> Tensor:
    """(N, size) int64: where each output row or column is read."""
    steps = torch.arange(size, device=slope.device, dtype=slope.dtype)
    return (slope[:, None] * steps + offset[:, None]).round().long()


def _reflected(places: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - places.abs()).abs()


def _sample(images: Tensor, matrices: Tensor, padding_mode: Padding) -> Tensor:
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=matrices.dtype)
    y = torch.arange(height, device=images.device, dtype=matrices.dtype)
    # From pixels to grid_sample's [-1, 1], done to the matrices: they are fewer than the places.
    sides = constant((max(1, width - 1), max(1, height - 1)), images.device)
    matrices = matrices * (2 / sides)[:, None]
    along_x = matrices[:, :, 0, None] * x - 1
    along_y = matrices[:, :, 1, None] * y + matrices[:, :, 2, None]
    grid = (along_y[..., :, None] + along_x[..., None, :]).permute(0, 2, 3, 1)
    mode = "zeros" if padding_mode == "zero" else "reflection"
    return F.grid_sample(images.float(), grid, "bilinear", mode, align_corners=True)
