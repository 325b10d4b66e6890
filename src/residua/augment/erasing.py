"""Augmentations that hide a rectangle of each image, on normalised images."""

import math
from abc import abstractmethod
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from residua.augment.base import BatchRandom, Operation
from residua.schedules import NonNegative, Probability


class Rectangles(NamedTuple):
    """One rectangle an image, in pixels, (N,) int64 each; of height 0 where nothing is hidden."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    filling: Tensor | None = None
    """(N, 3, H, W) float32 to fill with; None fills with 0, the mean of the training set."""

    def masked(self, height: int, width: int) -> Tensor:
        """(N, 1, H, W) bool: what is hidden; parts beyond the edges are nowhere."""

        def inside(start: Tensor, length: Tensor, size: int) -> Tensor:
            place = torch.arange(size, device=start.device)
            return (place >= start[:, None]) & (place < (start + length)[:, None])

        rows = inside(self.top, self.height, height)
        columns = inside(self.left, self.width, width)
        return (rows[:, :, None] & columns[:, None, :])[:, None]


class Erasing(Operation):
    """An augmentation that hides a rectangle."""

    p: Probability = 0.5
    fill: Literal["mean", "noise"] = "mean"
    """With the training set's mean, or with standard normal noise."""

    @abstractmethod
    def rectangles(self, draw: BatchRandom) -> Rectangles:
        """One rectangle for every image."""

    def draw(self, draw: BatchRandom) -> Rectangles:
        """The rectangles, of height 0 where the image is left alone."""
        holes = self.rectangles(draw)
        holes = holes._replace(height=holes.height * draw.chosen(self.p))
        if self.fill == "mean":
            return holes
        shape = (draw.count, 3, draw.height, draw.width)
        device = draw.generator.device
        return holes._replace(filling=torch.randn(shape, generator=draw.generator, device=device))

    def apply(self, images: Tensor, drawn: Rectangles) -> Tensor:
        """The images (N, 3, H, W) with the rectangles filled."""
        hidden = drawn.masked(*images.shape[-2:])
        if drawn.filling is None:
            return images.masked_fill(hidden, 0.0)
        return torch.where(hidden, drawn.filling, images)


class Cutout(Erasing):
    """A square about a uniformly drawn centre, cut off by the edges (arXiv:1708.04552)."""

    kind: Literal["cutout"] = "cutout"
    size: NonNegative = 8
    """The side, in pixels."""

    def rectangles(self, draw: BatchRandom) -> Rectangles:
        """Centres anywhere in the image."""
        size = round(draw.number(self.size))
        sides = torch.full((draw.count,), size, device=draw.generator.device)
        top, left = (draw.integer(side) - size // 2 for side in (draw.height, draw.width))
        return Rectangles(top, left, sides, sides)


class CoarseDropout(Erasing):
    """A square wholly inside the image (Albumentations' CoarseDropout with one hole)."""

    kind: Literal["coarse_dropout"] = "coarse_dropout"
    size: NonNegative = 8
    """The side, in pixels."""

    def rectangles(self, draw: BatchRandom) -> Rectangles:
        """Squares that fit, all equally likely."""
        sides = [min(round(draw.number(self.size)), side) for side in (draw.height, draw.width)]
        top = draw.integer(draw.height - sides[0] + 1)
        left = draw.integer(draw.width - sides[1] + 1)
        height, width = (torch.full_like(top, side) for side in sides)
        return Rectangles(top, left, height, width)


class RandomErasing(Erasing):
    """A rectangle of random area and shape, wholly inside the image (arXiv:1708.04896).

    As torchvision does: of ten drawn rectangles the first that fits; none fits, none is erased.
    """

    kind: Literal["random_erasing"] = "random_erasing"
    area: tuple[float, float] = (0.02, 0.33)
    """The share of the image's area is uniform between these."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """Height over width is log-uniform between these."""
    attempts: int = Field(default=10, ge=1)

    def rectangles(self, draw: BatchRandom) -> Rectangles:
        """The first of the drawn rectangles that is smaller than the image."""
        area = draw.uniform(*self.area, self.attempts) * (draw.height * draw.width)
        logs = draw.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), self.attempts)
        heights = (area * logs.exp()).sqrt().round().long()
        widths = (area / logs.exp()).sqrt().round().long()
        fits = (heights < draw.height) & (widths < draw.width)
        first = fits.int().argmax(1, keepdim=True)
        height, width = (sides.gather(1, first)[:, 0] for sides in (heights, widths))
        height = height * fits.any(1)
        top = draw.integer(draw.height - height + 1)
        left = draw.integer((draw.width - width + 1).clamp(min=1))
        return Rectangles(top, left, height, width)
