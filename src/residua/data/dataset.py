"""What every data set of a recipe has in common."""

from abc import ABC, abstractmethod
from dataclasses import replace

from pydantic import Field

from residua.config import Config
from residua.data.split import Splits, hold_out
from residua.errors import UserError


class Dataset(Config, ABC):
    """A data set, as a recipe names it: `load` gives its images."""

    holdout: int = Field(default=0, ge=0)
    """Images held out of the training set to select by; 0 for none."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many images of each split, after holding out; for quick trials."""

    @property
    @abstractmethod
    def class_count(self) -> int:
        """The number of classes, known without reading an image."""

    @abstractmethod
    def read(self) -> Splits:
        """Read the whole set, with a holdout only where the set itself comes with one."""

    def load(self, seed: int) -> Splits:
        """Read the set, hold out by `seed` (at least 0), then limit.

        Raises UserError where the data is missing or damaged, or the holdout is too large.
        """
        splits = self.read()
        if self.holdout:
            if splits.holdout is not None:
                raise UserError("the data has a holdout of its own (val): leave holdout at 0")
            train, holdout = hold_out(splits.train, self.holdout, seed)
            splits = replace(splits, train=train, holdout=holdout)
        return splits if self.limit is None else _subsample(splits, self.limit)


def _subsample(splits: Splits, n: int) -> Splits:
    return Splits(
        train=splits.train.subsample(n),
        holdout=splits.holdout and splits.holdout.subsample(n),
        test=splits.test.subsample(n),
    )
