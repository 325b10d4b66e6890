"""From a data set's name to the images of each step."""

from typing import Annotated

from pydantic import Field

from residua.data.cifar import Cifar10, Cifar100
from residua.data.dataset import Dataset
from residua.data.folder import Folder
from residua.data.sampler import BatchSampler
from residua.data.shapes import Shapes100
from residua.data.split import ChannelStats, Split, Splits, channel_stats, hold_out

Data = Annotated[Cifar100 | Cifar10 | Folder | Shapes100, Field(discriminator="kind")]
"""The data sets a recipe can name."""

__all__ = [
    "BatchSampler",
    "ChannelStats",
    "Cifar10",
    "Cifar100",
    "Data",
    "Dataset",
    "Folder",
    "Shapes100",
    "Split",
    "Splits",
    "channel_stats",
    "hold_out",
]
