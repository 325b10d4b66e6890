"""All augmentations of a recipe as one function of a batch, with normalisation fused in."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.augment.base import BatchRandom, ColorOp
from residua.augment.color import ColorJitter
from residua.augment.erasing import CoarseDropout, Cutout, Erasing, RandomErasing
from residua.augment.geometric import (
    Affine,
    AlternatingFlip,
    Crop,
    Flip,
    Geometric,
    compose,
    groups,
    resample,
)
from residua.augment.mixing import CutMix, Mixing, MixUp
from residua.augment.normalize import Normalize
from residua.augment.policy import RandAugment, TrivialAugment

Augmentation = (
    Flip
    | AlternatingFlip
    | Crop
    | Affine
    | ColorJitter
    | RandAugment
    | TrivialAugment
    | Cutout
    | CoarseDropout
    | RandomErasing
    | MixUp
    | CutMix
)


@dataclass(frozen=True)
class Pipeline:
    """uint8 images and labels to what the network and the loss take.

    The families go in this order whatever their order in the recipe, and keep their own order
    inside: geometric, colour, normalisation, resizing, erasing, mixing.
    """

    operations: Sequence[Augmentation]
    normalize: Normalize
    classes: int

    def __call__(
        self, images: Tensor, labels: Tensor, draw: BatchRandom, size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (N, 3, H, W) uint8.
            labels: (N,) int64.
            draw: the randomness, on the images' device.
            size: the side in pixels to resize to; None leaves it.

        Returns:
            images (N, 3, size, size) float32, normalised; targets (N, classes) float32, each row
            summing to 1.
        """
        operations = [part for each in self.operations for part in each.parts(draw)]
        for run in groups([each for each in operations if isinstance(each, Geometric)]):
            matrices = reduce(compose, [each.matrices(draw) for each in run])
            edges = [each.padding_mode for each in run if each.padding_mode]
            pixel_exact = all(each.pixel_exact for each in run) and images.dtype == torch.uint8
            images = resample(images, matrices, edges[0] if edges else "zero", pixel_exact)
        colors = [each for each in operations if isinstance(each, ColorOp)]
        if colors:
            images = images.float() / 255
            for color in colors:
                images = color.apply(images, color.draw(draw))
            images = images * 255
        images = self.normalize(images)
        if size is not None:
            images = resize(images, size)
            draw = draw.of_size(size, size)
        for erasing in operations:
            if isinstance(erasing, Erasing):
                images = erasing.apply(images, erasing.draw(draw))
        # Not F.one_hot, which looks at the labels first and so waits for the device.
        targets = (labels[:, None] == torch.arange(self.classes, device=labels.device)).float()
        for mixing in operations:
            if isinstance(mixing, Mixing):
                images, targets = mixing.apply(images, targets, mixing.draw(draw))
        return images, targets


def resize(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) float to (N, C, size, size): bilinear, antialiased; unchanged if it fits."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
