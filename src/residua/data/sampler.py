"""The sampler, which selects the images of each step."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residua.errors import UserError
from residua.seeding import derive_seed


@dataclass(frozen=True)
class BatchSampler:
    """The infinite sequence of batches of a training: `sampler[step]` gives image indices.

    A batch is a pure function of (seed, step), whatever the number of ranks; there is no state to
    save. Each epoch is a new permutation, the same on every machine. With `labels`, an epoch is
    balanced instead: it has as many images, but equally many of each class, to within one. Images
    of small classes then occur several times in an epoch; those of large classes take turns.

    Raises:
        UserError: the batch is empty, or larger than the training set.
    """

    length: int
    """Images in the training set."""
    batch_size: int
    """Images in a step, over all ranks."""
    seed: int
    drop_last: bool = False
    """Whether to skip the last batch of an epoch if it is incomplete."""
    labels: Tensor | None = field(default=None, compare=False)
    """int64 (length,), on the CPU: the class of each image, for balanced epochs."""

    def __post_init__(self) -> None:
        if self.batch_size > self.length:
            raise UserError(
                f"batch of {self.batch_size} is larger than the training set of "
                f"{self.length} images: use a smaller --batch-size"
            )
        if self.batch_size < 1:
            raise UserError(f"batch of {self.batch_size} is too small")

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        incomplete = not self.drop_last and self.length % self.batch_size > 0
        return self.length // self.batch_size + incomplete

    def __getitem__(self, step: int) -> Tensor:
        """Return the indices of the images of one step, over all ranks, int64 (n,)."""
        if step < 0:
            raise IndexError(f"step {step}")
        epoch, step = divmod(step, self.steps_per_epoch)
        start = step * self.batch_size
        stop = min(start + self.batch_size, self.length)
        if self.labels is None:
            order = _permutation(self.length, self.seed, epoch)
        else:
            order = _balanced_order(self.labels, self.seed, epoch)
        return order[start:stop].clone()


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the images in an epoch, int64 (length,); do not modify it.

    The raw numbers of PCG64 are the same in all versions of numpy and on all machines, which
    torch.randperm does not guarantee.
    """
    raw = np.random.PCG64(derive_seed(seed, "order", epoch)).random_raw(length)
    return torch.from_numpy(raw.argsort(kind="stable"))


@lru_cache(maxsize=2)
def _balanced_order(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """Return the images of an epoch with equally many of each class, int64 (length,).

    The images of a class come from an endless sequence of permutations of them, of which each epoch
    takes the next part, so that all are used about equally often.
    """
    classes, inverse = np.unique(labels.numpy(), return_inverse=True)
    length, count = len(labels), len(classes)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    generator = np.random.PCG64(derive_seed(seed, "balance", epoch))
    # Which classes get one image more changes from epoch to epoch.
    extra = generator.random_raw(count).argsort(kind="stable")[: length % count]
    chosen = []
    for index, of_class in enumerate(members):
        most = -(-length // count)
        start = epoch * most
        taken = most - (index not in extra) * (length % count > 0)
        chosen.append(_endless(of_class, seed, index, start, taken))
    drawn = np.concatenate(chosen)
    return torch.from_numpy(drawn[generator.random_raw(length).argsort(kind="stable")])


def _endless(
    members: NDArray[np.int64], seed: int, label: int, start: int, count: int
) -> NDArray[np.int64]:
    """Return `count` entries, from `start` on, of an endless sequence of permutations."""
    first, last = start // len(members), (start + count - 1) // len(members)
    parts = []
    for number in range(first, last + 1):
        raw = np.random.PCG64(derive_seed(seed, "class", label, number)).random_raw(len(members))
        parts.append(members[raw.argsort(kind="stable")])
    offset = start - first * len(members)
    return np.concatenate(parts)[offset : offset + count]
