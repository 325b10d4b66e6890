"""All augmentations of a recipe and the normalization, as one function of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.augment.base import BatchRandom, ColorOp
from residua.augment.color import ColorJitter
from residua.augment.erasing import CoarseDropout, Cutout, Erasing, RandomErasing, Rectangles
from residua.augment.geometric import (
    Affine,
    AlternatingFlip,
    Crop,
    Flip,
    Geometric,
    Padding,
    compose,
    group_by_padding,
    resample,
)
from residua.augment.mixing import CutMix, Mixing, MixParams, MixUp
from residua.augment.normalize import Normalize
from residua.augment.policy import AutoAugment, RandAugment, TrivialAugment

Augmentation = (
    Flip
    | AlternatingFlip
    | Crop
    | Affine
    | ColorJitter
    | AutoAugment
    | RandAugment
    | TrivialAugment
    | Cutout
    | CoarseDropout
    | RandomErasing
    | MixUp
    | CutMix
)


class GeometricParams(NamedTuple):
    """Successive geometric operations that are applied at once."""

    matrices: Tensor
    """(N, 2, 3)."""
    padding_mode: Padding
    pixel_exact: bool


@dataclass(frozen=True)
class BatchParams:
    """The sampled parameters of all operations for a batch of `count` images."""

    count: int
    size: int | None
    """The side in pixels that images are resized to."""
    geometric: Sequence[GeometricParams]
    color: Sequence[tuple[ColorOp, Tensor]]
    erasing: Sequence[tuple[Erasing, Rectangles]]
    mixing: Sequence[tuple[Mixing, MixParams]]

    def part(self, positions: Tensor) -> tuple[Tensor, "BatchParams"]:
        """Select the parameters that a part of the batch needs.

        Each mixing operation doubles the images that are needed: those of the part, and their
        partners, which may be anywhere in the batch.

        Args:
            positions: (n,) int64, of the part's images in the batch.

        Returns:
            the positions (M,) of the images to augment, the part's first; and the parameters that
            make the part of them.
        """
        rows, mixing = positions, []
        for operation, params in reversed(self.mixing):
            partner = torch.arange(len(rows), 2 * len(rows), device=rows.device)
            rectangles = params.rectangles and _select(params.rectangles, rows)
            mixing.append((operation, MixParams(partner, params.lam[rows], rectangles)))
            rows = torch.cat([rows, params.partner[rows]])
        return rows, BatchParams(
            len(rows),
            self.size,
            [each._replace(matrices=each.matrices[rows]) for each in self.geometric],
            [(operation, sampled[rows]) for operation, sampled in self.color],
            [(operation, _select(sampled, rows)) for operation, sampled in self.erasing],
            mixing[::-1],
        )


def _select(rectangles: Rectangles, rows: Tensor) -> Rectangles:
    top, left, height, width, noise = rectangles
    noise = None if noise is None else noise[rows]
    return Rectangles(top[rows], left[rows], height[rows], width[rows], noise)


@dataclass(frozen=True)
class Pipeline:
    """Convert uint8 images and labels to the inputs of the network and the loss.

    The order is geometric, colour, normalization, resizing, erasing, mixing. Within each of these
    groups the operations keep the order of the recipe.
    """

    operations: Sequence[Augmentation]
    normalize: Normalize
    """On the device of the images."""
    classes: int

    def __call__(
        self, images: Tensor, labels: Tensor, random: BatchRandom, size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (N, C, H, W) uint8.
            labels: (N,) int64.
            random: the source of randomness, on the device of the images.
            size: the side in pixels to resize to; None keeps the size.

        Returns:
            images (N, C, size, size) float32, normalized; targets (N, classes) float32, each row
            summing to 1.
        """
        return self.apply(images, labels, self.sample(random, size))

    def sample(self, random: BatchRandom, size: int | None = None) -> BatchParams:
        """Sample the parameters of all operations for a whole batch.

        Args:
            random: the source of randomness, on the device of the images.
            size: the side in pixels to resize to; None keeps the size.
        """
        operations = [part for each in self.operations for part in each.expand(random)]
        geometric = [
            GeometricParams(
                reduce(compose, [each.matrices(random) for each in group]),
                next((each.padding_mode for each in group if each.padding_mode), "zero"),
                all(each.pixel_exact for each in group),
            )
            for group in group_by_padding([op for op in operations if isinstance(op, Geometric)])
        ]
        color = [(op, op.sample(random)) for op in operations if isinstance(op, ColorOp)]
        if size is not None:
            random = random.resized(size, size)
        erasing = [(op, op.sample(random)) for op in operations if isinstance(op, Erasing)]
        mixing = [(op, op.sample(random)) for op in operations if isinstance(op, Mixing)]
        return BatchParams(random.count, size, geometric, color, erasing, mixing)

    def apply(self, images: Tensor, labels: Tensor, params: BatchParams) -> tuple[Tensor, Tensor]:
        """Augment a batch by sampled parameters; `__call__` describes arguments and results."""
        for matrices, padding_mode, pixel_exact in params.geometric:
            exact = pixel_exact and images.dtype == torch.uint8
            images = resample(images, matrices, padding_mode, exact)
        if params.color:
            images = images.float() / 255
            for color_op, sampled in params.color:
                images = color_op.apply(images, sampled)
            images = images * 255
        images = self.normalize(images)
        if params.size is not None:
            images = resize(images, params.size)
        for erasing, rectangles in params.erasing:
            images = erasing.apply(images, rectangles)
        # Unlike this, F.one_hot reads the labels and so makes the host wait for the device.
        targets = (labels[:, None] == torch.arange(self.classes, device=labels.device)).float()
        for mixing, mix_params in params.mixing:
            images, targets = mixing.apply(images, targets, mix_params)
        return images, targets


def resize(images: Tensor, size: int) -> Tensor:
    """Resize float images (N, C, H, W) to (N, C, size, size): bilinear, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
