"""The sampler, which selects the images of each step."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from residua.errors import UserError
from residua.seeding import derive_seed


@dataclass(frozen=True)
class BatchSampler:
    """The infinite sequence of batches of a training: `sampler[step]` gives image indices.

    A batch is a pure function of (seed, step, rank); there is no state to save. Each epoch is a new
    permutation, the same on every machine.

    Raises:
        UserError: the batch is larger than the training set, or smaller than the number of ranks.
        ValueError: the rank is not below the number of ranks.
    """

    length: int
    """Images in the training set."""
    batch_size: int
    """Images in a step, over all ranks."""
    seed: int
    drop_last: bool = False
    """Whether to skip the last batch of an epoch if it is incomplete."""
    rank: int = 0
    size: int = 1
    """The number of ranks."""

    def __post_init__(self) -> None:
        if self.batch_size > self.length:
            raise UserError(
                f"batch of {self.batch_size} is larger than the training set of "
                f"{self.length} images: use a smaller --batch-size"
            )
        if self.batch_size < self.size:
            raise UserError(f"batch of {self.batch_size} is too small for {self.size} processes")
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} of {self.size}")

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        incomplete = not self.drop_last and self.length % self.batch_size > 0
        return self.length // self.batch_size + incomplete

    def __getitem__(self, step: int) -> Tensor:
        """Return the indices of this rank's images of one step, int64 (n,).

        Images are assigned to ranks in turn, so n differs by at most one between ranks. It may be 0
        if the last batch has fewer images than there are ranks.
        """
        if step < 0:
            raise IndexError(f"step {step}")
        epoch, step = divmod(step, self.steps_per_epoch)
        start = step * self.batch_size
        stop = min(start + self.batch_size, self.length)
        order = _permutation(self.length, self.seed, epoch)
        return order[start + self.rank : stop : self.size].clone()


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the images in an epoch, int64 (length,); do not modify it.

    The raw numbers of PCG64 are the same in all versions of numpy and on all machines, which
    torch.randperm does not guarantee.
    """
    raw = np.random.PCG64(derive_seed(seed, "order", epoch)).random_raw(length)
    return torch.from_numpy(raw.argsort(kind="stable"))
