"""Labelled images in memory, and the ways to divide them."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat
from torch import Tensor

from residua.config import Config
from residua.errors import UserError


@dataclass(frozen=True, eq=False)
class Split:
    """One checksummed set of labelled images; its tensors are never written to.

    Raises ValueError where images, labels and coarse labels disagree in type or length.
    """

    images: Tensor
    """uint8 (N, 3, H, W), RGB."""
    labels: Tensor
    """int64 (N,), places in `classes`."""
    classes: tuple[str, ...]
    coarse_labels: Tensor | None = None
    """int64 (N,), places in `superclasses`, where the set has them."""
    superclasses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(f"images are {self.images.dtype} {tuple(self.images.shape)}")
        for labels in (self.labels, self.coarse_labels):
            if labels is not None and (labels.dtype, labels.shape) != (torch.int64, (len(self),)):
                raise ValueError(f"{len(self)} images, labels {labels.dtype} {tuple(labels.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor | Sequence[int]) -> "Split":
        """Return the images at `indices` (N', int64), in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        coarse = None if self.coarse_labels is None else self.coarse_labels[chosen]
        return replace(
            self, images=self.images[chosen], labels=self.labels[chosen], coarse_labels=coarse
        )

    def subsample(self, n: int) -> "Split":
        """Return at most `n` images, the same each time, each class in its proportion."""
        return self if n >= len(self) else self.subset(stratified_sample(self.labels, n, seed=0))

    def to(self, device: torch.device) -> "Split":
        """The split with images and labels on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    @cached_property
    def checksum(self) -> str:
        """SHA-256, in hex, of the bytes of the images and the labels (0.1 s for CIFAR-100)."""
        digest = hashlib.sha256()
        digest.update(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().numpy().astype("<i8").data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Splits:
    """What a training is given: `holdout` selects, `test` is only ever reported."""

    train: Split
    holdout: Split | None
    test: Split


class ChannelStats(Config):
    """Mean and population standard deviation of each channel, in units of [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
    """A deviation of 0, of a channel that never varies, counts as 1 when images are normalised."""


def channel_stats(split: Split) -> ChannelStats:
    """Return the exact statistics of the split's channels, from integer counts of the 256 values.

    A channel that never varies has a std of 0. Not cached: 0.2 s for CIFAR-100, hardly more than
    the checksum that would key a cache. Raises ValueError for a split without images.
    """
    if len(split) == 0:
        raise ValueError("a split without images has no statistics")
    red, green, blue = (_moments(split.images[:, channel]) for channel in range(3))
    return ChannelStats(mean=(red[0], green[0], blue[0]), std=(red[1], green[1], blue[1]))


def _moments(values: Tensor) -> tuple[float, float]:
    """Return mean and std of uint8 values in units of [0, 1]; Python's integers do not round."""
    counts = torch.bincount(values.reshape(-1), minlength=256).tolist()
    number = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    return first / (255 * number), math.sqrt(number * second - first * first) / (255 * number)


def hold_out(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Divide a split into (the rest to train on, `size` images held out).

    The holdout has each class in its proportion, to within one image; it depends on the labels,
    `size` and `seed` (at least 0) alone. Both parts keep the order of the images.
    Raises UserError where one part would be empty.
    """
    if not 1 <= size < len(split):
        raise UserError(
            f"a holdout of {size:,} of {len(split):,} images leaves nothing to "
            + ("hold out" if size < 1 else "train on")
        )
    chosen = stratified_sample(split.labels, size, seed)
    rest = torch.ones(len(split), dtype=torch.bool)
    rest[chosen] = False
    return split.subset(rest.nonzero().flatten()), split.subset(chosen)


def stratified_sample(labels: Tensor, size: int, seed: int) -> Tensor:
    """Choose `size` of the labelled images: their places, int64 (size,), ascending.

    Each class gets its share by the largest remainder (Hamilton's method), so within one image of
    proportion; lots decide between equal remainders. Drawn from PCG64's raw numbers, which, unlike
    the distributions built on them, numpy keeps for ever.
    """
    stream = np.random.PCG64(seed)
    found, inverse, counts = np.unique(labels.numpy(), return_inverse=True, return_counts=True)
    shares = _shares(counts, size, lots=stream.random_raw(len(found)))
    order = np.lexsort((stream.random_raw(len(labels)), inverse))
    place_in_class = np.arange(len(labels), dtype=np.int64) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    chosen = order[place_in_class < shares[inverse[order]]]
    return torch.from_numpy(np.sort(chosen))


def _shares(counts: NDArray[np.int64], size: int, lots: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Share `size` out over classes of `counts` images by the largest remainder."""
    shares, remainders = np.divmod(counts * size, counts.sum())
    largest = np.lexsort((lots, -remainders))[: size - shares.sum()]
    shares[largest] += 1
    return shares
