"""The processes that train together: one value that says which of them this one is."""

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The rank of this process among those that train together; trivial for a single process.

    `BatchSampler` takes rank and size from it, figures are summed over ranks by `all_reduce`, and
    only the writer writes files of the run.
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} of {self.size}")

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place and returned; needs an initialised process group.

        A single process gets its values back.
        """
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()
