"""The base class of all data sets of a recipe."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from pydantic import Field

from residua.config import Config
from residua.data.decoding import Preparation
from residua.data.split import Splits, stratified_split
from residua.errors import UserError, escaped, is_utf8

MAX_CLASSES = 10_000
"""Data sets with more classes are refused, and so are runs that name more."""


def check_classes(names: Sequence[str]) -> None:
    """Check that class names can be stored, before a training starts.

    Raises:
        UserError: there are too many, or one is not valid UTF-8, as names of folders can be.
    """
    if len(names) > MAX_CLASSES:
        raise UserError(f"{len(names):,} classes are more than {MAX_CLASSES:,}")
    for name in names:
        if not is_utf8(name):
            raise UserError(
                f"the name of the class '{escaped(name)}' is not valid UTF-8: rename its folder"
            )


class Dataset(Config, ABC):
    """A data set as a recipe describes it; `load` reads its images."""

    holdout: int = Field(default=0, ge=0)
    """Images of the training set held out to select the best epoch; 0 for none."""
    limit: int | None = Field(default=None, ge=1)
    """The largest number of images in each split, applied after the holdout; for quick trials."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """The number of classes, without reading an image."""

    @property
    def num_channels(self) -> int:
        """The number of channels of an image: 3 for RGB."""
        return 3

    @property
    def label(self) -> str:
        """What reports call the data set."""
        kind: Any = self.kind  # type: ignore[attr-defined]
        return str(kind)

    def prepare(self, size: int) -> Preparation:
        """How image files are converted for a network that was trained on this data set."""
        return Preparation(size)

    def resolved(self) -> Self:
        """The data set as a run stores it: what depends on the place of the process is replaced."""
        return self

    @abstractmethod
    def read(self) -> Splits:
        """Read all images; the holdout is None unless the data set has one of its own."""

    def load(self, seed: int) -> Splits:
        """Read the images, split off the holdout, then apply the limit.

        Args:
            seed: selects the images of the holdout; at least 0.

        Raises:
            UserError: the data is missing or damaged, or the holdout is too large.
        """
        splits = self.read()
        check_classes(splits.train.classes)
        if self.holdout:
            if splits.holdout is not None:
                raise UserError("the data set has a holdout of its own (val): use holdout 0")
            train, holdout = stratified_split(splits.train, self.holdout, seed)
            splits = replace(splits, train=train, holdout=holdout)
        return splits if self.limit is None else splits.subsample(self.limit)
