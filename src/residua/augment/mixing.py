"""Augmentations that mix images and their targets: (images, targets) to (images, soft targets)."""

from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from residua.augment.base import BatchRandom, Operation
from residua.augment.erasing import Rectangles
from residua.schedules import Probability, Scheduled, bounds


def _check_positive(value: Scheduled) -> Scheduled:
    if min(bounds(value)) <= 0:
        raise ValueError("must be above 0")
    return value


class MixParams(NamedTuple):
    """The parameters of mixing for each image."""

    partner: Tensor
    """(N,) int64: the index of the other image in the batch, which may have more than N images."""
    lam: Tensor
    """(N,) float32: the weight of the image's own target."""
    rectangles: Rectangles | None
    """The part taken from the other image; None blends the whole images."""


class Mixing(Operation):
    """The base class of augmentations that mix each image with another one of the batch."""

    alpha: Annotated[Scheduled, AfterValidator(_check_positive), Field(validate_default=True)] = 1.0
    """Lambda is sampled from Beta(alpha, alpha)."""
    p: Probability = 1.0
    """The probability for each image."""

    @abstractmethod
    def sample(self, random: BatchRandom) -> MixParams:
        """Sample the parameters of mixing for each image."""

    @abstractmethod
    def apply(self, images: Tensor, targets: Tensor, params: MixParams) -> tuple[Tensor, Tensor]:
        """Mix the first N of the images (M, C, H, W) with their partners, and their targets (M, K).

        Returns:
            images (N, C, H, W) and targets (N, K) whose rows sum to 1.
        """

    def _sample_lam(self, random: BatchRandom) -> Tensor:
        return torch.where(random.bernoulli(self.p), random.beta(random.value(self.alpha)), 1.0)


class MixUp(Mixing):
    """A weighted mean of two images (Zhang et al., arXiv:1710.09412)."""

    kind: Literal["mixup"] = "mixup"

    def sample(self, random: BatchRandom) -> MixParams:
        """Sample partners by a permutation of the batch, and lambda."""
        return MixParams(random.permutation(), self._sample_lam(random), None)

    def apply(self, images: Tensor, targets: Tensor, params: MixParams) -> tuple[Tensor, Tensor]:
        """Mix images and targets linearly."""
        lam = params.lam[:, None, None, None]
        mixed = images[params.partner].mul_(1 - lam).addcmul_(images[: len(lam)], lam)
        return mixed, _mix_targets(targets, params)


class CutMix(Mixing):
    """A rectangle of another image pasted into each image (Yun et al., arXiv:1905.04899).

    As in the authors' code, the centre of the rectangle is uniform over the image, the rectangle is
    cut at the edges, and the targets are mixed by the remaining area.
    """

    kind: Literal["cutmix"] = "cutmix"

    def sample(self, random: BatchRandom) -> MixParams:
        """Sample partners by a permutation of the batch, and rectangles of area 1 - lambda."""
        partner, lam = random.permutation(), self._sample_lam(random)
        side = (1 - lam).sqrt()

        def span(size: int) -> tuple[Tensor, Tensor]:
            half, centre = (side * size).long() // 2, random.integers(size)
            start = (centre - half).clamp(0, size)
            return start, (centre + half).clamp(0, size) - start

        (top, height), (left, width) = span(random.height), span(random.width)
        lam = 1 - (height * width).float() / (random.height * random.width)
        return MixParams(partner, lam, Rectangles(top, left, height, width))

    def apply(self, images: Tensor, targets: Tensor, params: MixParams) -> tuple[Tensor, Tensor]:
        """Paste the rectangles and mix the targets by area."""
        assert params.rectangles is not None
        mask = params.rectangles.mask(*images.shape[-2:])
        mixed = torch.where(mask, images[params.partner], images[: len(mask)])
        return mixed, _mix_targets(targets, params)


def _mix_targets(targets: Tensor, params: MixParams) -> Tensor:
    lam = params.lam[:, None]
    return targets[: len(lam)] * lam + targets[params.partner] * (1 - lam)
