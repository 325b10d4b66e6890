"""Which images make which batch."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from residua.errors import UserError
from residua.seeding import derive_seed


@dataclass(frozen=True)
class BatchSampler:
    """The endless sequence of batches of a training: `batches[step]` says which images.

    A pure function of (seed, step, rank): nothing has to be saved to resume. Each epoch is a new
    permutation, the same on every machine. Raises UserError for batches that cannot be filled.
    """

    length: int
    """Images in the training set."""
    batch_size: int
    """Images in a step, over all ranks."""
    seed: int
    drop_last: bool = False
    """What becomes of an epoch's incomplete last batch."""
    rank: int = 0
    size: int = 1
    """Ranks in all."""

    def __post_init__(self) -> None:
        if self.batch_size > self.length:
            raise UserError(
                f"batch of {self.batch_size} is larger than the training set of "
                f"{self.length} images"
            )
        if self.batch_size < self.size:
            raise UserError(f"batch of {self.batch_size} is too small for {self.size} processes")
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} of {self.size}")

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        short = not self.drop_last and self.length % self.batch_size > 0
        return self.length // self.batch_size + short

    def __getitem__(self, step: int) -> Tensor:
        """Return this rank's images of one step: places in the training set, int64 (n,).

        The ranks take turns in the batch, so their n differ by one at most; a rank's n may be 0 in
        a last batch that has fewer images than there are ranks.
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
    """Shuffle an epoch: int64 (length,), not to be written to.

    PCG64's raw numbers stay the same in every numpy and on every machine; torch.randperm promises
    neither.
    """
    raw = np.random.PCG64(derive_seed(seed, "order", epoch)).random_raw(length)
    return torch.from_numpy(raw.argsort(kind="stable"))
