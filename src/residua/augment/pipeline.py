"""All augmentations of a recipe and the normalization, as one function of a batch."""

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
    group_by_padding,
    resample,
)
from residua.augment.mixing import CutMix, Mixing, MixUp
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
        operations = [part for each in self.operations for part in each.expand(random)]
        geometric = [each for each in operations if isinstance(each, Geometric)]
        for group in group_by_padding(geometric):
            matrices = reduce(compose, [each.matrices(random) for each in group])
            modes = [each.padding_mode for each in group if each.padding_mode]
            pixel_exact = all(each.pixel_exact for each in group) and images.dtype == torch.uint8
            images = resample(images, matrices, modes[0] if modes else "zero", pixel_exact)
        color_ops = [each for each in operations if isinstance(each, ColorOp)]
        if color_ops:
            images = images.float() / 255
            for color_op in color_ops:
                images = color_op.apply(images, color_op.sample(random))
            images = images * 255
        images = self.normalize(images)
        if size is not None:
            images = resize(images, size)
            random = random.resized(size, size)
        for erasing in operations:
            if isinstance(erasing, Erasing):
                images = erasing.apply(images, erasing.sample(random))
        # Unlike this, F.one_hot reads the labels and so makes the host wait for the device.
        targets = (labels[:, None] == torch.arange(self.classes, device=labels.device)).float()
        for mixing in operations:
            if isinstance(mixing, Mixing):
                images, targets = mixing.apply(images, targets, mixing.sample(random))
        return images, targets


def resize(images: Tensor, size: int) -> Tensor:
    """Resize float images (N, C, H, W) to (N, C, size, size): bilinear, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
