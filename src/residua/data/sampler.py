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

    A batch is a pure function of (seed, step), whatever the number of ranks; there is no state to
    save. Each epoch is a new permutation, the same on every machine.

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
        order = _permutation(self.length, self.seed, epoch)
        return order[start:stop].clone()


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the images in an epoch, int64 (length,); do not modify it.

    The raw numbers of PCG64 are the same in all versions of numpy and on all machines, which
    torch.randperm does not guarantee.
    """
    raw = np.random.PCG64(derive_seed(seed, "order", epoch)).random_raw(length)
    return torch.from_numpy(raw.argsort(kind="stable"))
