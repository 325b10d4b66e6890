"""Augmentations that hide a rectangle of each image, on normalized images."""

import math
from abc import abstractmethod
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from residua.augment.base import BatchRandom, Operation
from residua.schedules import NonNegative, Probability


class Rectangles(NamedTuple):
    """One rectangle for each image in pixels, (N,) int64 each; height 0 hides nothing."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    noise: Tensor | None = None
    """(N, C, H, W) float32 to fill with; None fills with 0, the mean of the training set."""

    def mask(self, height: int, width: int) -> Tensor:
        """(N, 1, H, W) bool: the pixels inside; parts of a rectangle outside the image are cut."""

        def inside(start: Tensor, length: Tensor, size: int) -> Tensor:
            index = torch.arange(size, device=start.device)
            return (index >= start[:, None]) & (index < (start + length)[:, None])

        rows = inside(self.top, self.height, height)
        columns = inside(self.left, self.width, width)
        return (rows[:, :, None] & columns[:, None, :])[:, None]


class Erasing(Operation):
    """The base class of augmentations that hide a rectangle."""

    p: Probability = 0.5
    fill: Literal["mean", "noise"] = "mean"
    """Fill with the mean of the training set, or with standard normal noise."""

    @abstractmethod
    def sample_rectangles(self, random: BatchRandom) -> Rectangles:
        """Sample a rectangle for every image."""

    def sample(self, random: BatchRandom) -> Rectangles:
        """Sample rectangles, with height 0 for unchanged images."""
        rectangles = self.sample_rectangles(random)
        rectangles = rectangles._replace(height=rectangles.height * random.bernoulli(self.p))
        if self.fill == "mean":
            return rectangles
        shape = (random.count, random.channels, random.height, random.width)
        noise = torch.randn(shape, generator=random.generator, device=random.device)
        return rectangles._replace(noise=noise)

    def apply(self, images: Tensor, params: Rectangles) -> Tensor:
        """Fill the rectangles in images (N, C, H, W)."""
        mask = params.mask(*images.shape[-2:])
        if params.noise is None:
            return images.masked_fill(mask, 0.0)
        return torch.where(mask, params.noise, images)


class Cutout(Erasing):
    """A square around a uniformly sampled centre, cut at the edges (arXiv:1708.04552)."""

    kind: Literal["cutout"] = "cutout"
    size: NonNegative = 8
    """The side in pixels."""

    def sample_rectangles(self, random: BatchRandom) -> Rectangles:
        """Sample centres anywhere in the image."""
        size = round(random.value(self.size))
        sides = torch.full((random.count,), size, device=random.device)
        top, left = (random.integers(side) - size // 2 for side in (random.height, random.width))
        return Rectangles(top, left, sides, sides)


class CoarseDropout(Erasing):
    """A square inside the image (Albumentations' CoarseDropout with one hole)."""

    kind: Literal["coarse_dropout"] = "coarse_dropout"
    size: NonNegative = 8
    """The side in pixels."""

    def sample_rectangles(self, random: BatchRandom) -> Rectangles:
        """Sample squares with uniform positions."""
        sides = [
            min(round(random.value(self.size)), side) for side in (random.height, random.width)
        ]
        top = random.integers(random.height - sides[0] + 1)
        left = random.integers(random.width - sides[1] + 1)
        height, width = (torch.full_like(top, side) for side in sides)
        return Rectangles(top, left, height, width)


class RandomErasing(Erasing):
    """A rectangle of random area and aspect ratio inside the image (arXiv:1708.04896).

    As in torchvision, the first fitting one of ten rectangles is taken; if none fits, nothing is
    erased.
    """

    kind: Literal["random_erasing"] = "random_erasing"
    area: tuple[float, float] = (0.02, 0.33)
    """The range of the rectangle's fraction of the image area (uniform)."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """The range of height / width (log-uniform)."""
    attempts: int = Field(default=10, ge=1)

    def sample_rectangles(self, random: BatchRandom) -> Rectangles:
        """Sample rectangles; take the first one that is smaller than the image."""
        area = random.uniform(*self.area, self.attempts) * (random.height * random.width)
        log_ratio = random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), self.attempts)
        heights = (area * log_ratio.exp()).sqrt().round().long()
        widths = (area / log_ratio.exp()).sqrt().round().long()
        fits = (heights < random.height) & (widths < random.width)
        first = fits.int().argmax(1, keepdim=True)
        height, width = (sides.gather(1, first)[:, 0] for sides in (heights, widths))
        height = height * fits.any(1)
        top = random.integers(random.height - height + 1)
        left = random.integers((random.width - width + 1).clamp(min=1))
        return Rectangles(top, left, height, width)
