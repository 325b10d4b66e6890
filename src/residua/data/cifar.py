"""CIFAR-100 and CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features, 2009)."""

from pathlib import Path
from typing import Literal

from residua.data import archive
from residua.data.dataset import Dataset
from residua.data.split import Splits


class Cifar100(Dataset):
    """50,000 training and 10,000 test images, 32 x 32, of 100 classes in 20 superclasses."""

    kind: Literal["cifar100"] = "cifar100"
    root: Path | None = None
    """The folder of cifar-100-python; by default $RESIDUA_DATA, else the user's cache."""

    @property
    def num_classes(self) -> int:
        """100."""
        return 100

    def read(self) -> Splits:
        """Read the archive. Raises UserError if it is missing or damaged."""
        return archive.load(archive.CIFAR100, archive.data_root(self.root))


class Cifar10(Dataset):
    """50,000 training and 10,000 test images, 32 x 32, of 10 classes."""

    kind: Literal["cifar10"] = "cifar10"
    root: Path | None = None
    """The folder of cifar-10-batches-py; by default $RESIDUA_DATA, else the user's cache."""

    @property
    def num_classes(self) -> int:
        """10."""
        return 10

    def read(self) -> Splits:
        """Read the archive. Raises UserError if it is missing or damaged."""
        return archive.load(archive.CIFAR10, archive.data_root(self.root))
