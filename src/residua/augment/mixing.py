"""Augmentations that mix images and their targets: (images, targets) to (images, soft targets)."""

from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from residua.augment.base import BatchRandom, Operation
from residua.augment.erasing import Rectangles
from residua.schedules import Probability, Scheduled, bounds


def _positive(number: Scheduled) -> Scheduled:
    if min(bounds(number)) <= 0:
        raise ValueError("must be above 0")
    return number


class MixParams(NamedTuple):
    """What each image is mixed with, and how."""

    partner: Tensor
    """(N,) int64: the other image, by its place in the batch."""
    share: Tensor
    """(N,) float32: how much of the target stays the image's own."""
    holes: Rectangles | None
    """Where the other image shows; None where it shines through everywhere."""


class Mixing(Operation):
    """An augmentation that mixes each image with another one of its batch."""

    alpha: Annotated[Scheduled, AfterValidator(_positive), Field(validate_default=True)] = 1.0
    """The share is drawn from Beta(alpha, alpha)."""
    p: Probability = 1.0
    """For each image."""

    @abstractmethod
    def draw(self, draw: BatchRandom) -> MixParams:
        """What each image is mixed with, and how."""

    @abstractmethod
    def apply(self, images: Tensor, targets: Tensor, drawn: MixParams) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) and targets (N, K), which sum to 1, mixed."""

    def _shares(self, draw: BatchRandom) -> Tensor:
        return torch.where(draw.chosen(self.p), draw.beta(draw.number(self.alpha)), 1.0)


class MixUp(Mixing):
    """A weighted mean of two images (Zhang et al., arXiv:1710.09412)."""

    kind: Literal["mixup"] = "mixup"

    def draw(self, draw: BatchRandom) -> MixParams:
        """Partners by one permutation of the batch."""
        return MixParams(draw.permutation(), self._shares(draw), None)

    def apply(self, images: Tensor, targets: Tensor, drawn: MixParams) -> tuple[Tensor, Tensor]:
        """Mean of images, mean of targets."""
        share = drawn.share[:, None, None, None]
        mixed = images[drawn.partner].mul_(1 - share).addcmul_(images, share)
        return mixed, _mixed(targets, drawn)


class CutMix(Mixing):
    """A rectangle of another image pasted in (Yun et al., arXiv:1905.04899).

    The rectangle's centre is uniform over the image, what lies beyond the edges is cut off, and
    the targets are mixed by the area that is left, as in the authors' code.
    """

    kind: Literal["cutmix"] = "cutmix"

    def draw(self, draw: BatchRandom) -> MixParams:
        """Partners by one permutation of the batch, rectangles by share of the area."""
        partner, share = draw.permutation(), self._shares(draw)
        side = (1 - share).sqrt()

        def span(size: int) -> tuple[Tensor, Tensor]:
            half, centre = (side * size).long() // 2, draw.integer(size)
            start = (centre - half).clamp(0, size)
            return start, (centre + half).clamp(0, size) - start

        (top, height), (left, width) = span(draw.height), span(draw.width)
        share = 1 - (height * width).float() / (draw.height * draw.width)
        return MixParams(partner, share, Rectangles(top, left, height, width))

    def apply(self, images: Tensor, targets: Tensor, drawn: MixParams) -> tuple[Tensor, Tensor]:
        """Rectangles pasted, targets mixed by area."""
        assert drawn.holes is not None
        hidden = drawn.holes.masked(*images.shape[-2:])
        return torch.where(hidden, images[drawn.partner], images), _mixed(targets, drawn)


def _mixed(targets: Tensor, drawn: MixParams) -> Tensor:
    share = drawn.share[:, None]
    return targets * share + targets[drawn.partner] * (1 - share)
