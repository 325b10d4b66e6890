"""From a data set's name to the images of each step."""

from typing import Annotated

from pydantic import Field

from residua.data.batches import Batches
from residua.data.cifar import Cifar10, Cifar100
from residua.data.folder import Folder
from residua.data.shapes import Shapes100
from residua.data.source import Source
from residua.data.split import Split, Splits, Statistics, hold_out, statistics

Data = Annotated[Cifar100 | Cifar10 | Folder | Shapes100, Field(discriminator="kind")]
"""The data sets a recipe can name."""

__all__ = [
    "Batches",
    "Cifar10",
    "Cifar100",
    "Data",
    "Folder",
    "Shapes100",
    "Source",
    "Split",
    "Splits",
    "Statistics",
    "hold_out",
    "statistics",
]
