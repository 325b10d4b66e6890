"""Labelled images in memory, their statistics and stratified splits."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, model_validator
from torch import Tensor

from residua.config import Config
from residua.errors import UserError


@dataclass(frozen=True, eq=False)
class Split:
    """A set of labelled images; do not modify its tensors.

    Raises:
        ValueError: images, labels or coarse labels have the wrong type or length.
    """

    images: Tensor
    """uint8 (N, C, H, W), RGB or grey."""
    labels: Tensor
    """int64 (N,), indices into `classes`."""
    classes: tuple[str, ...]
    coarse_labels: Tensor | None = None
    """int64 (N,), indices into `superclasses`, if the data set has them."""
    superclasses: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """The file of each image, where they come from files."""

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3):
            raise ValueError(f"images are {self.images.dtype} {tuple(self.images.shape)}")
        if self.paths and len(self.paths) != len(self):
            raise ValueError(f"{len(self)} images, {len(self.paths)} paths")
        for labels in (self.labels, self.coarse_labels):
            if labels is not None and (labels.dtype, labels.shape) != (torch.int64, (len(self),)):
                raise ValueError(f"{len(self)} images, labels {labels.dtype} {tuple(labels.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return self.images.shape[1]

    def subset(self, indices: Tensor | Sequence[int]) -> "Split":
        """Return the images with these indices, int64 (N',), in this order."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        coarse = None if self.coarse_labels is None else self.coarse_labels[indices]
        return replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            coarse_labels=coarse,
            paths=tuple(self.paths[index] for index in indices.tolist()) if self.paths else (),
        )

    def subsample(self, n: int) -> "Split":
        """Return at most `n` images, stratified by class; always the same ones."""
        return self if n >= len(self) else self.subset(stratified_sample(self.labels, n, seed=0))

    def to(self, device: torch.device) -> "Split":
        """The split with images and labels on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    @cached_property
    def superclass_of(self) -> tuple[int, ...]:
        """The superclass of each class; empty where the data set has none.

        Raises:
            ValueError: images of one class have several superclasses.
        """
        if self.coarse_labels is None:
            return ()
        pairs = set(zip(self.labels.tolist(), self.coarse_labels.tolist(), strict=True))
        of_class = dict(pairs)
        if len(of_class) != len(pairs):
            raise ValueError("images of one class have several superclasses")
        if len(of_class) < len(self.classes):
            return ()  # The superclass of a class without images is unknown.
        return tuple(of_class[index] for index in range(len(self.classes)))

    @cached_property
    def checksum(self) -> str:
        """SHA-256 in hex of the bytes of images and labels (0.1 s for CIFAR-100)."""
        digest = hashlib.sha256()
        digest.update(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().numpy().astype("<i8").data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Splits:
    """The splits of a data set."""

    train: Split
    holdout: Split | None
    """Used to select the best epoch; the test set is only reported."""
    test: Split
    notes: tuple[str, ...] = ()
    """What was decided about the data, as sentences for the user."""
    skipped: tuple[str, ...] = ()
    """Files that were left out because they cannot be read, and why."""

    def subsample(self, n: int) -> "Splits":
        """Return at most `n` images of each split, stratified by class."""
        holdout = self.holdout and self.holdout.subsample(n)
        train, test = self.train.subsample(n), self.test.subsample(n)
        return replace(self, train=train, holdout=holdout, test=test)


class ChannelStats(Config):
    """Mean and population standard deviation of each channel, for values in [0, 1]."""

    mean: Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]
    std: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, max_length=3)]
    """A value of 0 (a constant channel) counts as 1 in normalization."""

    @model_validator(mode="after")
    def _check_channels(self) -> "ChannelStats":
        if len(self.mean) != len(self.std) or len(self.mean) == 2:
            raise ValueError("mean and std need one value for each channel: 3 for RGB, 1 for grey")
        return self


def channel_stats(split: Split) -> ChannelStats:
    """Compute the exact channel statistics of a split from its histogram.

    Not cached: it takes 0.2 s for CIFAR-100, little more than the checksum for a cache key.

    Raises:
        ValueError: the split is empty.
    """
    if len(split) == 0:
        raise ValueError("a split without images has no statistics")
    channels = range(split.images.shape[1])
    mean, std = zip(*(_mean_std(split.images[:, channel]) for channel in channels), strict=True)
    return ChannelStats(mean=mean, std=std)


def _mean_std(values: Tensor) -> tuple[float, float]:
    """Return mean and std of uint8 values / 255, from sums in exact integers."""
    histogram = torch.bincount(values.reshape(-1), minlength=256).tolist()
    n = sum(histogram)
    total = sum(value * count for value, count in enumerate(histogram))
    squares = sum(value * value * count for value, count in enumerate(histogram))
    return total / (255 * n), math.sqrt(n * squares - total * total) / (255 * n)


def stratified_split(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Divide a split into (the remaining images, `size` images held out).

    The proportion of each class in the holdout is correct to within one image. The selection
    depends only on the labels, `size` and `seed` (at least 0). Both parts keep the order of images.

    Raises:
        UserError: one of the parts would be empty.
    """
    if not 1 <= size < len(split):
        raise UserError(
            f"a holdout of {size:,} of {len(split):,} images leaves nothing to "
            + ("hold out" if size < 1 else "train on")
        )
    held_out = stratified_sample(split.labels, size, seed)
    remaining = torch.ones(len(split), dtype=torch.bool)
    remaining[held_out] = False
    return split.subset(remaining.nonzero().flatten()), split.subset(held_out)


def stratified_sample(labels: Tensor, size: int, seed: int) -> Tensor:
    """Draw a stratified sample of labelled images: indices, int64 (size,), ascending.

    The largest remainder method (Hamilton) allocates the sample to classes, to within one image of
    proportion; equal remainders are ordered at random. Only raw numbers of PCG64 are used: unlike
    numpy's distributions, they are the same in all versions.
    """
    generator = np.random.PCG64(seed)
    classes, inverse, counts = np.unique(labels.numpy(), return_inverse=True, return_counts=True)
    sizes = _allocate(counts, size, tie_breakers=generator.random_raw(len(classes)))
    order = np.lexsort((generator.random_raw(len(labels)), inverse))
    starts = np.cumsum(counts) - counts
    rank_in_class = np.arange(len(labels), dtype=np.int64) - np.repeat(starts, counts)
    sample = order[rank_in_class < sizes[inverse[order]]]
    return torch.from_numpy(np.sort(sample))


def _allocate(
    counts: NDArray[np.int64], size: int, tie_breakers: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Allocate `size` to classes with these counts by the largest remainder method."""
    sizes, remainders = np.divmod(counts * size, counts.sum())
    largest = np.lexsort((tie_breakers, -remainders))[: size - sizes.sum()]
    sizes[largest] += 1
    return sizes
